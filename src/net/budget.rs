//! Budget that all threads share: memory of large bodies, helper threads.
//!
//! Small bodies are free: what many workers hold of them is bounded by their number. A large body waits,
//! in the order of asking, until its share is free. Nobody asks twice for one body, so two half-read
//! bodies can never wait for each other. It cannot fail; who waits too long leaves empty-handed.
//!
//! First come, first served, even where a later and smaller one would fit: otherwise a stream of small
//! bodies could keep a large one out for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::sync::{self, Condition};

/// Bodies up to this size are not charged: with 128 workers they take 32 MiB at most.
pub const FREE_BYTES: usize = 256 * 1024;
/// The same of the least budget, which bodies that are not charged would else exceed many times. What is read at once
/// of a stream, and what is kept of a line, fits.
const FREE_BYTES_MIN: usize = 32 * 1024;

/// Bounds the memory of large bodies across all threads.
#[derive(Debug)]
pub struct Budget {
    capacity: usize,
    state: Mutex<State>,
    changed: Condition,
}

#[derive(Debug)]
struct State {
    free: usize,
    next_ticket: u64,
    waiting: VecDeque<u64>,
}

/// A part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    /// How many bytes are held.
    pub(crate) bytes: usize,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub fn new(capacity: usize) -> Arc<Budget> {
        let state = State { free: capacity, next_ticket: 0, waiting: VecDeque::new() };
        Arc::new(Budget { capacity, state: Mutex::new(state), changed: Condition::default() })
    }

    /// All bytes, free or not. Nothing larger can ever be reserved.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Size up to which a body is not charged: 64 of it fill a small budget.
    pub fn free_bytes(&self) -> usize {
        (self.capacity / 64).clamp(FREE_BYTES_MIN, FREE_BYTES)
    }

    /// Waits until `bytes` are free, at most until `deadline`; `None` when they never were. More than the
    /// whole is refused at once, because no wait could help.
    pub fn reserve(self: &Arc<Self>, bytes: usize, deadline: Instant) -> Option<Reservation> {
        if bytes > self.capacity {
            return None;
        }
        let mut state = sync::lock(&self.state);
        let ticket = state.next_ticket;
        state.next_ticket = ticket.wrapping_add(1);
        state.waiting.push_back(ticket);
        while state.free < bytes || state.waiting.front() != Some(&ticket) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting.retain(|waiting| *waiting != ticket);
                // The next in the queue may be served now.
                self.changed.notify_all();
                return None;
            }
            state = self.changed.wait_for(state, left);
        }
        state.waiting.pop_front();
        // Proven by the loop: no more is taken than was free.
        state.free -= bytes;
        self.changed.notify_all();
        Some(Reservation { budget: Arc::clone(self), bytes })
    }

    fn give_back(&self, bytes: usize) {
        sync::lock(&self.state).free += bytes;
        self.changed.notify_all();
    }
}

impl Reservation {
    /// Gives back what exceeds `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.give_back(surplus);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn what_is_dropped_or_shrunk_comes_back() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(100, soon()).unwrap();
        assert!(budget.reserve(1, Instant::now()).is_none());
        first.shrink(40);
        let second = budget.reserve(60, soon()).unwrap();
        assert!(budget.reserve(1, Instant::now()).is_none());
        drop((first, second));
        assert_eq!(budget.reserve(100, soon()).unwrap().bytes, 100);
    }

    #[test]
    fn more_than_all_is_refused_without_waiting() {
        assert!(Budget::new(10).reserve(11, soon()).is_none());
    }

    #[test]
    fn a_small_request_does_not_overtake_a_large_one() {
        let budget = Budget::new(100);
        let held = budget.reserve(50, soon()).unwrap();
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.reserve(100, soon()).is_some())
        };
        while sync::lock(&budget.state).waiting.is_empty() {
            std::thread::yield_now();
        }
        assert!(budget.reserve(10, Instant::now()).is_none(), "stands behind the large one");
        drop(held);
        assert!(waiter.join().unwrap());
        assert!(budget.reserve(100, soon()).is_some());
    }
}
