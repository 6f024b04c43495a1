//! Between the two sides: what a command is, in which order commands run, and what their answers
//! look like.

pub mod command;
pub mod failure;
pub mod headers;
pub mod inflight;
pub mod json;
pub mod message;
pub mod modern;
pub mod payload;
pub mod port;
pub mod stop;
