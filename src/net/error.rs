//! Error of an exchange: its class, the words that the wire and the metrics use for it, and its cause.
//!
//! Texts name hosts and ports only. They never carry a path, a query, userinfo or a header value, because
//! they end up in logs. Everything below this room (sockets, TLS, the HTTP crate) is classified here.
//!
//! The words travel: they are matched by the product and counted by metrics, so they are fixed here, while
//! texts are for people and may change.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use super::request_state::RequestState;
use crate::text::{self, words};

/// Why an exchange failed. The text holds the causes, too; `source` gives them as values.
#[derive(Debug)]
pub struct Error {
    /// Class of the failure.
    pub kind: Kind,
    /// Whether any byte of the request may have reached the peer. False is a promise: the peer cannot have
    /// acted on it, and sending it again cannot do anything twice. In doubt it is true.
    pub request_sent: bool,
    /// A reused connection died before the first byte of the reply: the peer had dropped it while idle.
    pub(super) stale: bool,
    /// How long nothing had come since the request was written, when the peer then closed the connection instead of
    /// replying.
    pub silence: Option<Duration>,
    /// The proxy failed, and not the destination.
    pub proxy: bool,
    text: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

words! {
    /// Party or stage that failed: the published `source` of a tunnel failure, and the label of its metric.
    Source {
        /// Name resolution.
        Dns = "dns",
        /// TLS, on either side.
        Tls = "tls",
        /// The connection could not be made.
        Connect = "connect",
        /// A deadline passed.
        Timeout = "timeout",
        /// The connection ended before the answer did.
        TransportClosed = "transport_closed",
        /// The peer broke the protocol.
        Protocol = "protocol",
        /// The server answered with an error status.
        TargetHttp = "target_http",
        /// This program; no server was at fault.
        ClientInternal = "client_internal",
    }
}

/// Makes the classes of failure, each with `source` and `transport_error_kind` of a tunnel failure.
macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident $(($detail:ty))? = $source:ident $word:literal,)*) => {
        /// Classes of failure, as fine as the product's words for them or as callers tell them apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$about])* $kind $(($detail))?,)* }

        impl Kind {
            /// Source and `transport_error_kind` of a tunnel failure.
            pub fn words(self) -> (Source, &'static str) {
                match self { $(Kind::$kind { .. } => (Source::$source, $word),)* }
            }
        }
    };
}

kinds! {
    /// The connection ended: reset by the peer.
    ConnectionReset = TransportClosed "connection_reset",
    /// The connection ended: aborted on this side of the network.
    ConnectionAborted = TransportClosed "connection_aborted",
    /// The connection ended: end of stream before the reply began.
    Eof = TransportClosed "eof",
    /// The connection ended: pipe closed while writing.
    ClosedPipe = TransportClosed "closed_pipe",
    /// The connection ended in the middle of a head or body.
    UnexpectedEof = TransportClosed "unexpected_eof",
    /// The connection ended in another way.
    ConnectionClosed = TransportClosed "connection_closed",
    /// No connection: refused.
    Refused = Connect "connection_refused",
    /// No connection: network unreachable.
    NetworkUnreachable = Connect "network_unreachable",
    /// No connection: host unreachable.
    HostUnreachable = Connect "host_unreachable",
    /// No connection: the unix socket does not exist.
    NoSuchSocket = Connect "dial",
    /// No connection: anything else.
    Dial = Connect "dial",
    /// No connection: the destination, or one of its addresses, may not be dialled.
    AddressForbidden = Connect "address_forbidden",
    /// The name was not resolved.
    Dns = Dns "dns",
    /// TLS refused the peer, or the peer refused us.
    Tls = Tls "tls",
    /// The peer does not speak TLS.
    NotTls = Tls "tls",
    /// The proxy refused; the status it answered.
    Proxy(u16) = Connect "proxy_refused",
    /// The deadline passed.
    Timeout = Timeout "timeout",
    /// The peer does not speak HTTP, or sent a head above the bound.
    Protocol = Protocol "invalid_http",
    /// The body exceeds its bound, or the budget stayed spent.
    TooLarge = Protocol "response_body_too_large",
    /// The request could not be put on the wire as given.
    InvalidRequest = ClientInternal "unknown",
    /// The client was shut down.
    Shutdown = ClientInternal "unknown",
    /// A file or setting cannot be used.
    Setup = ClientInternal "unknown",
}

/// Phases of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Proxy,
    Tls,
    Send,
    FirstByte,
    Body,
}

impl Error {
    /// A failure before any byte of the request left. `text` is for people: no path, no query, no secret.
    pub fn new(kind: Kind, text: impl Into<String>) -> Error {
        let text = text.into();
        let (request_sent, stale, silence, proxy) = (false, false, None, false);
        Error { kind, request_sent, stale, silence, proxy, text, cause: None }
    }

    /// A failure that has a cause. Its text is a peer's in part, so it is cut and escaped.
    pub(super) fn caused(kind: Kind, what: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let cause = cause.into();
        Error::new(kind, format!("{what}: {}", bounded(&cause))).because(cause)
    }

    /// The same failure with a cause that its text tells already.
    pub(super) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.cause = Some(cause.into());
        self
    }

    /// A file or setting that cannot be used.
    pub(super) fn setup(text: impl Into<String>) -> Error {
        Error::new(Kind::Setup, text)
    }

    /// An exchange that this side ended.
    pub(super) fn shutdown() -> Error {
        Error::new(Kind::Shutdown, "the client was shut down")
    }

    /// A failure of the system or of TLS in this phase; `peer` completes the phase's words where they name one.
    pub(super) fn io(phase: Phase, peer: &str, cause: io::Error) -> Error {
        use io::ErrorKind::*;
        // A refusal by TLS arrives wrapped as data that is invalid.
        let is_of_tls = cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        let kind = match (cause.kind(), phase) {
            // A name that is not known in time is a fault of resolution to the operator.
            (_, Phase::Resolve) => Kind::Dns,
            _ if is_of_tls => Kind::Tls,
            (TimedOut | WouldBlock, _) => Kind::Timeout,
            // A peer that hangs up in the middle of a handshake does not like it: many servers say so with a
            // reset instead of an alert, for example when they miss a client certificate.
            (_, Phase::Tls) => Kind::Tls,
            // The destination saw nothing: whatever breaks here is a connection that could not be made.
            (_, Phase::Proxy) => Kind::Dial,
            (NetworkUnreachable, _) => Kind::NetworkUnreachable,
            (HostUnreachable, _) => Kind::HostUnreachable,
            (ConnectionRefused, Phase::Connect) => Kind::Refused,
            (NotFound, Phase::Connect) => Kind::NoSuchSocket,
            (_, Phase::Connect) => Kind::Dial,
            (ConnectionReset, _) => Kind::ConnectionReset,
            (ConnectionAborted, _) => Kind::ConnectionAborted,
            (BrokenPipe, _) => Kind::ClosedPipe,
            (UnexpectedEof, _) => Kind::UnexpectedEof,
            _ => Kind::ConnectionClosed,
        };
        let (doing, while_doing) = phase.words();
        // With a code it is the kernel's word about a peer that is gone.
        if matches!(cause.kind(), TimedOut | WouldBlock) && cause.raw_os_error().is_none() {
            let text = format!("timed out while {while_doing} {peer}");
            return Error::new(kind, text.trim_end()).because(cause);
        }
        Error::caused(kind, format!("{doing} {peer}").trim_end(), cause)
    }

    /// A failure that the HTTP crate reports. Our own errors come back as they went in.
    pub(super) fn from_ureq(error: ureq::Error, state: &RequestState) -> Error {
        let is_answered = state.is_answered();
        let error = match error {
            ureq::Error::Other(inner) => match inner.downcast::<Error>() {
                Ok(own) => return *own,
                Err(inner) => Error::caused(Kind::ConnectionClosed, "the exchange failed", inner),
            },
            ureq::Error::Io(cause) => {
                Error::io(if is_answered { Phase::Body } else { Phase::FirstByte }, "", cause)
            }
            // The crate has one type for requests that it cannot write and for replies that it cannot read. What
            // fails before a byte of the reply has come can only be the request.
            ureq::Error::Protocol(cause) if is_answered => {
                Error::caused(Kind::Protocol, "the reply is not valid HTTP", cause)
            }
            ureq::Error::Protocol(cause) => {
                Error::caused(Kind::InvalidRequest, "the request cannot be sent", cause)
            }
            ureq::Error::LargeResponseHeader(..) => {
                Error::new(Kind::Protocol, "the head of the reply is too large")
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::BodyExceedsLimit(_) => {
                Error::new(Kind::InvalidRequest, "the request has an illegal URL or header")
            }
            other => Error::caused(Kind::ConnectionClosed, "the exchange failed", other),
        };
        error.sent(state.is_sent())
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
        self.text = format!("proxy {url}: {}", self.text);
        self.of_proxy()
    }

    /// `source` of a tunnel failure.
    #[cfg(any(test, feature = "operator"))]
    pub fn source_word(&self) -> &'static str {
        self.kind.words().0.word()
    }

    /// `transport_error_kind` of a tunnel failure.
    #[cfg(any(test, feature = "operator"))]
    pub fn kind_word(&self) -> &'static str {
        self.kind.words().1
    }
}

impl Phase {
    /// Words for a failure, and for a time-out.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Phase::Resolve => ("resolve", "resolving"),
            Phase::Connect => ("connect to", "connecting to"),
            Phase::Proxy => ("ask the proxy", "waiting for the proxy"),
            Phase::Tls => ("TLS handshake with", "waiting for the TLS handshake with"),
            Phase::Send => ("send the request", "sending the request"),
            Phase::FirstByte => ("read the reply", "waiting for the reply"),
            Phase::Body => ("read the reply", "reading the reply"),
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| -> &(dyn StdError + 'static) { cause })
    }
}

/// Carries an error through the HTTP crate, unchanged; `from_ureq` takes it out again.
impl From<Error> for ureq::Error {
    fn from(error: Error) -> ureq::Error {
        ureq::Error::Other(Box::new(error))
    }
}

/// Text of a cause on one short line. It may quote what a peer sent.
pub(super) fn bounded(cause: &dyn Display) -> String {
    /// Enough for any text of the operating system or of TLS, too little to flood a log.
    const CAUSE_MAX_BYTES: usize = 300;
    text::bounded(&cause.to_string(), CAUSE_MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    #[test]
    fn words_follow_the_class() {
        let refused = Error::io(Phase::Connect, "h:1", io::ErrorKind::ConnectionRefused.into());
        assert_eq!((refused.source_word(), refused.kind_word()), ("connect", "connection_refused"));
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(Error::io(Phase::Body, "", tls).kind, Kind::Tls);
        assert_eq!(Error::new(Kind::Proxy(407), "").kind_word(), "proxy_refused");
        assert_eq!(Error::new(Kind::Shutdown, "").source_word(), "client_internal");
    }

    #[test]
    fn time_outs_name_their_phase() {
        for (phase, peer, kind, text) in [
            (Phase::Resolve, "h", Kind::Dns, "timed out while resolving h"),
            (Phase::Connect, "h:1", Kind::Timeout, "timed out while connecting to h:1"),
            (Phase::Proxy, "p", Kind::Timeout, "timed out while waiting for the proxy p"),
            (Phase::Tls, "h", Kind::Timeout, "timed out while waiting for the TLS handshake with h"),
            (Phase::Send, "", Kind::Timeout, "timed out while sending the request"),
            (Phase::FirstByte, "", Kind::Timeout, "timed out while waiting for the reply"),
            (Phase::Body, "", Kind::Timeout, "timed out while reading the reply"),
        ] {
            let error = Error::io(phase, peer, io::ErrorKind::TimedOut.into());
            assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
        }
        let by_the_kernel = Error::io(Phase::Body, "", io::Error::from_raw_os_error(110));
        assert_eq!(by_the_kernel.kind, Kind::Timeout);
        assert!(by_the_kernel.to_string().starts_with("read the reply: "), "{by_the_kernel}");
    }

    #[test]
    fn own_errors_survive_the_http_crate_and_causes_stay() {
        let state = RequestState::new(Instant::now());
        let error = ureq::Error::from(Error::new(Kind::Dns, "cannot resolve h"));
        let error = Error::from_ureq(ureq::Error::from(error.into_io()), &state);
        assert_eq!(
            (error.kind, error.request_sent, error.to_string().as_str()),
            (Kind::Dns, false, "cannot resolve h")
        );
        state.sent.store(true, Ordering::Relaxed);
        state.answered.store(true, Ordering::Relaxed);
        let eof = ureq::Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "Peer disconnected"));
        let eof = Error::from_ureq(eof, &state);
        assert_eq!((eof.kind, eof.request_sent), (Kind::UnexpectedEof, true));
        assert_eq!(eof.source().unwrap().to_string(), "Peer disconnected");
    }
}
