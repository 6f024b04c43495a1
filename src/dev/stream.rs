//! An accepted connection of either kind, TCP or Unix.
//!
//! Both have the same calls in the standard library but no trait for them. Nothing here decides anything;
//! errors are those of the system.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// How long a peer may refuse to read what is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long a peer may take to read a refusal, and how much of what it still sends is thrown away.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// One connection. It is shared: one thread reads and writes, another may shut it down.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Small frames must leave at once, and no write may wait for ever.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(WRITE_TIME))
            }
            Stream::Unix(stream) => stream.set_write_timeout(Some(WRITE_TIME)),
        }
    }

    /// Reads what there is, until a moment. Zero bytes are the end of the connection.
    pub(super) fn read_until(&self, buffer: &mut [u8], end: Instant) -> io::Result<usize> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(left))?,
            Stream::Unix(stream) => stream.set_read_timeout(Some(left))?,
        }
        let mut stream: &Stream = self;
        loop {
            match stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// Sends everything.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream: &Stream = self;
        stream.write_all(bytes)
    }

    /// Whether the peer has closed, or this side was shut down. What it sent before does not count.
    pub(super) fn is_gone(&self) -> bool {
        let mut byte = [0; 1];
        match recv(self.descriptor(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error, Errno::EAGAIN | Errno::EINTR),
        }
    }

    /// Ends both directions; whoever waits for the connection wakes up.
    pub(super) fn shut_down(&self) {
        // A connection that is closed already is as good.
        let _ = self.shutdown(Shutdown::Both);
    }

    /// Says that all was sent and throws away what still comes: closing with unread bytes would reset the
    /// connection, and the reset could overtake the refusal.
    pub(super) fn linger(&self) {
        let end = Instant::now() + LINGER_TIME;
        let mut buffer = [0; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        if self.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while let Ok(count @ 1..) = self.read_until(&mut buffer, end) {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        }
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(bytes),
            Stream::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
