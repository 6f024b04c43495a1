//! What polls and posts have come to, as the plane saw it, for whoever looks whether the readiness is true.

use std::collections::BTreeSet;
use std::time::Duration;

use super::history::{Number, Told};

/// After so long without a refusal nothing is known of posts any more.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(300);

/// A poll that takes no longer is not held.
const QUICK: Duration = Duration::from_millis(1900);

/// What polls have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Polls {
    /// When the open one was sent.
    pub(super) open: Option<Duration>,
    /// When one last succeeded.
    pub(super) succeeded: Option<Duration>,
    /// Failed ones since then, and how many of the last ones in a row failed quickly.
    pub(super) failed: u32,
    pub(super) failed_quickly: u32,
    /// When anything changed.
    pub(super) changed: Duration,
}

/// What posts of answers have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Posts {
    /// Different answers that were refused since one was accepted.
    pub(super) refused: BTreeSet<Number>,
    /// When one was last refused.
    pub(super) last: Duration,
    /// When anything changed, and how many are open.
    pub(super) changed: Duration,
    pub(super) open: usize,
}

impl Polls {
    /// One has ended, well or badly, or in a way that says nothing.
    pub(super) fn ended(&mut self, now: Duration, sent: Duration, is_good: Option<bool>) {
        (self.open, self.changed) = (None, now);
        match is_good {
            Some(true) => (self.succeeded, self.failed, self.failed_quickly) = (Some(now), 0, 0),
            Some(false) => {
                self.failed += 1;
                let quickly = now.saturating_sub(sent) < QUICK;
                self.failed_quickly = if quickly { self.failed_quickly + 1 } else { 0 };
            }
            None => {}
        }
    }
}

impl Posts {
    /// One has ended.
    pub(super) fn ended(&mut self, now: Duration, number: Number, told: Told) {
        (self.changed, self.open) = (now, self.open - 1);
        match told {
            Told::Accepted | Told::Settled => self.refused.clear(),
            Told::Cut | Told::Unreadable => {}
            _ => {
                // What is long ago does not count again.
                if now >= self.last + FORGOTTEN {
                    self.refused.clear();
                }
                self.refused.insert(number);
                self.last = now;
            }
        }
    }
}
