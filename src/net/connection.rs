//! HTTP/1.1 connection: a wire, its buffers, and the state of its present exchange.
//!
//! The head of a request waits in the output buffer for its body, so that a small request is one write.
//! Failures are [`Error`]s that say whether a byte had left; a reused connection that dies before the
//! first byte of a reply is marked stale, which alone makes a second attempt safe. An end of stream in the
//! middle of a reply is left to the HTTP crate, because only framing tells whether it was due.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::Buffers;

use super::error::{Error, Kind, Phase};
use super::proxy::Forwarding;
use super::request_state::RequestState;
#[cfg(test)]
use super::socket::Socket;
use super::wire::Wire;
use crate::config::Origin;

/// The largest reply head that is accepted. Real ones are below 8 KiB; some gateways send large cookies.
pub(super) const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Bytes read at once. The HTTP crate's own 128 KiB a direction would cost 12 MiB with 50 connections.
const INPUT_BYTES: usize = 16 * 1024;
/// The head bound, and room to notice that it is exceeded.
const INPUT_MAX_BYTES: usize = HEAD_MAX_BYTES + INPUT_BYTES;
/// Bytes written at once; one header may not exceed what is free of them.
const OUTPUT_BYTES: usize = 16 * 1024;
/// Above this much, output is written at once instead of waiting for more.
const CORK_MAX_BYTES: usize = 4 * 1024;

/// A reused connection that lives for longer after the request was not closed before that had come.
const STALE_MAX: Duration = Duration::from_secs(5);

/// Failures of a connection whose peer has gone. Time-outs and TLS alerts are not among them: there the peer
/// is present, and may have acted.
const HUNG_UP: [Kind; 4] = [Kind::ConnectionReset, Kind::ClosedPipe, Kind::Eof, Kind::UnexpectedEof];

/// Connection to a destination. It carries one exchange after another and rests in the pool between two.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) destination: Origin,
    /// Form of requests where a proxy forwards them.
    forwarding: Option<Forwarding>,
    /// Buffers that the HTTP crate writes to and reads from.
    pub(super) buffers: IoBuffers,
    state: Arc<RequestState>,
    /// Whether an exchange ended well on it before: then its peer may be gone by now.
    reused: bool,
    /// Whether the head of the present request has begun.
    begun: bool,
    /// Why writing failed. The peer may have answered early and hung up, so its reply is still looked for.
    broken: Option<Error>,
    /// When the present request was written, as far as it is.
    written: Instant,
    /// When the last exchange ended.
    pub(super) rests_since: Instant,
    /// After a failure that other connections may have in store: those that were not used since are not trusted
    /// either. A peer that closed a connection has closed its like; one that says nothing may be silent on all.
    pub(super) suspicion: Option<Instant>,
}

impl Connection {
    /// Connection for a first exchange; `forwarding` says how a proxy is asked that forwards each request.
    pub(super) fn new(
        mut wire: Wire,
        destination: Origin,
        forwarding: Option<Forwarding>,
        state: Arc<RequestState>,
    ) -> Connection {
        // What the handshakes wrote is no part of the request.
        wire.socket().renew();
        Connection {
            wire,
            destination,
            forwarding,
            buffers: IoBuffers::default(),
            state,
            reused: false,
            begun: false,
            broken: None,
            written: Instant::now(),
            rests_since: Instant::now(),
            suspicion: None,
        }
    }

    /// Begins another exchange.
    pub(super) fn reuse(&mut self, state: Arc<RequestState>) {
        (self.state, self.reused, self.begun, self.written) = (state, true, false, Instant::now());
        self.wire.socket().renew();
    }

    #[cfg(test)]
    pub(super) fn socket(&mut self) -> &mut Socket {
        self.wire.socket()
    }

    /// Whether it has rested for less than `age`, is still open, and nothing came that nobody asked for.
    pub(super) fn is_fresh(&mut self, age: Duration) -> bool {
        self.rests_since.elapsed() < age && self.wire.is_silent()
    }

    /// Begins to rest. False when it is of no more use.
    pub(super) fn rest(&mut self) -> bool {
        self.rests_since = Instant::now();
        self.broken.is_none() && !self.wire.socket().handle.is_closed()
    }

    /// Writes what waits. When the peer hung up, that is kept for later and the rest is thrown away:
    /// whether it matters depends on whether a reply comes.
    fn flush(&mut self) -> Result<(), Error> {
        let length = std::mem::take(&mut self.buffers.pending);
        let pending = self.buffers.output.get(..length).unwrap_or_default();
        if pending.is_empty() || self.broken.is_some() {
            return Ok(());
        }
        self.wire.socket().deadline = self.state.wait_end();
        let outcome = self.wire.write_all(pending);
        self.state.sent.store(self.wire.socket().wrote > 0, Ordering::Relaxed);
        self.written = Instant::now();
        let Err(cause) = outcome else { return Ok(()) };
        let error = self.failed(Phase::Send, cause);
        if HUNG_UP.contains(&error.kind) {
            self.broken = Some(error);
            return Ok(());
        }
        Err(error)
    }

    /// Classifies a failure of the present exchange: what this side ended is a shutdown, whatever the system
    /// calls it; the rest depends on how far the exchange had come.
    fn failed(&mut self, phase: Phase, cause: io::Error) -> Error {
        let sent = self.state.is_sent();
        if self.wire.socket().handle.is_closed() {
            return Error::shutdown().sent(sent);
        }
        let is_dead = cause.raw_os_error().is_some();
        let mut error = Error::io(phase, "", cause).sent(sent);
        if !self.state.is_answered() {
            if error.kind == Kind::UnexpectedEof {
                error.kind = Kind::Eof;
                error.silence = Some(self.written.elapsed());
            }
            // A fresh connection that dies tells of a server that cannot; a rested one may just be too old.
            let is_early = self.written.elapsed() < STALE_MAX;
            error.stale = self.reused && is_early && HUNG_UP.contains(&error.kind);
        }
        // A deadline that passes in the middle of a reply says nothing about the network.
        let is_silent = error.kind == Kind::Timeout && (!self.state.is_answered() || is_dead);
        self.suspicion = match error.kind {
            _ if error.stale => Some(self.rests_since),
            Kind::HostUnreachable | Kind::NetworkUnreachable => Some(Instant::now()),
            _ if is_silent => Some(Instant::now()),
            _ => None,
        };
        error
    }

    /// Takes `amount` bytes of output.
    pub(super) fn transmit_output(&mut self, mut amount: usize) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            // Here a request begins, and nowhere else: nothing is pending, since what was written before had to
            // leave before a reply could come. The HTTP crate writes the request line first and whole.
            if let Some(forwarding) = &self.forwarding {
                self.buffers.output.truncate(amount);
                amount += forwarding.rewrite(&mut self.buffers.output)?;
            }
        }
        self.buffers.pending += amount;
        // A head and a small body leave together, when the reply is waited for.
        if self.buffers.pending > CORK_MAX_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends what waits, and waits for input; false at its end.
    pub(super) fn await_input(&mut self) -> Result<bool, Error> {
        self.flush()?;
        self.wire.socket().deadline = self.state.wait_end();
        let is_answered = self.state.is_answered();
        let read = match self.wire.read(self.buffers.input_append_buf()) {
            // Before a reply, the end is a failure; so is one that this side made, which would look like
            // the proper end of a body without a length.
            Ok(0) if !is_answered || self.wire.socket().handle.is_closed() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection"))
            }
            read => read,
        };
        match (read, self.broken.take()) {
            (Ok(amount @ 1..), broken) => {
                self.broken = broken;
                self.state.answered.store(true, Ordering::Relaxed);
                self.buffers.input_appended(amount);
                Ok(true)
            }
            (_, Some(broken)) => Err(broken),
            (Ok(_), None) => Ok(false),
            (Err(cause), None) => {
                let phase = if is_answered { Phase::Body } else { Phase::FirstByte };
                Err(self.failed(phase, cause))
            }
        }
    }
}

/// Input that grows up to the head bound, and output that keeps what is not written yet. Both are allocated
/// with the first use, so that a connection costs what it carries.
#[derive(Debug, Default)]
pub(super) struct IoBuffers {
    /// `start..end` is what came and was not used yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the last look at the input used any of it.
    progress: bool,
    /// The first `pending` bytes wait to be written.
    output: Vec<u8>,
    pending: usize,
}

impl Buffers for IoBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(OUTPUT_BYTES, 0);
        self.output.get_mut(self.pending..).unwrap_or_default()
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        // What is left of the input moves to the front, so that the free part is as large as can be.
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // A large head made the buffer grow; it does not stay so.
        if self.end == 0 && self.input.len() != INPUT_BYTES {
            self.input = vec![0; INPUT_BYTES];
        } else if self.end == self.input.len() {
            self.input.resize((self.end + INPUT_BYTES).min(INPUT_MAX_BYTES), 0);
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = (self.end + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start = (self.start + amount).min(self.end);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // The scratch half serves chunked requests, which this room never sends.
        (&mut [], self.output())
    }

    /// Input that was looked at in vain is only worth another look with more behind it.
    fn can_use_input(&self) -> bool {
        self.progress && self.start < self.end
    }
}
