//! MCP over Streamable HTTP, both families of revisions, on the side of the server.
//!
//! Which family a request belongs to is decided by the reader that the relay has too. With a handshake: a
//! session is opened by `initialize` and named by every further request. Without one: each request states
//! its revision and capabilities, and its headers must say what its body says. Every request gets an answer
//! in the words of its family; nothing here can fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::dev::server::Request;
use crate::relay::message::{Era, Kind, Malformed, Message};
use crate::relay::serving::{
    Asked, INVALID_REQUEST, Introduction, LEGACY_NEWEST, LEGACY_VERSIONS, MODERN_VERSION, PARSE_ERROR,
    Refusal, check_modern, shown, tool_result,
};

use super::tools::{self, Called};
use super::{Answer, Answering};

const INSTRUCTIONS: &str = "A stub for trying out a tunnel: its tools repeat what they are told.";

const INTERNAL: i64 = -32603;
const HEADER_MISMATCH: i64 = -32020;

/// A request with what HTTP says about it.
struct Exchange<'a> {
    http: &'a Request,
    message: &'a Message,
    asked: Asked<'a>,
}

/// The answer that a refusal is.
fn refused(refusal: &Refusal, id: &str) -> Answer {
    Answer::of(refusal.status, refusal.message(id))
}

/// Answers whatever is sent to the MCP path.
pub(super) fn answer(stub: &Answering, request: &Request) -> Answer {
    match request.method.as_str() {
        "POST" => post(stub, request),
        "DELETE" if !is_modern(request) => delete(stub, request),
        _ if is_modern(request) => Answer::not_allowed("POST"),
        // No stream beside the answers: this server has nothing to say on its own.
        _ => Answer::not_allowed("POST, DELETE"),
    }
}

fn is_modern(request: &Request) -> bool {
    request.header("mcp-protocol-version").is_some_and(|version| version >= MODERN_VERSION)
}

fn delete(stub: &Answering, request: &Request) -> Answer {
    match session_of(stub, request) {
        Ok((id, _)) => {
            stub.sessions.end(id);
            Answer::empty(204)
        }
        Err(refusal) => refused(&refusal, "null"),
    }
}

fn post(stub: &Answering, request: &Request) -> Answer {
    let form = request.header("content-type").unwrap_or_default();
    if !is_media_type(form, "application/json") {
        let text = "a message is JSON: send Content-Type: application/json";
        return refused(&Refusal::new(415, INVALID_REQUEST, text), "null");
    }
    if !accepts(request, "application/json") {
        let text = "answers are JSON or event streams: send Accept: application/json, text/event-stream";
        return refused(&Refusal::new(406, INVALID_REQUEST, text), "null");
    }
    let Ok(text) = String::from_utf8(request.body.clone()) else {
        return refused(&Refusal::new(400, PARSE_ERROR, "the body is not UTF-8"), "null");
    };
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err((Malformed::Json(fault), _)) => {
            return refused(&Refusal::new(400, PARSE_ERROR, fault.to_string()), "null");
        }
        Err((fault, _)) => return refused(&Refusal::new(400, INVALID_REQUEST, fault.to_string()), "null"),
    };
    let id = message.id().unwrap_or("null");
    message_answer(stub, request, &message).unwrap_or_else(|refusal| refused(&refusal, id))
}

fn message_answer(stub: &Answering, http: &Request, message: &Message) -> Result<Answer, Refusal> {
    if message.kind() == Kind::Response && !message.has_outcome() {
        return Err(Refusal::new(400, INVALID_REQUEST, "neither a method nor a result nor an error"));
    }
    let exchange = Exchange { http, message, asked: Asked::read(message)? };
    match (message.era(http.header("mcp-protocol-version")), message.kind()) {
        (Era::Legacy, _) => legacy(stub, exchange),
        (Era::Modern, Kind::Request) => modern(stub, exchange),
        // No rule for the headers of notifications is defined.
        (Era::Modern, _) => Ok(Answer::empty(202)),
    }
}

/// The session that a request names, and its revision.
fn session_of<'r>(stub: &Answering, http: &'r Request) -> Result<(&'r str, &'static str), Refusal> {
    let missing = "the header Mcp-Session-Id is missing: the answer to initialize has it";
    let id = http.header("mcp-session-id").ok_or_else(|| Refusal::new(400, INVALID_REQUEST, missing))?;
    let ended = "there is no such session: begin anew with initialize";
    let version = stub.sessions.version(id).ok_or_else(|| Refusal::new(404, INVALID_REQUEST, ended))?;
    Ok((id, version))
}

fn introduction(stub: &Answering) -> Introduction {
    Introduction { server: stub.identity.json(), instructions: INSTRUCTIONS }
}

fn legacy(stub: &Answering, mut exchange: Exchange) -> Result<Answer, Refusal> {
    let is_request = exchange.message.kind() == Kind::Request;
    let (method, header) = (exchange.asked.method, exchange.http.header("mcp-protocol-version"));
    if method == "initialize" && is_request {
        if is_modern(exchange.http) {
            let text = "initialize is not of the revision that MCP-Protocol-Version names";
            return Err(Refusal::new(400, HEADER_MISMATCH, text));
        }
        return initialize(stub, &exchange.asked);
    }
    if header.is_some_and(|version| !LEGACY_VERSIONS.contains(&version)) {
        let text = format!("MCP-Protocol-Version is none of {}", LEGACY_VERSIONS.join(", "));
        return Err(Refusal::new(400, INVALID_REQUEST, text));
    }
    let (_, version) = session_of(stub, exchange.http)?;
    match method {
        _ if !is_request => Ok(Answer::empty(202)),
        "ping" => Ok(exchange.result(&json!({}))),
        "tools/list" => Ok(exchange.result(&list(&exchange.asked)?)),
        "tools/call" => call(stub, &mut exchange, version == LEGACY_NEWEST, |result| result),
        method => Err(Refusal::method(200, method)),
    }
}

fn initialize(stub: &Answering, asked: &Asked) -> Result<Answer, Refusal> {
    let (version, result) = introduction(stub).initialize(asked)?;
    let session = stub.sessions.open(version);
    let session = session.ok_or_else(|| Refusal::new(500, INTERNAL, "no session could be opened"))?;
    Ok(Answer { session: Some(session), ..Answer::of(200, asked.result(&result)) })
}

fn modern(stub: &Answering, mut exchange: Exchange) -> Result<Answer, Refusal> {
    check_headers(&exchange)?;
    let known = introduction(stub);
    match exchange.asked.method {
        "server/discover" => Ok(exchange.result(&known.discover())),
        "tools/list" => Ok(exchange.result(&known.cacheable(list(&exchange.asked)?))),
        "tools/call" => call(stub, &mut exchange, true, |result| known.complete(result)),
        method => Err(Refusal::method(404, method)),
    }
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
    if let Some(wanted) = named {
        if said("mcp-name").and_then(decoded).as_deref() != Some(wanted) {
            return Err(differs("Mcp-Name", wanted));
        }
    }
    check_modern(claim)
}

/// The text that a header stands for: the base64 form, or itself.
fn decoded(value: &str) -> Option<String> {
    let inner = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else { return Some(value.to_owned()) };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

fn list(asked: &Asked) -> Result<Value, Refusal> {
    asked.first_page().map(|()| json!({"tools": tools::list()}))
}

fn call(
    stub: &Answering,
    exchange: &mut Exchange,
    tells_model: bool,
    complete: impl Fn(Value) -> Value,
) -> Result<Answer, Refusal> {
    let (name, arguments) = exchange.asked.tool()?;
    let result = match tools::call(&stub.identity, &name, &arguments) {
        Called::Result(result) => result,
        Called::BadArguments(text) if tells_model => tool_result(&text, None),
        Called::BadArguments(text) => return Err(Refusal::params(text)),
        Called::Unknown => return Err(Refusal::tool(&name)),
    };
    let answer = exchange.result(&complete(result));
    Ok(Answer { notes: if name == "echo" { progress(exchange) } else { Vec::new() }, ..answer })
}

/// Two steps of progress, for a caller that asked for them and can read them.
fn progress(exchange: &Exchange) -> Vec<String> {
    let token = exchange.asked.params.get("_meta").and_then(|meta| meta.get("progressToken"));
    let token = token.filter(|token| token.is_string() || token.is_number());
    let Some(token) = token.filter(|_| accepts(exchange.http, "text/event-stream")) else {
        return Vec::new();
    };
    let note = |step: u8| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": token, "progress": step, "total": 2,
        }})
    };
    [1, 2].map(|step| note(step).to_string()).to_vec()
}

impl Exchange<'_> {
    fn result(&self, result: &Value) -> Answer {
        Answer::of(200, self.asked.result(result))
    }
}

/// Whether a caller takes this form. One that says nothing takes everything.
fn accepts(request: &Request, form: &str) -> bool {
    let family = form.split('/').next().unwrap_or_default();
    let mut accepted = request.all("accept").flat_map(|value| value.split(',')).peekable();
    accepted.peek().is_none()
        || accepted.any(|one| {
            let is = |wanted: &str| is_media_type(one, wanted);
            is(form) || is("*/*") || is(&format!("{family}/*"))
        })
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
}
