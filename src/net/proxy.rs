//! Proxy protocol: CONNECT makes the connection one to the destination, and requests in absolute form ask the proxy
//! to forward them.
//!
//! CONNECT is for TLS, and for endpoints of Harpoon, which others choose: there a proxy may see no more than
//! host and port. Plain http that an operator configured is forwarded, as every client does: many proxies allow
//! CONNECT to port 443 alone.
//!
//! Credentials go up front; no challenge is ever answered, because only Basic is known and it needs none. They
//! stand in what this file writes and nowhere else. A refusal is [`Kind::Proxy`] and its text names the schemes
//! that the proxy offered, never their parameters.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use ureq::http::HeaderMap;
use ureq::http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, VIA};

use super::error::{Error, Kind, Phase};
use super::route::proxy_url;
use super::wire::Wire;
use crate::config::{Origin, Proxy, Secret};

/// A larger head is not what a proxy says. Bodies (pages that explain a refusal) are not waited for, and a
/// read may bring 1 KiB of one.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// Number of headers that the HTTP crate accepts of a reply. More is not valid HTTP to us.
const HEADERS_MAX: usize = 128;

/// Asks for a tunnel to `destination` on a connection to the proxy, within the wire's deadline. After a success
/// the wire is at the first byte of the destination; after a failure it is of no use.
pub(super) fn connect(wire: &mut Wire, proxy: &Proxy, destination: &Origin) -> Result<(), Error> {
    let place = destination.authority();
    // No other header: a proxy needs none, and each one would be something to configure.
    let head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{}\r\n", authorization(proxy));
    match round_trip(wire, proxy, &place, &head)? {
        Answer { status: 200..=299, rest: 0, .. } => Ok(()),
        // Bytes behind the head, which nobody may send before the tunnel is used, would be taken for the
        // destination's.
        Answer { status: 200..=299, .. } => Err(invalid(proxy)),
        Answer { status, schemes, .. } => {
            Err(refused(proxy, &format!("refused a tunnel to {place}"), status, &schemes))
        }
    }
}

/// Asks whether the proxy would forward requests to `destination`. It may not forward this one (RFC 9110,
/// 7.6.2); where it does all the same, nothing is done by it.
pub(super) fn ask(wire: &mut Wire, proxy: &Proxy, destination: &Origin) -> Result<(), Error> {
    let place = destination.authority();
    let head = format!(
        "OPTIONS {destination} HTTP/1.1\r\nHost: {place}\r\nMax-Forwards: 0\r\nConnection: close\r\n{}\r\n",
        authorization(proxy)
    );
    match round_trip(wire, proxy, &place, &head)? {
        // Any other answer comes from where requests would be answered, too.
        Answer { status: status @ (403 | 407 | 502..=504), schemes, .. } => {
            Err(refused(proxy, &format!("refused requests to {place}"), status, &schemes))
        }
        _ => Ok(()),
    }
}

/// Form of requests on a connection whose proxy forwards them.
#[derive(Debug)]
pub(super) struct Forwarding {
    origin: String,
    authorization: Secret,
}

impl Forwarding {
    /// For requests to `destination`, which is the only one that such a connection is used for.
    pub(super) fn new(proxy: &Proxy, destination: &Origin) -> Forwarding {
        Forwarding { origin: destination.to_string(), authorization: Secret::new(authorization(proxy)) }
    }

    /// Puts the request line at the front of `output` into absolute form and the proxy's credentials behind it;
    /// gives by how much that is longer. The caller vouches that a head begins there. A line of another form
    /// than `GET /path HTTP/1.1` fails, before any byte of it was written.
    pub(super) fn rewrite(&self, output: &mut Vec<u8>) -> Result<usize, Error> {
        let wrong = || Error::new(Kind::InvalidRequest, "the request line cannot be put into absolute form");
        let line_end = output.windows(2).position(|pair| pair == b"\r\n").ok_or_else(wrong)?;
        let line = output.get(..line_end).unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !target.starts_with(b"/") || words.next() != Some(b"HTTP/1.1") || words.next().is_some() {
            return Err(wrong());
        }
        let target_start = method.len() + 1;
        let authorization = self.authorization.expose().as_bytes();
        output.splice(line_end + 2..line_end + 2, authorization.iter().copied());
        output.splice(target_start..target_start, self.origin.bytes());
        Ok(self.origin.len() + authorization.len())
    }
}

/// Whether a reply to a forwarded request is the proxy's own, which failed then. A 407 always is, and what names
/// an error of the proxy (RFC 9209, and Squid's word for it). A 502, 503 or 504 is where the proxy says that it
/// was there, which it does on every reply; so one with a body that MCP servers send is left to them.
pub(super) fn failure(
    proxy: &Proxy,
    destination: &Origin,
    status: u16,
    headers: &HeaderMap,
) -> Option<Error> {
    let has = |name: &str, part: &str| {
        let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.any(|value| value.to_ascii_lowercase().contains(part))
    };
    let of_server = || has(CONTENT_TYPE.as_str(), "json") || has(CONTENT_TYPE.as_str(), "event-stream");
    let is_own = match status {
        407 => true,
        400.. if has(PROXY_STATUS, "error=") || has("x-squid-error", "") => true,
        502..=504 => (has(VIA.as_str(), "") || has(PROXY_STATUS, "")) && !of_server(),
        _ => false,
    };
    let offered = headers.get_all(PROXY_AUTHENTICATE).iter();
    let offered: Vec<_> = offered.flat_map(|value| schemes(value.as_bytes())).collect();
    let what = format!("refused requests to {}", destination.authority());
    // Whether the destination saw the request is only known to the proxy.
    is_own.then(|| refused(proxy, &what, status, &offered).sent(true))
}

/// RFC 9209.
const PROXY_STATUS: &str = "proxy-status";

/// The header line of the proxy's credentials, or nothing.
fn authorization(proxy: &Proxy) -> String {
    let credentials = proxy.credentials.as_ref().map(|credentials| {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials.expose()))
    });
    credentials.unwrap_or_default()
}

/// The head of an answer, and how many bytes came behind it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    schemes: Vec<String>,
    rest: usize,
}

/// Writes a head without a body and reads the head of the answer. `head` is put together from validated URLs
/// and holds no line end but its own.
fn round_trip(wire: &mut Wire, proxy: &Proxy, place: &str, head: &str) -> Result<Answer, Error> {
    let peer = format!("{} for {place}", proxy_url(proxy));
    let io = |cause: io::Error| Error::io(Phase::Proxy, &peer, cause).of_proxy();
    wire.write_all(head.as_bytes()).map_err(io)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = wire.read(&mut chunk).map_err(io)?;
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        match parse(&answer) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if count == 0 => return Err(io(io::ErrorKind::UnexpectedEof.into())),
            Ok(None) if answer.len() <= ANSWER_MAX_BYTES => {}
            _ => return Err(invalid(proxy)),
        }
    }
}

/// Reads the head of an answer; `None` while it has not come whole.
fn parse(answer: &[u8]) -> Result<Option<Answer>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer)? else { return Ok(None) };
    let named = |name: &str| PROXY_AUTHENTICATE.as_str().eq_ignore_ascii_case(name);
    let offered = head.headers.iter().filter(|header| named(header.name));
    Ok(Some(Answer {
        status: head.code.unwrap_or(0),
        schemes: offered.flat_map(|header| schemes(header.value)).collect(),
        rest: answer.len().saturating_sub(length),
    }))
}

/// The scheme words of one challenge header: `Basic realm="a, b", NTLM` offers `Basic` and `NTLM`.
fn schemes(value: &[u8]) -> Vec<String> {
    /// More than these do not help the reader of a log line.
    const SCHEMES_MAX: usize = 8;
    let value = String::from_utf8_lossy(value);
    // Realms may contain commas. An escaped quote inside one can at worst offer a word too many.
    let mut quoted = false;
    let pieces = value.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let words = pieces.filter_map(|piece| piece.split_whitespace().next());
    // `realm="x"` behind a comma is a parameter of the scheme before it. The rest goes into a log line.
    let schemes = words.filter(|word| {
        word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    });
    schemes.take(SCHEMES_MAX).map(str::to_owned).collect()
}

fn invalid(proxy: &Proxy) -> Error {
    let text = format!("the proxy {} does not answer with valid HTTP", proxy_url(proxy));
    Error::new(Kind::Protocol, text).of_proxy()
}

/// Refusal by the proxy, as an operator reads it in the log; the status text and the realm of the proxy stay out of
/// it, because whoever answers on its port writes them.
fn refused(proxy: &Proxy, what: &str, status: u16, schemes: &[String]) -> Error {
    let mut text = format!("the proxy {} {what} with status {status}", proxy_url(proxy));
    if status == 407 {
        let offered = if schemes.is_empty() { "no scheme".to_owned() } else { schemes.join(", ") };
        let basic = schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
        text.push_str(&format!(" (authentication required; it offers {offered}); "));
        text.push_str(match (basic, proxy.credentials.is_some()) {
            (true, true) => "check the user name and password in the proxy URL",
            (true, false) => "put user:password@ into the proxy URL",
            (false, _) => {
                "only Basic is supported: use another proxy, or a local helper that signs in to this one"
            }
        });
    }
    Error::new(Kind::Proxy(status), text).of_proxy()
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/connect_reply.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(credentials: Option<&str>) -> Proxy {
        let credentials = credentials.map(|text| Secret::new(text.into()));
        let origin = Origin { tls: false, host: "p".into(), port: 1 };
        Proxy { origin, credentials, label: String::new() }
    }

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    fn rewritten(url: &str, credentials: Option<&str>, head: &[u8]) -> Result<String, Kind> {
        let mut output = head.to_vec();
        let forwarding = Forwarding::new(&proxy(credentials), &origin(url));
        let longer = forwarding.rewrite(&mut output).map_err(|error| error.kind)?;
        assert_eq!(output.len(), head.len() + longer);
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn requests_are_put_into_absolute_form() {
        let head = b"GET /a?b=/ HTTP/1.1\r\nhost: h\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(
            rewritten("http://h/", Some("u:p"), head).unwrap(),
            "GET http://h/a?b=/ HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\nhost: h\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        );
        let line = rewritten("http://[::1]:8080", None, b"POST / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(line, "POST http://[::1]:8080/ HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn what_is_no_request_line_is_not_sent() {
        for head in [
            "",
            "\r\n",
            "GET / HTTP/1.1",
            "GET / HTTP/1.0\r\n",
            "GET a HTTP/1.1\r\n",
            "GET http://other/ HTTP/1.1\r\n",
            "GET / HTTP/1.1 x\r\n",
            "GET /a b HTTP/1.1\r\n",
            "{\"a\": \"/ HTTP/1.1\"}\r\n",
        ] {
            assert_eq!(
                rewritten("http://h/", Some("u:p"), head.as_bytes()),
                Err(Kind::InvalidRequest),
                "{head:?}"
            );
        }
        assert!(
            !format!("{:?}", Forwarding::new(&proxy(Some("u:p")), &origin("http://h/"))).contains("dTpw")
        );
    }

    #[test]
    fn replies_of_the_proxy_are_told_from_those_behind_it() {
        let own = |status: u16, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let error = failure(&proxy(None), &origin("http://h/"), status, &map)?;
            assert!(error.request_sent && error.proxy, "{error}");
            Some(error.to_string())
        };
        let via = ("via", "1.1 squid");
        assert_eq!(
            own(503, &[via]).unwrap(),
            "the proxy http://p:1 refused requests to h:80 with status 503"
        );
        assert!(own(407, &[("proxy-authenticate", "NTLM")]).unwrap().contains("it offers NTLM"));
        assert!(
            own(504, &[("proxy-status", "p; error=connection_timeout"), ("content-type", "a/json")])
                .is_some()
        );
        assert!(own(403, &[("x-squid-error", "ERR_ACCESS_DENIED 0")]).is_some());
        assert!(own(502, &[("proxy-status", "p"), ("content-type", "text/html")]).is_some());
        assert_eq!(own(503, &[]), None);
        assert_eq!(own(503, &[via, ("content-type", "Application/JSON; charset=utf-8")]), None);
        assert_eq!(own(502, &[via, ("content-type", "text/event-stream")]), None);
        assert_eq!(own(500, &[via]), None);
        assert_eq!(own(200, &[via, ("proxy-status", "p; error=x")]), None);
    }

    #[test]
    fn answers() {
        let whole = |status, rest| Ok(Some(Answer { status, schemes: Vec::new(), rest }));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(parse(b"HTTP/1.0 204\r\n\r\n"), whole(204, 0));
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_err());
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nxy"), whole(200, 2));
    }

    #[test]
    fn scheme_words_only() {
        let answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: Basic realm=\"a, b\", charset=\"UTF-8\", NTLM\r\n\r\n";
        let Answer { schemes, .. } = parse(answer).unwrap().unwrap();
        assert_eq!(schemes, ["Negotiate", "Basic", "NTLM"]);
    }
}
