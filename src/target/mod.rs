//! Towards the private side: Streamable HTTP servers, their streams, and whether they answer.

pub mod sse;
