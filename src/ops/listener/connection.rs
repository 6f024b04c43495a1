//! One accepted connection of the listener, moved on by as much as its socket allows.
//!
//! A connection reads its head, sends one reply, says that it is done, and throws away what the peer still sends
//! (closing at once would reset the connection and could take the reply with it). Every stage has a deadline,
//! and no call here waits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::http::{self, Request};

/// Time in which a peer has to send its request's head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time in which a peer has to read its reply.
pub(super) const REPLY_TIME: Duration = Duration::from_secs(5);

/// Time in which a peer has to close after that.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(1);

/// Most bytes of a request's body that are thrown away; a peer that sends more is cut off.
pub(super) const LINGER_MAX_BYTES: u64 = 256 * 1024;

/// Connection and the stage that it is in.
pub(super) struct Connection {
    /// Non-blocking.
    pub(super) stream: UnixStream,
    /// Fixed when the stage begins: a peer that sends a byte now and then gains nothing.
    pub(super) deadline: Instant,
    /// Address of its peer, which is loopback for a program of this host.
    pub(super) peer: IpAddr,
    stage: Stage,
}

enum Stage {
    /// Reads the head, at most twice its bound.
    Head(Vec<u8>),
    /// Sends the rest of the reply.
    Reply(Vec<u8>),
    /// All was sent; reads how much more may come before the peer is cut off.
    Linger(u64),
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: IpAddr, now: Instant) -> Connection {
        Connection { stream, peer, deadline: now + HEAD_TIME, stage: Stage::Head(Vec::new()) }
    }

    /// Events that poll(2) is to report.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let events = match self.stage {
            Stage::Head(_) | Stage::Linger(_) => PollFlags::POLLIN,
            Stage::Reply(_) => PollFlags::POLLOUT,
        };
        PollFd::new(self.stream.as_fd(), events)
    }

    /// Begins to send a reply.
    pub(super) fn send(&mut self, now: Instant, bytes: Vec<u8>) {
        self.stage = Stage::Reply(bytes);
        self.deadline = now + REPLY_TIME;
    }

    /// Does one step, and gives the request when its head is complete; what came of the body is in it. An error
    /// ends the connection: a peer that breaks off is nobody's problem.
    pub(super) fn advance(&mut self, now: Instant) -> io::Result<Option<Request>> {
        // Fits the largest head, and bounds what one peer gets done in one round.
        let mut buffer = [0; http::MAX_HEAD_BYTES];
        match &mut self.stage {
            Stage::Head(head) => {
                let count = read(&self.stream, &mut buffer)?;
                head.extend_from_slice(buffer.get(..count).unwrap_or_default());
                match http::parse(head) {
                    Ok(None) => {}
                    Ok(Some((mut request, length))) => {
                        request.body = head.split_off(length);
                        return Ok(Some(request));
                    }
                    Err(refusal) => self.send(now, refusal.bytes(false)),
                }
            }
            Stage::Reply(bytes) => {
                let count = self.stream.write(bytes)?;
                bytes.drain(..count.min(bytes.len()));
                if bytes.is_empty() {
                    // Says that all was sent, and keeps reading: see the head of this file.
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Linger(LINGER_MAX_BYTES);
                    self.deadline = now + LINGER_TIME;
                }
            }
            Stage::Linger(left) => {
                let count = read(&self.stream, &mut buffer)?;
                *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                if *left == 0 {
                    return Err(ErrorKind::QuotaExceeded.into());
                }
            }
        }
        Ok(None)
    }
}

/// Reads what there is; the end of the peer is an error.
fn read(mut stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
