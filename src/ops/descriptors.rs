//! File descriptors: whether the process may have as many as its calls and answers need.
//!
//! A process that runs out of them loses answers, so a start that could get there fails instead, and the listener
//! is held to a quarter of them. The soft limit is raised only as far as is needed: children inherit it.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::failure;

/// Descriptors of everything else: standard streams, log, signals, listener, polls, probes, name resolutions.
const FURTHER: u64 = 16;

/// Makes sure that three quarters of the descriptors suffice for `connections` and all else.
pub(crate) fn provide(connections: usize) -> io::Result<()> {
    let failed = |cause| failure("look at the limit of open files", cause);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(FURTHER);
    let limit = needed.saturating_mul(4).div_ceil(3);
    if limit <= soft {
        return Ok(());
    }
    if limit > hard {
        return Err(io::Error::other(format!(
            "{hard} open files are too few: this many calls at once need {limit}; raise the limit (ulimit -n, LimitNOFILE=), or lower mcp.max-concurrent-requests"
        )));
    }
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)
        .map_err(|cause| failure("raise the limit of open files", cause))
}

/// A quarter of the limit of open descriptors.
pub(crate) fn quarter() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(soft / 4).unwrap_or(usize::MAX)
}
