//! Stop signals, received as data by the main thread.
//!
//! They are blocked before any thread starts and read from a descriptor, so no handler ever runs in
//! the middle of other code. `SIGHUP` keeps its default and ends the process; `SIGPIPE` is ignored
//! by the standard library. A child inherits the blocked set: who starts one must empty it there.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Error;

/// The stop signals of this process.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, from a supervisor.
    Terminate,
    /// `SIGINT`, from a terminal.
    Interrupt,
}

impl Signal {
    /// The signal's name.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        }
    }
}

impl Signals {
    /// Blocks the stop signals in this thread and in all that it starts from now on.
    pub fn block() -> Result<Signals, Error> {
        let failed = |cause| Error::caused("block signals", cause);
        let mut set = SigSet::empty();
        set.add(Number::SIGTERM);
        set.add(Number::SIGINT);
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals { descriptor: SignalFd::with_flags(&set, flags).map_err(failed)? })
    }

    /// Waits for a stop signal, at most so long. May return earlier without one.
    pub fn wait(&self, timeout: Duration) -> Option<Signal> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short wait; the caller waits in a loop.
        let _ = poll(&mut descriptors, timeout);
        let received = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(received.ssi_signo).ok()?;
        match Number::try_from(number) {
            Ok(Number::SIGTERM) => Some(Signal::Terminate),
            Ok(Number::SIGINT) => Some(Signal::Interrupt),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_to_a_blocking_thread_is_read_as_data() {
        // A thread of its own: what it blocks must not spread to other tests.
        let test = std::thread::spawn(|| {
            let signals = Signals::block().unwrap();
            assert_eq!(signals.wait(Duration::ZERO), None);
            // Raised in this thread, where it is blocked and stays pending.
            nix::sys::signal::raise(Number::SIGTERM).unwrap();
            assert_eq!(signals.wait(Duration::from_secs(5)), Some(Signal::Terminate));
            assert_eq!(signals.wait(Duration::ZERO), None);
        });
        test.join().unwrap();
        assert_eq!(Signal::Interrupt.name(), "SIGINT");
    }
}
