//! Why an exchange failed: one error, its class, and the words that the wire and the metrics use for it.
//!
//! Texts name hosts and ports only. They never carry a path, a query, userinfo or a header value, because
//! they end up in logs. Everything below this room (sockets, TLS, the HTTP crate) is classified here.
//!
//! The words travel: they are matched by the product and counted by metrics, so they are fixed here, while
//! texts are for people and may change.

use std::fmt::Display;
use std::io;

/// Why an exchange failed.
#[derive(Debug)]
pub struct Error {
    /// The class.
    pub kind: Kind,
    /// Whether any byte of the request may have reached the peer. False is a promise: the peer cannot have
    /// acted on it, and sending it again cannot do anything twice. In doubt it is true.
    pub request_sent: bool,
    /// A reused connection died before the first byte of the reply: the peer had dropped it while idle.
    pub(super) stale: bool,
    /// The proxy failed, and not the destination.
    pub proxy: bool,
    /// What was wrong with the peer's certificate, when that is why.
    pub certificate: Option<CertificateFault>,
    detail: String,
}

/// What is wrong with a certificate that was refused: each is put right by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nobody who is trusted has signed it.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It belongs to another host.
    WrongName,
    /// It is an authority's, and not one that a server may show.
    OfAuthority,
    /// Anything else.
    Other,
}

/// Party or stage that failed: the published `source` of a tunnel failure, and the label of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Name resolution.
    Dns,
    /// TLS, on either side.
    Tls,
    /// The connection could not be made.
    Connect,
    /// A deadline passed.
    Timeout,
    /// The connection ended before the answer did.
    TransportClosed,
    /// The peer broke the protocol.
    Protocol,
    /// The server answered with an error status.
    TargetHttp,
    /// This program; no server was at fault.
    ClientInternal,
}

impl Source {
    /// Word of the wire, the log and the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Source::Dns => "dns",
            Source::Tls => "tls",
            Source::Connect => "connect",
            Source::Timeout => "timeout",
            Source::TransportClosed => "transport_closed",
            Source::Protocol => "protocol",
            Source::TargetHttp => "target_http",
            Source::ClientInternal => "client_internal",
        }
    }
}

/// Classes of failure, as fine as the product's words for them or as callers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The connection ended: reset by the peer.
    ConnectionReset,
    /// The connection ended: aborted on this side of the network.
    ConnectionAborted,
    /// The connection ended: end of stream before the reply began.
    Eof,
    /// The connection ended: pipe closed while writing.
    ClosedPipe,
    /// The connection ended in the middle of a head or body.
    UnexpectedEof,
    /// The connection ended in another way.
    ConnectionClosed,
    /// No connection: refused.
    Refused,
    /// No connection: network unreachable.
    NetworkUnreachable,
    /// No connection: host unreachable.
    HostUnreachable,
    /// No connection: the unix socket does not exist.
    NoSuchSocket,
    /// No connection: anything else.
    Dial,
    /// No connection: the destination, or one of its addresses, may not be dialled.
    AddressForbidden,
    /// The name was not resolved.
    Dns,
    /// TLS refused the peer, or the peer refused us.
    Tls,
    /// The peer does not speak TLS.
    NotTls,
    /// The proxy refused; the status it answered.
    Proxy(u16),
    /// The deadline passed.
    Timeout,
    /// The peer does not speak HTTP, or sent a head above the bound.
    Protocol,
    /// The body exceeds its bound, or the budget stayed spent.
    TooLarge,
    /// The request could not be put on the wire as given.
    InvalidRequest,
    /// The client was shut down.
    Shutdown,
    /// A file or setting cannot be used.
    Setup,
}

impl Error {
    /// `source` of a tunnel failure.
    pub fn source_word(&self) -> &'static str {
        self.kind.words().0.word()
    }

    /// `transport_error_kind` of a tunnel failure.
    pub fn kind_word(&self) -> &'static str {
        self.kind.words().1
    }

    /// A failure before any byte of the request left. `detail` is for people: no path, no query, no secret.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Error {
        Error {
            kind,
            request_sent: false,
            stale: false,
            proxy: false,
            certificate: None,
            detail: detail.into(),
        }
    }

    /// The same failure, after bytes may have left.
    pub fn sent(mut self, sent: bool) -> Error {
        self.request_sent = sent;
        self
    }

    /// The same failure, whose text already says that it is the proxy's.
    pub(super) fn of_proxy(mut self) -> Error {
        self.proxy = true;
        self
    }

    /// The same failure, said to be that of the proxy at `url`.
    pub(super) fn about_proxy(mut self, url: &str) -> Error {
        self.detail = format!("proxy {url}: {}", self.detail);
        self.of_proxy()
    }

    /// A connection to `peer` that could not be made.
    pub(super) fn connecting(peer: &str, cause: &io::Error) -> Error {
        let kind = match cause.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::NetworkUnreachable => Kind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => Kind::HostUnreachable,
            io::ErrorKind::NotFound => Kind::NoSuchSocket,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Kind::Timeout,
            _ => Kind::Dial,
        };
        Error::new(kind, format!("connect to {peer}: {}", cause_text(cause)))
    }

    /// A read or write that failed on an established connection. A refusal by TLS arrives wrapped as data
    /// that is invalid, so it is looked for first.
    pub(super) fn exchanging(doing: &str, cause: &io::Error) -> Error {
        let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let kind = match cause.kind() {
            _ if tls.is_some() => Kind::Tls,
            io::ErrorKind::ConnectionReset => Kind::ConnectionReset,
            io::ErrorKind::ConnectionAborted => Kind::ConnectionAborted,
            io::ErrorKind::BrokenPipe => Kind::ClosedPipe,
            io::ErrorKind::UnexpectedEof => Kind::UnexpectedEof,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Kind::Timeout,
            io::ErrorKind::NetworkUnreachable => Kind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => Kind::HostUnreachable,
            _ => Kind::ConnectionClosed,
        };
        Error::new(kind, format!("{doing}: {}", cause_text(cause)))
    }

    /// What the HTTP crate reports. Our own errors come back as they went in. The others are taken as sent,
    /// because the crate does not say how far it had come; only those that precede a connection are not.
    pub(super) fn from_ureq(error: ureq::Error) -> Error {
        match error {
            ureq::Error::Other(inner) => match inner.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => {
                    Error::new(Kind::ConnectionClosed, format!("exchange failed: {other}")).sent(true)
                }
            },
            ureq::Error::Timeout(_) => Error::new(Kind::Timeout, "the deadline passed").sent(true),
            // Only the shut down agent says so: sockets report through our own transport.
            ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::NotConnected => {
                Error::new(Kind::Shutdown, "the client was shut down")
            }
            ureq::Error::Io(cause) => Error::from_io(cause),
            ureq::Error::Protocol(cause) => Error::from_protocol(&cause),
            ureq::Error::LargeResponseHeader(..) => {
                Error::new(Kind::Protocol, "the head of the reply is too large").sent(true)
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::BodyExceedsLimit(_) => {
                Error::new(Kind::InvalidRequest, "the request has an illegal URL or header")
            }
            other => Error::new(Kind::ConnectionClosed, format!("exchange failed: {other}")).sent(true),
        }
    }

    /// What reading a body reports: the HTTP crate hides its errors inside `io::Error`. A reply had begun, so
    /// the request was sent.
    pub(super) fn from_io(cause: io::Error) -> Error {
        let hidden = cause.get_ref().is_some_and(|inner| inner.is::<ureq::Error>());
        if !hidden {
            return Error::exchanging("read the reply", &cause).sent(true);
        }
        match cause.into_inner().map(|inner| inner.downcast::<ureq::Error>()) {
            Some(Ok(inner)) => Error::from_ureq(*inner),
            _ => Error::new(Kind::ConnectionClosed, "exchange failed").sent(true),
        }
    }

    /// The HTTP crate does not export the type of its protocol errors, so its fixed texts tell them apart. A
    /// text that changed would make an illegal request look like a bad reply; a test holds the commonest.
    fn from_protocol(cause: &dyn Display) -> Error {
        /// How the texts begin that speak of the request; all of them precede its first byte.
        const OF_THE_REQUEST: [&str; 6] = [
            "output too small",
            "more than one host",
            "host header",
            "authorization header",
            "attempt to",
            "body not allowed",
        ];
        let text = bounded(cause);
        if OF_THE_REQUEST.iter().any(|start| text.starts_with(start)) {
            return Error::new(Kind::InvalidRequest, format!("the request cannot be sent: {text}"));
        }
        Error::new(Kind::Protocol, format!("the reply is not valid HTTP: {text}")).sent(true)
    }
}

impl Kind {
    /// Source and `transport_error_kind` of a tunnel failure.
    pub fn words(self) -> (Source, &'static str) {
        match self {
            Kind::Dns => (Source::Dns, "dns"),
            Kind::Tls | Kind::NotTls => (Source::Tls, "tls"),
            Kind::Timeout => (Source::Timeout, "timeout"),
            Kind::Refused => (Source::Connect, "connection_refused"),
            Kind::NetworkUnreachable => (Source::Connect, "network_unreachable"),
            Kind::HostUnreachable => (Source::Connect, "host_unreachable"),
            Kind::AddressForbidden => (Source::Connect, "address_forbidden"),
            Kind::NoSuchSocket | Kind::Dial => (Source::Connect, "dial"),
            Kind::Proxy(_) => (Source::Connect, "proxy_refused"),
            Kind::Eof => (Source::TransportClosed, "eof"),
            Kind::UnexpectedEof => (Source::TransportClosed, "unexpected_eof"),
            Kind::ClosedPipe => (Source::TransportClosed, "closed_pipe"),
            Kind::ConnectionClosed => (Source::TransportClosed, "connection_closed"),
            Kind::ConnectionReset => (Source::TransportClosed, "connection_reset"),
            Kind::ConnectionAborted => (Source::TransportClosed, "connection_aborted"),
            Kind::Protocol => (Source::Protocol, "invalid_http"),
            Kind::TooLarge => (Source::Protocol, "response_body_too_large"),
            Kind::InvalidRequest | Kind::Setup | Kind::Shutdown => (Source::ClientInternal, "unknown"),
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

/// Carries an error through the HTTP crate, unchanged; `from_ureq` takes it out again.
impl From<Error> for ureq::Error {
    fn from(error: Error) -> ureq::Error {
        ureq::Error::Other(Box::new(error))
    }
}

fn cause_text(cause: &io::Error) -> String {
    match cause.kind() {
        // With a code it is the kernel's word about a peer that is gone.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock if cause.raw_os_error().is_none() => {
            "the deadline passed".to_owned()
        }
        _ => bounded(cause),
    }
}

/// Causes may quote what a peer sent; this keeps them to one short line.
pub(super) fn bounded(cause: &dyn Display) -> String {
    /// Enough for any text of the operating system or of TLS, too little to flood a log.
    const CAUSE_MAX_CHARS: usize = 300;
    let text = cause.to_string();
    text.chars().take(CAUSE_MAX_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_class() {
        let refused = Error::connecting("h:1", &io::ErrorKind::ConnectionRefused.into());
        assert_eq!((refused.source_word(), refused.kind_word()), ("connect", "connection_refused"));
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(Error::exchanging("read", &tls).kind, Kind::Tls);
        assert_eq!(Error::new(Kind::Proxy(407), "").kind_word(), "proxy_refused");
        assert_eq!(Error::new(Kind::Shutdown, "").source_word(), "client_internal");
    }

    #[test]
    fn own_errors_survive_the_http_crate() {
        let error = ureq::Error::from(Error::new(Kind::Dns, "cannot resolve h"));
        let error = Error::from_io(error.into_io());
        assert_eq!(
            (error.kind, error.request_sent, error.to_string().as_str()),
            (Kind::Dns, false, "cannot resolve h")
        );
        let eof = Error::from_io(io::Error::new(io::ErrorKind::UnexpectedEof, "Peer disconnected"));
        assert_eq!((eof.kind, eof.request_sent), (Kind::UnexpectedEof, true));
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        let text = bounded(&format!("a\r\n\x1b[31m{}", "x".repeat(1000)));
        assert_eq!(text.len(), 300);
        assert!(text.starts_with("a???[31m"));
    }
}
