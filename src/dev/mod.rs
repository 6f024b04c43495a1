//! What helps to try a tunnel out on one machine; cargo feature `dev`, which packages are built without.
//!
//! Nothing here takes part when a tunnel runs against the real control plane. It serves on this host,
//! keeps everything in memory, and starts no connection of its own.

pub(crate) mod server;
pub(crate) mod stub;

pub(crate) mod embed;
pub(crate) mod plane;

mod reading;
mod reply;
mod stream;

#[cfg(test)]
mod tests;
