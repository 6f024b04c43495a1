//! One accepted connection of the listener, moved on by as much as its socket allows.
//!
//! A connection reads its head, sends one reply, says that it is done, and throws away what the
//! peer still sends (closing at once would reset the connection and could take the reply with it).
//! Every stage has a deadline, and no call here waits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use super::http::{self, Reply, Request};

/// How long a peer may take for its request's head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a peer may take to read its reply.
const REPLY_TIME: Duration = Duration::from_secs(5);

/// How long a peer may take to close after that.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How much of a request's body is thrown away; whoever sends more is cut off.
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// A stream of either kind, TCP or Unix, which the listener has made non-blocking.
pub(super) trait Stream: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> Stream for T {}

/// One connection and the stage that it is in.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Fixed when the stage begins: a peer that sends a byte now and then gains nothing.
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    /// What came of the head so far, at most twice its bound.
    Head(Vec<u8>),
    /// What is being sent, and how much of it went.
    Reply { bytes: Vec<u8>, sent: usize },
    /// All was sent; how much more may come before the peer is cut off.
    Linger { left: usize },
}

impl Connection {
    /// Waits for the head until `deadline`.
    pub(super) fn new(stream: Box<dyn Stream>, deadline: Instant) -> Connection {
        Connection { stream, deadline, stage: Stage::Head(Vec::new()) }
    }

    /// When it is to be dropped, whatever stage it is in.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What poll(2) is to report.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let events = match self.stage {
            Stage::Head(_) | Stage::Linger { .. } => PollFlags::POLLIN,
            Stage::Reply { .. } => PollFlags::POLLOUT,
        };
        PollFd::new(self.stream.as_fd(), events)
    }

    /// Does what can be done without waiting, and says whether something is left to do. A peer that
    /// breaks off is nobody's problem.
    pub(super) fn advance(&mut self, now: Instant, answer: impl Fn(&Request) -> Reply) -> bool {
        match self.try_advance(now, answer) {
            Ok(more) => more,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Goes from stage to stage until one would have to wait, which is reported as `WouldBlock`.
    /// A short reply needs one call; a metrics page may need a second one for a slow reader.
    fn try_advance(&mut self, now: Instant, answer: impl Fn(&Request) -> Reply) -> io::Result<bool> {
        // Fits the largest head, and bounds what one peer gets done in one round.
        let mut buffer = [0; http::MAX_HEAD_BYTES];
        if let Stage::Head(head) = &mut self.stage {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(false);
            }
            head.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let bytes = match http::parse(head) {
                Ok(None) => return Ok(true),
                Ok(Some(request)) => answer(&request).bytes(request.method == "HEAD"),
                Err(refusal) => refusal.bytes(false),
            };
            self.stage = Stage::Reply { bytes, sent: 0 };
            self.deadline = now + REPLY_TIME;
        }
        if let Stage::Reply { bytes, sent } = &mut self.stage {
            while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
                match self.stream.write(rest)? {
                    0 => return Ok(false),
                    count => *sent += count,
                }
            }
            // Says that all was sent, and keeps reading: see the head of this file.
            shutdown(self.stream.as_fd().as_raw_fd(), Shutdown::Write)?;
            self.stage = Stage::Linger { left: MAX_LINGER_BYTES };
            self.deadline = now + LINGER_TIME;
        }
        if let Stage::Linger { left } = &mut self.stage {
            let count = self.stream.read(&mut buffer)?;
            *left = left.saturating_sub(count);
            if count == 0 || *left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
