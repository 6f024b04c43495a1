//! The last hour of calls, minute by minute: how many, how many of them failed, and how long they ran.
//!
//! A minute costs 180 bytes, and there are sixty a channel, however many calls there are. Minutes are those of the clock
//! that never goes back. It cannot fail.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Minutes that are kept.
pub const MINUTES: u64 = 60;

/// Two for each doubling of the time, from 1 ms to 10 min, and one for what is longer.
const BUCKETS: usize = 40;

/// Calls that ended within one minute.
#[derive(Debug, Clone)]
pub struct Minute {
    /// Which one: minutes since the process began.
    pub number: u64,
    /// How many ended.
    pub calls: u32,
    /// How many of them did not end well.
    pub failed: u32,
    /// How many ran for how long. Those that never ran are not among them.
    buckets: [u32; BUCKETS],
}

/// The last hour of a channel.
#[derive(Debug, Clone, Default)]
pub struct Hour {
    /// The minutes in which calls ended, the newest last.
    minutes: VecDeque<Minute>,
    /// When a call last ended well, however long ago.
    pub last_good: Option<SystemTime>,
}

/// The longest time of a bucket, in milliseconds: 1, 2, 3, 4, 6, 8, 12 and so on.
fn bound(bucket: usize) -> u64 {
    let (half, odd) = (bucket / 2, bucket % 2);
    match (odd, half) {
        (1, _) => 2 << half,
        (_, 0) => 1,
        (_, _) => 3 << (half - 1),
    }
}

impl Minute {
    /// One without calls.
    pub fn new(number: u64) -> Minute {
        Minute { number, calls: 0, failed: 0, buckets: [0; BUCKETS] }
    }

    fn note(&mut self, failed: bool, ran: Option<Duration>) {
        self.calls = self.calls.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(failed));
        let Some(ran) = ran else { return };
        let place = (0..BUCKETS - 1).find(|bucket| Duration::from_millis(bound(*bucket)) >= ran);
        if let Some(bucket) = self.buckets.get_mut(place.unwrap_or(BUCKETS - 1)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// Adds the calls of another minute.
    pub fn add(&mut self, other: &Minute) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        for (own, more) in self.buckets.iter_mut().zip(other.buckets) {
            *own = own.saturating_add(more);
        }
    }

    /// The time within which this share of the calls that ran was done, rounded up to the next bound; none without
    /// such calls.
    pub fn within(&self, percent: u64) -> Option<Duration> {
        let ran: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let (mut seen, wanted) = (0, (ran * percent).div_ceil(100).max(1));
        let place = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(Duration::from_millis(bound(place)))
    }
}

impl Hour {
    /// Adds a call that ended now: when that was, if it ended well, and how long it ran.
    pub(super) fn note(&mut self, now: u64, good: Option<SystemTime>, ran: Option<Duration>) {
        self.last_good = good.or(self.last_good);
        if self.minutes.back().is_none_or(|last| last.number < now) {
            self.minutes.push_back(Minute::new(now));
            self.minutes.retain(|minute| minute.number + MINUTES > now);
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.note(good.is_none(), ran);
        }
    }

    /// The minutes with calls of the hour that ends with this one.
    pub fn minutes(&self, now: u64) -> impl Iterator<Item = &Minute> {
        self.minutes.iter().filter(move |minute| minute.number + MINUTES > now)
    }

    /// All of them as one.
    pub fn sum(&self, now: u64) -> Minute {
        let mut sum = Minute::new(now);
        self.minutes(now).for_each(|minute| sum.add(minute));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_with_one_step_between() {
        let bounds: Vec<u64> = (0..10).map(bound).collect();
        assert_eq!(bounds, [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]);
        assert!((600_000..1_200_000).contains(&bound(BUCKETS - 2)));
    }

    #[test]
    fn shares_are_rounded_up() {
        let ms = Duration::from_millis;
        for (times, p50, p95) in [
            (vec![], None, None),
            (vec![0], Some(1), Some(1)),
            (vec![5, 5, 5, 5, 100], Some(6), Some(128)),
            ((1..=100).collect(), Some(64), Some(96)),
            (vec![3_600_000], Some(bound(BUCKETS - 1)), Some(bound(BUCKETS - 1))),
        ] {
            let mut minute = Minute::new(0);
            times.iter().for_each(|time| minute.note(false, Some(ms(*time))));
            assert_eq!((minute.within(50), minute.within(95)), (p50.map(ms), p95.map(ms)), "{times:?}");
        }
        let mut refused = Minute::new(0);
        refused.note(true, None);
        assert_eq!((refused.calls, refused.failed, refused.within(50)), (1, 1, None));
    }

    #[test]
    fn an_hour_is_sixty_minutes() {
        let mut hour = Hour::default();
        let good = |at| (at > 0).then_some(SystemTime::UNIX_EPOCH);
        (0..200).for_each(|minute| (0..3).for_each(|at| hour.note(minute, good(at), None)));
        assert_eq!((hour.minutes.len(), hour.last_good), (60, good(1)));
        let sum = hour.sum(199);
        assert_eq!((sum.calls, sum.failed), (180, 60));
        assert_eq!((hour.sum(229).calls, hour.sum(258).calls, hour.sum(259).calls), (90, 3, 0));
    }
}
