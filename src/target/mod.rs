//! Towards the private side: Streamable HTTP servers, their streams, and whether they answer.

mod call;
pub mod exchange;
pub mod http;
pub mod reply;
pub mod sse;
mod streaming;
