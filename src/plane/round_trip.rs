//! Round trip to the control plane, measured on exchanges that the plane does not hold.
//!
//! A post of a small answer is one, new connections and the plane's own work included; of a poll, which may be
//! held, it is only known that no round trip takes longer. So a shorter time counts at once and a longer one
//! by an eighth: the figure follows a network that becomes slower, and one slow post changes little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The measured round trip, in microseconds; zero while nothing has been measured.
#[derive(Default)]
pub(super) struct RoundTrip(AtomicU64);

/// Weight of a longer measurement: one part in so many.
const INERTIA: u64 = 8;

impl RoundTrip {
    /// An exchange that was not held took so long.
    pub(super) fn measured(&self, took: Duration) {
        self.learn(took, |old, new| old + new.saturating_sub(old) / INERTIA);
    }

    /// An exchange that may have been held took so long.
    pub(super) fn at_most(&self, took: Duration) {
        self.learn(took, |old, _| old);
    }

    /// The round trip, once it is known.
    pub(super) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|us| *us > 0).map(Duration::from_micros)
    }

    fn learn(&self, took: Duration, longer: impl Fn(u64, u64) -> u64) {
        let new = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.0.load(Ordering::Relaxed);
        // Two threads at once may lose one measurement of many.
        let us = if old == 0 || new < old { new } else { longer(old, new) };
        self.0.store(us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_count_at_once_and_long_ones_by_and_by() {
        let ms = Duration::from_millis;
        let round_trip = RoundTrip::default();
        assert_eq!(round_trip.get(), None);
        round_trip.at_most(ms(900));
        round_trip.measured(ms(40));
        assert_eq!(round_trip.get(), Some(ms(40)));
        round_trip.at_most(ms(30_000));
        assert_eq!(round_trip.get(), Some(ms(40)), "a poll that was held tells nothing");
        round_trip.measured(ms(120));
        assert_eq!(round_trip.get(), Some(ms(50)));
        (0..60).for_each(|_| round_trip.measured(ms(120)));
        assert!(round_trip.get() > Some(ms(115)));
    }
}
