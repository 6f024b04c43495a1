//! Runs of failures: when what fails is more than chance.
//!
//! Counts and remembers, and knows nothing of what failed. Cannot fail itself.

use std::time::{Duration, Instant};

use crate::text;

/// Bound of foreign text in a verdict; supervisors log it whole, on every check.
const WHY_MAX_BYTES: usize = 256;

/// Failures in a row that make a ready side unready: one is chance (a restart, a lost connection),
/// two may still be the same event seen by two threads.
const RUN_FAILURES: u32 = 3;

/// Failures in a row that are this far apart count as lasting, however few they are: a tunnel that
/// is polled slowly must not take minutes to admit that it is down. Time alone does not count: one
/// failed call on a tunnel that then lies idle proves nothing more after 10 s.
const RUN_SPAN: Duration = Duration::from_secs(10);

/// Exchange with the plane that failed: why, its class in a word, and the plane's status if it answered.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// For a person.
    pub why: &'a str,
    /// For a program.
    pub category: &'static str,
    /// Status of the plane's reply.
    pub status: Option<u16>,
}

/// Failures without a success between them.
#[derive(Default)]
pub(super) struct Run {
    pub(super) count: u32,
    first: Option<Instant>,
    /// Text of the last failure.
    pub(super) why: String,
}

impl Run {
    /// Counts a failure.
    pub(super) fn fail(&mut self, now: Instant, why: &str) {
        self.count = self.count.saturating_add(1);
        let first = *self.first.get_or_insert(now);
        if now.duration_since(first) >= RUN_SPAN {
            self.count = self.count.max(RUN_FAILURES);
        }
        self.why = shorten(why);
    }

    /// True when this is more than chance.
    pub(super) fn lasts(&self) -> bool {
        self.count >= RUN_FAILURES
    }
}

/// Foreign text as it may stand in a verdict.
pub(super) fn shorten(why: &str) -> String {
    text::bounded(why, WHY_MAX_BYTES)
}
