//! Exponential backoff: how long to wait before something is tried again.
//!
//! Waits double from a least one up to a ceiling. Nothing here sleeps or reads a clock.

use std::time::Duration;

use crate::crypto;

/// Doublings after which any ceiling is reached.
const DOUBLINGS_MAX: u32 = 16;

/// Counts failures since the last success.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff whose first wait this is.
    pub fn new(first: Duration) -> Backoff {
        Backoff { first, failures: 0 }
    }

    /// The wait after one more failure, at most `longest`.
    pub fn next(&mut self, longest: Duration) -> Duration {
        let wait = self.first.saturating_mul(2_u32.pow(self.failures.min(DOUBLINGS_MAX)));
        self.failures = self.failures.saturating_add(1);
        wait.min(longest)
    }

    /// The wait after one more failure, random between the first one and what [`Backoff::next`] says. The longest
    /// wait is random too, or a long outage would bring many clients into step.
    pub fn next_random(&mut self, longest: Duration) -> Duration {
        let ceiling = self.next(longest);
        self.first + ceiling.saturating_sub(self.first).mul_f64(fraction())
    }

    /// Whether something has failed since the last success.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Forgets the failures; true when there were any, so that a recovery is logged once.
    pub fn reset(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    #[cfg(test)]
    if let Some(fraction) = crate::simulation::scheduler::fraction() {
        return fraction;
    }
    // Without randomness the full wait is the polite choice.
    crypto::random().map_or(1.0, |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(FIRST);
        assert!(!backoff.reset());
        for n in 0..40_u32 {
            assert_eq!(backoff.next(LONGEST), LONGEST.min(FIRST * 2_u32.pow(n.min(6))));
        }
        assert!(backoff.reset());
        assert_eq!(backoff.next(LONGEST), FIRST);
    }

    #[test]
    fn random_waits_differ_also_when_they_are_the_longest() {
        let mut backoff = Backoff::new(FIRST);
        let _ = (0..30).map(|_| backoff.next(LONGEST)).last();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next_random(LONGEST)).collect();
        assert!(waits.iter().all(|wait| (FIRST..=LONGEST).contains(wait)));
        let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
        assert!(distinct.len() > 15, "{waits:?}");
    }
}
