//! Tells every loop how far the process has come towards its end, and wakes those that wait.
//!
//! Phases only move forward, so a loop that has seen one reached need not look back. Nothing here
//! ends a thread: whoever sleeps or polls looks at the phase and ends itself. It cannot fail.

use std::sync::Mutex;
use std::time::Duration;

use crate::sync::{self, Condition};

/// The phases of a process, in their order.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Commands are polled and served.
    #[default]
    Running,
    /// No more polls; what was taken is finished.
    Draining,
    /// Calls that still run are cut and answered as failed.
    Cutting,
    /// Answers that are still on their way are given up.
    Ended,
}

/// The current phase. Shared behind an `Arc`.
#[derive(Default)]
pub struct Stop {
    phase: Mutex<Phase>,
    changed: Condition,
}

impl Stop {
    /// Moves on to a later phase. An earlier one changes nothing: two threads that end the process
    /// for different reasons cannot call each other back.
    pub fn enter(&self, phase: Phase) {
        let mut now = sync::lock(&self.phase);
        *now = (*now).max(phase);
        self.changed.notify_all();
    }

    /// Whether that phase has been reached.
    pub fn reached(&self, phase: Phase) -> bool {
        *sync::lock(&self.phase) >= phase
    }

    /// Sleeps for `time`, at most until `phase` is reached; true when it was.
    pub fn sleep(&self, time: Duration, phase: Phase) -> bool {
        *self.changed.wait_while(sync::lock(&self.phase), time, |now| *now < phase) >= phase
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn phases_never_go_back() {
        let stop = Stop::default();
        assert!(stop.reached(Phase::Running) && !stop.reached(Phase::Draining));
        stop.enter(Phase::Cutting);
        stop.enter(Phase::Draining);
        assert!(stop.reached(Phase::Cutting) && !stop.reached(Phase::Ended));
    }

    #[test]
    fn a_sleep_ends_by_time_or_by_its_phase_and_says_which() {
        let stop = Stop::default();
        assert!(!stop.sleep(Duration::ZERO, Phase::Draining));
        assert!(!stop.sleep(Duration::from_millis(1), Phase::Draining));
        stop.enter(Phase::Draining);
        assert!(stop.sleep(LONG, Phase::Draining), "a phase that is reached needs no sleep");
        assert!(
            !stop.sleep(Duration::from_millis(1), Phase::Ended),
            "an earlier phase wakes nobody for good"
        );
    }

    #[test]
    fn sleepers_are_woken() {
        let stop = Arc::new(Stop::default());
        let sleeper = Arc::clone(&stop);
        let sleeping = std::thread::spawn(move || sleeper.sleep(LONG, Phase::Draining));
        stop.enter(Phase::Draining);
        assert!(sleeping.join().unwrap());
    }
}
