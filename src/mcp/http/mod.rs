//! MCP servers over Streamable HTTP: one POST a command, no session of our own.
//!
//! The caller's headers carry session, revision and credentials; nothing is remembered between two
//! commands, so two callers can never meet in one session. A command that fails costs itself alone.
//!
//! A command is an [`exchange`] with the [`upstream`] server; its [`answer`] is one body ([`reply`]) or a stream of
//! events ([`sse`]).

#[cfg(feature = "operator")]
pub mod eras;
pub mod probe;
pub mod reply;
pub mod session;
pub mod sse;

mod answer;
mod exchange;
mod target;
mod upstream;

pub use target::HttpTarget;
