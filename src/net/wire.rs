//! Byte stream of a connection: a socket, or TLS over another stream.

use std::io::{self, BufReader, Read, Write};

use rustls::ClientConnection;

use super::socket::Socket;

/// Stream of bytes to a peer.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    /// TLS over another wire: twice for an `https` destination behind an `https` proxy.
    Tls(Box<TlsWire>),
}

/// TLS session after its handshake, and the wire that carries it.
#[derive(Debug)]
pub(super) struct TlsWire {
    pub(super) session: ClientConnection,
    /// The session takes 4 KiB at a time; so a record of 16 KiB is one system call.
    pub(super) inner: BufReader<Wire>,
}

/// Largest record on the wire.
pub(super) const RECORD_MAX_BYTES: usize = 16 * 1024 + 2048 + 5;

impl Wire {
    /// The socket at the bottom: it holds the deadline, the shutdown handle and the count of sent bytes.
    pub(super) fn socket(&mut self) -> &mut Socket {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => tls.inner.get_mut().socket(),
        }
    }

    /// Whether the connection is open and nothing waits to be read. Bytes that nobody asked for are either a
    /// closing notice or the beginning of an answer to a question that was never put: both forbid reuse.
    pub(super) fn is_silent(&mut self) -> bool {
        match self {
            Wire::Plain(socket) => socket.is_silent(),
            Wire::Tls(tls) => {
                // A closing notice may have come in the same record as the last reply.
                let state = tls.session.process_new_packets();
                let is_quiet =
                    state.is_ok_and(|state| !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0);
                is_quiet && tls.inner.buffer().is_empty() && tls.inner.get_mut().is_silent()
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
    /// Reads plaintext. rustls's own `Stream` writes before it reads and fails when it cannot, so a reply that
    /// came before the peer hung up would be lost with it.
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
            self.session.write_tls(self.inner.get_mut())?;
        }
        Ok(())
    }
}
