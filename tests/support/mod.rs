//! What the suite stands on: our own peers on loopback and a runner for the built binary.
//!
//! Nothing here uses product code, and nothing waits without a bound: every wait has
//! [`BOUND`] and fails with what was seen until then. Servers bind port 0 and stop on drop.

#![allow(dead_code, reason = "a peer offers more than the themes of one moment use")]

pub mod certs;
pub mod client;
pub mod closed;
pub mod command;
pub mod contract;
pub mod fault_plan;
pub mod fault_proxy;
pub mod gate;
pub mod http;
pub mod keys;
pub mod local;
pub mod mcp;
pub mod notify;
pub mod oauth;
pub mod plane;
pub mod posted;
pub mod programs;
pub mod proxy;
pub mod random;
pub mod reply;
pub mod rig;
pub mod server;
pub mod short;
pub mod stdio;
pub mod stream;
pub mod temp;

use std::time::Duration;

/// How long anything may take before a test gives up; generous, because machines are slow.
pub const BOUND: Duration = Duration::from_secs(60);
