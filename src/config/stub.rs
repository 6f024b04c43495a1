//! The stub server of `embedded-mcp-stub` in the place of the server of `main`.
//!
//! Whatever is tried with it takes the way of a real server, so it is bound like one. Opens nothing.

use std::net::SocketAddr;

use super::lookup::{Giver, Lookup};
use super::mcp::{COMMAND_FLAG, SERVER_FLAG};
use super::{Binding, Channel, Error, HttpServer, Server, local};

const FLAG: &str = "embedded-mcp-stub";

/// The stub server.
#[derive(Debug, Clone)]
pub struct Stub {
    /// Address that it listens on.
    pub listen: SocketAddr,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
}

/// Binds `main` to the stub, if it is asked for. Port 0 stands in no URL; where the stub really listens takes its place
/// before anybody connects.
pub(crate) fn load(lookup: &Lookup, bindings: &mut Vec<Binding>) -> Result<Option<Stub>, Error> {
    if !lookup.boolean(FLAG)? {
        return Ok(None);
    }
    let text = |flag| Ok(lookup.read(flag, |found| Ok(found.text().to_string()))?.unwrap_or_default());
    let stub = Stub {
        listen: local::listen(lookup, "embedded-mcp-listen-addr")?.address,
        name: text("embedded-mcp-server-name")?,
        version: text("embedded-mcp-server-version")?,
    };
    // The reference client replaces some of these in silence; whoever configured one would look for its answers
    // in vain.
    if let Some(main) = bindings.iter().find(|binding| binding.channel == Channel::main()) {
        let flag = if matches!(main.server, Server::Http(_)) { SERVER_FLAG } else { COMMAND_FLAG };
        lookup.read(flag, |found| {
            let dashes = if matches!(found.giver, Giver::Flag) { "--" } else { "" };
            let other = found.label();
            Err::<(), _>(format!(
                "--{FLAG} cannot be combined with {dashes}{other}; use one main MCP target path"
            ))
        })?;
    }
    let address = SocketAddr::new(stub.listen.ip(), stub.listen.port().max(1));
    let server = HttpServer::at(&format!("http://{address}/mcp")).map_err(Error::invalid)?;
    bindings.insert(0, Binding { channel: Channel::main(), server: Server::Http(server) });
    Ok(Some(stub))
}
