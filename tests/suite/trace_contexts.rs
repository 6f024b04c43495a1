//! Trace contexts of commands: forwarded on demand as text in `params._meta`, and named in the log.

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::stdio;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const REQUEST: &str =
    r#"{ "id":1.50,"jsonrpc":"2.0", "method":"m", "params":{"n":1e2, "_meta": {"p":1} ,"x":"\u00e4"} }"#;

fn traced(command: Command) -> Command {
    let context = format!(r#"{{"traceparent":"{PARENT}","tracestate":" a=b , c=d","baggage":{{}}}}"#);
    command.member("trace_context", context)
}

fn forwarding(builder: Builder) -> Builder {
    builder.argument("--mcp.forward-trace-context")
}

/// NEW-067, NEW-068, NEW-069: two members are inserted, in their canonical form; everything else stays byte for byte.
#[test]
fn a_trace_context_goes_on_where_it_is_wanted() {
    let rig = Rig::with(forwarding);
    let request = rig.forwarded(&traced(Command::rpc(REQUEST)), "m");
    let own = format!("{{\"traceparent\":\"{PARENT}\",\"tracestate\":\"a=b,c=d\",\"p\"");
    assert_eq!(request.text(), REQUEST.replace("{\"p\"", &own));
    assert_eq!((request.header("traceparent"), request.header("tracestate")), (None, None));
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    let request = rig.forwarded(&traced(Command::rpc(bare)), "m");
    let params: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(params["params"]["_meta"]["traceparent"], PARENT);
    // One that is almost valid changes nothing, and harms no command.
    for context in ["7", "{}", "null", "[]", &format!(r#"{{"traceparent":"{PARENT}","tracestate":"A=b"}}"#)] {
        let command = Command::rpc(REQUEST).member("trace_context", context);
        assert_eq!(rig.forwarded(&command, "m").text(), REQUEST, "{context}");
    }
    // So do headers of the command that bring one.
    let command = traced(Command::rpc(REQUEST)).header("TraceState", &[]);
    assert_eq!(rig.forwarded(&command, "m").text(), REQUEST);
}

/// NEW-030, NEW-067: without the setting nothing is forwarded; nor where the operator's own headers name one.
#[test]
fn a_trace_context_stays_here_otherwise() {
    let named = |builder: Builder| forwarding(builder).flag("mcp.extra-headers", "Tracestate: x=y");
    for rig in [Rig::start(), Rig::with(named)] {
        assert_eq!(rig.forwarded(&traced(Command::rpc(REQUEST)), "m").text(), REQUEST);
    }
}

/// NEW-067: over stdio too.
#[test]
fn a_trace_context_reaches_a_child() {
    let rig = stdio::Rig::with("plain", forwarding);
    let command = traced(stdio::call("echo", "1", r#""n":1,"_meta":{"progressToken":"t"}"#));
    assert_eq!(rig.send(&command).payload()["result"]["n"], 1);
    let meta = &rig.journal.of("echo")[0].json()["params"]["_meta"];
    assert_eq!((&meta["traceparent"], &meta["tracestate"]), (&PARENT.into(), &"a=b,c=d".into()));
}

/// NEW-030: its trace id is how a call is found in the logs of all parties.
#[test]
fn the_trace_id_stands_in_the_log() {
    let rig = Rig::start();
    rig.mcp.reply("m", Reply::closed());
    let command = traced(Command::rpc(REQUEST));
    rig.send(&command);
    let is_of = |line: &str| line.contains(&command.id) && line.contains("4bf92f3577b34da6a3ce929d0e0e4736");
    rig.client.wait_log(|line| line.contains("\"WARN\"") && is_of(line));
}
