//! Between the two sides: what a command is, in which order commands run, and what their answers
//! look like.

pub mod json;
pub mod message;
pub mod modern;
pub mod payload;
