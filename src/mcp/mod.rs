//! Towards the private side: Streamable HTTP servers, their streams, and whether they answer.
//!
//! The room implements [`crate::relay::port::Target`]. It never learns of the control plane, keeps no
//! session of its own, and opens no connection but through [`crate::net`]. A server that misbehaves
//! costs its own call and nothing else.
//!
//! Servers are trusted with the work, not with anything else: what they send is bounded, validated and
//! classed, and no text of theirs reaches the plane except as a JSON-RPC message or one of six headers.

pub(crate) mod questions;

pub mod http;
pub mod prober;
pub mod stdio;
