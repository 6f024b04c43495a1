//! Commands for trying things out on one machine; cargo feature `dev`, which packages are built without.
//!
//! They fail like all commands: one line on standard error, exit code 1.

use crate::config::settings::Kind::Duration;
use crate::config::settings::Least::Zero;
use crate::config::settings::Row;
use crate::config::{Flags, ListenAddress};

use super::Failure;

pub(super) mod demo;
pub(super) mod local;
pub(super) mod mcp_stub;
pub(super) mod plane;
pub(super) mod proxy;

/// Options of commands that serve callers until they are ended.
#[rustfmt::skip]
const RESPONSE_TIMEOUT: Row = Row::option("response-timeout", Duration(Zero), "duration", "30s",
    "How long a caller waits for an answer");
#[rustfmt::skip]
const LAST_SEEN_TIMEOUT: Row = Row::option("client-last-seen-timeout", Duration(Zero), "duration", "20s",
    "For how long a tunnel client that does not poll counts as connected");
#[rustfmt::skip]
const DURATION: Row = Row::option("duration", Duration(Zero), "duration", "0s",
    "End by itself after this time; 0s means never");

/// The address that an option names.
fn address(flags: &Flags, flag: &str) -> Result<ListenAddress, Failure> {
    let text = flags.option(flag).trim();
    ListenAddress::parse(text).map_err(|why| Failure(format!("invalid --{flag} {text:?}: {why}")))
}
