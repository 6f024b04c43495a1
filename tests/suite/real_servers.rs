//! Servers that others wrote, over stdio: the scripted one only does what its author thought of.
//!
//! They are no part of the tree. `.ci/run` installs them and runs these tests; `tests/README.md` tells how to do
//! so by hand.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::era_requests::modern;
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::stdio::{Rig, call, initialize};

/// Interpreters start slowly, most of all for the first time on a machine.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// A program or file below the directory that holds the servers.
fn installed(path: &str) -> String {
    let root = std::env::var("TUNNEL_CLIENT_REAL_SERVERS").expect("TUNNEL_CLIENT_REAL_SERVERS is not set");
    // The client runs in a directory of its own. The last part may be a link that must stay one: a virtual
    // environment knows itself by the path of its interpreter.
    let path = std::fs::canonicalize(&root).unwrap_or_else(|error| panic!("{root}: {error}")).join(path);
    assert!(path.exists(), "{} is not there", path.display());
    path.to_str().unwrap().to_owned()
}

/// A rig over this command. These servers write no journal; its path is a last argument that they do not look at, so
/// that their processes can be found.
fn rig(command: &str) -> Rig {
    Rig::bound(|builder, journal| {
        let path = std::env::var("PATH").unwrap();
        builder.env("PATH", &path).flag("mcp.command", &format!("{command} '{}'", journal.path()))
    })
}

fn everything() -> Rig {
    let script = installed("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    rig(&format!("node '{script}' stdio"))
}

fn fastmcp() -> Rig {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fastmcp_server.py");
    rig(&format!("'{}' '{}'", installed("venv/bin/python"), script.display()))
}

/// The answer to a command whose server may have to start first.
fn answer(rig: &Rig, command: &Command) -> Posted {
    rig.plane.queue(command);
    rig.plane.wait_answer_within(command, FIRST_ANSWER)
}

fn result(rig: &Rig, command: &Command) -> Value {
    let answer = answer(rig, command);
    let result = &answer.payload()["result"];
    assert!(answer.code() == 200 && result.is_object(), "{}", answer.request.text());
    result.clone()
}

/// Opens a session and returns what the server says of itself.
fn open(rig: &Rig) -> Value {
    let answer = result(rig, &initialize("0"));
    let ack = rig.send(&Command::notification("notifications/initialized"));
    assert_eq!((ack.kind(), ack.code()), ("notify_ack", 200));
    answer
}

/// The names of the tools in the result of `tools/list`.
fn names(list: &Value) -> Vec<&str> {
    list["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect()
}

/// Stops the client; nothing may be left behind.
fn stop(mut rig: Rig, servers: usize) {
    // Each has a guard beside it.
    assert_eq!(rig.journal.processes().len(), 2 * servers);
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.journal.processes(), [0; 0], "gone when the client is");
    // The log is whole only now.
    let started = rig.client.log().matches("mcp server started").count();
    assert_eq!(started, servers, "no server died and was started again");
}

/// A session of the older era with a server in JavaScript.
#[test]
#[ignore = "needs the servers that .ci/run installs"]
fn everything_serves_a_session() {
    let rig = everything();
    let opened = open(&rig);
    assert_eq!(opened["serverInfo"]["name"], "mcp-servers/everything");
    assert_eq!(opened["protocolVersion"], "2025-06-18");
    let list = result(&rig, &call("tools/list", "\"list\"", ""));
    for name in ["echo", "trigger-long-running-operation"] {
        assert!(names(&list).contains(&name), "{name}: {list}");
    }
    let echo = result(&rig, &call("tools/call", "1", r#""name":"echo","arguments":{"message":"grüße"}"#));
    assert_eq!(echo["content"], json!([{ "type": "text", "text": "Echo: grüße" }]));
    stop(rig, 1);
}

/// Progress of a real server arrives in order, under the caller's token, and before the result.
#[test]
#[ignore = "needs the servers that .ci/run installs"]
fn everything_tells_its_progress() {
    let rig = everything();
    open(&rig);
    let params = r#""name":"trigger-long-running-operation","arguments":{"duration":0.2,"steps":4},"_meta":{"progressToken":"mine"}"#;
    // Equal ids and tokens, side by side.
    let calls = [call("tools/call", "7", params), call("tools/call", "7", params)];
    rig.plane.queue_all(&calls);
    for command in &calls {
        assert_eq!(rig.plane.wait_answer(command).payload()["id"], 7);
        let posts = rig.plane.posts_of(command);
        let (last, notes) = posts.split_last().unwrap();
        assert_eq!(last.kind(), "jsonrpc_response");
        let text = last.payload()["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(text.contains("completed"), "{}", last.request.text());
        let told: Vec<Value> = notes.iter().map(|note| note.payload()["params"].clone()).collect();
        let wanted = (1..=4).map(|step| json!({ "progress": step, "total": 4, "progressToken": "mine" }));
        assert_eq!(told, wanted.collect::<Vec<Value>>());
    }
    stop(rig, 1);
}

/// A session of the older era with a server in Python.
#[test]
#[ignore = "needs the servers that .ci/run installs"]
fn fastmcp_serves_a_session() {
    let rig = fastmcp();
    assert_eq!(open(&rig)["serverInfo"]["name"], "small");
    let list = result(&rig, &call("tools/list", "1", ""));
    assert_eq!(names(&list), ["echo", "count"]);
    let echo = result(&rig, &call("tools/call", "1", r#""name":"echo","arguments":{"text":"grüße"}"#));
    assert_eq!(echo["structuredContent"]["result"], "grüße");
    stop(rig, 1);
}

/// A command of the newer era with the headers that products send along.
fn modern_call(method: &str, params: &str) -> Command {
    let headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    let command = Command::rpc(modern(method, "\"m\"", params));
    headers.iter().fold(command, |command, (name, value)| command.header(name, &[value]))
}

/// The newer era needs no handshake, and a session of the older era beside it changes nothing.
#[test]
#[ignore = "needs the servers that .ci/run installs"]
fn fastmcp_serves_both_eras() {
    let rig = fastmcp();
    // First, because a discovery is given up after ten seconds, which a first start on a machine may take.
    assert_eq!(open(&rig)["protocolVersion"], "2025-06-18");
    let known = result(&rig, &modern_call("server/discover", ""));
    let versions = known["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{known}");
    let params = r#""name":"echo","arguments":{"text":"grüße"}"#;
    for _ in 0..2 {
        let newer = result(&rig, &modern_call("tools/call", params).header("Mcp-Name", &["echo"]));
        assert_eq!(newer["structuredContent"]["result"], "grüße");
        assert_eq!(newer["resultType"], "complete");
        let older = result(&rig, &call("tools/call", "\"m\"", params));
        assert_eq!(older["structuredContent"]["result"], "grüße");
        assert!(older.get("resultType").is_none(), "{older}");
    }
    stop(rig, 2);
}

/// Errors of both eras are the server's own.
#[test]
#[ignore = "needs the servers that .ci/run installs"]
fn fastmcp_refuses_what_it_does_not_know() {
    let rig = fastmcp();
    for command in [modern_call("no/such", ""), call("no/such", "\"m\"", "")] {
        let answer = answer(&rig, &command);
        // The data are the server's; a refusal of the client's own has none.
        let error = json!({ "code": -32601, "message": "Method not found", "data": "no/such" });
        assert_eq!((answer.code(), &answer.payload()["error"]), (200, &error));
        assert_eq!(answer.payload()["id"], "m");
    }
    stop(rig, 2);
}
