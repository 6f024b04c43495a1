//! Signals, received as data by the main thread.
//!
//! They are blocked before any thread starts and read from a descriptor, so no handler ever runs in
//! the middle of other code. `SIGTERM`, `SIGINT` and `SIGQUIT` ask for a stop, `SIGHUP` for a new log file and
//! settings that are read again or, of a command that runs in a terminal, for a stop too. Signals that tools send by habit, and that would end
//! the process without a drain, stay blocked and have no effect. `SIGPIPE` is ignored by the standard library. A
//! child inherits the blocked set: who starts one must empty it there.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::failure;
use super::log::LogFile;

/// Signals that are read.
const READ: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Signals without effect. A write beyond the largest file that the process may have fails like one to a full
/// disk, once its signal cannot end the process.
const WITHOUT_EFFECT: [Signal; 4] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGXFSZ];

/// The signals of this process.
pub struct Signals {
    descriptor: SignalFd,
    /// The log file, which SIGHUP has opened anew.
    pub(crate) log_file: Arc<LogFile>,
    /// The same for the audit record, once there is one.
    pub(crate) audit: OnceLock<Reopen>,
    /// Whether `SIGHUP` is a stop too.
    #[cfg(feature = "dev")]
    hangup_stops: bool,
}

/// What somebody asks for by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A stop.
    Stop(Signal),
    /// Settings that are read again. The log and the audit record have been opened anew.
    Reload,
}

/// Has the audit record go to what then has the file's name.
pub type Reopen = Box<dyn Fn() + Send + Sync>;

impl Signals {
    /// Blocks the signals in this thread and in all that it starts from now on.
    pub fn block() -> io::Result<Signals> {
        let failed = |cause| failure("block signals", cause);
        let read: SigSet = READ.into_iter().collect();
        let blocked: SigSet = READ.into_iter().chain(WITHOUT_EFFECT).collect();
        blocked.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&read, flags).map_err(failed)?;
        Ok(Signals {
            descriptor,
            log_file: Arc::default(),
            audit: OnceLock::new(),
            #[cfg(feature = "dev")]
            hangup_stops: false,
        })
    }

    /// Takes `SIGHUP`, when a terminal closes, for a stop; unless whoever started this process had it ignored, as
    /// `nohup` does.
    #[cfg(feature = "dev")]
    pub(crate) fn stop_at_hangup(&mut self) {
        self.hangup_stops = !ignores_hangup();
    }

    /// Waits for a signal, at most so long. May return earlier without one.
    pub fn wait(&self, timeout: Duration) -> Option<Event> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short wait; the caller waits in a loop.
        let _ = poll(&mut descriptors, timeout);
        let received = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(received.ssi_signo).ok()?;
        let signal = Signal::try_from(number).ok()?;
        let stops = signal != Signal::SIGHUP;
        #[cfg(feature = "dev")]
        let stops = stops || self.hangup_stops;
        if stops {
            return Some(Event::Stop(signal));
        }
        if let Some(reopen) = self.audit.get() {
            reopen();
        }
        if let Some(path) = self.log_file.reopen() {
            log::info!(path = path.display().to_string().as_str(); "reopening the log file");
        }
        Some(Event::Reload)
    }
}

/// True when this process was started with `SIGHUP` ignored. A blocked one is read all the same.
#[cfg(feature = "dev")]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The lowest bit is that of the first signal.
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & 1 == 1)
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
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            assert_eq!(signals.wait(Duration::from_secs(5)), Some(Event::Stop(Signal::SIGTERM)));
            assert_eq!(signals.wait(Duration::ZERO), None);
        });
        test.join().unwrap();
    }
}
