//! Commands for trying things out on one machine; cargo feature `dev`, which packages are built without.
//!
//! They fail like all commands: one line on standard error, exit code 1.

pub(super) mod local;
pub(super) mod mcp_stub;
pub(super) mod proxy;

use crate::dev::stub::Stub;

use super::Failure;

/// Starts a stub; fails with the whole line for standard error.
fn start(listen: std::net::SocketAddr, name: &str, version: &str) -> Result<Stub, Failure> {
    Stub::start(listen, name, version).map_err(|error| Failure(format!("start MCP stub: {error}")))
}

/// The addresses of a stub, a line each.
fn addresses(stub: &Stub, indent: &str) -> String {
    format!(
        "{indent}MCP URL: {}\n{indent}Protected resource metadata: {}\n{indent}Authorization server metadata: {}\n",
        stub.mcp_url(),
        stub.resource_url(),
        stub.authorization_url()
    )
}
