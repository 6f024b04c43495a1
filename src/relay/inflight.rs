//! Counts the commands that are not answered yet, so that a stop can wait for the last one.
//!
//! A count and not a list: who is still running is known to the workers, the drain only asks whether
//! it may end. A command cannot leave the program uncounted, because its ticket is part of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many commands are in flight. Cloning shares the count.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<(Mutex<usize>, Condvar)>);

/// One command in flight; leaving is dropping it. So no path out of the program, early return or
/// refusal, can forget to leave.
#[derive(Debug)]
pub struct Ticket(InFlight);

impl InFlight {
    /// Counts one more.
    pub fn enter(&self) -> Ticket {
        *self.count() += 1;
        Ticket(self.clone())
    }

    /// Waits until none is left; false when `deadline` came first.
    pub fn wait_empty(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.1.wait_timeout_while(self.count(), left, |count| *count > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    /// How many there are now.
    pub fn now(&self) -> usize {
        *self.count()
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        // A panic cannot leave a plain number half written.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut count = self.0.count();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.0.0.1.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_wait_ends_with_the_last_ticket() {
        let flight = InFlight::default();
        assert!(flight.wait_empty(Instant::now()));
        let (first, second) = (flight.enter(), flight.enter());
        assert!(!flight.wait_empty(Instant::now()));
        drop(first);
        let waiter = flight.clone();
        let waiting = std::thread::spawn(move || waiter.wait_empty(Instant::now() + Duration::from_secs(20)));
        drop(second);
        assert!(waiting.join().unwrap());
    }
}
