//! What stdio servers print: noise, strangers, floods, giants, requests of their own.

use serde_json::json;

use crate::support::BOUND;
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::stdio::{Rig, call};

/// Calls a method and asserts that its own answer came, that the server still runs, and that all is well.
fn survives(rig: &mut Rig, method: &str) -> Posted {
    let answer = rig.call(method, r#""n":5"#);
    assert_eq!(answer.code(), 200, "{method}: {}", answer.request.text());
    let result = json!({ "echo": method, "n": 5, "pid": rig.server_pid() });
    assert_eq!(answer.payload(), &json!({ "jsonrpc": "2.0", "id": 1, "result": result }), "{method}");
    rig.assert_alive();
    assert_eq!(rig.journal.of("(start)").len(), 1, "{method}");
    rig.wait_ready(200);
    answer
}

/// MCP-133, CP-165 as DESIGN has it: text, other JSON, blank and torn lines around an answer cost nothing.
#[test]
fn noise_is_skipped() {
    let mut rig = Rig::start("plain");
    rig.open();
    for _ in 0..3 {
        survives(&mut rig, "noisy");
    }
    let line = rig.client.wait_log(|line| line.contains("no messages"));
    assert!(line.contains("\"main\"") && line.contains("\"first\":\"starting up...\""), "{line}");
    // Said once, not once a line.
    assert_eq!(rig.client.log().lines().filter(|line| line.contains("no messages")).count(), 1);
    rig.wait_metric("noise", 15.0);
}

/// MCP-124: blank lines, CRLF and arrays are understood; an answer over several lines is noise, and swallows nothing.
#[test]
fn layouts_are_understood() {
    let mut rig = Rig::start("plain");
    rig.open();
    survives(&mut rig, "pretty");
    survives(&mut rig, "batch");
}

/// MCP-124: an answer of 50 MiB passes.
#[test]
fn a_giant_answer_passes() {
    let rig = Rig::start("plain");
    rig.open();
    let bytes = 50 * 1024 * 1024;
    let command = call("big", "\"giant\"", &format!(r#""bytes":{bytes}"#));
    rig.plane.queue(&command);
    // A busy machine takes its time with so many bytes.
    let answer = rig.plane.wait_answer_within(&command, 3 * BOUND);
    assert_eq!(answer.code(), 200);
    let text = answer.payload()["result"]["text"].as_str().unwrap();
    assert!(text.len() == bytes && text.bytes().all(|byte| byte == b'x'));
    rig.assert_alive();
}

/// A line above the bound is noise, however long it is; the answer after it counts.
#[test]
fn an_endless_line_is_skipped() {
    let mut rig = Rig::start("plain");
    rig.open();
    survives(&mut rig, "endless");
}

/// An answer that comes twice is given once, and the second never reaches a later call.
#[test]
fn a_second_answer_is_dropped() {
    let mut rig = Rig::start("plain");
    rig.open();
    survives(&mut rig, "twice");
    survives(&mut rig, "twice");
    rig.wait_metric("late", 2.0);
}

/// CP-165 as DESIGN has it: answers to nobody's calls are skipped.
#[test]
fn strangers_are_skipped() {
    let mut rig = Rig::start("plain");
    rig.open();
    survives(&mut rig, "strangers");
}

/// MCP-132, CP-165 as DESIGN has it: requests of the server are answered here, and its call goes on.
#[test]
fn requests_of_the_server_are_answered() {
    let mut rig = Rig::start("plain");
    rig.open();
    let command = call("ask", "1", "");
    let result = rig.send(&command).payload()["result"].clone();
    assert_eq!(result["\"s-1\""], json!({ "jsonrpc": "2.0", "id": "s-1", "result": {} }));
    assert_eq!(result["7"]["error"]["code"], -32601);
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    rig.wait_metric("server_requests_total", 2.0);
    rig.assert_alive();
}

/// MCP-117 as DESIGN has it: standard error is in the log, line by line, at info, with the channel.
#[test]
fn standard_error_is_logged() {
    let rig = Rig::start("plain");
    rig.open();
    rig.call("stderr", r#""text":"first of two\nsecond \u001b[31mof\u0007 two""#);
    for part in ["first of two", "second "] {
        let line = rig.client.wait_log(|line| line.contains(part) && line.contains("mcp server"));
        assert!(line.contains("\"INFO\"") && line.contains("\"main\""), "{line}");
    }
    assert!(!rig.client.log().contains(['\u{1b}', '\u{7}']));
}

/// REV-048: a flood on standard error blocks nobody and changes no verdict.
#[test]
fn a_flood_of_standard_error_is_harmless() {
    let mut rig = Rig::start("plain");
    rig.open();
    survives(&mut rig, "flood");
    rig.wait_metric("\"dropped\"", 1.0);
    rig.kill_server();
    rig.client.wait_log(|line| line.contains("lines of the mcp server's standard error dropped"));
    let shown =
        rig.client.log().lines().filter(|line| line.contains("of a flood") && line.contains("INFO")).count();
    // A slow machine may need some seconds for it.
    assert!((200..5_000).contains(&shown), "{shown}");
    rig.client.wait_log(|line| line.contains("WARN") && line.contains("line 4999 of a flood"));
}

/// A secret that lies across the end of what is looked at of a line leaves no half of itself.
#[test]
fn no_half_of_a_secret_is_shown() {
    let rig = Rig::with("plain", |b| b.flag("mcp.extra-headers", "X-Key: first-HALF-second-REST"));
    rig.open();
    for before in [990, 1_010, 4_090, 8_180] {
        let text = format!("{}first-HALF-second-REST tail", "b".repeat(before));
        rig.call("stderr", &format!(r#""text":"{text}""#));
    }
    rig.call("stderr", r#""text":"the last one""#);
    rig.client.wait_log(|line| line.contains("the last one"));
    assert!(!rig.client.log().contains("REST") && !rig.client.log().contains("HALF"));
}

/// Standard error without a line end fills no memory, and the log gets the beginning of the line.
#[test]
fn long_lines_of_standard_error_are_cut() {
    let rig = Rig::start("plain");
    rig.open();
    let text = "y".repeat(100_000);
    rig.call("stderr", &format!(r#""text":"{text}""#));
    rig.client.wait_log(|line| line.contains("yyyy") && line.contains("mcp server"));
    rig.assert_alive();
    let long = rig.client.log().lines().map(str::len).max().unwrap();
    assert!(long < 16 * 1024, "{long}");
}

/// A server that says something of ours on standard error does not get it into the log.
#[test]
fn standard_error_is_redacted() {
    let rig = Rig::start("plain");
    rig.open();
    rig.call("stderr", r#""text":"Authorization: Bearer abcdefghijklmnop-secret-9""#);
    let line = rig.client.wait_log(|line| line.contains("mcp server") && line.contains("uthorization"));
    assert!(!line.contains("secret-9"), "{line}");
}

/// A malformed command reaches no server.
#[test]
fn malformed_commands_are_not_written() {
    let rig = Rig::start("plain");
    rig.open();
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#;
    let answer = rig.send(&Command::rpc(twice));
    assert_ne!(answer.code(), 200, "{}", answer.request.text());
    rig.assert_alive();
    assert_eq!(rig.journal.of("echo").len(), 1);
}
