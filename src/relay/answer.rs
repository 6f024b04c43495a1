//! What is posted for an outcome, and what the log says about a failure.

use crate::crypto;
use crate::ops::metrics::RequestKind;

#[cfg(feature = "page")]
use super::calls::Calls;
use super::command::Command;
use super::failure::{self, Class, Failure};
use super::headers::ReplyHeaders;
use super::port::{Answer, AnswerKind, Outcome};
use super::trace::TraceContext;

/// What is posted for an outcome. A failure takes the shape of the answer that the command would have had: nobody
/// waits for the id of a notification.
pub(super) fn of(command: &Command, outcome: Outcome) -> Answer {
    let kind = match command.kind() {
        RequestKind::Call => AnswerKind::Response,
        RequestKind::Notification => AnswerKind::Acknowledgement,
        RequestKind::SessionTermination => AnswerKind::SessionTermination,
        RequestKind::OauthDiscovery => AnswerKind::OauthDiscovery,
    };
    let (status, headers, payload, timing) = match outcome {
        Outcome::Response { status, headers, payload, timing } => (status, headers, Some(payload), timing),
        Outcome::Done { status, headers } => (status, headers, None, None),
        Outcome::Failed(failure) => {
            #[cfg(feature = "page")]
            Calls::because(command, &failure.cause);
            log_failure(command, &failure);
            let status = failure.status;
            match kind {
                AnswerKind::OauthDiscovery => {
                    let message = "OAuth discovery failed";
                    let payload = failure::discovery_error("server_error", "oauth_discovery_failed", message);
                    (status, ReplyHeaders::default(), Some(payload), None)
                }
                AnswerKind::Response => {
                    let payload = failure.payload(command.id());
                    (status, failure.headers.with_json_content(), Some(payload), None)
                }
                _ => (status, failure.headers, None, None),
            }
        }
    };
    // What no HTTP client may see as the status of an answer is the server's mistake.
    let status = if (200..600).contains(&status) { status } else { 502 };
    Answer { kind, status, headers, payload, timing }
}

/// One line a failure, with what the wire does not say. No URL and no payload: the cause was made for
/// this line, and the ids are what an operator needs to find the call on the other sides.
fn log_failure(command: &Command, failure: &Failure) {
    if failure.class.is_refusal() {
        return;
    }
    let event = match failure.class {
        Class::Deadline => "MCP execution deadline reached; delivering terminal timeout response",
        _ => "dispatcher received MCP upstream error; posted error response to control plane",
    };
    log::warn!(
        request_id = command.request_id.as_str(),
        cmd_request_id = command.header("x-request-id").unwrap_or_default(),
        rpc_request_id = command.id().unwrap_or_default(),
        session_id = command.header("mcp-session-id").map(crypto::fingerprint).unwrap_or_default().as_str(),
        channel = command.channel.as_str(),
        trace_id = command.trace.as_ref().map(TraceContext::id).unwrap_or_default(),
        failure_source = failure.source.word(),
        transport_error_kind = failure.class.word(),
        upstream_response_received = failure.answered,
        upstream_status = failure.upstream_status.unwrap_or_default(),
        error = failure.cause.as_str();
        "{event}"
    );
}
