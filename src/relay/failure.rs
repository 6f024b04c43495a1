//! Turns failures into wire JSON. Nothing else in the program writes a JSON-RPC error.
//!
//! What goes out is bounded and says only the class of a failure: no URL, no body of the server, no
//! text of an exception. A private server's answers, even its mistakes, are nobody's business beyond
//! the tunnel. The cause stays in [`Failure::cause`], for the local log.

use std::time::Duration;

use serde_json::json;
use ureq::http::StatusCode;

use crate::net;
pub use crate::net::Source;

use super::headers::ReplyHeaders;
use super::payload::Payload;

/// JSON-RPC "internal error", the code of everything that the tunnel itself reports.
const INTERNAL_ERROR: i64 = -32603;

/// JSON-RPC "invalid params": a caller who asks again in the same words gets the same answer.
const INVALID_PARAMS: i64 = -32602;

/// What the revision 2026-07-28 calls a header that contradicts the body.
const HEADER_MISMATCH: i64 = -32020;

/// JSON-RPC "method not found".
pub const METHOD_NOT_FOUND: i64 = -32601;

/// Code of what the tunnel answers in a server's place while nothing has failed.
const SERVER_ERROR: i64 = -32000;

/// Makes the enumeration of failures and their table: the status that is posted, the published `source`, the published
/// `transport_error_kind`, and for what the tunnel says in its own name a code and a message.
macro_rules! classes {
    ($($(#[$about:meta])* $class:ident = $status:literal $source:ident $word:literal $($code:ident $text:literal)?,)*) => {
        /// Failure class: how a command can end without an answer of its server. The posted JSON, the log and the
        /// metrics take their words from its row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Class {
            /// The exchange with the server broke.
            Exchange(net::Kind),
            $($(#[$about])* $class,)*
        }

        impl Class {
            fn row(self) -> (u16, Source, &'static str) {
                match self {
                    Class::Exchange(kind) => (502, kind.words().0, kind.words().1),
                    $(Class::$class => ($status, Source::$source, $word),)*
                }
            }

            /// Code and message of what the tunnel says in its own name, where nothing has failed on the way to a
            /// server. The word of the class stands beside them.
            fn own(self) -> Option<(i64, &'static str)> {
                match self {
                    Class::Exchange(_) => None,
                    $(Class::$class => [$(($code, $text))?].first().copied(),)*
                }
            }
        }
    };
}

// Illegal headers are 502 as with the reference, where they fail the connection.
classes! {
    /// The time that the caller gave is over.
    Deadline = 504 Timeout "timeout" SERVER_ERROR "the server did not answer in time",
    /// The reply is compressed, which was not asked for.
    Encoding = 502 Protocol "unsupported_encoding",
    /// The reply has no body.
    NoBody = 502 Protocol "response_body_missing",
    /// The body is larger than its bound, or the byte budget stayed spent.
    BodyTooLarge = 502 Protocol "response_body_too_large",
    /// The body could not be read to its end.
    BodyUnreadable = 502 Protocol "response_body_unreadable",
    /// The body is not JSON.
    MalformedJson = 502 Protocol "malformed_json",
    /// The body holds no answer to the request.
    InvalidAnswer = 502 Protocol "invalid_protocol_response",
    /// The body of an error status is no JSON-RPC error.
    InvalidError = 502 Protocol "invalid_mcp_error",
    /// Something on this side; no server was at fault.
    Internal = 502 ClientInternal "unknown",
    /// The payload is no JSON-RPC message.
    InvalidMessage = 400 ClientInternal "invalid_mcp_request",
    /// A header has a name or value that HTTP does not allow, or there are too many.
    InvalidHeader = 502 ClientInternal "invalid_header",
    /// A session is to be ended, but none is named.
    NoSession = 400 ClientInternal "missing_session",
    /// The command is larger than what is held of one poll.
    CommandTooLarge = 413 ClientInternal "command_too_large",
    /// The subscription is larger than one may be.
    SubscriptionTooLarge = 413 ClientInternal "subscription_too_large",
    /// As many subscriptions as there are workers for them are open.
    SubscriptionLimit = 503 ClientInternal "subscription_limit",
    /// The channel lags behind, and the other channels need the places that are left.
    ChannelBusy = 503 ClientInternal "channel_busy",
    /// The operator's policy refuses it.
    PolicyDenied = 200 ClientInternal "policy_denied" INVALID_PARAMS "refused by the operator's policy",
    /// What was accepted of the channel's tools cannot be compared with what its server offers.
    ToolsUnknown = 503 ClientInternal "tools_unknown" SERVER_ERROR "the tools of the server cannot be compared now",
    /// A limit of the operator's policy is reached.
    RateLimited = 429 ClientInternal "rate_limited" SERVER_ERROR "the operator's limit is reached",
    /// A header and the body name different things.
    HeaderMismatch = 400 ClientInternal "header_mismatch" HEADER_MISMATCH "a header differs from the body",
    /// The audit log, without which nothing may run, cannot be written.
    AuditUnavailable = 503 ClientInternal "audit_unavailable" SERVER_ERROR "the audit log cannot be written",
}

impl Class {
    /// Whether the operator's settings refuse the command. Who refuses says so in the log, with the rule.
    pub fn is_refusal(self) -> bool {
        self != Class::Deadline && self.own().is_some()
    }

    /// The published `transport_error_kind`.
    pub fn word(self) -> &'static str {
        self.row().2
    }
}

impl From<net::Kind> for Class {
    fn from(kind: net::Kind) -> Class {
        Class::Exchange(kind)
    }
}

/// A command that has no answer of its server.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The status that is posted.
    pub status: u16,
    /// Who failed.
    pub source: Source,
    /// How.
    pub class: Class,
    /// Whether the server answered at all.
    pub answered: bool,
    /// The server's status, when it was an error status.
    pub upstream_status: Option<u16>,
    /// Headers of the server's reply that may pass.
    pub headers: ReplyHeaders,
    /// How long the caller should wait before asking again, where that is known.
    pub retry_after: Option<Duration>,
    /// What happened, for the local log only.
    pub cause: String,
}

impl Failure {
    /// A failure of this class. The server has answered where the class says that its reply is at fault.
    pub fn new(class: impl Into<Class>, cause: impl Into<String>) -> Failure {
        let class = class.into();
        let (status, source, _) = class.row();
        let answered = source == Source::Protocol && !matches!(class, Class::Exchange(_));
        let (headers, cause) = (ReplyHeaders::default(), cause.into());
        let (upstream_status, retry_after) = (None, None);
        Failure { status, source, class, answered, upstream_status, headers, retry_after, cause }
    }

    /// The exchange with the server broke.
    pub fn transport(error: &net::Error) -> Failure {
        Failure::new(error.kind, error.to_string())
    }

    /// The whole call took longer than it may.
    pub fn timeout() -> Failure {
        Failure::new(net::Kind::Timeout, "connection-max-ttl reached")
    }

    /// The caller's own time is over.
    pub fn expired() -> Failure {
        Failure::new(Class::Deadline, "response deadline reached")
    }

    /// The server answered with a status outside 2xx and no JSON-RPC error of its own. Statuses that
    /// report no error (a refused redirect, say) are a breach of protocol, and the contract reserves
    /// `upstream_status` for those that do.
    pub fn status(status: u16, class: Class, headers: ReplyHeaders) -> Failure {
        let target = (400..=599).contains(&status);
        Failure {
            status,
            source: if target { Source::TargetHttp } else { Source::Protocol },
            upstream_status: target.then_some(status),
            headers: headers.with_json_content(),
            ..Failure::new(class, format!("the server answered {status}"))
        }
    }

    /// The JSON-RPC error for the request with this id (as it was written), or for none.
    pub fn payload(&self, id: Option<&str>) -> Payload {
        if let Some((code, message)) = self.class.own() {
            let mut data = json!({ "origin": "tunnel-client", "error_type": self.class.word() });
            if let (Some(members), Some(wait)) = (data.as_object_mut(), self.retry_after) {
                let ms = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
                members.insert("retry_after_ms".into(), ms.into());
            }
            return Payload::own(error(id, code, message, Some(&data)));
        }
        let mut failure = json!({
            "version": 1,
            "source": self.source.word(),
            "transport_error_kind": self.class.word(),
            "upstream_response_received": self.answered,
        });
        if let (Some(members), Some(status)) = (failure.as_object_mut(), self.upstream_status) {
            members.insert("upstream_status".into(), status.into());
        }
        let message = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let message = message.unwrap_or("MCP transport error");
        let data = json!({ "tunnel_failure": failure });
        Payload::own(error(id, INTERNAL_ERROR, message, Some(&data)))
    }
}

/// The answer to a message for a channel that is not served here.
pub fn unsupported_channel(id: Option<&str>, channel: &str) -> Payload {
    let message = format!("Bad Request: unsupported channel \"{channel}\"");
    Payload::own(error(id, INTERNAL_ERROR, &message, None))
}

/// The answer to a discovery command that cannot be served, in the shape of the plane's own errors.
pub fn discovery_error(kind: &str, code: &str, message: &str) -> Payload {
    let error = json!({ "error": { "message": message, "type": kind, "code": code } });
    Payload::own(error.to_string())
}

/// The answer to a request of the server, which only the product could serve. A refusal is better than silence: who
/// waits for sampling or roots would never go on.
pub fn answer_to_server(method: Option<&str>, id: &str) -> String {
    match method {
        Some("ping") => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}"),
        _ => method_not_found(id),
    }
}

/// Tells a server that nobody waits for the answer to this request any more.
pub fn cancellation(id: &str) -> String {
    let params = format!("{{\"requestId\":{id},\"reason\":\"deadline\"}}");
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{params}}}")
}

/// The answer to a request that nobody here serves.
pub fn method_not_found(id: &str) -> String {
    error(Some(id), METHOD_NOT_FOUND, "Method not found", None)
}

/// One JSON-RPC error. Without an id the member is left out. Ids are put in as they were written: they
/// are literals that [`super::message`] has read, so they cannot break out of their place; all other
/// text goes through the encoder.
pub(crate) fn error(id: Option<&str>, code: i64, message: &str, data: Option<&serde_json::Value>) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    let message = serde_json::Value::from(message);
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &Payload) -> String {
        String::from_utf8(payload.parts().concat()).unwrap()
    }

    #[test]
    fn a_server_error_names_its_status_and_nothing_else() {
        let failure = Failure::status(503, Class::MalformedJson, ReplyHeaders::default());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text(&failure.payload(Some("\"a\"")))).unwrap(),
            json!({"jsonrpc":"2.0","id":"a","error":{"code":-32603,"message":"Service Unavailable","data":{
                "tunnel_failure":{"version":1,"source":"target_http","transport_error_kind":"malformed_json",
                    "upstream_response_received":true,"upstream_status":503}}}})
        );
    }

    /// One row a class: what is posted, who failed, in which word, and whether the server has answered.
    #[test]
    fn every_class_has_its_row() {
        use Class::*;
        use net::Kind;
        for (class, status, source, word, answered) in [
            (Exchange(Kind::Dial), 502, "connect", "dial", false),
            (Exchange(Kind::Timeout), 502, "timeout", "timeout", false),
            (Exchange(Kind::Eof), 502, "transport_closed", "eof", false),
            (Deadline, 504, "timeout", "timeout", false),
            (Encoding, 502, "protocol", "unsupported_encoding", true),
            (NoBody, 502, "protocol", "response_body_missing", true),
            (BodyTooLarge, 502, "protocol", "response_body_too_large", true),
            (BodyUnreadable, 502, "protocol", "response_body_unreadable", true),
            (MalformedJson, 502, "protocol", "malformed_json", true),
            (InvalidAnswer, 502, "protocol", "invalid_protocol_response", true),
            (InvalidError, 502, "protocol", "invalid_mcp_error", true),
            (Internal, 502, "client_internal", "unknown", false),
            (InvalidMessage, 400, "client_internal", "invalid_mcp_request", false),
            (InvalidHeader, 502, "client_internal", "invalid_header", false),
            (NoSession, 400, "client_internal", "missing_session", false),
            (CommandTooLarge, 413, "client_internal", "command_too_large", false),
            (SubscriptionTooLarge, 413, "client_internal", "subscription_too_large", false),
            (SubscriptionLimit, 503, "client_internal", "subscription_limit", false),
            (ChannelBusy, 503, "client_internal", "channel_busy", false),
            (PolicyDenied, 200, "client_internal", "policy_denied", false),
            (ToolsUnknown, 503, "client_internal", "tools_unknown", false),
            (RateLimited, 429, "client_internal", "rate_limited", false),
            (HeaderMismatch, 400, "client_internal", "header_mismatch", false),
            (AuditUnavailable, 503, "client_internal", "audit_unavailable", false),
        ] {
            let failure = Failure::new(class, "cause");
            assert_eq!((failure.status, failure.source.word()), (status, source), "{class:?}");
            assert_eq!((failure.class.word(), failure.answered), (word, answered), "{class:?}");
        }
    }

    #[test]
    fn refusals_of_the_operator_have_answers_of_their_own() {
        let said = |class: Class, retry_after| {
            let failure = Failure { retry_after, ..Failure::new(class, "rule") };
            serde_json::from_str::<serde_json::Value>(&text(&failure.payload(Some("7")))).unwrap()
        };
        assert_eq!(
            said(Class::PolicyDenied, None),
            json!({"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"refused by the operator's policy",
                "data":{"origin":"tunnel-client","error_type":"policy_denied"}}})
        );
        let limited = said(Class::RateLimited, Some(Duration::from_micros(1_500_900)));
        let data = json!({"origin":"tunnel-client","error_type":"rate_limited","retry_after_ms":1501});
        assert_eq!((&limited["error"]["code"], &limited["error"]["data"]), (&json!(-32000), &data));
        assert_eq!(said(Class::HeaderMismatch, None)["error"]["code"], -32020);
        let unaudited = said(Class::AuditUnavailable, None);
        assert_eq!(unaudited["error"]["data"]["error_type"], "audit_unavailable");
    }

    #[test]
    fn statuses_outside_the_error_range_are_protocol_failures() {
        let failure = Failure::status(304, Class::NoBody, ReplyHeaders::default());
        assert_eq!(
            (failure.source, failure.answered, failure.upstream_status),
            (Source::Protocol, true, None)
        );
    }

    #[test]
    fn unknown_statuses_have_a_general_message() {
        let failure = Failure::status(599, Class::MalformedJson, ReplyHeaders::default());
        assert!(text(&failure.payload(None)).contains("\"message\":\"MCP transport error\""));
    }

    #[test]
    fn the_cause_never_leaves() {
        let failure = Failure::new(Class::InvalidAnswer, "http://inside.example/secret");
        assert!(!text(&failure.payload(Some("1"))).contains("inside"));
    }

    #[test]
    fn channel_names_cannot_break_the_json() {
        let payload = unsupported_channel(None, "a\"b");
        assert!(serde_json::from_str::<serde_json::Value>(&text(&payload)).is_ok());
    }
}
