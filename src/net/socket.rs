//! One socket under a deadline: TCP or unix stream, opened, used, and shut down from another thread.
//!
//! It knows no protocol. A passed deadline is an `io::Error` of kind `TimedOut`; every other failure is
//! what the operating system said.
//!
//! Connecting and writing never block by themselves; they wait in `poll`, because a blocking `connect` cannot
//! be ended by `shutdown` on every kernel that we run on. Reading blocks under the kernel's own time-out,
//! which is only armed again when it no longer fits: an ordinary exchange waits in one system call.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, getsockopt, setsockopt,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use ureq::unversioned::transport::ShutdownHandle;

/// Stateful firewalls keep the connection, and a dead peer is noticed after
/// `KEEPALIVE_SECONDS * (1 + KEEPALIVE_PROBES)`, two minutes.
const KEEPALIVE_SECONDS: u32 = 30;
/// Unanswered probes that end a connection.
const KEEPALIVE_PROBES: u32 = 3;
/// Between two attempts at a unix listener whose backlog is full: nothing tells when it has room.
const BACKLOG_WAIT: Duration = Duration::from_millis(10);

/// Above this much time left, the time-out is armed a little short, so that the next exchange finds it fitting.
const ROUND_ABOVE: Duration = Duration::from_secs(1);

/// A stream with its deadline. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Socket {
    handle: Arc<Handle>,
    deadline: Instant,
    /// The time-out for reads that is in force.
    armed: Duration,
    /// Whether any byte was written since somebody set this to false. The one place that knows: a TLS
    /// session above may put a part on the wire and then fail without telling how much.
    pub(super) wrote: bool,
}

/// What another thread needs to end a blocked call. Who holds it must not keep it alive (the HTTP crate
/// keeps a weak reference): the descriptor closes with the last one.
#[derive(Debug)]
pub(super) struct Handle {
    socket: OwnedFd,
    closed: AtomicBool,
}

impl Socket {
    /// A socket that can reach `address` but is not connected yet. It exists before the connection does, so
    /// that its handle can end a wait for a silent network too.
    pub(super) fn open(address: &dyn SockaddrLike) -> io::Result<Socket> {
        let family = address.family().ok_or(io::ErrorKind::Unsupported)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket::socket(family, SockType::Stream, flags, None)?;
        if family != AddressFamily::Unix {
            // Small requests leave as one write already; waiting for more would only delay them.
            setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
            setsockopt(&socket, sockopt::KeepAlive, &true)?;
            setsockopt(&socket, sockopt::TcpKeepIdle, &KEEPALIVE_SECONDS)?;
            setsockopt(&socket, sockopt::TcpKeepInterval, &KEEPALIVE_SECONDS)?;
            setsockopt(&socket, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
        }
        let handle = Arc::new(Handle { socket, closed: AtomicBool::new(false) });
        Ok(Socket { handle, deadline: Instant::now(), armed: Duration::ZERO, wrote: false })
    }

    /// Connects to the address that the socket was opened for, until `deadline`.
    pub(super) fn connect(&mut self, address: &dyn SockaddrLike, deadline: Instant) -> io::Result<()> {
        self.deadline = deadline;
        let descriptor = self.handle.socket.as_raw_fd();
        loop {
            match socket::connect(descriptor, address) {
                Err(Errno::EAGAIN) => std::thread::sleep(BACKLOG_WAIT.min(self.left()?)),
                Err(Errno::EINPROGRESS) => break self.wait(PollFlags::POLLOUT)?,
                outcome => break outcome?,
            }
        }
        let error = getsockopt(&self.handle.socket, sockopt::SocketError)?;
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // A socket that was shut down while connecting has no error, but no peer either.
        self.left()?;
        fcntl(&self.handle.socket, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(())
    }

    /// Sets by when every read and write from now on must be done.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The handle that ends blocked calls.
    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Whether nothing waits to be read: a connection that rests between two exchanges must be silent. An
    /// end of stream or an error counts as something to read.
    pub(super) fn is_silent(&self) -> bool {
        let mut watched = [PollFd::new(self.handle.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO) == Ok(0)
    }

    /// Waits until the socket is ready for `events`; a broken connection is ready for everything.
    fn wait(&self, events: PollFlags) -> io::Result<()> {
        loop {
            // Rounded up, so that the last fraction of a millisecond is not spent spinning.
            let left_ms = self.left()?.as_millis().saturating_add(1);
            let wait = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.handle.socket.as_fd(), events)];
            match poll(&mut watched, wait) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The time until the deadline, or the error that it passed or that this side was told to end. The
    /// latter is asked for here, after `connect` was begun, because a shutdown just before it left no trace.
    fn left(&self) -> io::Result<Duration> {
        if self.handle.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Handle {
    /// Whether this side was told to end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl ShutdownHandle for Handle {
    fn shutdown(&self) {
        // First the mark, then the act: who wakes from a wait must find it.
        self.closed.store(true, Ordering::Release);
        // A failure means that there is no connection (any more), which is what was wanted.
        let _already_closed = socket::shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let wait = fitting(self.armed, self.left()?);
            if wait != self.armed {
                let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                setsockopt(&self.handle.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(micros))?;
                self.armed = wait;
            }
            match socket::recv(self.handle.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                // A time-out that was armed short, or a signal: the deadline decides.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // A peer that is gone must be an error here, not a signal that ends the process.
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match socket::send(self.handle.socket.as_raw_fd(), buffer, flags) {
                Err(Errno::EAGAIN | Errno::EINTR) => self.wait(PollFlags::POLLOUT)?,
                outcome => {
                    self.wrote |= outcome.is_ok();
                    return Ok(outcome?);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time-out to have in force with `left` until the deadline: the `armed` one, unless it ends after the
/// deadline or long before it.
fn fitting(armed: Duration, left: Duration) -> Duration {
    if armed <= left && armed >= left / 4 * 3 {
        return armed;
    }
    let wait = if left > ROUND_ABOVE { left / 8 * 7 } else { left };
    // The kernel counts microseconds and takes zero for "never".
    wait.max(Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::UnixAddr;
    use std::os::unix::net::UnixListener;

    #[test]
    fn time_outs_are_armed_only_when_they_no_longer_fit() {
        let mut armed = Duration::ZERO;
        let mut calls = Vec::new();
        for left in [60_000, 59_990, 60_000, 55_000, 50_000, 60_000, 10_000, 900, 800] {
            let wait = fitting(armed, Duration::from_millis(left));
            if wait != armed {
                calls.push((left, wait.as_millis()));
            }
            armed = wait;
        }
        assert_eq!(
            calls,
            [(60_000, 52_500), (50_000, 43_750), (60_000, 52_500), (10_000, 8_750), (900, 900), (800, 800)]
        );
    }

    #[test]
    fn a_full_backlog_is_left_at_the_deadline_and_at_shutdown() {
        let path = std::env::temp_dir().join(format!("tunnel-client-backlog-{}", std::process::id()));
        let _earlier_run = std::fs::remove_file(&path);
        let _listener = UnixListener::bind(&path).unwrap();
        let address = UnixAddr::new(&path).unwrap();
        let connect = |wait_ms| {
            let mut socket = Socket::open(&address).unwrap();
            let done = socket.connect(&address, Instant::now() + Duration::from_millis(wait_ms));
            (socket, done)
        };
        let mut waiting = Vec::new();
        let error = loop {
            match connect(100) {
                (socket, Ok(())) => waiting.push(socket),
                (_, Err(error)) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut socket = Socket::open(&address).unwrap();
        socket.handle().shutdown();
        let error = socket.connect(&address, Instant::now() + Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        std::fs::remove_file(&path).unwrap();
    }
}
