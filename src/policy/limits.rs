//! Rate limits: token buckets, and how many calls run at once.
//!
//! A call is charged by every limit that it matches, or by none: one that is refused costs nothing, so a caller who
//! keeps asking too early does not push its own turn away. Time is passed in. Nothing waits here: a call without room
//! is refused with a [`Full`] that says when to come again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::{LIMITS_MAX, Limit};
use crate::sync;

/// When to come again where only the end of another call makes room, which nobody can foretell.
const CONCURRENT_RETRY: Duration = Duration::from_secs(1);

/// The limits that a call matches, a bit for each.
pub(super) type Mask = u64;

/// Speed of a bucket. It is kept as the time that a token takes to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    token: Duration,
    depth: Duration,
}

impl Rate {
    /// So many calls a minute, one at least; without a burst a sixth of them may come at once.
    fn new(per_minute: u32, burst: Option<u32>) -> Rate {
        let per_minute = per_minute.max(1);
        let token = Duration::from_secs(60) / per_minute;
        let burst = burst.unwrap_or(per_minute / 6).max(1);
        Rate { token, depth: token.saturating_mul(burst) }
    }
}

/// Why a call has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    /// Place of the first limit without room.
    pub(super) limit: usize,
    /// When all of them would have some, as far as that can be known.
    pub(super) retry_after: Duration,
}

/// The limits of one channel, and since when they count. All calls share them; the lock covers a few comparisons.
#[derive(Debug)]
pub(super) struct Limits(Mutex<Vec<State>>, Instant);

#[derive(Debug)]
struct State {
    /// Calls a minute in the long run, and how many may come at once after a rest.
    rate: Option<Rate>,
    /// Calls that may run at once.
    concurrent: Option<u32>,
    /// When the bucket will be full again. One moment says how many tokens are missing.
    full_at: Instant,
    running: u32,
}

/// Places of a running call, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    limits: Arc<Limits>,
    mask: Mask,
}

impl Limits {
    /// All have room at `now`. Those beyond [`LIMITS_MAX`] would have no bit, so the configuration refuses them.
    pub(super) fn new(limits: &[Limit], now: Instant) -> Arc<Limits> {
        let states = limits.iter().take(LIMITS_MAX).map(|limit| State {
            rate: limit.per_minute.map(|per_minute| Rate::new(per_minute, limit.burst)),
            concurrent: limit.concurrent,
            full_at: now,
            running: 0,
        });
        Arc::new(Limits(Mutex::new(states.collect()), now))
    }

    /// Charges all limits of the mask, or none. What it returns is kept while the call runs; there is nothing to keep
    /// where no limit counts running calls.
    pub(super) fn charge(self: &Arc<Limits>, mask: Mask, now: Instant) -> Result<Option<Running>, Full> {
        if mask == 0 {
            return Ok(None);
        }
        // A call may have been received by rules before these, and is judged by these.
        let now = now.max(self.1);
        let mut states = sync::lock(&self.0);
        let full = states.iter().enumerate().filter(|(at, _)| matched(mask, *at));
        let full = full
            .filter_map(|(limit, state)| state.missing(now).map(|retry_after| Full { limit, retry_after }));
        // The first one is named; the longest wait is what helps.
        let full =
            full.reduce(|first, next| Full { retry_after: first.retry_after.max(next.retry_after), ..first });
        if let Some(full) = full {
            return Err(full);
        }
        let mut counted = 0;
        for (at, state) in states.iter_mut().enumerate().filter(|(at, _)| matched(mask, *at)) {
            if let Some(rate) = state.rate {
                state.full_at = state.full_at.max(now) + rate.token;
            }
            if state.concurrent.is_some() {
                state.running += 1;
                counted |= 1 << at;
            }
        }
        Ok((counted != 0).then(|| Running { limits: Arc::clone(self), mask: counted }))
    }
}

impl State {
    /// How long there is no room for one more call, if there is none now.
    fn missing(&self, now: Instant) -> Option<Duration> {
        let place = self.concurrent.filter(|most| self.running >= *most).map(|_| CONCURRENT_RETRY);
        let token = self.rate.and_then(|rate| {
            let spent = self.full_at.saturating_duration_since(now) + rate.token;
            spent.checked_sub(rate.depth).filter(|wait| !wait.is_zero())
        });
        place.max(token)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut states = sync::lock(&self.limits.0);
        for (_, state) in states.iter_mut().enumerate().filter(|(at, _)| matched(self.mask, *at)) {
            state.running = state.running.saturating_sub(1);
        }
    }
}

fn matched(mask: Mask, at: usize) -> bool {
    mask >> at & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_minute: u32, burst: impl Into<Option<u32>>) -> Limit {
        Limit { per_minute: Some(per_minute), burst: burst.into(), concurrent: None, ..at_once(0) }
    }

    fn at_once(most: u32) -> Limit {
        let (place, tools, per_minute, burst) = Default::default();
        Limit { place, tools, per_minute, burst, concurrent: Some(most) }
    }

    /// One row a limit: at which milliseconds calls come, and after which time each may come again; 0 is room.
    #[test]
    fn a_bucket_has_its_burst_and_fills_at_its_rate() {
        for (limit, calls) in [
            // 60 a minute are one a second, and 10 of them at once.
            (rate(60, None), vec![(0, 0); 10]),
            (rate(60, 2), vec![(0, 0), (0, 0), (0, 1000), (400, 600), (999, 1), (1000, 0), (1000, 1000)]),
            // A long rest fills it to its burst and no further.
            (rate(60, 2), vec![(100_000, 0), (100_000, 0), (100_000, 1000)]),
            // Six and fewer a minute have a burst of one.
            (rate(6, None), vec![(0, 0), (0, 10_000), (9_999, 1), (10_000, 0)]),
            (rate(1, None), vec![(0, 0), (30_000, 30_000), (60_000, 0)]),
            (rate(11, None), vec![(0, 0), (0, 5455)]),
            (rate(12, None), vec![(0, 0), (0, 0), (0, 5000)]),
            (rate(600, 1), vec![(0, 0), (50, 50), (100, 0), (150, 50)]),
            // Nothing is bounded to no call at all.
            (rate(0, 0), vec![(0, 0), (0, 60_000)]),
        ] {
            let start = Instant::now();
            let limits = Limits::new(std::slice::from_ref(&limit), start);
            for (at, wait) in calls {
                let charged = limits.charge(1, start + Duration::from_millis(at));
                let told = charged.err().map_or(0, |full| full.retry_after.as_micros().div_ceil(1000));
                assert_eq!(told, wait, "{limit:?} at {at}");
            }
        }
    }

    /// Over an hour of asking as fast as possible as many pass as the burst and the rate say.
    #[test]
    fn no_more_pass_than_the_rate_allows() {
        for (per_minute, burst) in [(7, 1), (60, 10), (1000, 3), (30_000, 100)] {
            let start = Instant::now();
            let limits = Limits::new(&[rate(per_minute, burst)], start);
            let asked = (0..60_000).map(|at| start + Duration::from_millis(at));
            let passed = asked.filter(|now| limits.charge(1, *now).is_ok()).count();
            let most = usize::try_from(per_minute + burst).unwrap();
            assert!((most - 1..=most).contains(&passed), "{per_minute}: {passed}");
        }
    }

    /// A reload exchanges the limits between the poll of a call and its judgement.
    #[test]
    fn a_call_from_before_finds_a_full_bucket() {
        let now = Instant::now();
        let limits = Limits::new(&[rate(60, 1)], now + Duration::from_millis(1));
        assert!(limits.charge(1, now).is_ok());
        assert_eq!(limits.charge(1, now).unwrap_err().retry_after, Duration::from_secs(1));
    }

    #[test]
    fn all_limits_have_room_or_none_is_charged() {
        let now = Instant::now();
        let limits = Limits::new(&[rate(60, 3), rate(6, 1), at_once(1)], now);
        let held = limits.charge(0b111, now).unwrap().unwrap();
        // The second and the third refuse: the first is not charged, and the longer wait is told.
        for _ in 0..9 {
            let full = limits.charge(0b111, now).unwrap_err();
            assert_eq!(full, Full { limit: 1, retry_after: Duration::from_secs(10) });
        }
        assert!(limits.charge(0b001, now).unwrap().is_none());
        assert!(limits.charge(0b001, now).is_ok());
        assert_eq!(limits.charge(0b001, now).unwrap_err().limit, 0);
        // Nor is a place taken where a bucket is empty.
        drop(held);
        assert_eq!(limits.charge(0b110, now).unwrap_err().limit, 1);
        assert!(limits.charge(0b100, now).unwrap().is_some());
        assert!(limits.charge(0, now).unwrap().is_none());
    }

    #[test]
    fn places_are_refused_while_taken_and_given_back() {
        let now = Instant::now();
        let limits = Limits::new(&[at_once(2)], now);
        let (first, second) = (limits.charge(1, now).unwrap(), limits.charge(1, now).unwrap());
        let full = limits.charge(1, now).unwrap_err();
        assert_eq!(full, Full { limit: 0, retry_after: CONCURRENT_RETRY });
        drop(first);
        let third = limits.charge(1, now).unwrap();
        assert!(limits.charge(1, now).is_err());
        drop((second, third));
        assert_eq!((0..9).filter_map(|_| limits.charge(1, now).ok()).collect::<Vec<_>>().len(), 2);
        // A limit of none refuses always.
        assert!(Limits::new(&[at_once(0)], now).charge(1, now).is_err());
    }

    #[test]
    fn the_last_limit_has_its_bit() {
        let now = Instant::now();
        let limits = Limits::new(&vec![at_once(1); LIMITS_MAX + 1], now);
        let held = limits.charge(1 << 63, now).unwrap();
        assert_eq!(limits.charge(Mask::MAX, now).unwrap_err().limit, 63);
        drop(held);
        assert!(limits.charge(Mask::MAX, now).is_ok());
    }
}
