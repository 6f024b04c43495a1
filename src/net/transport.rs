//! What one HTTP connection is made of: a wire (socket, or TLS over another wire), its buffers, and the
//! state of its present exchange.
//!
//! The head of a request waits in the output buffer for its body, so that a small request is one write.
//! Failures are [`Error`]s that say whether a byte had left; a reused connection that dies before the
//! first byte of a reply is marked stale, which alone makes a second attempt safe. An end of stream in the
//! middle of a reply is left to the HTTP crate, because only framing tells whether it was due.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use ureq::unversioned::transport::{Buffers, NextTimeout};

use super::client::{HEAD_MAX_BYTES, deadline};
use super::error::{Error, Kind};
use super::patience::Patience;
use super::proxy::Forwarding;
use super::socket::Socket;
use crate::config::Origin;

/// Bytes read at once. The HTTP crate's own 128 KiB a direction would cost 12 MiB with 50 connections.
const INPUT_BYTES: usize = 16 * 1024;
/// The head bound of the client, and room to notice that it is exceeded.
const INPUT_MAX_BYTES: usize = HEAD_MAX_BYTES + INPUT_BYTES;
/// Bytes written at once; one header may not exceed what is free of them.
const OUTPUT_BYTES: usize = 16 * 1024;
/// Above this much, output is written at once instead of waiting for more.
const CORK_MAX_BYTES: usize = 4 * 1024;

/// How a connection fails when the peer has gone. Time-outs and TLS alerts are not among them: there the peer
/// is present, and may have acted.
const HUNG_UP: [Kind; 4] = [Kind::ConnectionReset, Kind::ClosedPipe, Kind::Eof, Kind::UnexpectedEof];

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Wire {
    /// The socket itself.
    Plain(Socket),
    /// TLS over another wire: twice for an `https` destination behind an `https` proxy.
    Tls(Box<TlsWire>),
}

/// A TLS session after its handshake, and the wire that carries it.
#[derive(Debug)]
pub(super) struct TlsWire {
    /// The session.
    pub(super) session: ClientConnection,
    /// What carries it.
    pub(super) inner: Wire,
}

/// A connection and the exchange on it: output, then input, then rest in the pool, and again.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    /// Where it leads to, whoever is on the way.
    destination: Origin,
    /// How requests are written where a proxy forwards them.
    forwarding: Option<Forwarding>,
    /// The HTTP crate's way to what is sent and what came.
    pub(super) buffers: IoBuffers,
    /// Begun so far: the second one is the first that may meet a peer that has gone.
    exchanges: u64,
    /// A part of the present reply has come. Also the state of rest: the next output begins an exchange.
    heard: bool,
    /// Why writing failed. The peer may have answered early and hung up, so its reply is still looked for.
    broken: Option<Error>,
    /// When the present exchange must be done. It was said first, and counts: once it is over, what the HTTP crate
    /// says is always the present moment, which a peer that never pauses would keep ahead of.
    end: Option<Instant>,
    /// When the last exchange ended.
    rests_since: Instant,
    /// After a failure that others may have in store: those that were not used since are not trusted either. A peer
    /// that closed a connection has closed its like; one that says nothing may be silent on all.
    pub(super) suspicion: Option<Instant>,
    patience: Arc<Patience>,
}

impl Connection {
    /// A connection to `destination` over `wire`; `forwarding` says how a proxy is asked that forwards each request.
    pub(super) fn new(
        wire: Wire,
        destination: Origin,
        forwarding: Option<Forwarding>,
        patience: Arc<Patience>,
    ) -> Connection {
        let (buffers, rests_since) = (IoBuffers::default(), Instant::now());
        Connection {
            wire,
            destination,
            forwarding,
            buffers,
            exchanges: 0,
            heard: true,
            broken: None,
            end: None,
            rests_since,
            suspicion: None,
            patience,
        }
    }

    /// Where it leads to.
    pub(super) fn destination(&self) -> &Origin {
        &self.destination
    }

    /// When the last exchange ended.
    pub(super) fn rests_since(&self) -> Instant {
        self.rests_since
    }

    /// How long it has rested.
    pub(super) fn rested(&self) -> Duration {
        self.rests_since.elapsed()
    }

    /// The socket, for a look at its options.
    #[cfg(test)]
    pub(super) fn socket(&mut self) -> &mut Socket {
        self.wire.socket()
    }

    /// Whether it is still open, and nothing came that nobody asked for.
    pub(super) fn is_silent(&mut self) -> bool {
        self.wire.rests()
    }

    /// Begins to rest. False when it is of no more use.
    pub(super) fn rest(&mut self) -> bool {
        self.rests_since = Instant::now();
        self.broken.is_none() && !self.wire.socket().handle().is_closed()
    }

    /// Writes what waits. When the peer hung up, that is kept for later and the rest is thrown away:
    /// whether it matters depends on whether a reply comes.
    fn flush(&mut self) -> Result<(), Error> {
        let length = std::mem::take(&mut self.buffers.pending);
        let pending = self.buffers.output.get(..length).unwrap_or_default();
        if pending.is_empty() || self.broken.is_some() {
            return Ok(());
        }
        let Err(cause) = self.wire.write_all(pending) else {
            return Ok(());
        };
        let error = self.failed("send the request", &cause);
        if HUNG_UP.contains(&error.kind) {
            self.broken = Some(error);
            return Ok(());
        }
        Err(error)
    }

    /// Classifies a failure of the present exchange: what this side ended is a shutdown, whatever the system
    /// calls it; the rest depends on how far the exchange had come.
    fn failed(&mut self, doing: &str, cause: &io::Error) -> Error {
        let socket = self.wire.socket();
        let sent = socket.wrote();
        if socket.handle().is_closed() {
            return Error::new(Kind::Shutdown, "the client was shut down").sent(sent);
        }
        let mut error = Error::exchanging(doing, cause).sent(sent);
        if !self.heard {
            if error.kind == Kind::UnexpectedEof {
                error.kind = Kind::Eof;
            }
            // A fresh connection that dies tells of a server that cannot; a rested one may just be too old.
            error.stale = self.exchanges > 1 && HUNG_UP.contains(&error.kind);
        }
        // A deadline that passes in the middle of a reply says nothing about the network.
        let is_silent = error.kind == Kind::Timeout && (!self.heard || cause.raw_os_error().is_some());
        self.suspicion = match error.kind {
            _ if error.stale => Some(self.rests_since),
            Kind::HostUnreachable | Kind::NetworkUnreachable => Some(Instant::now()),
            _ if is_silent => Some(Instant::now()),
            _ => None,
        };
        error
    }

    /// The deadline of the present exchange, as it was said first.
    fn end(&mut self, timeout: NextTimeout) -> Instant {
        *self.end.get_or_insert_with(|| deadline(timeout))
    }

    /// Takes `amount` bytes of output; the first of them begin an exchange.
    pub(super) fn transmit_output(&mut self, mut amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.heard {
            self.heard = false;
            self.end = None;
            self.exchanges = self.exchanges.saturating_add(1);
            self.wire.socket().renew();
            // Here a request begins, and nowhere else: nothing is pending, since what was written before had
            // to leave before a reply could be heard, and no reply is heard in the middle of a request, since
            // none asks for leave to go on (`client`). The HTTP crate writes the request line first and whole.
            if let Some(forwarding) = &self.forwarding {
                self.buffers.output.truncate(amount);
                amount += forwarding.rewrite(&mut self.buffers.output)?;
            }
        }
        self.buffers.pending += amount;
        let end = self.end(timeout);
        // A head and a small body leave together, when the reply is waited for.
        if self.buffers.pending > CORK_MAX_BYTES {
            self.wire.socket().set_deadline(end);
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what waits, and waits for input; false at its end.
    pub(super) fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let end = self.end(timeout);
        self.wire.socket().set_deadline(self.patience.limit(end));
        self.flush()?;
        let read = match self.wire.read(self.buffers.input_append_buf()) {
            // Before a reply, the end is a failure; so is one that this side made, which would look like
            // the proper end of a body without a length.
            Ok(0) if !self.heard || self.wire.socket().handle().is_closed() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection"))
            }
            read => read,
        };
        match (read, self.broken.take()) {
            (Ok(amount @ 1..), broken) => {
                self.broken = broken;
                self.heard = true;
                self.buffers.input_appended(amount);
                Ok(true)
            }
            (_, Some(broken)) => Err(broken),
            (Ok(_), None) => Ok(false),
            (Err(cause), None) => Err(self.failed("read the reply", &cause)),
        }
    }
}

impl Wire {
    /// The socket at the bottom: it holds the deadline, the shutdown handle and the count of what left.
    pub(super) fn socket(&mut self) -> &mut Socket {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => tls.inner.socket(),
        }
    }

    /// Whether the connection is open and silent. Bytes that nobody asked for are either a closing notice
    /// or the beginning of an answer to a question that was never put: both forbid reuse.
    fn rests(&mut self) -> bool {
        match self {
            Wire::Plain(socket) => socket.is_silent(),
            Wire::Tls(tls) => {
                // A closing notice may have come in the same record as the last reply.
                let state = tls.session.process_new_packets();
                let quiet =
                    state.is_ok_and(|state| !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0);
                quiet && tls.inner.rests()
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(buffer),
            Wire::Tls(tls) => {
                // The session encrypts into its own buffer; draining at once keeps that buffer small.
                let taken = tls.session.writer().write(buffer)?;
                tls.drain()?;
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsWire {
    /// Not rustls's own `Stream`: that one writes before it reads and fails when it cannot, so a reply that
    /// came before the peer hung up would be lost.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a closing notice is an error: it cannot be told from a truncation.
                done => return done,
            }
            // Where nothing can be written, there may still be something to read.
            let _unsent = self.drain();
            self.session.read_tls(&mut self.inner)?;
            if let Err(error) = self.session.process_new_packets() {
                // The peer deserves its alert; that it cannot be sent changes nothing.
                let _unsent = self.drain();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Writes what the session has ready.
    fn drain(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.inner)?;
        }
        Ok(())
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
