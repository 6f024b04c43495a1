//! Stream socket (TCP or unix) under a deadline, which another thread can shut down.
//!
//! It knows no protocol. A passed deadline is an `io::Error` of kind `TimedOut` without a code of the system's; every
//! other failure is what the operating system said.
//!
//! Dead peers are found by the kernel, long before most deadlines; [`Liveness`] is the table. Connecting and
//! writing never block by themselves; they wait in `poll`, because a blocking `connect` cannot
//! be ended by `shutdown` on every kernel that we run on. Reading blocks under the kernel's own time-out,
//! which is only armed again when it no longer fits: an ordinary exchange waits in one system call.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, UnixAddr, getsockopt,
    setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::sync;

/// Times after which the kernel takes a silent peer for dead: a host that vanished, an address that moved, a NAT
/// that forgot. A connection where nothing is under way is probed; what was sent has to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Liveness {
    /// A peer that acknowledges nothing for so long is dead.
    silence_ms: u32,
    /// A silent connection is probed after this, and then again at each interval. With [`PROBES`] of them the
    /// sum is the silence above, so that it makes no difference which of the two is in force.
    probe_after_s: u32,
    probe_every_s: u32,
}

/// Towards the control plane and proxies. More than one probe fits in, since one may get lost on the way.
pub(super) const PLANE: Liveness = Liveness { silence_ms: 10_000, probe_after_s: 5, probe_every_s: 2 };
/// Towards everybody else. Calls take their time there, and their senders wait for it.
pub(super) const SERVER: Liveness = Liveness { silence_ms: 60_000, probe_after_s: 30, probe_every_s: 10 };
/// Unanswered probes that end a connection where no time-out of the user's is in force.
const PROBES: u32 = 3;
/// Size of a request that fits into any window. With more the peer may have closed its window, and the kernel counts
/// that as silence, although the peer is there and only does not read.
const ONE_WINDOW_BYTES: usize = 16 * 1024;

/// Between two attempts at a unix listener whose backlog is full: nothing tells when it has room.
const BACKLOG_WAIT: Duration = Duration::from_millis(10);

/// A thread that finds a deadline passed for longer than this did not run: the process was stopped or frozen.
const STOPPED_MIN: Duration = Duration::from_secs(1);
/// Time after such a stop in which the rest of a reply may come whose beginning had come meanwhile.
const LATE_WAIT: Duration = Duration::from_secs(2);

/// Above this much time left, the time-out is armed a little short, so that the next exchange finds it fitting.
const ROUND_ABOVE: Duration = Duration::from_secs(1);

/// A stream with its deadline. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Socket {
    /// Ends blocked calls.
    pub(super) handle: Arc<Handle>,
    /// By when every read and write from now on must be done.
    pub(super) deadline: Instant,
    /// The time-out for reads that is in force.
    armed: Duration,
    /// Bytes written in the present exchange. The one place that knows: a TLS session above may put a part on
    /// the wire and then fail without telling how much.
    pub(super) wrote: usize,
    /// Nothing for a unix socket.
    liveness: Option<Liveness>,
    /// Whether the user's time-out is in force: not while a peer may refuse to read.
    limited: bool,
    /// Takes the deadline's place in an exchange whose reply had come while nobody ran.
    late_until: Option<Instant>,
}

/// Handle by which another thread ends a blocked call. The descriptor closes with the last one.
#[derive(Debug)]
pub(super) struct Handle {
    socket: OwnedFd,
    closed: AtomicBool,
}

/// Sockets of one client, so that a shutdown can end them all.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    registered: Mutex<Vec<Weak<Handle>>>,
    closed: AtomicBool,
}

impl Socket {
    /// A socket that can reach `address` but is not connected yet. It exists before the connection does, so
    /// that its handle can end a wait for a silent network too.
    fn open(address: &dyn SockaddrLike, liveness: Liveness) -> io::Result<Socket> {
        let family = address.family().ok_or(io::ErrorKind::Unsupported)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket::socket(family, SockType::Stream, flags, None)?;
        let liveness = (family != AddressFamily::Unix).then_some(liveness);
        if let Some(liveness) = liveness {
            // Small requests leave as one write already; waiting for more would only delay them.
            setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
            setsockopt(&socket, sockopt::KeepAlive, &true)?;
            setsockopt(&socket, sockopt::TcpKeepIdle, &liveness.probe_after_s)?;
            setsockopt(&socket, sockopt::TcpKeepInterval, &liveness.probe_every_s)?;
            setsockopt(&socket, sockopt::TcpKeepCount, &PROBES)?;
            setsockopt(&socket, sockopt::TcpUserTimeout, &liveness.silence_ms)?;
        }
        let handle = Arc::new(Handle { socket, closed: AtomicBool::new(false) });
        let (deadline, armed) = (Instant::now(), Duration::ZERO);
        Ok(Socket { handle, deadline, armed, wrote: 0, liveness, limited: true, late_until: None })
    }

    /// Connects to the unix socket that this one was opened for, until `deadline`.
    pub(super) fn connect(&mut self, address: &UnixAddr, deadline: Instant) -> io::Result<()> {
        self.deadline = deadline;
        loop {
            match socket::connect(self.handle.socket.as_raw_fd(), address) {
                Err(Errno::EAGAIN) => std::thread::sleep(BACKLOG_WAIT.min(self.left()?)),
                outcome => break outcome?,
            }
        }
        self.settle()
    }

    /// Begins to connect to the address that the socket was opened for; true when that is done already. Else
    /// `poll` tells when there is an outcome, and [`Socket::settle`] which.
    pub(super) fn begin(&self, address: &dyn SockaddrLike) -> io::Result<bool> {
        match socket::connect(self.handle.socket.as_raw_fd(), address) {
            Err(Errno::EINPROGRESS) => Ok(false),
            outcome => Ok(outcome.map(|()| true)?),
        }
    }

    /// Ends connecting, successfully or not.
    pub(super) fn settle(&self) -> io::Result<()> {
        let error = getsockopt(&self.handle.socket, sockopt::SocketError)?;
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // A socket that was shut down while connecting has no error, but no peer either.
        if self.handle.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        fcntl(&self.handle.socket, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(())
    }

    /// Begins an exchange: nothing of it was written yet.
    pub(super) fn renew(&mut self) {
        self.wrote = 0;
        self.late_until = None;
        self.limit_silence(true);
    }

    /// Puts the user's time-out in force, or lifts it. Without it a peer that dies in the middle of a large
    /// request is found by the deadline only.
    fn limit_silence(&mut self, limited: bool) {
        if let Some(liveness) = self.liveness.filter(|_| limited != self.limited) {
            self.limited = limited;
            let silence_ms = if limited { liveness.silence_ms } else { 0 };
            // It fails on a socket that is not there any more, which the next use finds out.
            let _gone = setsockopt(&self.handle.socket, sockopt::TcpUserTimeout, &silence_ms);
        }
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
        let end = self.late_until.map_or(self.deadline, |late| late.max(self.deadline));
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// One read without waiting, after the deadline: what the peer sent before it is an answer in time, whenever
    /// this thread came to look. After a stop of the process the rest is waited for, too, once and shortly.
    fn read_late(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.late_until.is_some() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let flags = MsgFlags::MSG_DONTWAIT;
        match socket::recv(self.handle.socket.as_raw_fd(), buffer, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => Err(io::ErrorKind::TimedOut.into()),
            outcome => {
                let now = Instant::now();
                if now.saturating_duration_since(self.deadline) > STOPPED_MIN {
                    self.late_until = Some(now + LATE_WAIT);
                }
                Ok(outcome?)
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.socket.as_fd()
    }
}

impl Sockets {
    /// Opens a socket that can reach `address` but is not connected yet. A shutdown that came before is an error
    /// here, and one that comes later finds the handle, so it misses none.
    pub(super) fn open(&self, address: &dyn SockaddrLike, liveness: Liveness) -> io::Result<Socket> {
        let socket = Socket::open(address, liveness)?;
        let mut registered = sync::lock(&self.registered);
        if self.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if registered.len() == registered.capacity() {
            registered.retain(|handle| handle.strong_count() > 0);
        }
        registered.push(Arc::downgrade(&socket.handle));
        Ok(socket)
    }

    /// Whether all were told to end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends every connection, blocked calls included, and opens no other.
    pub(super) fn shutdown(&self) {
        let registered = {
            let mut registered = sync::lock(&self.registered);
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *registered)
        };
        registered.iter().filter_map(Weak::upgrade).for_each(|handle| handle.shutdown());
    }
}

impl Handle {
    /// Whether this side was told to end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

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
            let left = match self.left() {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return self.read_late(buffer),
                left => left?,
            };
            let wait = fitting(self.armed, left);
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
                    let count = outcome?;
                    self.wrote = self.wrote.saturating_add(count);
                    if self.wrote > ONE_WINDOW_BYTES {
                        self.limit_silence(false);
                    }
                    return Ok(count);
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
mod tests;
