//! Counts the commands that are not answered yet, and their bytes: a stop waits for the last one, and
//! polls wait while there are too many bytes.
//!
//! Numbers and not a list: who is still running is known to the workers, the drain only asks whether
//! it may end. A command cannot leave the program uncounted, because its ticket is part of it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::sync::{self, Condition};

/// How much is in flight. Cloning shares the numbers.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<(Mutex<Load>, Condition)>);

#[derive(Debug, Clone, Copy, Default)]
struct Load {
    commands: usize,
    batches: usize,
    bytes: usize,
}

/// Part of the load, a command with its bytes for example; leaving is dropping it. So no path out of the program,
/// early return or refusal, can forget to leave.
#[derive(Debug)]
pub struct Ticket {
    flight: InFlight,
    part: Load,
}

impl InFlight {
    /// Counts one more, of so many bytes.
    pub fn enter(&self, bytes: usize) -> Ticket {
        self.count(Load { commands: 1, bytes, ..Load::default() })
    }

    /// Counts a batch while its commands are taken in: between two of them there may be none, and a drain that ended
    /// there would miss the second.
    pub fn enter_batch(&self) -> Ticket {
        self.count(Load { batches: 1, ..Load::default() })
    }

    fn count(&self, part: Load) -> Ticket {
        let mut load = sync::lock(&self.0.0);
        load.commands += part.commands;
        load.batches += part.batches;
        load.bytes = load.bytes.saturating_add(part.bytes);
        Ticket { flight: self.clone(), part }
    }

    /// Waits until none is left; false when `deadline` came first.
    pub fn wait_empty(&self, deadline: Instant) -> bool {
        self.wait(deadline, |load| load.commands + load.batches > 0)
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
        let left = deadline.saturating_duration_since(sync::now());
        !too_much(&self.0.1.wait_while(sync::lock(&self.0.0), left, |load| too_much(load)))
    }
}

impl Ticket {
    /// More bytes of the same command: those of an answer that waits.
    pub fn more(&self, bytes: usize) -> Ticket {
        self.flight.count(Load { bytes, ..Load::default() })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut load = sync::lock(&self.flight.0.0);
        load.commands = load.commands.saturating_sub(self.part.commands);
        load.batches = load.batches.saturating_sub(self.part.batches);
        load.bytes = load.bytes.saturating_sub(self.part.bytes);
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
        let batch = flight.enter_batch();
        assert_eq!(flight.now(), 1, "a batch is no command");
        let more = second.more(9);
        assert!(!flight.wait_below(13, Instant::now()) && flight.now() == 1);
        drop(more);
        assert!(flight.wait_below(5, Instant::now()));
        let waiter = flight.clone();
        let waiting = std::thread::spawn(move || waiter.wait_empty(Instant::now() + Duration::from_secs(20)));
        drop(second);
        assert!(!flight.wait_empty(Instant::now()));
        drop(batch);
        assert!(waiting.join().unwrap());
    }
}
