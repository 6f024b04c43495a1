//! Times of a poll: how long the plane is asked to hold it, and how long its reply is waited for.
//!
//! A proxy may cut what is silent for longer than it likes. From the time of the cut it is learned how long a poll
//! may be held, so that the next one ends before. What is learned only falls, and lives as long as the process.

use std::time::Duration;

use crate::config::ControlPlane;

/// No shorter wait is learned, and none from a shorter silence: such a cut has another cause.
const LEARNED_MIN: Duration = Duration::from_secs(5);

/// The times of the polls to come.
#[derive(Clone)]
pub struct PollWait {
    wait: Duration,
    guardrail: Duration,
    /// A bound of the first poll's wait, until that was made.
    initial: Option<Duration>,
    /// A proxy is on the way; no other silence is cut by design.
    is_proxied: bool,
}

impl PollWait {
    /// The times of the settings.
    pub fn new(settings: &ControlPlane, is_proxied: bool) -> PollWait {
        let (wait, guardrail) = (settings.poll_timeout, settings.poll_guardrail);
        PollWait { wait, guardrail, initial: Some(settings.initial_poll_timeout), is_proxied }
    }

    /// Some times for tests.
    #[cfg(test)]
    pub(crate) fn example(wait: Duration, initial: Duration, is_proxied: bool) -> PollWait {
        PollWait { wait, guardrail: LEARNED_MIN, initial: Some(initial), is_proxied }
    }

    /// How long the next poll asks to be held, and how long it may take in all: the first one is asked to be short,
    /// and given up no sooner for that.
    pub(super) fn next(&mut self) -> (Duration, Duration) {
        let wait = self.initial.take().map_or(self.wait, |initial| initial.min(self.wait));
        (wait, self.wait + self.guardrail)
    }

    /// A poll that asked for `attempted` was cut in silence so long after it had been sent. Returns the wait from now
    /// on, if that changed.
    pub(super) fn cut(&mut self, attempted: Duration, silence: Duration) -> Option<Duration> {
        let learned = learned(attempted, self.guardrail, silence);
        self.wait = learned.filter(|learned| self.is_proxied && *learned < self.wait)?;
        Some(self.wait)
    }
}

/// The wait that ends well before a cut, in whole milliseconds.
fn learned(attempted: Duration, guardrail: Duration, silence: Duration) -> Option<Duration> {
    if silence <= LEARNED_MIN || attempted <= LEARNED_MIN || silence >= attempted + guardrail {
        return None;
    }
    let left = silence.saturating_sub(guardrail.max(LEARNED_MIN).min(silence / 2));
    let learned = Duration::new(left.as_secs(), left.subsec_millis() * 1_000_000).max(LEARNED_MIN);
    (learned < attempted).then_some(learned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn new_027_what_a_cut_teaches() {
        let ms = Duration::from_millis;
        for (attempted, guardrail, silence, wait) in [
            (35 * S, 5 * S, 30 * S, Some(25 * S)),
            (30 * S, 5 * S, 20 * S, Some(15 * S)),
            // A larger guardrail is a larger margin, up to half of the silence.
            (60 * S, 10 * S, 50 * S, Some(40 * S)),
            (60 * S, 30 * S, 40 * S, Some(20 * S)),
            // Not below five seconds, and rounded down.
            (30 * S, 5 * S, ms(5_001), Some(5 * S)),
            (30 * S, 5 * S, 9 * S, Some(5 * S)),
            (30 * S, 5 * S, Duration::from_micros(20_000_900), Some(15 * S)),
            (30 * S, 5 * S, Duration::from_micros(20_001_900), Some(ms(15_001))),
            // Too short a silence or poll, or longer than the poll could last.
            (30 * S, 5 * S, 5 * S, None),
            (5 * S, 5 * S, 9 * S, None),
            (30 * S, 5 * S, 35 * S, None),
            (30 * S, 5 * S, 34 * S, Some(29 * S)),
            // No less than was asked for.
            (ms(5_001), 20 * S, 20 * S, None),
        ] {
            assert_eq!(
                learned(attempted, guardrail, silence),
                wait,
                "{attempted:?} {guardrail:?} {silence:?}"
            );
        }
    }

    #[test]
    fn new_025_026_the_first_poll_is_short_and_what_was_learned_only_falls() {
        let mut times = PollWait::example(35 * S, 10 * S, true);
        assert_eq!(times.next(), (10 * S, 40 * S));
        assert_eq!(times.next(), (35 * S, 40 * S));
        assert_eq!(times.cut(35 * S, 30 * S), Some(25 * S));
        assert_eq!(times.next(), (25 * S, 30 * S));
        assert_eq!(times.cut(35 * S, 32 * S), None, "27 s would be more");
        assert_eq!(times.cut(25 * S, 12 * S), Some(7 * S));
        assert_eq!(times.next(), (7 * S, 12 * S));
        let mut direct = PollWait::example(35 * S, 60 * S, false);
        assert_eq!(direct.next(), (35 * S, 40 * S));
        assert_eq!(direct.cut(35 * S, 30 * S), None);
        assert_eq!(direct.next(), (35 * S, 40 * S));
    }
}
