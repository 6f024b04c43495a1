//! The whole program, driven from outside: one module a theme, each test named after a property.
//!
//! Statement numbers (`CP-…`, `MCP-…`, `REV-…`) are listed in `tests/README.md`.

#![allow(unreachable_pub, reason = "a test crate has no outside")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod channels;
mod faults;
mod forwarding;
mod notifications;
mod results;
mod streaming;
