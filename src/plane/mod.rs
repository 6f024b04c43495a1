//! Towards the control plane: wire types, requests, the poller and the couriers.
//!
//! The room turns polled bytes into [`crate::relay::command::Command`]s and answers into posts. It
//! knows nothing of MCP servers. Its errors never end the process: a plane that cannot be reached is
//! asked again.
//!
//! The key lives in the head of [`client::Plane`]'s requests and nowhere else in this room. The plane
//! decides what is asked of the servers; it cannot make this process connect anywhere, open a file, or
//! hold more than the stated bounds.

mod answer_json;
mod answer_list;
pub mod client;
pub mod courier;
pub mod hints;
mod key;
pub mod oversized;
mod pace;
pub mod poll_body;
pub mod poll_wait;
pub mod poller;
pub mod refusal;
pub mod retry;
mod round_trip;
mod routing;
pub mod server_info;
mod timestamp;
pub mod transport;
pub mod wire;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/plane.rs"]
pub(crate) mod fuzz;
