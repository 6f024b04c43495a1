//! Between the two sides: what a command is, in which order commands run, and what their answers
//! look like.
//!
//! The room knows neither the control plane nor any server: both come in through the traits of
//! [`port`]. Nothing here opens a connection or reads a file. Every command that enters leaves with
//! exactly one terminal answer, or in silence where the contract asks for silence.
//!
//! What passes through is text. Ids, numbers and unknown members reach the other side as they were
//! written; the one span that is ever replaced is an id. Reading stays generous where peers are known to
//! be sloppy, and strict where two readers could understand one text differently.

mod answer;
pub mod backoff;
pub mod calls;
pub mod command;
pub mod failure;
pub mod fate;
pub mod headers;
pub mod inflight;
pub mod json;
pub mod judgement;
pub mod mcp_headers;
pub mod message;
pub mod names;
pub mod payload;
pub mod port;
pub mod queue;
pub mod record;
pub mod revision;
pub mod stop;
pub mod subject;
pub mod trace;
pub mod tree;
pub mod worker;
