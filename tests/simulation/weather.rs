//! What the seed has in store: how the control plane and the servers behave, and when that changes.

use std::time::Duration;

use super::random::Random;

const SECOND: Duration = Duration::from_secs(1);

/// How the control plane behaves for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// It holds polls and takes answers.
    Fine,
    /// The same, slowly.
    Slow,
    /// Everything may happen to each exchange.
    Flaky,
    /// Nobody is there.
    Down,
    /// What is sent is swallowed.
    Silent,
    /// It hands commands out, and takes no answer for now.
    RefusesPosts,
    /// Every exchange meets this status.
    Refuses(u16),
}

/// How a server behaves for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// It answers at once.
    Prompt,
    /// It takes its time, and tells of its progress.
    Slow,
    /// It never answers.
    Hangs,
    /// Its connections end.
    Dies,
    /// Anything.
    Mixed,
}

/// What comes after what, each until a time since the start; the last one stays.
#[derive(Debug, Clone)]
pub(super) struct Forecast<T>(Vec<(Duration, T)>);

impl<T: Copy + PartialEq> Forecast<T> {
    /// One state for good.
    pub(super) fn steady(state: T) -> Forecast<T> {
        Forecast(vec![(Duration::MAX, state)])
    }

    /// One state until then, and another one for good.
    pub(super) fn until(time: Duration, first: T, last: T) -> Forecast<T> {
        Forecast(vec![(time, first), (Duration::MAX, last)])
    }

    /// Several of these, one after the other for `time`, and then one for good.
    pub(super) fn changing(random: &mut Random, of: &[T], time: Duration, last: T) -> Forecast<T> {
        let (mut at, mut list) = (Duration::ZERO, Vec::new());
        while at < time {
            at += SECOND / 10 + random.time(200 * SECOND);
            list.push((at, random.pick(of)));
        }
        list.push((Duration::MAX, last));
        Forecast(list)
    }

    /// The state at that time, and until when it stays.
    pub(super) fn at(&self, time: Duration) -> (T, Duration) {
        let (until, state) = self.0.iter().find(|(until, _)| time < *until).copied().unwrap();
        (state, until)
    }

    /// Whether it is one state all the time between these.
    pub(super) fn is(&self, state: T, from: Duration, to: Duration) -> bool {
        let mut at = from;
        loop {
            let (now, until) = self.at(at);
            if now != state {
                return false;
            }
            if until >= to {
                return true;
            }
            at = until;
        }
    }
}

/// The weather of the plane for a run that takes about so long.
pub(super) fn of_plane(random: &mut Random, time: Duration) -> Forecast<Weather> {
    use Weather::{Down, Fine, Flaky, Refuses, Silent, Slow};
    if random.one_in(3) {
        return Forecast::steady(Fine);
    }
    let all = [
        Fine,
        Fine,
        Slow,
        Flaky,
        Flaky,
        Down,
        Silent,
        Refuses(401),
        Refuses(429),
        Refuses(500),
        Refuses(503),
    ];
    let last = if random.one_in(4) { random.pick(&all) } else { Fine };
    Forecast::changing(random, &all, time, last)
}

/// The mood of a server.
pub(super) fn of_server(random: &mut Random, time: Duration) -> Forecast<Mood> {
    use Mood::{Dies, Hangs, Mixed, Prompt, Slow};
    let all = [Prompt, Slow, Hangs, Dies, Mixed, Mixed];
    let first = random.pick(&all);
    if random.one_in(2) { Forecast::steady(first) } else { Forecast::changing(random, &all, time, first) }
}
