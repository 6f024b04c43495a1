//! The stub that `run --embedded-mcp-stub` puts in the place of a server, and how a stub introduces itself.

use std::net::SocketAddr;

use crate::config::{Channel, HttpServer, Server, Settings};

use super::stub::Stub;

/// Starts the stub if it was asked for, and binds `main` to where it listens. It must run before the first client
/// is made. Gives the stub and what to tell the operator; fails with the whole line for standard error.
pub(crate) fn embed(settings: &mut Settings) -> Result<Option<(Stub, String)>, String> {
    let Some(wanted) = &settings.mcp.stub else { return Ok(None) };
    let stub = start(wanted.listen, &wanted.name, &wanted.version)?;
    settings.warnings.extend(openness("MCP stub", wanted.listen));
    let server = HttpServer::at(&stub.mcp_url());
    let server = server.map_err(|fault| format!("start tunnel-client: the stub's URL {fault}"))?;
    // A proxy for everything does not lead back here.
    let own = format!(",{}:{}", server.origin.host, server.origin.port);
    settings.network.environment.no_proxy.push_str(&own);
    for binding in settings.mcp.bindings.iter_mut().filter(|binding| binding.channel == Channel::main()) {
        binding.server = Server::Http(server.clone());
    }
    let text = format!(
        "Embedded MCP stub enabled.\n{}  \
         The main channel is served by the stub, not by a server of yours.\n  \
         It asks nobody to log in; the metadata are samples for trying discovery out.\n",
        addresses(&stub, "  ")
    );
    Ok(Some((stub, text)))
}

/// What to warn of before an address is listened at: nothing on a loopback one.
pub(crate) fn openness(what: &str, address: SocketAddr) -> Option<String> {
    let is_open = !address.ip().to_canonical().is_loopback();
    let text = format!("the {what} asks nobody who they are, and its address is not a loopback address");
    is_open.then_some(text)
}

/// Starts a stub; fails with the whole line for standard error.
pub(crate) fn start(listen: SocketAddr, name: &str, version: &str) -> Result<Stub, String> {
    Stub::start(listen, name, version).map_err(|error| format!("start MCP stub: {error}"))
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
