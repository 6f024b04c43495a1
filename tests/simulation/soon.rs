//! Answers are posted as soon as a courier is free: fresh ones at once, others when their wait is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{Event, Number, Told};
use super::tunnel::Past;

/// What threads that run one at a time may be late.
const LATE: Duration = Duration::from_millis(100);

/// The wait after a first failure, and the longest one that nobody has asked for.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Posts of one answer.
#[derive(Debug, Default)]
struct Story {
    /// When its command had ended, and in how many bytes.
    finished: Option<(Duration, usize)>,
    /// When each attempt began and ended, and in what.
    attempts: Vec<(Duration, Duration, Option<Told>)>,
    closed: Option<Duration>,
}

/// The posts of a run.
struct Posts<'a> {
    past: &'a Past,
    drains: Duration,
    stories: BTreeMap<Number, Story>,
}

/// What is wrong with when answers were posted.
pub(super) fn faults(past: &Past) -> Vec<String> {
    let posts = Posts::read(past);
    let found = posts.stories.iter().filter_map(|(number, story)| {
        let what = posts.late(story)?;
        Some(format!("{number}: {what}"))
    });
    found.collect()
}

impl Posts<'_> {
    fn read(past: &Past) -> Posts<'_> {
        let (mut drains, mut stories) = (Duration::MAX, BTreeMap::<Number, Story>::new());
        for (at, event) in past.history.all() {
            match event {
                Event::Drains => drains = at,
                Event::Ended(n, fate) if fate.status.is_some() => {
                    stories.entry(n).or_default().finished = Some((at, fate.bytes));
                }
                Event::Posts(n, None, _) => {
                    stories.entry(n).or_default().attempts.push((at, Duration::MAX, None));
                }
                Event::Posted(n, None, told) => {
                    let last = stories.get_mut(&n).and_then(|story| story.attempts.last_mut());
                    last.into_iter().for_each(|(_, ended, what)| (*ended, *what) = (at, Some(told)));
                }
                Event::Closed(n) => stories.entry(n).or_default().closed = Some(at),
                _ => {}
            }
        }
        Posts { past, drains, stories }
    }

    /// The first attempt that came later than it had to.
    fn late(&self, story: &Story) -> Option<String> {
        let closed = story.closed.unwrap_or(Duration::MAX);
        let begins = |place: usize| story.attempts.get(place).map_or(closed, |(began, ..)| *began);
        let (finished, _) = story.finished?;
        if self.is_late(finished, begins(0)) && !self.may_be_held_up(finished) {
            return Some(format!("ended at {finished:?}, and is posted at {:?}", begins(0)));
        }
        let mut longest = WAIT_MIN;
        for (place, (_, ended, told)) in story.attempts.iter().enumerate() {
            let asked = match told.as_ref()? {
                Told::Later(asked) => *asked,
                // The plane may have asked for a time then, too.
                Told::Unauthorized => Duration::from_secs(60),
                Told::Broken { .. } => Duration::ZERO,
                _ => return None,
            };
            let due = *ended + longest.max(asked);
            if self.is_late(due, begins(place + 1)) {
                return Some(format!("due at {due:?}, and is posted again at {:?}", begins(place + 1)));
            }
            longest = (2 * longest).min(WAIT_MAX);
        }
        None
    }

    /// Whether it came later than it had to, while couriers had nothing to do.
    fn is_late(&self, due: Duration, began: Duration) -> bool {
        let by = due + LATE;
        let attempts = || self.stories.values().flat_map(|story| &story.attempts);
        let open = || attempts().filter(|(began, ended, _)| *began <= by && *ended >= due).count();
        began > by && by < self.drains && open() < self.past.plan.workers
    }

    /// Whether so many bytes may have waited for another attempt that nobody could bring more.
    fn may_be_held_up(&self, at: Duration) -> bool {
        let waits = |story: &&Story| {
            story.attempts.first().is_some_and(|(began, ..)| *began <= at)
                && story.closed.is_none_or(|closed| closed >= at)
        };
        let bytes =
            self.stories.values().filter(waits).filter_map(|story| story.finished).map(|(_, bytes)| bytes);
        bytes.sum::<usize>() >= self.past.plan.bytes_max
    }
}
