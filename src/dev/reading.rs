//! Reads requests off a connection: heads by `httparse`, bodies by length or in chunks.
//!
//! Every read has a bound in size and in time. It fails with the refusal that the peer is to get, or with
//! none when nobody is there to read one; either way the connection is at its end.

use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::ops::listener::http::Request;

/// Most bytes of a head, and of what follows the last chunk.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most header lines; clients send about twenty.
const HEADERS_MAX: usize = 128;

/// Most bytes of a body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a connection may be silent between two requests.
const IDLE_TIME: Duration = Duration::from_secs(120);

/// How long a head may take once it has begun.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a body may take; on one host the largest needs a second.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Longest line that announces a chunk: a number, and extensions that nobody uses.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// What is wrong with a request: the status and the text to refuse it with.
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str);

/// Why there is no request.
pub(super) enum End {
    /// The peer has gone, or was silent for too long. There is nothing to say to it.
    Silent,
    /// It sent something that is not taken.
    Refused(Refusal),
}

/// A request and what its connection has to know of it.
pub(super) struct Incoming {
    pub(super) request: Request,
    /// The connection may carry another one.
    pub(super) keep: bool,
}

/// The receiving side of a connection.
pub(super) struct Reader<'a> {
    stream: &'a Stream,
    /// What was received and not used yet.
    waiting: Vec<u8>,
}

/// How a body ends.
enum Framing {
    Length(usize),
    Chunks,
}

/// A head, and what it says about the rest.
struct Head {
    request: Request,
    bytes: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(stream: &'a Stream) -> Reader<'a> {
        Reader { stream, waiting: Vec::new() }
    }

    /// The next request, with its whole body, which is not read unless the head is admitted.
    pub(super) fn next(&mut self, admit: impl Fn(&Request) -> Result<(), Refusal>) -> Result<Incoming, End> {
        let Head { mut request, bytes } = self.head()?;
        self.waiting.drain(..bytes);
        admit(&request).map_err(End::Refused)?;
        let framing = framing(&request)?;
        let end = Instant::now() + BODY_TIME;
        let empty = matches!(framing, Framing::Length(0));
        let expects = request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue"));
        if expects && !empty && !request.old_version {
            self.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| End::Silent)?;
        }
        request.body = match framing {
            Framing::Length(length) => self.take(length, end)?,
            Framing::Chunks => self.chunks(end)?,
        };
        let closes = |value: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        let close = request.all("connection").any(closes);
        let keep = !close && !request.old_version;
        Ok(Incoming { request, keep })
    }

    fn head(&mut self) -> Result<Head, End> {
        let mut end = Instant::now() + if self.waiting.is_empty() { IDLE_TIME } else { HEAD_TIME };
        loop {
            match parse(&self.waiting)? {
                Some(head) if head.bytes <= HEAD_BYTES_MAX => return Ok(head),
                None if self.waiting.len() <= HEAD_BYTES_MAX => {}
                _ => return refused(431, "the request's head is too large"),
            }
            let begun = !self.waiting.is_empty();
            self.more(end)?;
            if !begun {
                end = Instant::now() + HEAD_TIME;
            }
        }
    }

    /// The next bytes.
    fn take(&mut self, length: usize, end: Instant) -> Result<Vec<u8>, End> {
        while self.waiting.len() < length {
            self.more(end)?;
        }
        let rest = self.waiting.split_off(length);
        Ok(std::mem::replace(&mut self.waiting, rest))
    }

    fn chunks(&mut self, end: Instant) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            let (line, size) = match httparse::parse_chunk_size(&self.waiting) {
                // A line without a number is none, although the parser takes it for zero.
                Ok(httparse::Status::Complete(found))
                    if self.waiting.first().is_some_and(u8::is_ascii_hexdigit) =>
                {
                    found
                }
                Ok(httparse::Status::Partial) if self.waiting.len() <= CHUNK_LINE_BYTES_MAX => {
                    self.more(end)?;
                    continue;
                }
                _ => return refused(400, "a chunk of the request's body is malformed"),
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_BYTES_MAX.saturating_sub(body.len()) {
                return refused(413, "the request's body is larger than 64 MiB");
            }
            self.waiting.drain(..line);
            if size == 0 {
                self.trailer(end)?;
                return Ok(body);
            }
            body.append(&mut self.take(size, end)?);
            if self.take(2, end)? != b"\r\n" {
                return refused(400, "a chunk of the request's body is malformed");
            }
        }
    }

    /// Reads what may follow the last chunk, up to the empty line, and forgets it.
    fn trailer(&mut self, end: Instant) -> Result<(), End> {
        let mut read = 0;
        loop {
            let Some(line) = self.waiting.iter().position(|byte| *byte == b'\n') else {
                if self.waiting.len() > HEAD_BYTES_MAX {
                    return refused(431, "the request's trailer is too large");
                }
                self.more(end)?;
                continue;
            };
            read += line;
            if read > HEAD_BYTES_MAX {
                return refused(431, "the request's trailer is too large");
            }
            let line: Vec<u8> = self.waiting.drain(..=line).collect();
            if line == b"\r\n" || line == b"\n" {
                return Ok(());
            }
        }
    }

    /// Receives something.
    fn more(&mut self, end: Instant) -> Result<(), End> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read_until(&mut buffer, end).map_err(|_| End::Silent)?;
        self.waiting.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count == 0 { Err(End::Silent) } else { Ok(()) }
    }
}

fn refused<T>(status: u16, text: &'static str) -> Result<T, End> {
    Err(End::Refused(Refusal(status, text)))
}

/// Reads a head; `None` while it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Head>, End> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return refused(431, "the request has too many headers"),
        Err(_) => return refused(400, "the request is malformed"),
    };
    Ok(Some(Head { request: Request::of(&head), bytes: length }))
}

/// How the body ends. What two programs could read differently is refused.
fn framing(request: &Request) -> Result<Framing, End> {
    let codings: Vec<&str> = request.all("transfer-encoding").collect();
    let has_length = request.header("content-length").is_some();
    match (codings.as_slice(), request.announced_length()) {
        ([], Some(length)) if length <= BODY_BYTES_MAX => Ok(Framing::Length(length)),
        ([], Some(_)) => refused(413, "the request's body is larger than 64 MiB"),
        ([coding], _) if !has_length && coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunks),
        ([_], _) if !has_length => refused(501, "only chunked transfer encoding is understood"),
        _ => refused(400, "the length of the request's body is ambiguous"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// What comes out of these bytes.
    fn read(bytes: &[u8]) -> Result<(Incoming, String), u16> {
        let (mut peer, own) = UnixStream::pair().unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let stream = Stream::Unix(own);
        let mut reader = Reader::new(&stream);
        match reader.next(|_| Ok(())) {
            Ok(incoming) => Ok((incoming, String::from_utf8(reader.waiting).unwrap())),
            Err(End::Silent) => Err(0),
            Err(End::Refused(Refusal(status, _))) => Err(status),
        }
    }

    #[test]
    fn requests_are_read_whole_and_what_follows_waits() {
        let (incoming, rest) =
            read(b"POST /a?b=c HTTP/1.1\r\nHOST: h\r\nContent-Length: 3\r\n\r\nabcGET").unwrap();
        let request = &incoming.request;
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a"));
        assert_eq!((request.query.as_deref(), request.body.as_slice()), (Some("b=c"), &b"abc"[..]));
        assert_eq!((request.header("host"), rest.as_str(), incoming.keep), (Some("h"), "GET", true));
        let chunks = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: x, Close\r\n\r\n\
            2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\nrest";
        let (incoming, rest) = read(chunks).unwrap();
        assert_eq!((incoming.request.body.as_slice(), rest.as_str()), (&b"abc"[..], "rest"));
        assert!(!incoming.keep);
        assert!(read(b"GET / HTTP/1.0\r\n\r\n").unwrap().0.request.old_version);
    }

    #[test]
    fn what_is_ambiguous_or_too_large_is_refused() {
        let status = |head: &str| read(format!("POST / HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).err();
        assert_eq!(status("Content-Length: 67108865"), Some(413));
        assert_eq!(status("Content-Length: 99999999999999999999999"), Some(413));
        assert_eq!(status("Content-Length: +1"), Some(400));
        assert_eq!(status("Content-Length: 1\r\nContent-Length: 1"), Some(400));
        assert_eq!(status("Content-Length: 1\r\nTransfer-Encoding: chunked"), Some(400));
        assert_eq!(status("Transfer-Encoding: gzip"), Some(501));
        assert_eq!(status("Transfer-Encoding: chunked\r\n\r\n5000000"), Some(413));
        assert_eq!(status("Transfer-Encoding: chunked\r\n\r\nxyz"), Some(400));
        assert_eq!(status("Transfer-Encoding: chunked\r\n\r\n\r\n"), Some(400));
        assert_eq!(status("Transfer-Encoding: chunked\r\n\r\n;x\r\n"), Some(400));
        assert_eq!(status(&format!("A: {}", "x".repeat(HEAD_BYTES_MAX))), Some(431));
        assert_eq!(status(&"A: b\r\n".repeat(HEADERS_MAX + 1)), Some(431));
        assert_eq!(read(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").err(), Some(400));
        assert_eq!(read(b"GET / HT").err(), Some(0));
    }
}
