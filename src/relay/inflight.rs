//! Counts the commands that are not answered yet, and their bytes: a stop waits for the last one, and
//! polls wait while there are too many bytes.
//!
//! Numbers and not a list: who is still running is known to the workers, the drain only asks whether
//! it may end. A command cannot leave the program uncounted, because its ticket is part of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How much is in flight. Cloning shares the numbers.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<(Mutex<Load>, Condvar)>);

#[derive(Debug, Default)]
struct Load {
    commands: usize,
    bytes: usize,
}

/// One command in flight, of so many bytes; leaving is dropping it. So no path out of the program, early
/// return or refusal, can forget to leave.
#[derive(Debug)]
pub struct Ticket(InFlight, usize);

impl InFlight {
    /// Counts one more, of so many bytes.
    pub fn enter(&self, bytes: usize) -> Ticket {
        let mut load = self.load();
        load.commands += 1;
        load.bytes = load.bytes.saturating_add(bytes);
        Ticket(self.clone(), bytes)
    }

    /// Waits until none is left; false when `deadline` came first.
    pub fn wait_empty(&self, deadline: Instant) -> bool {
        self.wait(deadline, |load| load.commands > 0)
    }

    /// Waits until there are fewer bytes than this; false when `deadline` came first.
    pub fn wait_below(&self, bytes: usize, deadline: Instant) -> bool {
        self.wait(deadline, |load| load.bytes >= bytes)
    }

    /// How many commands there are now.
    pub fn now(&self) -> usize {
        self.load().commands
    }

    fn wait(&self, deadline: Instant, too_much: impl Fn(&Load) -> bool) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.1.wait_timeout_while(self.load(), left, |load| too_much(load));
        !too_much(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        // A panic cannot leave plain numbers half written.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut load = self.0.load();
        load.commands = load.commands.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(self.1);
        // One system call a command, also when nobody waits: little beside the dozens that it costs anyway.
        self.0.0.1.notify_all();
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
        let (first, second) = (flight.enter(3), flight.enter(4));
        assert!(!flight.wait_empty(Instant::now()));
        assert!(!flight.wait_below(7, Instant::now()) && flight.wait_below(8, Instant::now()));
        drop(first);
        assert!(flight.wait_below(5, Instant::now()));
        let waiter = flight.clone();
        let waiting = std::thread::spawn(move || waiter.wait_empty(Instant::now() + Duration::from_secs(20)));
        drop(second);
        assert!(waiting.join().unwrap());
    }
}
