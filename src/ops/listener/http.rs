//! One HTTP/1 request in, one reply out: no more than the listener needs.
//!
//! A body is taken where somebody wants it, by its announced length alone; chunks are refused, as HTTP
//! allows. It cannot fail otherwise than by saying with which status a request is to be refused.

use std::fmt::Write;
use std::net::IpAddr;

use ureq::http::StatusCode;

use crate::url;

/// Bound of a request's head; a scraper's is a few hundred bytes.
pub(super) const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Header lines of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// HTTP/1 request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Request {
    /// As sent.
    pub(crate) method: String,
    /// Without the query, as sent.
    pub(crate) path: String,
    /// Behind the question mark, if there is one.
    pub(crate) query: Option<String>,
    /// HTTP/1.0: `Host` may be missing, and chunks are unknown.
    pub(crate) old_version: bool,
    /// In order; names in lower case, values trimmed.
    pub(crate) headers: Vec<(String, String)>,
    /// The part of the body that has come.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Takes over a parsed head, without a body.
    pub(crate) fn of(head: &httparse::Request) -> Request {
        let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let pairs = head.headers.iter().map(|one| (one.name.to_ascii_lowercase(), value(one.value)));
        let target = head.path.unwrap_or_default();
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Request {
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            old_version: head.version == Some(0),
            headers: pairs.collect(),
            body: Vec::new(),
        }
    }

    /// The first header of this name, which is given in lower case.
    #[cfg(any(feature = "dev", test))]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether no page of the web can have sent this to a listener of this name.
    pub(crate) fn is_from_here(&self, name: &str) -> bool {
        let all = |name| self.all(name).collect::<Vec<&str>>();
        is_from_here(&all("host"), &all("origin"), self.old_version, name)
    }

    /// True when a browser says that a page of another site loads this into itself; a link that a person follows is fine.
    pub(crate) fn is_of_another_site(&self) -> bool {
        let is = |name: &str, value: &str| self.all(name).any(|own| own.eq_ignore_ascii_case(value));
        let visits = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
        is("sec-fetch-site", "cross-site") && !visits
    }

    /// All headers of this name, which is given in lower case.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(own, _)| own == name);
        named.map(|(_, value)| value.as_str())
    }

    /// True when the peer sends its body only after it was told to, as some do with long ones.
    #[cfg(feature = "harpoon")]
    pub(super) fn expects_leave(&self) -> bool {
        !self.old_version && self.all("expect").any(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    /// The announced length of the body; `None` when two programs could read it differently. What fits no number
    /// is larger than any bound.
    #[cfg(feature = "harpoon")]
    pub(crate) fn announced_length(&self) -> Option<usize> {
        let lengths: Vec<&str> = self.all("content-length").collect();
        match lengths.as_slice() {
            [] => Some(0),
            [length] if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(length.parse().unwrap_or(usize::MAX))
            }
            _ => None,
        }
    }

    /// Length of the body that follows, when a length alone announces it and it is not more than `limit`.
    #[cfg(feature = "harpoon")]
    pub(super) fn body_length(&self, limit: usize) -> Result<usize, Reply> {
        if self.all("transfer-encoding").next().is_some() {
            return Err(Reply::text(411, "send the length of the body"));
        }
        match self.announced_length() {
            Some(length) if length <= limit => Ok(length),
            Some(_) => Err(Reply::text(413, format!("a body has at most {limit} bytes here"))),
            None => Err(Reply::text(400, "the length of the body is ambiguous")),
        }
    }
}

/// A reply with a text body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Status code.
    pub(crate) status: u16,
    /// Media type of the body.
    pub(crate) content_type: &'static str,
    /// Further headers; both parts are ours, so they are legal.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The whole body; pages are small.
    pub(crate) body: String,
}

/// The type of all replies of a sentence.
const PLAIN: &str = "text/plain; charset=utf-8";

impl Reply {
    /// A reply in plain text.
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Reply {
        Reply { status, content_type: PLAIN, headers: Vec::new(), body: body.into() }
    }

    /// The bytes to send. A reply to `HEAD` announces its body and leaves it out.
    pub(crate) fn bytes(&self, head_only: bool) -> Vec<u8> {
        let Reply { status, content_type, headers, body } = self;
        let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let mut out = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Error"));
        // This one has no body, and a length would announce one.
        if *status != 204 {
            // Writing to a text cannot fail.
            let _ = write!(out, "Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        out.push_str(
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n\r\n",
        );
        if !head_only {
            out.push_str(body);
        }
        out.into_bytes()
    }
}

/// Reads a head, and says how long it is. `Ok(None)`: it is not complete. `Err`: the refusal to send.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Reply> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(Some((Request::of(&head), length))),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Err(Reply::text(431, "request head too large"))
        }
        Err(_) => Err(Reply::text(400, "malformed request")),
    }
}

/// True when no page of the web can have sent this: a site may point its own name at 127.0.0.1 and so
/// read from its visitors' machines what only they can reach, but it cannot choose another `Host`.
/// `configured` is the listener's own name; empty when it has none.
pub(crate) fn is_from_here<T: AsRef<str>>(
    hosts: &[T],
    origins: &[T],
    old_version: bool,
    configured: &str,
) -> bool {
    let named = match hosts {
        [host] => is_local_authority(host.as_ref(), configured),
        // No browser speaks HTTP/1.0 or leaves the name out.
        [] => old_version,
        _ => false,
    };
    named && origins.iter().all(|origin| is_local_origin(origin.as_ref(), configured))
}

/// True when a browser page that names the listener like this can only be one of this machine:
/// `localhost`, a loopback address, or the name that the operator configured. Every other name may
/// have been pointed at us by its owner (DNS rebinding).
fn is_local_authority(authority: &str, configured: &str) -> bool {
    let Ok((host, _)) = url::host_and_port(authority) else { return false };
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || (!configured.is_empty() && host.eq_ignore_ascii_case(configured))
}

/// True for an `Origin` of such a host.
fn is_local_origin(origin: &str, configured: &str) -> bool {
    let web = |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let parts = origin.split_once("://").filter(|(scheme, _)| web(scheme));
    parts.is_some_and(|(_, authority)| is_local_authority(authority, configured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_queries_ignored() {
        let bytes = b"PUT /readyz?x=1 HTTP/1.1\r\nHOST: a:1 \r\nOrigin: http://b\r\n\r\nbody";
        let (request, length) = parse(bytes).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/readyz"));
        assert_eq!((request.header("host"), request.header("origin")), (Some("a:1"), Some("http://b")));
        assert_eq!((request.query.as_deref(), bytes.len() - length), (Some("x=1"), 4));
        assert!(!request.old_version);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost:"), Ok(None));
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().0.old_version);
    }

    #[test]
    #[cfg(feature = "harpoon")]
    fn bodies_are_taken_by_their_length_alone() {
        let length = |head: &str| {
            let bytes = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n");
            let (request, _) = parse(bytes.as_bytes()).unwrap().unwrap();
            request.body_length(100).map_err(|reply| reply.status)
        };
        assert_eq!((length("A: b"), length("Content-Length: 100")), (Ok(0), Ok(100)));
        assert_eq!(length("Content-Length: 101"), Err(413));
        assert_eq!(length("Content-Length: 99999999999999999999999"), Err(413));
        assert_eq!(length("Content-Length: +1"), Err(400));
        assert_eq!(length("Content-Length: 1\r\nContent-Length: 1"), Err(400));
        assert_eq!(length("Content-Length: 1\r\nTransfer-Encoding: chunked"), Err(411));
    }

    #[test]
    fn bad_heads_are_refused() {
        let status = |bytes: &[u8]| parse(bytes).unwrap_err().status;
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01"), 400);
        assert_eq!(status(b"GET / HTTP/9\r\n\r\n"), 400);
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(status(long.as_bytes()), 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(status(many.as_bytes()), 431);
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for local in
            ["localhost", "LocalHost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "[::1]", "box:80"]
        {
            assert!(is_local_authority(local, "box"), "{local}");
        }
        for other in
            ["", "evil.example", "localhost.evil.example", "10.0.0.1", "[::2]:1", "[::1]x", "[::1", "a:b:c"]
        {
            assert!(!is_local_authority(other, ""), "{other}");
        }
        assert!(!is_local_authority("localhost:x@evil", ""));
        assert!(is_local_origin("http://localhost:3000", ""));
        for other in ["null", "http://evil.example", "localhost", "http://"] {
            assert!(!is_local_origin(other, ""), "{other}");
        }
    }

    #[test]
    fn replies_announce_their_length() {
        let bytes = String::from_utf8(Reply::text(200, "live").bytes(false)).unwrap();
        assert!(bytes.starts_with("HTTP/1.1 200 OK\r\n") && bytes.ends_with("\r\n\r\nlive"));
        assert!(bytes.contains("Content-Length: 4\r\n") && bytes.contains("Connection: close\r\n"));
        let bytes = String::from_utf8(Reply::text(200, "live").bytes(true)).unwrap();
        assert!(bytes.contains("Content-Length: 4\r\n") && bytes.ends_with("\r\n\r\n"));
        let bytes = String::from_utf8(Reply::text(204, "").bytes(false)).unwrap();
        assert!(bytes.starts_with("HTTP/1.1 204 No Content\r\n") && !bytes.contains("Content-Length"));
    }
}
