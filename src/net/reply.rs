//! HTTP reply: its head, and its body read in pieces or as a whole within bounds.
//!
//! A body that ends before its announced length is an error, never a short body. The connection goes back to
//! the pool when the end was read; a reply dropped before closes it, which also tells the peer to stop.
//!
//! The peer decides what it sends: a length is a claim until the bytes are there, an encoding is not undone
//! here, and a body without a length may have no end. So memory is asked for before it is filled.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;
use ureq::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::budget::{Budget, Reservation};
use super::error::{Error, Kind};
use super::http_dump;
use super::request_state::RequestState;

/// HTTP reply whose body is still to be read.
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    body: ureq::BodyReader<'static>,
    state: Arc<RequestState>,
    dump: Option<http_dump::Body>,
}

/// A whole body. The budget that it occupies is given back when it is dropped.
#[derive(Debug)]
pub struct Bytes {
    /// The bytes.
    pub data: Vec<u8>,
    /// Share of the budget that they occupy.
    pub held: Option<Reservation>,
}

/// First allocation for a body of unknown length. It doubles, so that many small answers stay small.
const FIRST_BYTES: usize = 8 * 1024;

/// Reads of 1 KiB for an unwanted rest; a new connection is cheaper than more.
const FINISH_READS_MAX: usize = 16;

impl Reply {
    pub(super) fn new(
        status: u16,
        headers: HeaderMap,
        body: ureq::BodyReader<'static>,
        state: Arc<RequestState>,
        dump: bool,
    ) -> Reply {
        Reply { status, headers, body, state, dump: dump.then(http_dump::Body::default) }
    }

    /// Gives the connection back if the body ends within `wait`; otherwise the connection is closed.
    /// For a body of which nothing more is wanted, on a connection that is worth a short wait: a new one
    /// costs a handshake.
    pub fn finish(mut self, wait: Duration) {
        let (mut rest, end) = ([0; 1024], Instant::now() + wait);
        // Whatever ends the reading, end or error or a peer that talks on, the reply is dropped.
        let mut reads = (0..FINISH_READS_MAX).map(|_| self.read_until(&mut rest, end));
        while let Some(Ok(1..)) = reads.next() {}
    }

    /// Reads more of the body; `Ok(0)` is its end. A body that ends before its announced length is
    /// [`Kind::UnexpectedEof`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.read_until(buffer, self.state.deadline())
    }

    /// Reads more of the body as [`Reply::read`] does, but waits no longer than `until`.
    pub fn read_until(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, Error> {
        self.state.set_wait_end(until);
        // The HTTP crate hides its errors inside of `io::Error` here.
        let read = self.body.read(buffer).map_err(ureq::Error::from);
        let count = read.map_err(|error| Error::from_ureq(error, &self.state))?;
        if let Some(dump) = &mut self.dump {
            dump.add(buffer.get(..count).unwrap_or_default());
        }
        Ok(count)
    }

    /// Reads the whole body, at most `limit` bytes. A body that is not small is charged to the budget,
    /// which is waited for until `deadline`. A body above either is [`Kind::TooLarge`], and the connection
    /// is closed: reading on to save it could take for ever.
    pub fn read_all(mut self, limit: usize, budget: &Arc<Budget>, deadline: Instant) -> Result<Bytes, Error> {
        let (announced, free) = (self.announced(), budget.free_bytes());
        if announced.is_some_and(|announced| announced > limit) {
            return Err(too_large(limit));
        }
        // Of an unknown length the worst is reserved at once: nobody comes back for more while holding some.
        let ceiling = announced.unwrap_or_else(|| limit.min(budget.capacity().max(free)));
        let mut held = match announced {
            Some(length) if length > free => Some(reserve(budget, length, deadline)?),
            _ => None,
        };
        // Always one byte more than may come: a read into it finds the end, which frees the connection, or
        // the byte that is too many.
        let mut data = vec![0; announced.unwrap_or(FIRST_BYTES).min(ceiling) + 1];
        let mut filled = 0;
        loop {
            match self.read(data.get_mut(filled..).unwrap_or_default())? {
                0 => break,
                count => filled += count,
            }
            if filled > ceiling {
                return Err(too_large(ceiling));
            }
            if filled > free && held.is_none() {
                held = Some(reserve(budget, ceiling, deadline)?);
            }
            if filled == data.len() {
                let room = if held.is_some() { ceiling } else { free.min(ceiling) };
                data.resize((filled * 2).min(room) + 1, 0);
            }
        }
        data.truncate(filled);
        data.shrink_to_fit();
        if let Some(held) = &mut held {
            held.shrink(filled);
        }
        Ok(Bytes { data, held })
    }

    /// The length that the head announces and that framing goes by. Chunks make any other length void
    /// (RFC 9112, 6.3); the HTTP crate frames the body by itself, so a wrong one here costs memory only.
    pub fn announced(&self) -> Option<usize> {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return None;
        }
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

fn reserve(budget: &Arc<Budget>, bytes: usize, deadline: Instant) -> Result<Reservation, Error> {
    let text = format!("no room for a body of up to {bytes} bytes: the body budget is spent");
    budget.reserve(bytes, deadline).ok_or_else(|| Error::new(Kind::TooLarge, text).sent(true))
}

fn too_large(limit: usize) -> Error {
    Error::new(Kind::TooLarge, format!("the body of the reply exceeds {limit} bytes")).sent(true)
}
