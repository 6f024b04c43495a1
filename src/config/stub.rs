//! Stub server that `run` puts behind `main`: which kind is asked for, and where it listens.
//!
//! Only the command line can ask for it, so it wins over a server that a profile or a variable names for `main`; with
//! one that the command line names too, which of them is meant would be a guess. It opens nothing.

use std::net::SocketAddr;

use super::lookup::{Giver, Lookup};
use super::mcp::{COMMAND_FLAG, SERVER_FLAG};
use super::{Binding, Channel, Error, HttpServer, Server, Stub, local};

/// The flags of its two kinds.
const BOTH_ERAS: &str = "embedded-mcp-stub";
const STATELESS: &str = "embedded-stateless-mcp-stub";

const LISTEN: &str = "embedded-mcp-listen-addr";
const SOCKET: &str = "embedded-mcp-unix-socket";

/// Puts the stub behind `main`, if one was asked for. Until it listens, the binding names the address that was asked
/// for.
pub(super) fn load(lookup: &Lookup, bindings: &mut Vec<Binding>) -> Result<Option<Stub>, Error> {
    let flag = match (lookup.boolean(BOTH_ERAS)?, lookup.boolean(STATELESS)?) {
        (true, true) => return Err(combined(STATELESS, BOTH_ERAS)),
        (true, false) => BOTH_ERAS,
        (false, true) => STATELESS,
        (false, false) => return Ok(None),
    };
    let present = bindings.iter().find(|binding| binding.channel == Channel::main());
    if let Some(main) = present {
        let other = if matches!(main.server, Server::Http(_)) { SERVER_FLAG } else { COMMAND_FLAG };
        if of_command_line(lookup, other)? {
            return Err(combined(flag, other));
        }
    }
    let socket = lookup.plain_path(SOCKET)?;
    if socket.is_some() && of_command_line(lookup, LISTEN)? {
        return Err(Error::invalid(format!("--{LISTEN} and --{SOCKET} are mutually exclusive")));
    }
    let text = |flag| Ok(lookup.read(flag, |found| Ok(found.text().to_string()))?.unwrap_or_default());
    let stub = Stub {
        stateless: flag == STATELESS,
        listen: local::listen(lookup, LISTEN)?.address,
        socket,
        name: text("embedded-mcp-server-name")?,
        version: text("embedded-mcp-server-version")?,
        replaces: present.is_some(),
    };
    bindings.retain(|binding| binding.channel != Channel::main());
    bindings.insert(0, binding(&stub)?);
    Ok(Some(stub))
}

/// The stub as a server: whatever is tried with it takes the way of a real one. Port 0 stands in no URL.
fn binding(stub: &Stub) -> Result<Binding, Error> {
    let address = SocketAddr::new(stub.listen.ip(), stub.listen.port().max(1));
    let url = stub.socket.as_ref().map_or(format!("http://{address}/mcp"), |_| "http://localhost/mcp".into());
    let server = HttpServer::at(&url).map_err(Error::invalid)?;
    let server = HttpServer { unix_socket: stub.socket.clone(), ..server };
    Ok(Binding { channel: Channel::main(), server: Server::Http(server) })
}

fn of_command_line(lookup: &Lookup, flag: &str) -> Result<bool, Error> {
    Ok(lookup.read(flag, |found| Ok(matches!(found.giver, Giver::Flag)))? == Some(true))
}

fn combined(flag: &str, other: &str) -> Error {
    Error::invalid(format!("--{flag} cannot be combined with --{other}; use one main MCP target path"))
}
