//! MCP over Streamable HTTP on the side of the server, for servers of our own.
//!
//! Which family a request belongs to is decided by the reader that the relay has too. With a handshake: a
//! session is opened by `initialize` and named by every further request. Without one: each request states
//! its revision and capabilities, and its headers must say what its body says. Every request gets an answer
//! in the words of its family; nothing here can fail. Who may ask at all is decided where connections are
//! accepted.
//!
//! Pages of a browser may not call such a server: whoever accepts refuses a foreign `Origin`, and a body that
//! does not say that it is JSON, which is all that a page can send without asking first, is refused here.

mod sessions;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::mcp_server::{self, Asked, INVALID_REQUEST, PARSE_ERROR, Refusal, Served, Server, shown};
use crate::relay::message::{Kind, Malformed, Message};
use crate::relay::port::Outcome;
use crate::relay::revision::{self, Era};

pub use sessions::Sessions;

const INTERNAL: i64 = -32603;
const HEADER_MISMATCH: i64 = -32020;

/// What callers must take: an answer may be either.
const FORMS: [&str; 2] = ["application/json", "text/event-stream"];

/// A request as it came, as far as the protocol looks at it.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// As sent.
    pub method: &'a str,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    /// The whole body.
    pub body: &'a [u8],
}

/// One answer, before it is written.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// JSON; empty: none.
    pub body: String,
    /// The session that was opened, for its header.
    pub session: Option<String>,
    /// Methods that would have been right, for the `Allow` header.
    pub allow: Option<&'static str>,
}

/// A request that could be read, with what HTTP says about it.
struct Exchange<'a> {
    http: &'a Asking<'a>,
    is_request: bool,
    asked: Asked<'a>,
}

/// Answers whatever is sent to the path where MCP is spoken.
pub fn answer(server: &dyn Server, sessions: &Sessions, asking: &Asking) -> Answer {
    match asking.method {
        "POST" => post(server, sessions, asking),
        "DELETE" if !asking.is_modern() => delete(sessions, asking),
        _ if asking.is_modern() => Answer::not_allowed("POST"),
        // No stream beside the answers: such a server has nothing to say on its own.
        _ => Answer::not_allowed("POST, DELETE"),
    }
}

/// A client's good-bye; one who is not known is told so, as with every other request.
fn delete(sessions: &Sessions, asking: &Asking) -> Answer {
    let ended = session_of(sessions, asking).map(|(id, _)| sessions.end(id));
    ended.map_or_else(|refusal| Answer::refused(&refusal, "null"), |_| Answer::empty(204))
}

fn post(server: &dyn Server, sessions: &Sessions, asking: &Asking) -> Answer {
    let refused = |status, code, text: &str| Answer::refused(&Refusal::new(status, code, text), "null");
    let form = asking.header("content-type").unwrap_or_default();
    if !is_media_type(form, FORMS[0]) {
        return refused(415, INVALID_REQUEST, "a message is JSON: send Content-Type: application/json");
    }
    if !FORMS.iter().all(|form| asking.accepts(form)) {
        let text = "answers are JSON or event streams: send Accept: application/json, text/event-stream";
        return refused(400, INVALID_REQUEST, text);
    }
    let Ok(text) = String::from_utf8(asking.body.to_vec()) else {
        return refused(400, PARSE_ERROR, "the body is not UTF-8");
    };
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err((Malformed::Json(fault), _)) => return refused(400, PARSE_ERROR, &fault.to_string()),
        Err((fault, _)) => return refused(400, INVALID_REQUEST, &fault.to_string()),
    };
    let id = message.id().unwrap_or("null");
    let answered = message_answer(server, sessions, asking, &message);
    answered.unwrap_or_else(|refusal| Answer::refused(&refusal, id))
}

fn message_answer(
    server: &dyn Server,
    sessions: &Sessions,
    http: &Asking,
    message: &Message,
) -> Result<Answer, Refusal> {
    if message.kind() == Kind::Response && !message.has_outcome() {
        return Err(Refusal::new(400, INVALID_REQUEST, "neither a method nor a result nor an error"));
    }
    let is_request = message.kind() == Kind::Request;
    let mut exchange = Exchange { http, is_request, asked: Asked::read(message)? };
    let served = match message.era(http.header("mcp-protocol-version")) {
        Era::Legacy if is_request && exchange.asked.method == "initialize" => {
            return initialize(server, sessions, &exchange);
        }
        Era::Legacy => legacy(server, sessions, &mut exchange)?,
        Era::Modern if is_request => {
            check_headers(&exchange)?;
            Some(mcp_server::modern(server, &mut exchange.asked)?)
        }
        // No rule for the headers of notifications is defined.
        Era::Modern => None,
    };
    match served {
        None => Ok(Answer::empty(202)),
        Some(Served::Result(result)) => Ok(Answer::of(200, exchange.asked.result(&result))),
        Some(Served::Ended(outcome)) => Err(ended(&outcome)),
    }
}

/// Only the end of the process ends a call otherwise: here no caller has a deadline.
fn ended(outcome: &Outcome) -> Refusal {
    let status = if let Outcome::Failed(failure) = outcome { failure.status } else { 503 };
    Refusal::new(status, INTERNAL, "the call was cut short, because this process is stopping")
}

/// The session that a request names, and its revision.
fn session_of<'r>(sessions: &Sessions, http: &Asking<'r>) -> Result<(&'r str, &'static str), Refusal> {
    let missing = "the header Mcp-Session-Id is missing: the answer to initialize has it";
    let id = http.header("mcp-session-id").ok_or_else(|| Refusal::new(400, INVALID_REQUEST, missing))?;
    let ended = "there is no such session: begin anew with initialize";
    let version = sessions.version(id).ok_or_else(|| Refusal::new(404, INVALID_REQUEST, ended))?;
    Ok((id, version))
}

/// What an older client asks within its session. Its notifications have no answer.
fn legacy(
    server: &dyn Server,
    sessions: &Sessions,
    exchange: &mut Exchange,
) -> Result<Option<Served>, Refusal> {
    let header = exchange.http.header("mcp-protocol-version");
    let known: Vec<&str> = Era::Legacy.revisions().collect();
    if header.is_some_and(|version| !known.contains(&version)) {
        let text = format!("MCP-Protocol-Version is none of {}", known.join(", "));
        return Err(Refusal::new(400, INVALID_REQUEST, text));
    }
    let (_, version) = session_of(sessions, exchange.http)?;
    if !exchange.is_request {
        return Ok(None);
    }
    mcp_server::legacy(server, &mut exchange.asked, revision::tells_model(version)).map(Some)
}

/// Opens a session, which remembers the revision and nothing else.
fn initialize(server: &dyn Server, sessions: &Sessions, exchange: &Exchange) -> Result<Answer, Refusal> {
    if exchange.http.is_modern() {
        let text = "initialize is not of the revision that MCP-Protocol-Version names";
        return Err(Refusal::new(400, HEADER_MISMATCH, text));
    }
    let (version, result) = server.introduction().initialize(&exchange.asked)?;
    let session = sessions.open(version);
    let session = session.ok_or_else(|| Refusal::new(500, INTERNAL, "no session could be opened"))?;
    Ok(Answer { session: Some(session), ..Answer::of(200, exchange.asked.result(&result)) })
}

/// What every request without a handshake must bring. Its own members first: what the headers are compared
/// with must be there.
fn check_headers(exchange: &Exchange) -> Result<(), Refusal> {
    let Exchange { http, asked, .. } = exchange;
    let claim = asked.claim()?;
    let named = asked.params.get("name").and_then(Value::as_str).filter(|_| asked.method == "tools/call");
    let said = |name: &str| http.header(name).map(str::trim);
    let differs = |name: &str, wanted: &str| {
        let wanted = shown(wanted);
        let text = format!("the header {name} is missing or differs from the body, which says {wanted:?}");
        Refusal::new(400, HEADER_MISMATCH, text)
    };
    for (header, wanted) in [("MCP-Protocol-Version", claim), ("Mcp-Method", asked.method)] {
        if said(&header.to_ascii_lowercase()) != Some(wanted) {
            return Err(differs(header, wanted));
        }
    }
    match named {
        Some(wanted) if said("mcp-name").and_then(decoded).as_deref() != Some(wanted) => {
            Err(differs("Mcp-Name", wanted))
        }
        _ => Ok(()),
    }
}

/// The text that a header stands for: the base64 form, or itself.
fn decoded(value: &str) -> Option<String> {
    let inner = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else { return Some(value.to_owned()) };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

impl<'a> Asking<'a> {
    /// The first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn is_modern(&self) -> bool {
        self.header("mcp-protocol-version").is_some_and(|version| Era::of_revision(version) == Era::Modern)
    }

    /// Whether the caller takes this form. One that says nothing takes everything.
    fn accepts(&self, form: &str) -> bool {
        let family = form.split('/').next().unwrap_or_default();
        let values = self.headers.iter().filter(|(name, _)| name == "accept");
        let mut accepted = values.flat_map(|(_, value)| value.split(',')).peekable();
        accepted.peek().is_none()
            || accepted.any(|one| {
                let is = |wanted: &str| is_media_type(one, wanted);
                is(form) || is("*/*") || is(&format!("{family}/*"))
            })
    }
}

impl Answer {
    /// One with a body.
    pub fn of(status: u16, body: String) -> Answer {
        Answer { status, body, session: None, allow: None }
    }

    /// One without.
    fn empty(status: u16) -> Answer {
        Answer::of(status, String::new())
    }

    fn refused(refusal: &Refusal, id: &str) -> Answer {
        Answer::of(refusal.status, refusal.message(id))
    }

    /// The method is not one of these.
    pub fn not_allowed(methods: &'static str) -> Answer {
        Answer { allow: Some(methods), ..Answer::empty(405) }
    }
}

/// Compares without parameters.
fn is_media_type(text: &str, wanted: &str) -> bool {
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers_are_decoded_strictly() {
        assert_eq!(decoded("echo").as_deref(), Some("echo"));
        assert_eq!(decoded("=?base64?Z3LDtsOfZQ==?=").as_deref(), Some("größe"));
        assert_eq!(decoded("=?base64?Z3LDtsOfZQ?="), None);
        assert_eq!(decoded("=?BASE64?YQ==?=").as_deref(), Some("=?BASE64?YQ==?="));
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        assert!(is_media_type("Application/JSON; charset=utf-8", "application/json"));
        assert!(!is_media_type("application/jsonp", "application/json"));
    }

    #[test]
    fn both_forms_of_an_answer_must_be_taken() {
        let takes = |value: &str| {
            let headers = [("accept".to_owned(), value.to_owned())];
            let asking = Asking { method: "POST", headers: &headers, body: b"" };
            FORMS.iter().all(|form| asking.accepts(form))
        };
        assert!(takes("application/json, text/event-stream;q=0.5") && takes("*/*"));
        assert!(takes("application/*, text/*") && !takes("application/json") && !takes("text/event-stream"));
        assert!(Asking { method: "POST", headers: &[], body: b"" }.accepts(FORMS[1]));
    }
}
