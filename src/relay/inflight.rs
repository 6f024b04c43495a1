//! Counts the commands that are not answered yet, and their bytes: a stop waits for the last one, and
//! polls wait while there are too many bytes.
//!
//! Numbers and not a list: who is still running is known to the workers, the drain only asks whether
//! it may end. A command cannot leave the program uncounted, because its ticket is part of it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::sync;

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
pub struct Ticket {
    flight: InFlight,
    commands: usize,
    bytes: usize,
}

impl InFlight {
    /// Counts one more, of so many bytes.
    pub fn enter(&self, bytes: usize) -> Ticket {
        self.count(1, bytes)
    }

    fn count(&self, commands: usize, bytes: usize) -> Ticket {
        let mut load = sync::lock(&self.0.0);
        load.commands += commands;
        load.bytes = load.bytes.saturating_add(bytes);
        Ticket { flight: self.clone(), commands, bytes }
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
        sync::lock(&self.0.0).commands
    }

    fn wait(&self, deadline: Instant, too_much: impl Fn(&Load) -> bool) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        !too_much(&sync::wait_while(&self.0.1, sync::lock(&self.0.0), left, |load| too_much(load)))
    }
}

impl Ticket {
    /// More bytes of the same command: those of an answer that waits.
    pub fn more(&self, bytes: usize) -> Ticket {
        self.flight.count(0, bytes)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut load = sync::lock(&self.flight.0.0);
        load.commands = load.commands.saturating_sub(self.commands);
        load.bytes = load.bytes.saturating_sub(self.bytes);
        // One system call a command, also when nobody waits: little beside the dozens that it costs anyway.
        self.flight.0.1.notify_all();
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
        let more = second.more(9);
        assert!(!flight.wait_below(13, Instant::now()) && flight.now() == 1);
        drop(more);
        assert!(flight.wait_below(5, Instant::now()));
        let waiter = flight.clone();
        let waiting = std::thread::spawn(move || waiter.wait_empty(Instant::now() + Duration::from_secs(20)));
        drop(second);
        assert!(waiting.join().unwrap());
    }
}
