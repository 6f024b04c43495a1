//! What a server of our own says in the words of MCP, whatever its tools are and however it is reached.
//!
//! Harpoon and the stub answer both families of revisions: with a handshake, or each request by itself.
//! What they have in common stands here once: which revisions there are, what a request must bring, which
//! methods there are, and the frames around results. It keeps nothing between two requests. What is wrong
//! becomes a [`Refusal`] that repeats at most a few characters of what was sent.

use serde_json::{Map, Value, json};

use crate::relay::message::Message;
use crate::relay::port::Outcome;
use crate::relay::revision::{CLAIM, Era};
use crate::relay::{failure, json, tree};
use crate::text::head;

const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// The text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The message is none.
pub const INVALID_REQUEST: i64 = -32600;
/// The parameters do not fit the method.
pub const INVALID_PARAMS: i64 = -32602;
const UNSUPPORTED_VERSION: i64 = -32022;

/// Most values of one request. A tree takes up to a hundred bytes for two of text, and a command may have many
/// megabytes; no tool has more than some hundred arguments, and long texts are one value.
const VALUES_MAX: usize = 10_000;

/// As much of a caller's text as an error repeats.
const SHOWN_BYTES: usize = 64;

/// A server of our own: what it says of itself, and its tools.
pub trait Server {
    /// The same to everybody.
    fn introduction(&self) -> Introduction;

    /// The list of its tools, as `tools/list` shows it.
    fn tools(&self) -> Value;

    /// Calls one of them; may take its time.
    fn call(&self, name: &str, arguments: &Map<String, Value>) -> Called;
}

/// What came of a call.
pub enum Called {
    /// A whole result, also that of a tool that failed.
    Result(Value),
    /// The arguments do not fit the schema.
    BadArguments(String),
    /// There is no such tool.
    Unknown,
    /// Nothing can be said to the caller any more, or not by the tool.
    Ended(Outcome),
}

/// What became of a request that is right.
pub enum Served {
    /// The result.
    Result(Value),
    /// A call that ends in another way than by an answer of the server.
    Ended(Outcome),
}

/// A JSON-RPC error on its way out, with the status for where one is reported.
pub struct Refusal {
    /// The HTTP status that it would have.
    pub status: u16,
    /// The code of JSON-RPC or MCP.
    pub code: i64,
    /// For people and models.
    pub text: String,
    /// What a program can act on.
    pub data: Option<Value>,
}

impl Refusal {
    /// One without data.
    pub fn new(status: u16, code: i64, text: impl Into<String>) -> Refusal {
        Refusal { status, code, text: text.into(), data: None }
    }

    /// The parameters do not fit.
    pub fn params(text: impl Into<String>) -> Refusal {
        Refusal::new(200, INVALID_PARAMS, text)
    }

    /// No such method.
    pub fn method(status: u16, method: &str) -> Refusal {
        let text = format!("there is no method {:?} here", shown(method));
        Refusal::new(status, failure::METHOD_NOT_FOUND, text)
    }

    /// No such tool.
    pub fn tool(name: &str) -> Refusal {
        Refusal::params(format!("there is no tool {:?} here", shown(name)))
    }

    /// The message under this id, as the caller wrote it.
    pub fn message(&self, id: &str) -> String {
        failure::error(Some(id), self.code, &self.text, self.data.as_ref())
    }
}

/// A request that was understood.
pub struct Asked<'a> {
    /// The method, unescaped.
    pub method: &'a str,
    /// The id as it is written.
    pub id: &'a str,
    /// Its parameters; none are an empty object.
    pub params: Map<String, Value>,
}

impl<'a> Asked<'a> {
    /// Reads the parameters. Nested more deeply than anybody means it, they are refused like any other text
    /// that cannot be read.
    pub fn read(message: &'a Message) -> Result<Asked<'a>, Refusal> {
        let values = values_at_most(message.text());
        if values > VALUES_MAX {
            return Err(Refusal::new(400, INVALID_REQUEST, "the request holds too many values"));
        }
        let mut whole = tree::read(message.text().as_bytes())
            .map_err(|error| Refusal::new(400, PARSE_ERROR, error.to_string()))?;
        // Of members with one name a tree keeps the last, and somebody before us may have judged the first.
        if 1 + places(&whole) != values {
            return Err(Refusal::new(400, INVALID_REQUEST, "a member occurs twice"));
        }
        let params = match whole.get_mut("params").map(Value::take) {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(Refusal::new(400, INVALID_REQUEST, "params is not an object")),
        };
        let method = message.method().unwrap_or_default();
        Ok(Asked { method, id: message.id().unwrap_or("null"), params })
    }

    /// The result under the request's id.
    pub fn result(&self, result: &Value) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id)
    }

    /// The revision that the request states, when it brings all that a request without a handshake must.
    pub fn claim(&self) -> Result<&str, Refusal> {
        let meta = self.params.get("_meta");
        let claim = meta.and_then(|meta| meta.get(CLAIM)).and_then(Value::as_str);
        let capable = meta.and_then(|meta| meta.get(CAPABILITIES_KEY)).is_some_and(Value::is_object);
        let members = [(CLAIM, claim.is_some()), (CAPABILITIES_KEY, capable)].into_iter();
        let lacking: Vec<&str> = members.filter_map(|(key, is_there)| (!is_there).then_some(key)).collect();
        let text = || format!("params._meta lacks {}", lacking.join(" and "));
        claim.filter(|_| capable).ok_or_else(|| Refusal::new(400, INVALID_PARAMS, text()))
    }

    /// Checks that the list is asked for from its beginning: one page holds all, so no cursor was ever given
    /// out.
    pub fn first_page(&self) -> Result<(), Refusal> {
        match self.params.get("cursor") {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Refusal::params("there is no such page: the first one is the last")),
        }
    }

    /// Name and arguments of a `tools/call`.
    pub fn tool(&mut self) -> Result<(String, Map<String, Value>), Refusal> {
        let name = self.params.get("name").and_then(Value::as_str).map(str::to_owned);
        let name = name.ok_or_else(|| Refusal::params("name is missing or no text"))?;
        match self.params.remove("arguments") {
            None | Some(Value::Null) => Ok((name, Map::new())),
            Some(Value::Object(arguments)) => Ok((name, arguments)),
            Some(_) => Err(Refusal::params("arguments is not an object")),
        }
    }
}

/// Serves a request of the family with a handshake, but for `initialize`: what that leaves behind is up to the
/// caller of this. Since one revision a model is told of its mistakes, and not the program.
pub fn legacy(server: &dyn Server, asked: &mut Asked, tells_model: bool) -> Result<Served, Refusal> {
    match asked.method {
        "ping" => Ok(Served::Result(json!({}))),
        "tools/list" => Ok(Served::Result(list(server, asked)?)),
        "tools/call" => call(server, asked, tells_model),
        method => Err(Refusal::method(200, method)),
    }
}

/// Serves a request of the family without one.
pub fn modern(server: &dyn Server, asked: &mut Asked) -> Result<Served, Refusal> {
    check_modern(asked.claim()?)?;
    let known = server.introduction();
    match asked.method {
        "server/discover" => Ok(Served::Result(known.discover())),
        "tools/list" => Ok(Served::Result(known.cacheable(list(server, asked)?))),
        "tools/call" => Ok(match call(server, asked, true)? {
            Served::Result(result) => Served::Result(known.complete(result)),
            ended @ Served::Ended(_) => ended,
        }),
        method => Err(Refusal::method(404, method)),
    }
}

/// One page holds all.
fn list(server: &dyn Server, asked: &Asked) -> Result<Value, Refusal> {
    asked.first_page().map(|()| json!({"tools": server.tools()}))
}

/// Arguments that do not fit are told to the program, or to the model where the revision wants that.
fn call(server: &dyn Server, asked: &mut Asked, tells_model: bool) -> Result<Served, Refusal> {
    let (name, arguments) = asked.tool()?;
    match server.call(&name, &arguments) {
        Called::Result(result) => Ok(Served::Result(result)),
        Called::BadArguments(text) if tells_model => Ok(Served::Result(tool_result(&text, None))),
        Called::BadArguments(text) => Err(Refusal::params(text)),
        Called::Unknown => Err(Refusal::tool(&name)),
        Called::Ended(outcome) => Ok(Served::Ended(outcome)),
    }
}

/// Checks that a revision without a handshake is the one that is spoken. The list in the error holds no revision
/// with a handshake: who reads it would take them for ones that can be claimed.
pub fn check_modern(claim: &str) -> Result<(), Refusal> {
    if Era::Modern.revisions().any(|known| known == claim) {
        return Ok(());
    }
    let data = json!({"supported": Era::Modern.revisions().collect::<Vec<_>>(), "requested": shown(claim)});
    let refusal = Refusal::new(400, UNSUPPORTED_VERSION, "this revision is not spoken here");
    Err(Refusal { data: Some(data), ..refusal })
}

/// What a server says of itself.
pub struct Introduction {
    /// `name`, `title`, `version`.
    pub server: Value,
    /// What a model should know of its tools.
    pub instructions: &'static str,
}

impl Introduction {
    /// The result of `initialize`, and the revision in it.
    pub fn initialize(&self, asked: &Asked) -> Result<(&'static str, Value), Refusal> {
        let wanted = asked.params.get("protocolVersion").and_then(Value::as_str);
        let wanted = wanted.ok_or_else(|| Refusal::params("protocolVersion is missing or no text"))?;
        let version = Era::Legacy.revisions().find(|known| *known == wanted).unwrap_or(Era::Legacy.newest());
        let result = json!({
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": self.server,
            "instructions": self.instructions,
        });
        Ok((version, result))
    }

    /// The result of `server/discover`.
    pub fn discover(&self) -> Value {
        self.cacheable(json!({
            "supportedVersions": Era::Modern.revisions().collect::<Vec<_>>(),
            "capabilities": {"tools": {}},
            "instructions": self.instructions,
        }))
    }

    /// Any result of the revision without a handshake.
    pub fn complete(&self, result: Value) -> Value {
        extended(result, json!({"resultType": "complete", "_meta": {SERVER_KEY: self.server}}))
    }

    /// One that says how long it holds: it may change at any time.
    pub fn cacheable(&self, result: Value) -> Value {
        extended(self.complete(result), json!({"ttlMs": 0, "cacheScope": "private"}))
    }
}

/// The result of a tool: a text, and the structure that it repeats. Without one it is the error of a tool.
pub fn tool_result(text: &str, structured: Option<Value>) -> Value {
    let result = json!({"content": [{"type": "text", "text": text}], "isError": structured.is_none()});
    match structured {
        Some(structured) => extended(result, json!({"structuredContent": structured})),
        None => result,
    }
}

/// How many values a tree of this text would hold at most, which is a message: each stands behind a comma, or first
/// in something that was opened.
fn values_at_most(text: &str) -> usize {
    1 + json::outside_strings(text).filter(|(_, byte)| matches!(byte, b',' | b'[' | b'{')).count()
}

/// What [`values_at_most`] counts beside the first value, of a tree: its depth is what the parser allows.
fn places(tree: &Value) -> usize {
    let within = |inner: usize, length: usize| inner + length.max(1);
    match tree {
        Value::Array(list) => within(list.iter().map(places).sum(), list.len()),
        Value::Object(members) => within(members.values().map(places).sum(), members.len()),
        _ => 0,
    }
}

/// As much of a caller's text as an error repeats.
pub fn shown(text: &str) -> &str {
    head(text, SHOWN_BYTES)
}

/// An object with further members.
pub fn extended(object: Value, further: Value) -> Value {
    match (object, further) {
        (Value::Object(mut object), Value::Object(further)) => {
            object.extend(further);
            Value::Object(object)
        }
        (other, _) => other,
    }
}
