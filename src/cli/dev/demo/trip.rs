//! The round trip of the demo: what a product says to a server first, one step after the other.
//!
//! Each step is told with its time as it is done. The first one that fails ends the trip with a sentence on
//! what happened and one on what to do. Texts of servers are cut and escaped before they are shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::caller::{Caller, Told, client_info};
use crate::net::{Error, Kind};
use crate::relay::revision::Era;
use crate::text::bounded;

/// What the stub's echo is asked to repeat.
const GREETING: &str = "hello through the tunnel";

/// How much of a server's name, tool or answer is shown.
const SHOWN_BYTES: usize = 72;
/// How many names of tools are shown.
const TOOLS_SHOWN: usize = 5;

/// A step that was done.
pub(super) struct Step {
    pub(super) name: String,
    /// Nothing, when it was left out.
    pub(super) took: Option<Duration>,
    /// What came of it.
    pub(super) remark: String,
}

/// Why the trip ended early.
pub(super) struct Stopped {
    /// The step.
    pub(super) name: String,
    /// What happened, and what to do.
    pub(super) why: String,
    pub(super) advice: String,
    /// Only the caller's account is lacking: the tunnel and the server are fine.
    pub(super) wants_login: bool,
}

/// Which tool is called. Of a server that is not ours none is, unless somebody named it: a tool that says
/// nothing of itself may destroy what it works on.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// The stub's echo.
    Echo,
    /// The one that the user named, without arguments.
    Named(&'a str),
    /// None.
    Nothing,
}

/// Goes through all steps; `step` is told of each.
pub(super) fn go(caller: &mut Caller, call: Call<'_>, mut step: impl FnMut(Step)) -> Result<(), Stopped> {
    let has_session = open(caller, &mut step)?;
    if has_session {
        let name = "notifications/initialized";
        let told = caller.tell(name).map_err(|error| lost(name, &error))?;
        if !(200..300).contains(&told.status) {
            return Err(refused(name, &told));
        }
        step(Step { name: name.into(), took: Some(told.took), remark: "accepted".into() });
    }
    let name = "tools/list";
    let told = caller.ask(name, json!({})).map_err(|error| lost(name, &error))?;
    if error_code(&told) == Some(-32601) {
        step(Step { name: name.into(), took: Some(told.took), remark: "the server has no tools".into() });
        return Ok(());
    }
    let tools = told.message.pointer("/result/tools").and_then(Value::as_array);
    let tools = tools.ok_or_else(|| refused(name, &told))?;
    step(Step { name: name.into(), took: Some(told.took), remark: counted(tools) });
    let (tool, arguments) = match call {
        Call::Echo => ("echo", json!({"input": GREETING})),
        Call::Named(tool) => (tool, json!({})),
        Call::Nothing => {
            let remark = match tools.as_slice() {
                [] => "not made: there is no tool",
                _ => "not made: a tool may change things; --call NAME calls one",
            };
            step(Step { name: "tools/call".into(), took: None, remark: remark.into() });
            return Ok(());
        }
    };
    let name = format!("tools/call {}", bounded(tool, SHOWN_BYTES));
    let told = caller.ask("tools/call", json!({"name": tool, "arguments": arguments}));
    let told = told.map_err(|error| lost(&name, &error))?;
    let result = told.message.get("result").ok_or_else(|| refused(&name, &told))?;
    let remark = if matches!(call, Call::Echo) { answered(result) } else { counted_answer(result) };
    step(Step { name, took: Some(told.took), remark });
    Ok(())
}

/// The handshake; where the server knows none, the question that takes its place. True when there is a
/// session to go on in.
fn open(caller: &mut Caller, step: &mut impl FnMut(Step)) -> Result<bool, Stopped> {
    let name = "initialize";
    let params =
        json!({"protocolVersion": Era::Legacy.newest(), "capabilities": {}, "clientInfo": client_info()});
    let told = caller.ask(name, params).map_err(|error| lost(name, &error))?;
    if let Some(version) = told.message.pointer("/result/protocolVersion").and_then(Value::as_str) {
        caller.speak(version);
        let remark = server_of(told.message.pointer("/result/serverInfo"), version);
        step(Step { name: name.into(), took: Some(told.took), remark });
        return Ok(true);
    }
    // Refused by the server in the words of the protocol, and not by anybody on the way.
    let code = error_code(&told).filter(|_| failure(&told).is_none() && told.status != 401);
    if code.is_none() {
        return Err(refused(name, &told));
    }
    caller.speak(Era::Modern.newest());
    let other = "server/discover";
    let known = caller.ask(other, json!({})).map_err(|error| lost(other, &error))?;
    if known.message.pointer("/result/supportedVersions").is_none() {
        return Err(refused(name, &told));
    }
    let modern = Era::Modern.newest();
    let remark = format!("refused: the server speaks MCP {modern} only, which has no handshake");
    step(Step { name: name.into(), took: Some(told.took), remark });
    let info = known.message.pointer("/result/_meta/io.modelcontextprotocol~1serverInfo");
    step(Step { name: other.into(), took: Some(known.took), remark: server_of(info, Era::Modern.newest()) });
    Ok(false)
}

fn name_of(tool: &Value) -> Option<&str> {
    tool.get("name").and_then(Value::as_str)
}

fn server_of(info: Option<&Value>, version: &str) -> String {
    let text = |key: &str| info.and_then(|info| info.get(key)).and_then(Value::as_str).unwrap_or_default();
    let who = bounded(format!("{} {}", text("name"), text("version")).trim(), SHOWN_BYTES);
    let who = if who.is_empty() { "a server without a name".to_owned() } else { who };
    format!("{who}, MCP {}", bounded(version, SHOWN_BYTES))
}

fn counted(tools: &[Value]) -> String {
    let mut names: Vec<String> =
        tools.iter().take(TOOLS_SHOWN).filter_map(name_of).map(|name| bounded(name, SHOWN_BYTES)).collect();
    if tools.len() > TOOLS_SHOWN {
        names.push("...".into());
    }
    match tools {
        [] => "no tools".into(),
        [_] => format!("1 tool: {}", names.join(", ")),
        _ => format!("{} tools: {}", tools.len(), names.join(", ")),
    }
}

/// The first text of a result.
fn answered(result: &Value) -> String {
    let text = result.pointer("/content/0/text").and_then(Value::as_str);
    let text =
        text.map_or("answered without a text".into(), |text| format!("\"{}\"", bounded(text, SHOWN_BYTES)));
    match result.get("isError").and_then(Value::as_bool) {
        Some(true) => format!("the tool reports an error: {text}"),
        _ => text,
    }
}

/// What another server answered, by its size: it may be its environment, or somebody's data.
fn counted_answer(result: &Value) -> String {
    let items = result.get("content").and_then(Value::as_array).map_or(0, Vec::len);
    let what = match result.get("isError").and_then(Value::as_bool) {
        Some(true) => "the tool reports an error",
        _ => "answered",
    };
    let items = if items == 1 { "1 item".to_owned() } else { format!("{items} items") };
    format!("{what}: {items}, {} bytes, not shown here", result.to_string().len())
}

fn error_code(told: &Told) -> Option<i64> {
    told.message.pointer("/error/code").and_then(Value::as_i64)
}

/// What the relay says when a server gave no answer.
fn failure(told: &Told) -> Option<&Value> {
    told.message.pointer("/error/data/tunnel_failure")
}

/// The local control plane itself could not be asked.
fn lost(name: &str, error: &Error) -> Stopped {
    if error.kind == Kind::Shutdown {
        let advice = "The server had not answered yet: see whether it hangs.".into();
        return Stopped { name: name.into(), why: "interrupted".into(), advice, wants_login: false };
    }
    Stopped {
        name: name.into(),
        why: format!("no answer of the local control plane: {error}"),
        advice: "Nothing of yours is at fault: please report this with the output of --version.".into(),
        wants_login: false,
    }
}

/// Something came back, but not what was asked for.
fn refused(name: &str, told: &Told) -> Stopped {
    let source = failure(told).and_then(|failure| failure.get("source")).and_then(Value::as_str);
    let text = |pointer: &str| told.message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let said = bounded(text("/error/message"), SHOWN_BYTES);
    let (why, advice) = match (told.status, source) {
        (401, _) => (
            "the server wants to know who calls (401)".to_owned(),
            "The tunnel works. A product would now let its user log in; the demo has no account to show.",
        ),
        (403, _) => (
            "the server refuses this caller (403)".into(),
            "Its own rules do that, the tunnel does not: see what the server allows.",
        ),
        (_, Some("connect" | "dns")) => (
            "the server could not be reached".into(),
            "Start the server, or see whether host, port and path of its URL are right.",
        ),
        (_, Some("tls")) => (
            "there was no secure connection to the server".into(),
            "If a private authority signed its certificate, name that in CA_BUNDLE.",
        ),
        (_, Some("timeout")) | (504, _) => (
            "the server did not answer in time".into(),
            "See whether it hangs; ask it without the tunnel to compare.",
        ),
        (_, Some("transport_closed")) => (
            "the server ended before it had answered".into(),
            "Run its command by hand: it should wait for input. Its own output says what went wrong.",
        ),
        (status @ (429 | 500..), Some("target_http")) => (
            format!("the server refused or failed (status {status})"),
            "The tunnel works; what the server minds stands in its own log.",
        ),
        (status, Some(source)) => (
            match source {
                "target_http" => format!("the server's answer is not MCP (status {status})"),
                // This status would be the relay's, not the server's.
                _ => "the server's answer is not MCP".into(),
            },
            "See whether the URL's path is the one of its MCP endpoint, often /mcp.",
        ),
        (status, None) if said.is_empty() => (
            format!("the answer has neither result nor error (status {status})"),
            "See whether the server speaks MCP over Streamable HTTP or stdio.",
        ),
        (_, None) => (
            format!("the server answered with an error: {said}"),
            "The tunnel works; what the server minds stands in its own log.",
        ),
    };
    Stopped { name: name.into(), why, advice: advice.into(), wants_login: told.status == 401 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, message: Value) -> Told {
        Told { status, message, took: Duration::ZERO }
    }

    #[test]
    fn texts_of_servers_are_cut_and_escaped() {
        let result = json!({"content": [{"type": "text", "text": format!("\u{1b}[2J{}", "x".repeat(100))}]});
        let text = answered(&result);
        assert!(!text.contains('\u{1b}') && text.len() < 80, "{text}");
        assert_eq!(server_of(None, "v"), "a server without a name, MCP v");
        assert_eq!(counted(&[json!({"name": "a\nb"})]), "1 tool: a\\nb");
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let data =
            |source: &str| json!({"error": {"message": "m", "data": {"tunnel_failure": {"source": source}}}});
        let why = |told: &Told| refused("initialize", told).why;
        assert_eq!(why(&told(502, data("connect"))), "the server could not be reached");
        assert_eq!(why(&told(404, data("target_http"))), "the server's answer is not MCP (status 404)");
        assert_eq!(why(&told(502, data("protocol"))), "the server's answer is not MCP");
        assert_eq!(why(&told(500, data("target_http"))), "the server refused or failed (status 500)");
        let denied = refused("initialize", &told(401, data("target_http")));
        assert!(denied.wants_login && denied.advice.starts_with("The tunnel works."));
        assert_eq!(
            why(&told(200, json!({"error": {"message": "no"}}))),
            "the server answered with an error: no"
        );
        assert_eq!(why(&told(200, Value::Null)), "the answer has neither result nor error (status 200)");
    }
}
