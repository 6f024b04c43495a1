//! Commands for trying things out on one machine; cargo feature `dev`, which packages are built without.
//!
//! They fail like all commands: one line on standard error, exit code 1.

pub(super) mod demo;
pub(super) mod local;
pub(super) mod mcp_stub;
pub(super) mod plane;
pub(super) mod proxy;
