//! Asks a proxy for a tunnel with CONNECT, for every kind of destination.
//!
//! Plain-http destinations are tunnelled too: an absolute URL in a request would show path and headers to
//! the proxy, and make it a party to reuse and framing.
//!
//! Credentials go up front; no challenge is ever answered, because only Basic is known and it needs none.
//! A refusal is [`Kind::Proxy`] and its text names the schemes that the proxy offered, never their parameters.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{Error, Kind};
use super::route::proxy_url;
use super::transport::Wire;
use crate::config::Proxy;

/// A larger head is not what a proxy says. Bodies (pages that explain a refusal) are not waited for, and a
/// read may bring 1 KiB of one.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// As many headers as the HTTP crate accepts of a reply. More is not valid HTTP to us.
const HEADERS_MAX: usize = 128;

/// Asks for a tunnel to `destination` (`host:port`) on a connection to the proxy, within the wire's deadline.
/// After a success the wire is at the first byte of the destination; after a failure it is of no use.
pub(super) fn connect(wire: &mut Wire, proxy: &Proxy, destination: &str) -> Result<(), Error> {
    // The destination saw nothing: whatever breaks here is a connection that could not be made.
    let io = |cause: io::Error| {
        let mut error =
            Error::exchanging(&format!("ask the proxy {} for {destination}", proxy_url(proxy)), &cause);
        if !matches!(error.kind, Kind::Timeout | Kind::Tls) {
            error.kind = Kind::Dial;
        }
        error
    };
    wire.write_all(&request(proxy, destination)).map_err(io)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = wire.read(&mut chunk).map_err(io)?;
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        match parse(&answer) {
            Parsed::Partial if count == 0 => return Err(io(io::ErrorKind::UnexpectedEof.into())),
            Parsed::Partial if answer.len() <= ANSWER_MAX_BYTES => {}
            Parsed::Whole { status: 200..=299, schemes: _, rest: 0 } => return Ok(()),
            Parsed::Whole { status, schemes, rest: _ } if !(200..=299).contains(&status) => {
                return Err(refused(proxy, destination, status, &schemes));
            }
            _ => {
                let text = format!("the proxy {} does not answer CONNECT with valid HTTP", proxy_url(proxy));
                return Err(Error::new(Kind::Protocol, text));
            }
        }
    }
}

/// No other header: a proxy needs none, and each one would be something to configure. `destination` comes from
/// a validated URL and holds no line end.
fn request(proxy: &Proxy, destination: &str) -> Vec<u8> {
    let credentials = proxy.credentials.as_ref().map(|credentials| {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials.expose()))
    });
    let credentials = credentials.unwrap_or_default();
    format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{credentials}\r\n").into_bytes()
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Partial,
    Invalid,
    /// `rest`: bytes behind the head, which nobody may send before the tunnel is used. They would be taken
    /// for the destination's, so a proxy that sends any with a success is refused.
    Whole {
        status: u16,
        schemes: Vec<String>,
        rest: usize,
    },
}

fn parse(answer: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(answer) {
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Ok(httparse::Status::Complete(length)) => Parsed::Whole {
            status: head.code.unwrap_or(0),
            schemes: head
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case("proxy-authenticate"))
                .flat_map(|header| schemes(header.value))
                .collect(),
            rest: answer.len().saturating_sub(length),
        },
        Err(_) => Parsed::Invalid,
    }
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

/// What an operator reads in the log; the status text and the realm of the proxy stay out of it, because
/// whoever answers on its port writes them.
fn refused(proxy: &Proxy, destination: &str, status: u16, schemes: &[String]) -> Error {
    let mut text =
        format!("the proxy {} refused a tunnel to {destination} with status {status}", proxy_url(proxy));
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
    Error::new(Kind::Proxy(status), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn credentials_go_up_front() {
        let mut proxy = Proxy {
            tls: false,
            host: "p".into(),
            port: 1,
            credentials: Some(Secret::new("u:p".into())),
            label: String::new(),
        };
        let text = String::from_utf8(request(&proxy, "h:443")).unwrap();
        assert_eq!(text, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
        proxy.credentials = None;
        assert!(!String::from_utf8(request(&proxy, "h:443")).unwrap().contains("Authorization"));
    }

    #[test]
    fn answers() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), Parsed::Partial);
        assert_eq!(parse(b"HTTP/1.0 204\r\n\r\n"), Parsed::Whole { status: 204, schemes: vec![], rest: 0 });
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n"), Parsed::Invalid);
        let Parsed::Whole { rest, .. } = parse(b"HTTP/1.1 200 OK\r\n\r\nxy") else { panic!() };
        assert_eq!(rest, 2);
    }

    #[test]
    fn scheme_words_only() {
        let answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: Basic realm=\"a, b\", charset=\"UTF-8\", NTLM\r\n\r\n";
        let Parsed::Whole { schemes, .. } = parse(answer) else { panic!() };
        assert_eq!(schemes, ["Negotiate", "Basic", "NTLM"]);
    }
}
