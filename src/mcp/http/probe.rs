//! Asks an MCP server whether it answers, in either era, and leaves nothing behind.
//!
//! First `server/discover`, which servers without a handshake understand; then `initialize`. Any
//! recognised answer counts: a server that refuses our request in the words of its revision is there.
//! Verdicts are for people and supervisors; no command waits for one or is treated by it.
//!
//! A probe starts no session that it does not end, sends nothing of any caller, and reads little. It
//! cannot fail: whatever goes wrong is its finding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::net::{Budget, Error, Kind, Reply};
use crate::ops::readiness::Probe;
use crate::relay::revision::{self, Era, VERSION_HEADER};
use crate::relay::tree;

use super::super::questions;
use super::reply::{self, Content};
use super::sse::{Position, Stream};
use super::target::HttpTarget;
use super::upstream::Purpose;

/// How long both questions may take in all, the bound of the reference. Saying goodbye comes on top.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(2);

/// How much of it may pass without an answer to the first question: old servers are known to stay silent
/// when they are asked something they do not know, and the second question needs time as well.
const DISCOVER_TIME: Duration = Duration::from_millis(1_200);

/// Largest answer that is read; servers describe their tools at length.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Finding of a probe.
#[derive(Debug)]
pub struct Finding {
    /// The verdict, for readiness.
    pub probe: Probe,
    /// The era that answered.
    pub era: Option<Era>,
    /// Name and version that the server gave itself.
    pub server: Option<String>,
    /// The revision that it answered in.
    pub version: Option<String>,
    /// Why there was no answer.
    pub error: Option<Error>,
}

impl Finding {
    fn new(probe: Probe) -> Finding {
        Finding { probe, era: None, server: None, version: None, error: None }
    }

    fn failed(why: String) -> Finding {
        Finding::new(Probe::Failed(why))
    }

    fn ready(era: Era, answer: &Answer) -> Finding {
        let said = answer.message.pointer("/result/protocolVersion").and_then(Value::as_str);
        let version = if era == Era::Modern { Some(Era::Modern.newest()) } else { said };
        Finding {
            era: Some(era),
            server: questions::server_name(&answer.message),
            version: version.map(str::to_owned),
            ..Finding::new(Probe::Ready)
        }
    }

    /// There was no answer.
    fn unanswered(error: Error) -> Finding {
        let probe = match error.kind {
            Kind::Timeout => Probe::TimedOut(format!("mcp probe timed out after {}s", PROBE_TIME.as_secs())),
            _ => Probe::Failed(error.to_string()),
        };
        Finding { error: Some(error), ..Finding::new(probe) }
    }

    /// Whether nobody has started the server yet, so that it makes sense to ask again soon. Only a refused
    /// connection or a missing socket means that; anything else will not change by waiting for a moment.
    pub fn is_absent(&self) -> bool {
        self.error.as_ref().is_some_and(|error| matches!(error.kind, Kind::Refused | Kind::NoSuchSocket))
    }
}

/// Answer of the server to one question.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) session: Option<HeaderValue>,
    pub(super) message: Value,
}

/// Probes a server; one that is known to want a handshake is not asked the other question again. Blocks
/// for two seconds at most, and as long again for the clean-up.
pub fn probe(target: &HttpTarget, known: Option<Era>) -> Finding {
    let deadline = Instant::now() + PROBE_TIME;
    if known != Some(Era::Legacy) {
        if let Some(finding) = discover(target, deadline) {
            return finding;
        }
    }
    initialize(target, deadline)
}

/// Asks without a handshake. Nothing is found when the answer says that the server wants one, or when
/// there is none in time; a connection that fails is a finding, since the other question would fail too.
fn discover(target: &HttpTarget, deadline: Instant) -> Option<Finding> {
    let deadline = deadline.min(Instant::now() + DISCOVER_TIME);
    let answer = match ask(target, &discover_headers(), &questions::discover(), deadline) {
        Ok(answer) => answer,
        Err(error) if error.kind == Kind::Timeout => return None,
        Err(error) => return Some(Finding::unanswered(error)),
    };
    let is_modern = questions::is_modern(&answer.message, answer.status == 400);
    refused(&answer).or_else(|| is_modern.then(|| Finding::ready(Era::Modern, &answer)))
}

/// What the question without a handshake carries besides its body.
pub(super) fn discover_headers() -> HeaderMap {
    let version = (VERSION_HEADER, HeaderValue::from_static(Era::Modern.newest()));
    let method = (HeaderName::from_static("mcp-method"), HeaderValue::from_static("server/discover"));
    HeaderMap::from_iter([version, method])
}

/// Asks with a handshake, and ends the session that it may have opened.
fn initialize(target: &HttpTarget, deadline: Instant) -> Finding {
    let answer = match ask(target, &HeaderMap::new(), &questions::initialize(), deadline) {
        Ok(answer) => answer,
        Err(error) => return Finding::unanswered(error),
    };
    if let Some(finding) = refused(&answer) {
        return finding;
    }
    if let Some(version) = answer.message.pointer("/result/protocolVersion").and_then(Value::as_str) {
        clean_up(target, version, answer.session.as_ref());
        return Finding::ready(Era::Legacy, &answer);
    }
    // Error texts of the server are not repeated: the verdict is served to whoever asks `/readyz`.
    match questions::error_code(&answer.message) {
        Some(-32022) => Finding::ready(Era::Modern, &answer),
        Some(code) => Finding::failed(format!("initialize was refused with error {code}")),
        None if is_old_transport(target, deadline) => Finding::failed(
            "the server speaks the HTTP+SSE transport of 2024-11-05, which is not supported".into(),
        ),
        None => {
            let status = status_text(answer.status);
            Finding::failed(format!("initialize was answered {status} without a result"))
        }
    }
}

/// Answers that end a probe whatever was asked. 401 is as ready as a server can be without a caller's
/// token; the others say that no caller would fare better.
fn refused(answer: &Answer) -> Option<Finding> {
    let text = status_text(answer.status);
    match answer.status {
        401 => Some(Finding::new(Probe::AuthorizationRequired(text))),
        403 | 407 | 300..=399 | 500..=599 => Some(Finding::failed(format!("the server answered {text}"))),
        _ => None,
    }
}

/// Asks one question and reads its answer, whichever form that has.
pub(super) fn ask(
    target: &HttpTarget,
    headers: &HeaderMap,
    body: &Value,
    deadline: Instant,
) -> Result<Answer, Error> {
    let (status, session, text) = exchange(target, headers, body, ANSWER_BYTES_MAX, deadline)?;
    // Whatever is not JSON is no answer; what it was does not matter.
    let message = tree::read(text.as_bytes()).unwrap_or_default();
    Ok(Answer { status, session, message })
}

/// Asks one question: the status, the session that it opened, and the text of the answer.
pub(super) fn exchange(
    target: &HttpTarget,
    headers: &HeaderMap,
    body: &Value,
    bytes_max: usize,
    deadline: Instant,
) -> Result<(u16, Option<HeaderValue>, String), Error> {
    let upstream = target.upstream();
    let reply = upstream.send(Purpose::Probe, Method::POST, headers, Some(&body.to_string()), deadline)?;
    let (status, session) = (reply.status, reply.headers.get(&SESSION).cloned());
    let text = match reply::content(&reply) {
        Content::Events if (200..300).contains(&status) => {
            first_answer(reply, &upstream.budget, bytes_max, deadline)?
        }
        _ => {
            let body = reply.read_all(bytes_max, &upstream.budget, deadline);
            // A text that is no UTF-8 is no JSON either.
            String::from_utf8(body?.data).unwrap_or_default()
        }
    };
    Ok((status, session, text))
}

/// The first event that holds a result or an error; what the server wants to say before is skipped. Its
/// time is the deadline's, so a stream that never answers ends as a time-out.
pub(crate) fn first_answer(
    reply: Reply,
    budget: &Arc<Budget>,
    bytes_max: usize,
    deadline: Instant,
) -> Result<String, Error> {
    let mut stream = Stream::new(reply, Arc::clone(budget), bytes_max, deadline);
    let mut position = Position::default();
    while let Some(event) = stream.next(&mut position)? {
        let message = tree::read(event.data.as_bytes()).unwrap_or_default();
        if message.get("method").is_none() {
            return Ok(event.data);
        }
    }
    Ok(String::new())
}

/// Ends the handshake and the session, or every probe would leave one behind. Whatever the server says
/// to that changes nothing; it has time of its own, because the verdict stands already.
pub(super) fn clean_up(target: &HttpTarget, version: &str, session: Option<&HeaderValue>) {
    let deadline = Instant::now() + PROBE_TIME;
    let headers = confirm(target, version, session, deadline);
    end(target, &headers, deadline);
}

/// Ends a handshake. Gives the headers of what follows in its session.
pub(super) fn confirm(
    target: &HttpTarget,
    version: &str,
    session: Option<&HeaderValue>,
    deadline: Instant,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(session) = session {
        headers.insert(SESSION, session.clone());
    }
    if revision::has_header(version) {
        if let Ok(version) = HeaderValue::from_str(version) {
            headers.insert(VERSION_HEADER, version);
        }
    }
    let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    drop(target.upstream().send(Purpose::Probe, Method::POST, &headers, Some(&body), deadline));
    headers
}

/// Ends the session of these headers, if they name one.
pub(super) fn end(target: &HttpTarget, headers: &HeaderMap, deadline: Instant) {
    if headers.contains_key(&SESSION) {
        drop(target.upstream().send(Purpose::Probe, Method::DELETE, headers, None, deadline));
    }
}

/// Whether a GET opens a stream that names an endpoint: the transport of the first revision. Only its
/// first bytes are looked at; the question is asked to give the operator a better text.
fn is_old_transport(target: &HttpTarget, deadline: Instant) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    let Ok(mut reply) = target.upstream().send(Purpose::Probe, Method::GET, &headers, None, deadline) else {
        return false;
    };
    if reply.status != 200 || reply::content(&reply) != Content::Events {
        return false;
    }
    let mut start = [0; 256];
    let read = reply.read(&mut start).unwrap_or_default();
    let start = String::from_utf8_lossy(start.get(..read).unwrap_or_default()).into_owned();
    start.lines().any(|line| line.strip_prefix("event:").is_some_and(|name| name.trim() == "endpoint"))
}

/// A status in the words of the standard; never the reason that the server wrote.
pub(super) fn status_text(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
}
