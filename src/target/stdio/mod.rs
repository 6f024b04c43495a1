//! Servers over stdio: one child a channel and era, kept running, with calls that cannot meet.

mod core;
mod framing;
mod handshake;
mod mailbox;
mod rewrite;
#[cfg(test)]
mod tests;
