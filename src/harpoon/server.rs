//! The MCP server around the tools: both families of revisions, each request by itself.
//!
//! There is no handshake to remember and no session to name: a bare request is answered before any
//! `initialize`, as the SDKs' servers in memory do not. Whatever is wrong with a request is answered in the words
//! of JSON-RPC; only a call that was cut, or that nobody waits for, has no answer of this server.

use serde_json::{Map, Value, json};

use super::mcp_server::{self, Asked, Called, Introduction, Refusal, Served, Server};
use crate::relay::command::Command;
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::Message;
use crate::relay::payload::Payload;
use crate::relay::port::Outcome;
use crate::relay::revision::{self, Era, VERSION_HEADER};

use super::tools::{Caller, Tools};

/// What a model needs to begin, and what it has to know of what it will read.
const INSTRUCTIONS: &str = "Calls HTTP endpoints in a private network that its operator has registered, and no others. \
    Ask list_targets for their labels, then use call_target with one. URLs of registered endpoints appear as \
    harpoon://label: such a label can be called.";

/// The tools as one caller has them.
pub(super) struct Desk<'a> {
    pub(super) tools: &'a Tools,
    pub(super) caller: Caller<'a>,
}

impl Server for Desk<'_> {
    /// The same to everybody, whatever endpoints there are.
    fn introduction(&self) -> Introduction {
        let title = "Harpoon (Constrained HTTP Client)";
        let server = json!({"name": "harpoon", "title": title, "version": crate::VERSION});
        Introduction { server, instructions: INSTRUCTIONS }
    }

    /// They do not depend on the endpoints: a client may keep the list while these come and go.
    fn tools(&self) -> Value {
        self.tools.list()
    }

    fn call(&self, name: &str, arguments: &Map<String, Value>) -> Called {
        self.tools.call(&self.caller, name, arguments)
    }
}

/// Answers one request of this command. A refusal is an answer too, with the status that it would have over HTTP.
pub(super) fn answer(tools: &Tools, command: &Command, message: &Message) -> Outcome {
    let version = command.header(VERSION_HEADER.as_str());
    let caller = Caller { request_id: &command.request_id, answer_by: command.answer_by };
    let (status, text) = match serve(&Desk { tools, caller }, message, version) {
        Ok((Served::Result(result), asked)) => (200, asked.result(&result)),
        Ok((Served::Ended(outcome), _)) => return outcome,
        Err(refusal) => (refusal.status, refusal.message(message.id().unwrap_or("null"))),
    };
    let headers = ReplyHeaders::content("application/json");
    Outcome::Response { status, headers, payload: Payload::own(text), timing: None }
}

/// The two families, one after another. Which one a request belongs to is decided by the relay's reader: body
/// first, header second. A header alone decides no more than that here, since there is no HTTP to disagree with.
fn serve<'m>(
    desk: &Desk,
    message: &'m Message,
    version: Option<&str>,
) -> Result<(Served, Asked<'m>), Refusal> {
    let mut asked = Asked::read(message)?;
    let served = match message.era(version) {
        Era::Legacy if asked.method == "initialize" => {
            Served::Result(desk.introduction().initialize(&asked)?.1)
        }
        Era::Legacy => {
            let tells_model = version.is_some_and(revision::tells_model);
            mcp_server::legacy(desk, &mut asked, tells_model)?
        }
        // It belongs to no revision before, so it need not bring what those of its own do to be unknown.
        Era::Modern if asked.method == "subscriptions/listen" && asked.claim().is_err() => {
            return Err(Refusal::method(200, asked.method));
        }
        Era::Modern => mcp_server::modern(desk, &mut asked)?,
    };
    Ok((served, asked))
}
