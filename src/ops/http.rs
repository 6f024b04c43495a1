//! One HTTP/1 request head in, one reply out: no more than the listener needs.
//!
//! Bodies are not read; whatever follows the head is ignored. It cannot fail otherwise than by
//! saying with which status a head is to be refused.

use std::net::IpAddr;

/// Bound of a request's head; a scraper's is a few hundred bytes.
pub(super) const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Header lines of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// What the listener needs to know of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// As sent; every one is answered alike, but for `HEAD`.
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// Whether `Host` may be missing.
    pub(super) old_version: bool,
    /// All `Host` headers; more than one is an attempt to confuse.
    pub(super) hosts: Vec<String>,
    /// All `Origin` headers; only browsers send them.
    pub(super) origins: Vec<String>,
}

/// A reply with a text body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Status code.
    pub(super) status: u16,
    /// Media type of the body.
    pub(super) content_type: &'static str,
    /// The whole body; pages are small.
    pub(super) body: String,
}

/// The type of all replies but the metrics.
const PLAIN: &str = "text/plain; charset=utf-8";

impl Reply {
    /// A reply in plain text.
    pub(super) fn text(status: u16, body: impl Into<String>) -> Reply {
        Reply { status, content_type: PLAIN, body: body.into() }
    }

    /// The bytes to send. A reply to `HEAD` announces its body and leaves it out.
    pub(super) fn bytes(&self, head_only: bool) -> Vec<u8> {
        let Reply { status, content_type, body } = self;
        let reason = reason(*status);
        let length = body.len();
        let mut out = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        );
        if !head_only {
            out.push_str(body);
        }
        out.into_bytes()
    }
}

/// The phrases of the statuses that are sent here.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// Reads a head. `Ok(None)`: it is not complete. `Err`: the refusal to send.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request>, Reply> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Reply::text(431, "request head too large"));
        }
        Err(_) => return Err(Reply::text(400, "malformed request")),
    }
    let values = |name: &str| -> Vec<String> {
        let named = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| String::from_utf8_lossy(header.value).trim().to_owned()).collect()
    };
    let target = head.path.unwrap_or_default();
    Ok(Some(Request {
        method: head.method.unwrap_or_default().into(),
        path: target.split('?').next().unwrap_or_default().into(),
        old_version: head.version == Some(0),
        hosts: values("host"),
        origins: values("origin"),
    }))
}

/// Whether a page of the web cannot have sent this: a site may point its own name at 127.0.0.1 and so
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

/// Whether a browser page that names the listener like this can only be one of this machine:
/// `localhost`, a loopback address, or the name that the operator configured. Every other name may
/// have been pointed at us by its owner (DNS rebinding).
fn is_local_authority(authority: &str, configured: &str) -> bool {
    let host = host_of(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || (!configured.is_empty() && host.eq_ignore_ascii_case(configured))
}

/// Whether an `Origin` is one of such a host.
fn is_local_origin(origin: &str, configured: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| is_local_authority(authority, configured))
}

/// The host of `host[:port]`, without brackets; empty when it is none.
fn host_of(authority: &str) -> &str {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("?"))),
            None => return "",
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let numeric = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric { host } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_queries_ignored() {
        let request = parse(b"PUT /readyz?x=1 HTTP/1.1\r\nHOST: a:1 \r\nOrigin: http://b\r\n\r\nbody")
            .unwrap()
            .unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/readyz"));
        assert_eq!((request.hosts, request.origins), (vec!["a:1".to_owned()], vec!["http://b".to_owned()]));
        assert!(!request.old_version);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost:"), Ok(None));
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().old_version);
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
    }
}
