//! MCP over Streamable HTTP, both families of revisions, on the side of the server.
//!
//! Which family a request belongs to is decided by the reader that the relay has too. With a handshake: a
//! session is opened by `initialize` and named by every further request. Without one: each request states
//! its revision and capabilities, and its headers must say what its body says. Every request gets an answer
//! in the words of its family; nothing here can fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::dev::server::Request;
use crate::relay::message::{CLAIM, Era, Kind, Malformed, Message};

use super::tools::{self, Called};
use super::{Answer, Answering, extended};

/// Revisions with a handshake. The last one is offered to whoever asks for one that is not here.
const LEGACY_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const LEGACY_NEWEST: &str = "2025-11-25";
/// The revision without one.
const MODERN_VERSION: &str = "2026-07-28";

const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

const INSTRUCTIONS: &str = "A stub for trying out a tunnel: its tools repeat what they are told.";

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL: i32 = -32603;
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;

/// A request that was understood.
struct Asked<'a> {
    http: &'a Request,
    message: &'a Message,
    method: &'a str,
    /// As it is written.
    id: &'a str,
    params: Map<String, Value>,
}

/// An error on its way out.
struct Refusal {
    status: u16,
    code: i32,
    text: String,
    data: Option<Value>,
}

impl Refusal {
    fn new(status: u16, code: i32, text: impl Into<String>) -> Refusal {
        Refusal { status, code, text: text.into(), data: None }
    }

    fn answer(self, id: &str) -> Answer {
        let error = json!({"code": self.code, "message": self.text});
        let error = extended(error, self.data.map_or(json!({}), |data| json!({"data": data})));
        Answer::of(self.status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
    }
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
        Err(refusal) => refusal.answer("null"),
    }
}

fn post(stub: &Answering, request: &Request) -> Answer {
    let form = request.header("content-type").unwrap_or_default();
    if !is_media_type(form, "application/json") {
        let text = "a message is JSON: send Content-Type: application/json";
        return Refusal::new(415, INVALID_REQUEST, text).answer("null");
    }
    if !accepts(request, "application/json") {
        let text = "answers are JSON or event streams: send Accept: application/json, text/event-stream";
        return Refusal::new(406, INVALID_REQUEST, text).answer("null");
    }
    let Ok(text) = String::from_utf8(request.body.clone()) else {
        return Refusal::new(400, PARSE_ERROR, "the body is not UTF-8").answer("null");
    };
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err((Malformed::Json(fault), _)) => {
            return Refusal::new(400, PARSE_ERROR, fault.to_string()).answer("null");
        }
        Err((fault, _)) => return Refusal::new(400, INVALID_REQUEST, fault.to_string()).answer("null"),
    };
    let id = message.id().unwrap_or("null");
    message_answer(stub, request, &message, id).unwrap_or_else(|refusal| refusal.answer(id))
}

fn message_answer(stub: &Answering, http: &Request, message: &Message, id: &str) -> Result<Answer, Refusal> {
    if message.kind() == Kind::Response && !message.has_outcome() {
        return Err(Refusal::new(400, INVALID_REQUEST, "neither a method nor a result nor an error"));
    }
    // Nested more deeply than anybody means it: refused like any other text that cannot be read.
    let mut whole: Value = serde_json::from_str(message.text())
        .map_err(|error| Refusal::new(400, PARSE_ERROR, error.to_string()))?;
    let params = match whole.get_mut("params").map(Value::take) {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Refusal::new(400, INVALID_REQUEST, "params is not an object")),
    };
    let asked = Asked { http, message, method: message.method().unwrap_or_default(), id, params };
    match (message.era(http.header("mcp-protocol-version")), message.kind()) {
        (Era::Legacy, _) => legacy(stub, &asked),
        (Era::Modern, Kind::Request) => modern(stub, &asked),
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

fn legacy(stub: &Answering, asked: &Asked) -> Result<Answer, Refusal> {
    let is_request = asked.message.kind() == Kind::Request;
    let header = asked.http.header("mcp-protocol-version");
    if asked.method == "initialize" && is_request {
        if is_modern(asked.http) {
            let text = "initialize is not of the revision that MCP-Protocol-Version names";
            return Err(Refusal::new(400, HEADER_MISMATCH, text));
        }
        return initialize(stub, asked);
    }
    if header.is_some_and(|version| !LEGACY_VERSIONS.contains(&version)) {
        let text = format!("MCP-Protocol-Version is none of {}", LEGACY_VERSIONS.join(", "));
        return Err(Refusal::new(400, INVALID_REQUEST, text));
    }
    let (_, version) = session_of(stub, asked.http)?;
    match asked.method {
        _ if !is_request => Ok(Answer::empty(202)),
        "ping" => Ok(asked.result(json!({}))),
        "tools/list" => Ok(asked.result(list(asked)?)),
        // Since the last of these revisions a model is told of its mistakes, and no longer the program.
        "tools/call" => call(stub, asked, version == LEGACY_NEWEST, |result| result),
        method => Err(unknown_method(200, method)),
    }
}

fn initialize(stub: &Answering, asked: &Asked) -> Result<Answer, Refusal> {
    let wanted = asked.params.get("protocolVersion").and_then(Value::as_str);
    let wanted =
        wanted.ok_or_else(|| Refusal::new(200, INVALID_PARAMS, "protocolVersion is missing or no text"))?;
    let version = LEGACY_VERSIONS.into_iter().find(|known| *known == wanted).unwrap_or(LEGACY_NEWEST);
    let session = stub.sessions.open(version);
    let session = session.ok_or_else(|| Refusal::new(500, INTERNAL, "no session could be opened"))?;
    let answer = asked.result(json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": stub.identity.json(),
        "instructions": INSTRUCTIONS,
    }));
    Ok(Answer { session: Some(session), ..answer })
}

fn modern(stub: &Answering, asked: &Asked) -> Result<Answer, Refusal> {
    check_modern(asked)?;
    let complete = |result: Value| {
        extended(result, json!({"resultType": "complete", "_meta": {SERVER_KEY: stub.identity.json()}}))
    };
    let cacheable = |result: Value| extended(complete(result), json!({"ttlMs": 0, "cacheScope": "private"}));
    match asked.method {
        "server/discover" => {
            let known = json!({
                "supportedVersions": [MODERN_VERSION],
                "capabilities": {"tools": {}},
                "instructions": INSTRUCTIONS,
            });
            Ok(asked.result(cacheable(known)))
        }
        "tools/list" => Ok(asked.result(cacheable(list(asked)?))),
        "tools/call" => call(stub, asked, true, complete),
        method => Err(unknown_method(404, method)),
    }
}

/// What every request without a handshake must bring. Its own members first: what the headers are compared
/// with must be there.
fn check_modern(asked: &Asked) -> Result<(), Refusal> {
    let meta = asked.params.get("_meta");
    let claim = meta.and_then(|meta| meta.get(CLAIM)).and_then(Value::as_str);
    let capable = meta.and_then(|meta| meta.get(CAPABILITIES_KEY)).is_some_and(Value::is_object);
    let lacking: Vec<&str> = [(CLAIM, claim.is_some()), (CAPABILITIES_KEY, capable)]
        .into_iter()
        .filter_map(|(key, present)| (!present).then_some(key))
        .collect();
    let (Some(claim), true) = (claim, capable) else {
        let text = format!("params._meta lacks {}", lacking.join(" and "));
        return Err(Refusal::new(400, INVALID_PARAMS, text));
    };
    let named = asked.params.get("name").and_then(Value::as_str).filter(|_| asked.method == "tools/call");
    let said = |name: &str| asked.http.header(name).map(str::trim);
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
    if claim == MODERN_VERSION {
        return Ok(());
    }
    let refusal = Refusal::new(400, UNSUPPORTED_VERSION, "this revision is not spoken here");
    Err(Refusal { data: Some(json!({"supported": [MODERN_VERSION], "requested": shown(claim)})), ..refusal })
}

/// As much of a caller's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The text that a header stands for: the base64 form, or itself.
fn decoded(value: &str) -> Option<String> {
    let inner = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else { return Some(value.to_owned()) };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

fn unknown_method(status: u16, method: &str) -> Refusal {
    Refusal::new(status, METHOD_NOT_FOUND, format!("there is no method {:?} here", shown(method)))
}

/// All tools fit on one page, so no cursor was ever given out.
fn list(asked: &Asked) -> Result<Value, Refusal> {
    match asked.params.get("cursor") {
        None | Some(Value::Null) => Ok(json!({"tools": tools::list()})),
        Some(_) => Err(Refusal::new(200, INVALID_PARAMS, "there is no such page: the first one is the last")),
    }
}

fn call(
    stub: &Answering,
    asked: &Asked,
    tells_model: bool,
    complete: impl Fn(Value) -> Value,
) -> Result<Answer, Refusal> {
    let invalid = |text: String| Refusal::new(200, INVALID_PARAMS, text);
    let name = asked.params.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| invalid("name is missing or no text".into()))?;
    let none = Map::new();
    let arguments = match asked.params.get("arguments") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(invalid("arguments is not an object".into())),
    };
    let result = match tools::call(&stub.identity, name, arguments) {
        Called::Result(result) => result,
        Called::BadArguments(text) if tells_model => tools::result(&text, None),
        Called::BadArguments(text) => return Err(invalid(text)),
        Called::Unknown => return Err(invalid(format!("there is no tool {:?} here", shown(name)))),
    };
    let answer = asked.result(complete(result));
    Ok(Answer { notes: if name == "echo" { progress(asked) } else { Vec::new() }, ..answer })
}

/// Two steps of progress, for a caller that asked for them and can read them.
fn progress(asked: &Asked) -> Vec<String> {
    let token = asked.params.get("_meta").and_then(|meta| meta.get("progressToken"));
    let token = token.filter(|token| token.is_string() || token.is_number());
    let Some(token) = token.filter(|_| accepts(asked.http, "text/event-stream")) else {
        return Vec::new();
    };
    let note = |step: u8| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": token, "progress": step, "total": 2,
        }})
    };
    [1, 2].map(|step| note(step).to_string()).to_vec()
}

impl Asked<'_> {
    fn result(&self, result: Value) -> Answer {
        Answer::of(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id))
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
