//! The stub that `run` puts in the place of a server where it is asked to, and how a stub introduces itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::{Channel, HttpServer, Server, Settings};

use super::server::Place;
use super::stub::Stub;

/// Starts the stub if it was asked for, and binds `main` to where it listens. It must run before the first client
/// is made. Gives the stub and what to tell the operator; fails with the whole line for standard error.
pub(crate) fn embed(settings: &mut Settings) -> Result<Option<(Stub, String)>, String> {
    let Some(wanted) = &settings.mcp.stub else { return Ok(None) };
    let place = match &wanted.socket {
        Some(path) => Place::Unix(free(path)?),
        None => wanted.listen.into(),
    };
    let stub = start(&place, &wanted.name, &wanted.version, wanted.stateless)?;
    if wanted.socket.is_none() {
        settings.warnings.extend(openness("MCP stub", wanted.listen));
        let server = HttpServer::at(&stub.mcp_url());
        let server = server.map_err(|fault| format!("start tunnel-client: the stub's URL {fault}"))?;
        // A proxy for everything does not lead back here.
        let own = format!(",{}:{}", server.origin.host, server.origin.port);
        settings.network.environment.no_proxy.push_str(&own);
        for binding in settings.mcp.bindings.iter_mut().filter(|binding| binding.channel == Channel::main()) {
            binding.server = Server::Http(server.clone());
        }
    }
    if wanted.replaces {
        settings
            .warnings
            .push("the stub serves main in the place of the server that is configured for it".into());
    }
    let socket = wanted.socket.as_ref().map(|path| format!("  MCP Unix socket: {}\n", path.display()));
    let text = format!(
        "Embedded MCP stub enabled.\n{}{}  \
         The main channel is served by the stub, not by a server of yours.\n  \
         It asks nobody to log in; the metadata are samples for trying discovery out.\n",
        socket.unwrap_or_default(),
        addresses(&stub, "  ")
    );
    Ok(Some((stub, text)))
}

/// The path of a socket file that is to be made. What stands there is never removed: nobody else needs to have made
/// it for a stub.
fn free(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    if fs::symlink_metadata(path).is_ok() {
        return Err(format!("start MCP stub: {shown} exists already; remove it, or name another path"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) {
        return Err(format!("start MCP stub: the directory of {shown} does not exist"));
    }
    Ok(path.to_owned())
}

/// What to warn of before an address is listened at: nothing on a loopback one.
pub(crate) fn openness(what: &str, address: SocketAddr) -> Option<String> {
    let is_open = !address.ip().to_canonical().is_loopback();
    let text = format!("the {what} asks nobody who they are, and its address is not a loopback address");
    is_open.then_some(text)
}

/// Starts a stub; fails with the whole line for standard error.
pub(crate) fn start(place: &Place, name: &str, version: &str, stateless: bool) -> Result<Stub, String> {
    Stub::start(place, name, version, stateless).map_err(|error| format!("start MCP stub: {error}"))
}

/// The addresses of a stub, a line each.
pub(crate) fn addresses(stub: &Stub, indent: &str) -> String {
    format!(
        "{indent}MCP URL: {}\n{indent}Protected resource metadata: {}\n{indent}Authorization server metadata: {}\n",
        stub.mcp_url(),
        stub.resource_url(),
        stub.authorization_url()
    )
}
