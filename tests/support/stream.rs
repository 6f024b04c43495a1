//! One accepted connection, whatever it runs over.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Where a server listens.
pub enum Listener {
    /// Loopback.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener, PathBuf),
}

/// The raw connection, kept aside so that a server can cut it.
pub enum Cut {
    /// TCP, also under TLS.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
}

/// A connection that speaks.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Listener {
    /// The next connection and a handle that can cut it.
    pub fn accept(&self) -> io::Result<(Stream, Cut)> {
        match self {
            Listener::Tcp(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                let cut = Cut::Tcp(stream.try_clone()?);
                Ok((Stream::Tcp(stream), cut))
            }
            Listener::Unix(listener, _) => {
                let stream = listener.accept()?.0;
                let cut = Cut::Unix(stream.try_clone()?);
                Ok((Stream::Unix(stream), cut))
            }
        }
    }
}

impl Cut {
    /// Ends the connection in both directions.
    pub fn now(&self) {
        // An already closed connection is as good as a cut one.
        let _ = match self {
            Cut::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Cut::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Stream {
    /// Puts TLS on a TCP connection and completes the handshake.
    pub fn secure(self, config: &Arc<ServerConfig>) -> io::Result<Stream> {
        let Stream::Tcp(tcp) = self else {
            return Err(io::Error::other("TLS runs over TCP here"));
        };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// A second handle of the TCP connection.
    pub fn tcp_handle(&self) -> Option<TcpStream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().ok(),
            Stream::Tls(stream) => stream.sock.try_clone().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// The client certificate that the peer showed; empty without one.
    pub fn client_certificate(&self) -> Vec<u8> {
        let Stream::Tls(stream) = self else { return Vec::new() };
        let shown = stream.conn.peer_certificates().and_then(<[_]>::first);
        shown.map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// Whether a TLS session goes on from another connection.
    pub fn is_resumed(&self) -> bool {
        let Stream::Tls(stream) = self else { return false };
        stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// True once the peer has closed; waits up to `wait` for it.
    pub fn is_gone(&mut self, wait: Duration) -> bool {
        let mut byte = [0_u8; 1];
        let found = match self {
            Stream::Tcp(stream) => {
                let _ = stream.set_read_timeout(Some(wait));
                stream.peek(&mut byte)
            }
            Stream::Unix(stream) => {
                let _ = stream.set_read_timeout(Some(wait));
                stream.read(&mut byte)
            }
            Stream::Tls(stream) => {
                let _ = stream.sock.set_read_timeout(Some(wait));
                stream.read(&mut byte)
            }
        };
        let _ = self.set_read_timeout(None);
        match found {
            Ok(count) => {
                if count > 0 {
                    // Bytes are waiting; the peer lives, and peeking must not spin.
                    std::thread::sleep(wait);
                }
                count == 0
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Reads the last byte of a body without taking it from a TCP socket's queue, so that closing
    /// right after makes the kernel send a reset instead of an orderly end.
    pub fn peek_last(&mut self) -> io::Result<(u8, bool)> {
        let mut byte = [0_u8; 1];
        if let Stream::Tcp(stream) = self {
            if stream.peek(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok((byte[0], true));
        }
        self.read_exact(&mut byte)?;
        Ok((byte[0], false))
    }

    /// Bounds one read.
    pub fn set_read_timeout(&self, bound: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(bound),
            Stream::Unix(stream) => stream.set_read_timeout(bound),
            Stream::Tls(stream) => stream.sock.set_read_timeout(bound),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buffer),
            Stream::Unix(stream) => stream.write(buffer),
            Stream::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Unix(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
