//! Tells whether a thread is stuck: every loop says by when it will be back, main looks before it feeds the
//! watchdog of the service manager.
//!
//! A loop publishes the bound of what it does now, or that it rests: nobody can say when there is new work, so
//! a loop that waits for some is never overdue, nor is one that waits for a loop with a heartbeat of its own. What
//! is published are bounds that hold anyway, of deadlines and backoffs; slow is therefore not stuck, however
//! slow it is. It costs one store a wait. Nothing here ends a thread, and nothing fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync;

/// Time beyond its bound after which a loop counts as stuck. Bounds are those of waits; this is for
/// the work between them on a busy host, and for what comes on top of a deadline: a goodbye, a last log line,
/// tens of megabytes to be read.
const MARGIN: Duration = Duration::from_secs(60);

/// The mark of a loop that rests.
const RESTING: u64 = u64::MAX;

/// The heartbeats of all loops of a process. Cloning shares them.
#[derive(Clone)]
pub struct Heartbeats {
    start: Instant,
    all: Arc<Mutex<Vec<(&'static str, Due)>>>,
}

/// By when a loop will be back, in milliseconds since the start. A word, so that nobody waits to write it.
type Due = Arc<AtomicU64>;

/// Heartbeat of one loop. It begins at rest, and a dropped one rests for good.
pub struct Heartbeat {
    start: Instant,
    due: Due,
}

impl Default for Heartbeats {
    fn default() -> Heartbeats {
        Heartbeats { start: sync::now(), all: Arc::default() }
    }
}

impl Heartbeats {
    /// Adds a heartbeat for a loop of this name. Loops are few and none starts twice, so none is ever removed.
    pub fn add(&self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat { start: self.start, due: Arc::new(AtomicU64::new(RESTING)) };
        sync::lock(&self.all).push((name, Arc::clone(&heartbeat.due)));
        heartbeat
    }

    /// The name of a loop that is not back in time.
    pub fn overdue(&self, now: Instant) -> Option<&'static str> {
        let now = milliseconds(self.start, now);
        let all = sync::lock(&self.all);
        all.iter().find(|(_, due)| due.load(Ordering::Relaxed) < now).map(|(name, _)| *name)
    }
}

impl Heartbeat {
    /// Whatever comes next is done by then. A later call takes its place.
    pub fn until(&self, end: Instant) {
        self.due.store(milliseconds(self.start, end + MARGIN), Ordering::Relaxed);
    }

    /// Whatever comes next takes at most so long.
    pub fn within(&self, time: Duration) {
        self.until(sync::now() + time);
    }

    /// Waits for work, or for a thread that has a heartbeat of its own.
    pub fn rest(&self) {
        self.due.store(RESTING, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.rest();
    }
}

fn milliseconds(start: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or(RESTING)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_loop_is_overdue_when_its_bound_and_the_margin_have_passed() {
        let heartbeats = Heartbeats::default();
        let (poller, worker) = (heartbeats.add("poller"), heartbeats.add("worker"));
        let began = heartbeats.start;
        let overdue = |after: Duration| heartbeats.overdue(began + after);
        assert_eq!(overdue(100 * 366 * 86_400 * SECOND), None, "both rest, and may do so for ever");
        poller.until(began + 35 * SECOND);
        worker.until(began + 600 * SECOND);
        assert_eq!(overdue(35 * SECOND + MARGIN), None);
        assert_eq!(overdue(36 * SECOND + MARGIN), Some("poller"));
        // The next round of the same loop; the other one is still within its call.
        poller.until(began + 71 * SECOND);
        assert_eq!(overdue(36 * SECOND + MARGIN), None);
        poller.rest();
        assert_eq!(overdue(600 * SECOND + MARGIN), None);
        assert_eq!(overdue(601 * SECOND + MARGIN), Some("worker"));
    }

    #[test]
    fn a_loop_that_has_ended_is_not_stuck() {
        let heartbeats = Heartbeats::default();
        let heartbeat = heartbeats.add("prober");
        heartbeat.within(Duration::ZERO);
        let later = Instant::now() + 2 * MARGIN;
        assert_eq!(heartbeats.overdue(later), Some("prober"));
        drop(heartbeat);
        assert_eq!(heartbeats.overdue(later), None);
    }
}
