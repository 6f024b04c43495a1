//! Waits before the control plane is asked again, `Retry-After`, and log lines about failures that repeat.
//!
//! Nothing here sleeps, and nothing fails.

use std::time::{Duration, Instant, SystemTime};

use crate::relay::backoff::Backoff;

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

/// The wait of a poller or a post after one more failure. `refused` is true for 401 and 403, `asked` is the reply's
/// `Retry-After`. Waits are random, so that a fleet which lost the plane at one moment does not come back at one
/// moment.
pub fn wait(backoff: &mut Backoff, refused: bool, asked: Option<Duration>) -> Duration {
    let longest = if refused { WAIT_MAX_REFUSED } else { WAIT_MAX };
    backoff.next_random(longest).max(asked.unwrap_or_default())
}

/// Log lines about one failure that repeats: the first is written, then one when the failure changes, else
/// one a minute with the number of those left out.
#[derive(Default)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp_046_047_waits_grow_from_200_ms_to_10_s() {
        for (refused, longest) in [(false, WAIT_MAX), (true, WAIT_MAX_REFUSED)] {
            let mut backoff = Backoff::new(WAIT_MIN);
            assert_eq!(wait(&mut backoff, refused, None), WAIT_MIN);
            for n in 1..40_u32 {
                let ceiling = longest.min(WAIT_MIN * 2_u32.pow(n.min(9)));
                let wait = wait(&mut backoff, refused, None);
                assert!(wait >= WAIT_MIN && wait <= ceiling, "{n}: {wait:?}");
            }
        }
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
        let asked = Duration::from_secs(2);
        assert_eq!(wait(&mut Backoff::new(WAIT_MIN), false, Some(asked)), asked);
    }
}
