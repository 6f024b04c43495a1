//! Turns failures into wire JSON. Nothing else in the program writes a JSON-RPC error.
//!
//! What goes out is bounded and says only the class of a failure: no URL, no body of the server, no
//! text of an exception. A private server's answers, even its mistakes, are nobody's business beyond
//! the tunnel. The cause stays in [`Failure::cause`], for the local log.

use serde_json::json;
use ureq::http::StatusCode;

use crate::net;

use super::headers::ReplyHeaders;
use super::payload::Payload;

/// JSON-RPC "internal error", the code of everything that the tunnel itself reports.
const INTERNAL_ERROR: i64 = -32603;

/// Status of a failure that no server answered.
const BAD_GATEWAY: u16 = 502;

/// A command that has no answer of its server. `source` and `kind` are published words, the same in
/// the posted JSON, the log and the metrics; they are `&'static str` so that no foreign text can
/// become one.
#[derive(Debug)]
pub struct Failure {
    /// The status that is posted.
    pub status: u16,
    /// Who failed: a published `source` word.
    pub source: &'static str,
    /// How: a published `transport_error_kind` word.
    pub kind: &'static str,
    /// Whether the server answered at all.
    pub answered: bool,
    /// The server's status, when it was an error status.
    pub upstream_status: Option<u16>,
    /// Headers of the server's reply that may pass.
    pub headers: ReplyHeaders,
    /// What happened, for the local log only.
    pub cause: String,
}

impl Failure {
    /// The exchange with the server broke.
    pub fn transport(error: &net::Error) -> Failure {
        Failure::local(BAD_GATEWAY, error.source_word(), error.kind_word(), error.to_string())
    }

    /// The connection ended before the answer did.
    pub fn closed(kind: &'static str, cause: &str) -> Failure {
        Failure::local(BAD_GATEWAY, "transport_closed", kind, cause)
    }

    /// The server answered with something that is not an answer.
    pub fn protocol(kind: &'static str, cause: impl Into<String>) -> Failure {
        Failure { answered: true, ..Failure::local(BAD_GATEWAY, "protocol", kind, cause) }
    }

    /// The whole call took longer than it may.
    pub fn timeout() -> Failure {
        Failure::local(BAD_GATEWAY, "timeout", "timeout", "connection-max-ttl reached")
    }

    /// The server answered with a status outside 2xx and no JSON-RPC error of its own. Statuses that
    /// report no error (a refused redirect, say) are a breach of protocol, and the contract reserves
    /// `upstream_status` for those that do.
    pub fn status(status: u16, kind: &'static str, headers: ReplyHeaders) -> Failure {
        let target = (400..=599).contains(&status);
        let source = if target { "target_http" } else { "protocol" };
        Failure {
            answered: true,
            upstream_status: target.then_some(status),
            headers: headers.with_json_content(),
            ..Failure::local(status, source, kind, format!("the server answered {status}"))
        }
    }

    /// Something on this side; no server was at fault.
    pub fn local(status: u16, source: &'static str, kind: &'static str, cause: impl Into<String>) -> Failure {
        Failure {
            status,
            source,
            kind,
            answered: false,
            upstream_status: None,
            headers: ReplyHeaders::default(),
            cause: cause.into(),
        }
    }

    /// The JSON-RPC error for the request with this id (as it was written), or for none.
    pub fn payload(&self, id: Option<&str>) -> Payload {
        let mut failure = json!({
            "version": 1,
            "source": self.source,
            "transport_error_kind": self.kind,
            "upstream_response_received": self.answered,
        });
        if let (Some(members), Some(status)) = (failure.as_object_mut(), self.upstream_status) {
            members.insert("upstream_status".into(), status.into());
        }
        let message = reason(self.status).unwrap_or("MCP transport error");
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

/// The answer to a `ping` of the server.
pub fn empty_result(id: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}")
}

/// Tells a server that nobody waits for the answer to this request any more.
pub fn cancellation(id: &str) -> String {
    let params = format!("{{\"requestId\":{id},\"reason\":\"deadline\"}}");
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{params}}}")
}

/// The answer to a request of the server that only the product could serve.
pub fn method_not_found(id: &str) -> String {
    error(Some(id), -32601, "Method not found", None)
}

/// One JSON-RPC error. Without an id the member is left out. Ids are put in as they were written: they
/// are literals that [`super::message`] has read, so they cannot break out of their place; all other
/// text goes through the encoder.
pub(super) fn error(id: Option<&str>, code: i64, message: &str, data: Option<&serde_json::Value>) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    let message = serde_json::Value::from(message);
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}")
}

/// The published reason phrase of a status.
fn reason(status: u16) -> Option<&'static str> {
    StatusCode::from_u16(status).ok()?.canonical_reason()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &Payload) -> String {
        String::from_utf8(payload.parts().concat()).unwrap()
    }

    #[test]
    fn a_server_error_names_its_status_and_nothing_else() {
        let failure = Failure::status(503, "malformed_json", ReplyHeaders::default());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text(&failure.payload(Some("\"a\"")))).unwrap(),
            json!({"jsonrpc":"2.0","id":"a","error":{"code":-32603,"message":"Service Unavailable","data":{
                "tunnel_failure":{"version":1,"source":"target_http","transport_error_kind":"malformed_json",
                    "upstream_response_received":true,"upstream_status":503}}}})
        );
    }

    #[test]
    fn statuses_outside_the_error_range_are_protocol_failures() {
        let failure = Failure::status(304, "response_body_missing", ReplyHeaders::default());
        assert_eq!((failure.source, failure.answered, failure.upstream_status), ("protocol", true, None));
    }

    #[test]
    fn unknown_statuses_have_a_general_message() {
        let failure = Failure::status(599, "malformed_json", ReplyHeaders::default());
        assert!(text(&failure.payload(None)).contains("\"message\":\"MCP transport error\""));
    }

    #[test]
    fn the_cause_never_leaves() {
        let failure = Failure::protocol("invalid_protocol_response", "http://inside.example/secret");
        assert!(!text(&failure.payload(Some("1"))).contains("inside"));
    }

    #[test]
    fn channel_names_cannot_break_the_json() {
        let payload = unsupported_channel(None, "a\"b");
        assert!(serde_json::from_str::<serde_json::Value>(&text(&payload)).is_ok());
    }
}
