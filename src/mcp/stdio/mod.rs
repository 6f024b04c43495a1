//! Servers over stdio: one child a channel and era, kept running, with calls that cannot meet.
//!
//! [`launch`], [`guard`] and `guards` start and end processes, `lines` reads what a child prints, `rewrite` and `core`
//! decide about ids, `handshake` remembers how a session was opened, `life` is the table of a child's states, `keeper`
//! has the threads, `target` serves the commands of a channel, and [`probe`] asks children of its own. A
//! child never sees a setting or a key of ours, and its death is never ours.

mod call;
mod core;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/stdio.rs"]
pub(crate) mod fuzz;
pub mod guard;
mod guards;
mod handshake;
mod keeper;
pub mod launch;
mod life;
mod lines;
mod observed;
mod pause;
#[cfg(feature = "operator")]
pub mod probe;
mod replies;
mod rewrite;
mod silence;
mod stderr;
mod target;
#[cfg(test)]
mod tests;
mod tools;

#[cfg(feature = "operator")]
pub use guards::Guards;
pub use keeper::{END_MAX, Shared};
pub use target::StdioTarget;
