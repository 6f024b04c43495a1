//! One accepted connection of the listener, moved on by as much as its socket allows.
//!
//! A connection reads its head, and its body where somebody wants it, sends one reply, says that it is done,
//! and throws away what the peer still sends (closing at once would reset the connection and could take the
//! reply with it). Every stage has a deadline, and no call here waits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use super::http::{self, Reply, Request};

/// How long a peer may take for its request's head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a peer may take for a body, which has a mebibyte at most.
const BODY_TIME: Duration = Duration::from_secs(10);

/// How long a peer may take to read its reply.
const REPLY_TIME: Duration = Duration::from_secs(5);

/// How long a peer may take to close after that.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How much of a request's body is thrown away; whoever sends more is cut off.
const MAX_LINGER_BYTES: usize = 256 * 1024;

/// A stream of either kind, TCP or Unix, which the listener has made non-blocking.
pub(super) trait Stream: Read + Write + AsFd + Send {}

impl<T: Read + Write + AsFd + Send> Stream for T {}

/// What is done with requests.
pub(super) trait Service {
    /// What a head leads to.
    fn begin(&self, request: &Request) -> Next;

    /// Takes a request whose body has come; a reply only when it is refused, else that comes later under this
    /// number, and until the moment that is given.
    fn take(&self, number: u64, request: Request) -> Result<Instant, Reply>;
}

/// What a head leads to.
pub(super) enum Next {
    /// This reply.
    Reply(Reply),
    /// A body of this many bytes.
    Body(usize),
}

/// One connection and the stage that it is in.
pub(super) struct Connection {
    /// Never used twice, so that a late reply finds nobody else.
    number: u64,
    stream: Box<dyn Stream>,
    /// Fixed when the stage begins: a peer that sends a byte now and then gains nothing.
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    /// What came of the head so far, at most twice its bound.
    Head(Vec<u8>),
    /// What came of the body so far stands in the request, of which so many bytes are to come.
    Body { request: Request, left: usize },
    /// Somebody else is making the reply.
    Waiting,
    /// What is being sent, and how much of it went.
    Reply { bytes: Vec<u8>, sent: usize },
    /// All was sent; how much more may come before the peer is cut off.
    Linger { left: usize },
}

impl Connection {
    /// Waits for the head until `deadline`.
    pub(super) fn new(number: u64, stream: Box<dyn Stream>, deadline: Instant) -> Connection {
        Connection { number, stream, deadline, stage: Stage::Head(Vec::new()) }
    }

    /// Which one it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it has a body to send, or waits for somebody else's reply.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.stage, Stage::Body { .. } | Stage::Waiting)
    }

    /// Whether its body is still to come.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.stage, Stage::Body { .. })
    }

    /// Begins to send what was waited for.
    pub(super) fn reply(&mut self, now: Instant, reply: &Reply) {
        self.send(now, reply.bytes(false));
    }

    /// When it is to be dropped, whatever stage it is in.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What poll(2) is to report. Of one that waits it reports only that the peer is gone.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let events = match self.stage {
            Stage::Head(_) | Stage::Body { .. } | Stage::Linger { .. } => PollFlags::POLLIN,
            Stage::Waiting => PollFlags::empty(),
            Stage::Reply { .. } => PollFlags::POLLOUT,
        };
        PollFd::new(self.stream.as_fd(), events)
    }

    /// Does what can be done without waiting, and says whether something is left to do. A peer that
    /// breaks off is nobody's problem.
    pub(super) fn advance(&mut self, now: Instant, service: &dyn Service) -> bool {
        match self.try_advance(now, service) {
            Ok(more) => more,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Goes from stage to stage until one would have to wait, which is reported as `WouldBlock`.
    /// A short reply needs one call; a metrics page may need a second one for a slow reader.
    fn try_advance(&mut self, now: Instant, service: &dyn Service) -> io::Result<bool> {
        // Fits the largest head, and bounds what one peer gets done in one round.
        let mut buffer = [0; http::MAX_HEAD_BYTES];
        if matches!(self.stage, Stage::Waiting) {
            return Ok(false);
        }
        if let Stage::Head(head) = &mut self.stage {
            let count = read(&mut self.stream, &mut buffer)?;
            head.extend_from_slice(buffer.get(..count).unwrap_or_default());
            match http::parse(head) {
                Ok(None) => return Ok(true),
                Ok(Some((mut request, length))) => match service.begin(&request) {
                    Next::Reply(reply) => self.send(now, reply.bytes(request.method == "HEAD")),
                    Next::Body(wanted) => {
                        // What follows the body is nobody's: there is one request a connection.
                        request.body = head.split_off(length);
                        request.body.truncate(wanted);
                        self.deadline = now + BODY_TIME;
                        let left = wanted - request.body.len();
                        if left > 0 && request.expects_leave() {
                            // Nothing was sent before, so there is room for it.
                            self.stream.write_all(http::CONTINUE)?;
                        }
                        self.stage = Stage::Body { left, request };
                    }
                },
                Err(refusal) => self.send(now, refusal.bytes(false)),
            }
        }
        if let Stage::Body { request, left } = &mut self.stage {
            while *left > 0 {
                let room = buffer.len().min(*left);
                let count = read(&mut self.stream, buffer.get_mut(..room).unwrap_or_default())?;
                request.body.extend_from_slice(buffer.get(..count).unwrap_or_default());
                *left -= count;
            }
            match service.take(self.number, std::mem::take(request)) {
                Ok(until) => {
                    self.stage = Stage::Waiting;
                    self.deadline = until;
                    return Ok(true);
                }
                Err(refusal) => self.send(now, refusal.bytes(false)),
            }
        }
        self.finish(now, &mut buffer)
    }

    fn send(&mut self, now: Instant, bytes: Vec<u8>) {
        self.stage = Stage::Reply { bytes, sent: 0 };
        self.deadline = now + REPLY_TIME;
    }

    /// The stages after the reply was made.
    fn finish(&mut self, now: Instant, buffer: &mut [u8]) -> io::Result<bool> {
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
            let count = self.stream.read(buffer)?;
            *left = left.saturating_sub(count);
            if count == 0 || *left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads what there is; the end of a peer who was to say more is an error.
fn read(stream: &mut Box<dyn Stream>, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
