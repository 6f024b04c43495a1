//! Answers are posted as soon as a courier is free: fresh ones at once, others when their wait is over.

use std::time::Duration;

use super::history::Told;
use super::lives::{LATE, Life, Lives, Post, RETRY_MIN};

/// The longest wait that nobody has asked for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is wrong with when answers were posted.
pub(super) fn faults(lives: &Lives<'_>) -> Vec<String> {
    let late = |life| lives.late(life);
    let found = lives.lives.iter().filter_map(|(number, life)| Some(format!("{number}: {}", late(life)?)));
    found.collect()
}

impl Lives<'_> {
    /// The first attempt that came later than it had to.
    fn late(&self, life: &Life) -> Option<String> {
        let (finished, _) = answer(life)?;
        let attempts: Vec<&Post> = life.terminal().collect();
        let closed = life.closed.first().copied().unwrap_or(Duration::MAX);
        let begins = |place: usize| attempts.get(place).map_or(closed, |post| post.began);
        if self.is_late(finished, begins(0)) && !self.may_be_held_up(finished) {
            return Some(format!("ended at {finished:?}, and is posted at {:?}", begins(0)));
        }
        let mut longest = RETRY_MIN;
        for (place, post) in attempts.iter().enumerate() {
            let (ended, told) = post.ended?;
            let asked = match told {
                Told::Later(asked) => asked,
                // The plane may have asked for a time then, too.
                Told::Unauthorized => Duration::from_secs(60),
                Told::Broken { .. } => Duration::ZERO,
                _ => return None,
            };
            let due = ended + longest.max(asked);
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
        let posts = || self.lives.values().flat_map(Life::terminal);
        let is_open = |post: &&Post| post.began <= by && post.ended.is_none_or(|(ended, _)| ended >= due);
        began > by && by < self.drains && posts().filter(is_open).count() < self.past.plan.workers
    }

    /// Whether so many bytes may have waited for another attempt that nobody could bring more.
    fn may_be_held_up(&self, at: Duration) -> bool {
        let waits = |life: &&Life| {
            life.terminal().next().is_some_and(|post| post.began <= at)
                && life.closed.first().is_none_or(|closed| *closed >= at)
        };
        let bytes = self.lives.values().filter(waits).filter_map(answer).map(|(_, bytes)| bytes);
        bytes.sum::<usize>() >= self.past.plan.bytes_max
    }
}

/// When the command had ended, and in how many bytes, where that is answered.
fn answer(life: &Life) -> Option<(Duration, usize)> {
    let (ended, fate) = life.ended.first()?;
    fate.status.map(|_| (*ended, fate.bytes))
}
