//! Calls: one line each in the log, one row on the page, one count in the metrics, all of the same record.

use serde_json::{Value, json};

#[cfg(feature = "page")]
use crate::support::client::API_KEY;
use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// The log's line about the end of a command.
fn ended(rig: &Rig, command: &Command) -> Value {
    let line = rig.client.wait_log(|line| line.contains("call ended") && line.contains(&command.id));
    serde_json::from_str(&line).unwrap()
}

fn tool(name: &str) -> Command {
    let params = json!({ "name": name, "arguments": { "q": "argument-inside" } });
    Command::rpc(json!({ "jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": params }))
        .header("Mcp-Session-Id", &["session-of-a-caller"])
}

/// DESIGN, What the operator sees: what ended well is told at `debug`, all else at `info`, with what finds the call of
/// somebody who complains.
#[test]
fn every_call_is_told_counted_and_shown() {
    let mut rig = Rig::start();
    let (good, bad) = (tool("search"), tool("fails"));
    assert_eq!(rig.send(&good).code(), 200);
    rig.mcp.reply("tools/call", Reply::body(500, "text/plain", "no"));
    assert_eq!(rig.send(&bad).code(), 500);
    let (good, bad) = (ended(&rig, &good), ended(&rig, &bad));
    let told =
        |line: &Value| ["level", "outcome", "method", "name", "channel"].map(|name| line[name].clone());
    assert_eq!(json!(told(&good)), json!(["DEBUG", "ok", "tools/call", "search", "main"]));
    assert_eq!(json!(told(&bad)), json!(["INFO", "failed", "tools/call", "fails", "main"]));
    assert_eq!((&good["status"], &bad["status"]), (&json!(200), &json!(500)));
    assert_eq!((&bad["failure"], &bad["rpc_request_id"]), (&json!("malformed_json"), &json!("\"c-1\"")));
    assert!(good["bytes_in"].as_u64().unwrap() > 100 && good["bytes_out"].as_u64().unwrap() > 10, "{good}");
    assert!(good["waited_ms"].is_u64() && good["ran_ms"].is_u64(), "{good}");
    // One conversation is one digest, which is not its name.
    let session = good["session"].as_str().unwrap();
    assert!(session.len() == 32 && bad["session"] == session, "{good}");

    let metrics = rig.client.get("/metrics").body;
    let labels =
        |outcome: &str| format!("{{channel=\"main\",method=\"tools/call\",outcome=\"{outcome}\"}} 1\n");
    for line in [
        format!("tunnel_client_calls_total{}", labels("ok")),
        format!("tunnel_client_calls_total{}", labels("failed")),
        format!("tunnel_client_call_duration_seconds_count{}", labels("ok")),
        "tunnel_client_calls_in_flight{channel=\"main\"} 0\n".to_owned(),
        "tunnel_client_up{channel=\"main\"} 1\n".to_owned(),
        "tunnel_client_control_plane_up 1\n".to_owned(),
    ] {
        assert!(metrics.contains(&format!("\n{line}")), "{line}: {metrics}");
    }
    for text in [rig.client.log(), metrics] {
        assert!(!text.contains("session-of-a-caller") && !text.contains("argument-inside"), "{text}");
    }
}

/// The newest call comes first on the page, with its outcome, and nothing of what was said in it.
#[cfg(feature = "page")]
#[test]
fn the_page_shows_the_last_calls() {
    let mut rig = Rig::start();
    for name in ["first", "second"] {
        assert_eq!(rig.send(&tool(name)).code(), 200);
    }
    let page = rig.client.wait_get("/ui", |page| page.body.contains("second")).body;
    assert!(page.find("second").unwrap() < page.find("first").unwrap(), "{page}");
    assert!(!page.contains("argument-inside") && !page.contains("session-of-a-caller"), "{page}");
}

/// The page's text for support holds what a first look needs, to be saved as a file, and nothing of what was said.
#[cfg(feature = "page")]
#[test]
fn a_running_tunnel_says_what_support_needs() {
    let mut rig = Rig::start();
    assert_eq!(rig.send(&tool(API_KEY)).code(), 200);
    assert_eq!(rig.send(&tool("search")).code(), 200);
    let text = rig.client.wait_get("/ui/support.txt", |text| text.body.contains("| search | ok |"));
    assert!(text.body.contains("| [REDACTED] | ok |") && !text.body.contains(API_KEY), "{}", text.body);
    let place = text.header("Content-Disposition").unwrap();
    assert!(place.starts_with("attachment; filename="), "{place}");
    for part in [
        "commit ",
        "== settings in force ==\n",
        "\ncontrol_plane.base_url = http://127.0.0.1:",
        "mcp.max_concurrent_requests = 10  (default)\n",
        "\"schema_version\": 1",
        " | main | tools/call | search | ok | 200 | ",
        "\nThreads:",
        "\ntunnel_client_calls_total{",
    ] {
        assert!(text.body.contains(part), "{part}: {}", text.body);
    }
    assert!(text.body.len() < 512 * 1024);
    assert!(!text.body.contains("argument-inside") && !text.body.contains("session-of-a-caller"));
}

/// Lines about calls that did not end well are limited; the rest is counted, and told in the next second.
#[test]
fn lines_about_failed_calls_are_limited() {
    let rig = Rig::start();
    rig.mcp
        .hook(|request| (request.rpc_method() == "tools/call").then(|| Reply::body(500, "text/plain", "no")));
    let calls: Vec<Command> = (0..120).map(|_| tool("fails")).collect();
    rig.plane.queue_all(&calls);
    for call in &calls {
        rig.plane.wait_answer(call);
    }
    let lines = rig.client.log().lines().filter(|line| line.contains("call ended: failed")).count();
    // Two seconds may have begun, or three where the host is slow.
    assert!((50..120).contains(&lines), "{lines}");
}
