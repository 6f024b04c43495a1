//! How long to wait before asking the control plane again.
//!
//! Waits double and are random below their ceiling, so that a fleet which lost the plane at one moment
//! does not come back at one moment. Nothing here sleeps, and nothing fails.

use std::time::{Duration, Instant, SystemTime};

use crate::crypto;

/// Shortest wait, and the wait after a first failure: most failures are a restart behind a balancer.
pub const WAIT_MIN: Duration = Duration::from_millis(200);

/// Longest wait of our own making.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest wait after 401 and 403: somebody has to act first, and nothing is gained by asking often.
const WAIT_MAX_REFUSED: Duration = Duration::from_secs(60);

/// Longest `Retry-After` that is obeyed; a mistaken date must not silence a tunnel for a day. No wait is longer.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How often a failure that goes on is told again.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Doublings after which the ceiling is reached in any case.
const DOUBLINGS_MAX: u32 = 16;

/// Counts failures since the last success. One for the poller's life, one for each post.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `refused` is true for 401 and 403, `asked` is the reply's
    /// `Retry-After`.
    pub fn next(&mut self, refused: bool, asked: Option<Duration>) -> Duration {
        let longest = if refused { WAIT_MAX_REFUSED } else { WAIT_MAX };
        let ceiling = longest.min(WAIT_MIN * 2_u32.pow(self.failures.min(DOUBLINGS_MAX)));
        self.failures = self.failures.saturating_add(1);
        // Random below the longest wait too, or a long outage would bring a fleet into step.
        let jittered = WAIT_MIN + (ceiling - WAIT_MIN).mul_f64(fraction());
        jittered.max(asked.unwrap_or_default())
    }

    /// Forgets the failures; true when there were any, so that a recovery is logged once.
    pub fn reset(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

/// Log lines about one failure that repeats: the first is written, then one when the failure changes, else
/// one a minute with the number of those left out.
#[derive(Debug, Default)]
pub struct Repeats {
    last: Option<(String, Instant)>,
    left_out: u64,
}

impl Repeats {
    /// How many lines were left out before this one; nothing when this one is left out as well.
    pub fn line(&mut self, what: &str, now: Instant) -> Option<u64> {
        let repeats = |(text, at): &(String, Instant)| text == what && now.duration_since(*at) < REPEAT_EVERY;
        if self.last.as_ref().is_some_and(repeats) {
            self.left_out += 1;
            return None;
        }
        self.last = Some((what.to_owned(), now));
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The wait that a `Retry-After` value asks for: whole seconds or an HTTP date ahead of `now`.
/// Anything else, zero and the past included, asks for nothing.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number beyond u64 is a very long wait, not a malformed one.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?
    };
    (!asked.is_zero()).then(|| asked.min(RETRY_AFTER_MAX))
}

/// A random number in [0, 1), so that many tunnels do not come back in step.
fn fraction() -> f64 {
    // Without randomness the full wait is the polite choice.
    crypto::random().map_or(1.0, |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp_046_047_waits_grow_from_200_ms_to_10_s() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(false, None), WAIT_MIN);
        for n in 1..40_u32 {
            let wait = backoff.next(false, None);
            let ceiling = WAIT_MAX.min(WAIT_MIN * 2_u32.pow(n.min(6)));
            assert!(wait >= WAIT_MIN && wait <= ceiling, "{n}: {wait:?}");
        }
        assert!(backoff.reset());
        assert!(!backoff.reset());
        assert_eq!(backoff.next(false, None), WAIT_MIN);
    }

    #[test]
    fn refusals_may_wait_for_a_minute() {
        let mut backoff = Backoff { failures: 30 };
        let longest = (0..20).map(|_| backoff.next(true, None)).max();
        assert!(longest > Some(WAIT_MAX) && longest <= Some(WAIT_MAX_REFUSED), "{longest:?}");
    }

    #[test]
    fn the_longest_waits_differ() {
        let mut backoff = Backoff { failures: 30 };
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next(false, None)).collect();
        assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
        let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
        assert!(distinct.len() > 15, "{waits:?}");
    }

    #[test]
    fn a_failure_that_repeats_gets_a_line_a_minute() {
        let (mut repeats, began) = (Repeats::default(), Instant::now());
        let mut line = |what: &str, after: u64| repeats.line(what, began + Duration::from_secs(after));
        assert_eq!([line("a", 0), line("a", 1), line("a", 59)], [Some(0), None, None]);
        assert_eq!([line("a", 60), line("a", 61)], [Some(2), None]);
        assert_eq!([line("b", 62), line("b", 63), line("a", 64)], [Some(1), None, Some(1)]);
    }

    #[test]
    fn cp_049_to_052_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let date =
            |offset: u64| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(offset));
        for (value, wait) in [
            ("2", Some(2)),
            (" 7 ", Some(7)),
            ("90000", Some(60)),
            ("99999999999999999999999", Some(60)),
            ("0", None),
            ("+5", None),
            ("1.5", None),
            ("-1", None),
            ("later", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), wait.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&date(1_000_003), now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&date(999_999), now), None);
        assert_eq!(retry_after(&date(2_000_000), now), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn the_longer_of_both_waits_counts() {
        assert_eq!(Backoff::default().next(false, Some(Duration::from_secs(2))), Duration::from_secs(2));
    }
}
