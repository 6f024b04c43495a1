//! Signals, received as data by the main thread.
//!
//! They are blocked before any thread starts and read from a descriptor, so no handler ever runs in
//! the middle of other code. `SIGTERM`, `SIGINT` and `SIGQUIT` ask for a stop, `SIGHUP` for a new log file. Signals
//! that tools send by habit, and that would end the process without a drain, stay blocked and have no effect.
//! `SIGPIPE` is ignored by the standard library. A child inherits the blocked set: who starts one must empty it
//! there.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Error;
use super::log::LogFile;

/// Signals that are read.
const READ: [Number; 4] = [Number::SIGTERM, Number::SIGINT, Number::SIGQUIT, Number::SIGHUP];

/// Signals without effect. A write beyond the largest file that the process may have fails like one to a full
/// disk, once its signal cannot end the process.
const WITHOUT_EFFECT: [Number; 4] = [Number::SIGUSR1, Number::SIGUSR2, Number::SIGALRM, Number::SIGXFSZ];

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    log_file: Arc<LogFile>,
}

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, from a supervisor.
    Terminate,
    /// `SIGINT`, from a terminal.
    Interrupt,
    /// `SIGQUIT`, from a terminal or a container's `STOPSIGNAL`.
    Quit,
}

impl Signal {
    /// The signal's name.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Quit => "SIGQUIT",
        }
    }
}

impl Signals {
    /// Blocks the signals in this thread and in all that it starts from now on.
    pub fn block() -> Result<Signals, Error> {
        let failed = |cause| Error::caused("block signals", cause);
        let read: SigSet = READ.into_iter().collect();
        let blocked: SigSet = READ.into_iter().chain(WITHOUT_EFFECT).collect();
        blocked.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&read, flags).map_err(failed)?;
        Ok(Signals { descriptor, log_file: Arc::default() })
    }

    /// The log file that `SIGHUP` has opened anew.
    pub fn log_file(&self) -> Arc<LogFile> {
        Arc::clone(&self.log_file)
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
            Ok(Number::SIGQUIT) => Some(Signal::Quit),
            Ok(Number::SIGHUP) => {
                match self.log_file.reopen() {
                    Some(path) => {
                        log::info!(path = path.display().to_string().as_str(); "log file opened anew")
                    }
                    None => log::info!("SIGHUP has no effect: there is no log file to open anew"),
                }
                None
            }
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
