//! The MCP server around the tools: both families of revisions, each request by itself.
//!
//! There is no handshake to remember and no session to name: a bare request is answered before any
//! `initialize`, as the SDKs' servers in memory do not. Whatever is wrong with a request is answered in the words
//! of JSON-RPC; only a call that was cut, or that nobody waits for, has no answer of this server.

use serde_json::{Value, json};

use crate::relay::command::Command;
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::{Era, Message};
use crate::relay::modern::PROTOCOL_VERSION;
use crate::relay::payload::Payload;
use crate::relay::port::Outcome;
use crate::relay::serving::{Asked, Introduction, LEGACY_NEWEST, Refusal, check_modern, tool_result};

use super::tools::{Called, Tools};

/// What a model needs to begin, and what it has to know of what it will read.
const INSTRUCTIONS: &str = "Calls HTTP endpoints in a private network that its operator has registered, and no others. \
    Ask list_targets for their labels, then use call_target with one. URLs of registered endpoints appear as \
    harpoon://label: such a label can be called.";

/// Answers one request of this command. A refusal is an answer too, with the status that it would have over HTTP.
pub(super) fn answer(tools: &Tools, command: &Command, message: &Message) -> Outcome {
    let version = command.header(PROTOCOL_VERSION.as_str());
    let (status, text) = match serve(tools, command, message, version) {
        Ok(Served::Result(text)) => (200, text),
        Ok(Served::Ended(outcome)) => return outcome,
        Err(refusal) => (refusal.status, refusal.message(message.id().unwrap_or("null"))),
    };
    let headers = ReplyHeaders::content("application/json");
    Outcome::Response { status, headers, payload: Payload::own(text) }
}

/// What became of a request that is right.
enum Served {
    /// The whole answer.
    Result(String),
    /// A call that ends in another way than by an answer of this server.
    Ended(Outcome),
}

/// The two families, one after another. Which one a request belongs to is decided by the relay's reader: body
/// first, header second. A header alone decides no more than that here, since there is no HTTP to disagree with.
fn serve(
    tools: &Tools,
    command: &Command,
    message: &Message,
    version: Option<&str>,
) -> Result<Served, Refusal> {
    let known = introduction();
    let mut asked = Asked::read(message)?;
    if message.era(version) == Era::Legacy {
        let result = match asked.method {
            "initialize" => known.initialize(&asked)?.1,
            "ping" => json!({}),
            "tools/list" => list(tools, &asked)?,
            "tools/call" => {
                let tells_model = version.is_some_and(|version| version >= LEGACY_NEWEST);
                return call(tools, command, &mut asked, tells_model, |result| result);
            }
            method => return Err(Refusal::method(200, method)),
        };
        return Ok(Served::Result(asked.result(&result)));
    }
    // It belongs to no revision before, so it need not bring what those of its own do to be unknown.
    if asked.method == "subscriptions/listen" && asked.claim().is_err() {
        return Err(Refusal::method(200, asked.method));
    }
    check_modern(asked.claim()?)?;
    let result = match asked.method {
        "server/discover" => known.discover(),
        "tools/list" => known.cacheable(list(tools, &asked)?),
        "tools/call" => return call(tools, command, &mut asked, true, |result| known.complete(result)),
        method => return Err(Refusal::method(404, method)),
    };
    Ok(Served::Result(asked.result(&result)))
}

/// The same to everybody, whatever endpoints there are.
fn introduction() -> Introduction {
    let title = "Harpoon (Constrained HTTP Client)";
    let server = json!({"name": "harpoon", "title": title, "version": crate::VERSION});
    Introduction { server, instructions: INSTRUCTIONS }
}

/// The tools do not depend on the endpoints: a client may keep the list while these come and go.
fn list(tools: &Tools, asked: &Asked) -> Result<Value, Refusal> {
    asked.first_page().map(|()| json!({"tools": tools.list()}))
}

/// Arguments that do not fit are told to the program, or to the model where the revision wants that.
fn call(
    tools: &Tools,
    command: &Command,
    asked: &mut Asked,
    tells_model: bool,
    complete: impl Fn(Value) -> Value,
) -> Result<Served, Refusal> {
    let (name, arguments) = asked.tool()?;
    let result = match tools.call(command, &name, &arguments) {
        Called::Result(result) => result,
        Called::BadArguments(text) if tells_model => tool_result(&text, None),
        Called::BadArguments(text) => return Err(Refusal::params(text)),
        Called::Unknown => return Err(Refusal::tool(&name)),
        Called::Ended(outcome) => return Ok(Served::Ended(outcome)),
    };
    Ok(Served::Result(asked.result(&complete(result))))
}
