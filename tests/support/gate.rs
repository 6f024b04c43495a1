//! A door that a test opens: replies wait behind it instead of sleeping.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::BOUND;

/// Clones share one door. Once open it stays open.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open; returns at three [`BOUND`]s all the same, the test fails elsewhere.
    pub fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.arrived += 1;
        self.0.1.notify_all();
        let _ = self.0.1.wait_timeout_while(state, 3 * BOUND, |s| !s.open).unwrap();
    }

    /// Waits until `count` have come to the gate since it was made.
    pub fn wait_arrivals(&self, count: usize) {
        self.wait_arrivals_within(count, BOUND);
    }

    /// The same for what takes long to come.
    pub fn wait_arrivals_within(&self, count: usize, bound: Duration) {
        let end = Instant::now() + bound;
        let mut state = self.0.0.lock().unwrap();
        while state.arrived < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} came to the gate", state.arrived);
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How many have come so far.
    pub fn arrivals(&self) -> usize {
        self.0.0.lock().unwrap().arrived
    }
}
