//! HTTP/1.1 by hand: nothing is normalised, so that a test sees what was on the wire.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Weak;
use std::time::Instant;

use serde_json::Value;

use super::BOUND;
use super::stream::Stream;

/// A head larger than this is a fault of the client.
const HEAD_MAX_BYTES: usize = 256 * 1024;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method as sent.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// Names and values in order, case and duplicates kept.
    pub headers: Vec<(String, String)>,
    /// The body, with a chunked one put together.
    pub body: Vec<u8>,
    /// When the head was complete.
    pub at: Instant,
    /// Which connection of the server it came over, counted from 1.
    pub connection: usize,
    /// Whether the connection showed a client certificate.
    pub client_certificate: bool,
    /// That certificate, as it was shown; empty without one.
    pub certificate: Vec<u8>,
    /// Whether its TLS session goes on from another connection.
    pub resumed: bool,
    /// Whether the last body byte was only looked at.
    pub(super) last_byte_queued: bool,
    /// The connection, as long as it is served; empty for unix sockets.
    pub(super) peer: Weak<TcpStream>,
}

impl Fetched {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query as sent, empty without one.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of the first query parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON-RPC method of the body, empty without one.
    pub fn rpc_method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the client still waits for its answer. Only for the script, while it runs.
    pub fn is_awaited(&self) -> bool {
        let Some(peer) = self.peer.upgrade() else {
            return true;
        };
        let _ = peer.set_nonblocking(true);
        let seen = peer.peek(&mut [0_u8; 1]);
        let _ = peer.set_nonblocking(false);
        match seen {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// The port that it came from, as long as it is served; 0 where there is none.
    pub fn port(&self) -> u16 {
        self.peer.upgrade().and_then(|peer| Some(peer.peer_addr().ok()?.port())).unwrap_or_default()
    }

    /// Everything in one text, for searches and failure messages.
    pub fn dump(&self) -> String {
        let mut out = format!("{} {}\n", self.method, self.target);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\n"));
        }
        out.push_str(&self.text());
        out
    }
}

/// Reads one request; `None` when the peer closed between requests.
pub fn read_request(stream: &mut Stream, connection: usize) -> io::Result<Option<Request>> {
    let Some(head) = read_head(stream)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    let mut request = Request {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        headers: lines.filter_map(split_header).collect(),
        body: Vec::new(),
        at: Instant::now(),
        connection,
        client_certificate: !stream.client_certificate().is_empty(),
        certificate: stream.client_certificate(),
        resumed: stream.is_resumed(),
        last_byte_queued: false,
        peer: Weak::new(),
    };
    if request.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        request.body = read_chunks(stream)?;
    } else if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        if length > 0 {
            request.body = vec![0; length];
            stream.read_exact(&mut request.body[..length - 1])?;
            let (last, queued) = stream.peek_last()?;
            request.body[length - 1] = last;
            request.last_byte_queued = queued;
        }
    }
    Ok(Some(request))
}

fn split_header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// Reads up to and including the blank line, a byte at a time so that the body stays in the socket.
pub fn read_head(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        head.push(byte[0]);
        if head.len() > HEAD_MAX_BYTES {
            return Err(io::Error::other("request head too large"));
        }
    }
    Ok(Some(head))
}

fn read_chunks(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(stream)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        if size == 0 {
            while !read_line(stream)?.is_empty() {}
            return Ok(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
    }
}

fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0_u8; 1];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// An answer of the operator's listener.
#[derive(Debug)]
pub struct Fetched {
    /// Status code.
    pub status: u16,
    /// The head as text.
    pub head: String,
    /// The body as text.
    pub body: String,
}

/// One request over plain TCP, `head` being everything after the request line.
pub fn fetch(address: &str, method: &str, path: &str, head: &str) -> io::Result<Fetched> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    exchange(stream, &format!("{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"))
}

/// Sends these bytes and reads the one reply, up to the end of the connection.
pub fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Fetched> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok(Fetched { status, head: head.to_owned(), body: body.to_owned() })
}
