//! One bad command never costs its siblings.

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, Posted};
use crate::support::rig::Rig;

/// What a malformed payload is answered with; the one place that says so.
const MALFORMED_CODES: [u64; 2] = [400, 502];

/// Delivers all elements in one poll and waits for the last one's answer.
fn deliver(elements: &[String], last: &Command) -> Rig {
    let plane = Plane::start();
    plane.ignore_limit();
    for element in elements {
        plane.queue_text(element.clone());
    }
    plane.queue(last);
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    assert_eq!(rig.plane.wait_answer(last).code(), 200);
    rig.assert_alive();
    rig
}

fn assert_refused_once(posts: &[Posted], what: &str) {
    assert_eq!(posts.len(), 1, "{what}");
    assert_eq!(posts[0].kind(), "jsonrpc_response", "{what}");
    assert!(MALFORMED_CODES.contains(&posts[0].code()), "{what}");
}

/// CP-062, CP-064: unknown command types are neither executed nor answered.
#[test]
fn unknown_command_types_are_left_alone() {
    let unknown: Vec<Command> = ["dance", "JSONRPC", "jsonrpc "]
        .iter()
        .map(|t| Command::method("unknown", "1").member("command_type", format!("\"{t}\"")))
        .chain([Command::method("unknown", "1").member("command_type", "7")])
        .collect();
    let texts: Vec<String> = unknown.iter().map(Command::text).collect();
    let rig = deliver(&texts, &Command::method("known", "2"));
    assert_eq!(rig.mcp.calls_of("unknown").len(), 0);
    for command in &unknown {
        assert_eq!(rig.plane.posts_of(command).len(), 0, "{}", command.text());
    }
    rig.client.wait_log(|line| line.contains(&unknown[0].id));
}

/// CP-063, CP-070, CP-071, CP-072: what is extra, absent or merely diagnostic costs no command.
#[test]
fn extra_and_optional_members_are_tolerated() {
    let plain = || Command::method("ok", "1");
    let commands = [
        plain().member("brand_new", r#"{"deep":[1,{}]}"#),
        plain().member("created_at", "null"),
        plain().member("created_at", "\"2026-01-01T00:00:00Z\""),
        plain().member("created_at", "\"yesterday\""),
        plain().member("created_at", "17"),
        plain().member("headers", "null"),
        plain().member("headers", "{}"),
        plain().member("channel", "null"),
    ];
    let texts: Vec<String> = commands.iter().map(Command::text).collect();
    let rig = deliver(&texts, &plain());
    for command in &commands {
        let answer = rig.plane.wait_answer(command);
        assert_eq!(answer.code(), 200, "{}", command.text());
    }
}

/// CP-065, CP-066: without an id or a token a command is dropped, and so is what is no object.
#[test]
fn what_cannot_be_answered_is_dropped() {
    let plain = || Command::method("dropped", "1");
    let long = format!("\"{}\"", "x".repeat(5000));
    let texts = [
        plain().without("request_id").text(),
        plain().without("shard_token").text(),
        plain().member("request_id", "\"\"").text(),
        plain().member("shard_token", "\"\"").text(),
        plain().member("shard_token", "null").text(),
        plain().member("shard_token", r#""a\r\nX-Evil: 1""#).text(),
        plain().member("shard_token", &long).text(),
        plain().member("request_id", &long).text(),
        "7".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
    ];
    let rig = deliver(&texts, &Command::method("kept", "2"));
    assert_eq!(rig.mcp.calls_of("dropped").len(), 0);
    assert_eq!(rig.plane.posts().len(), 2);
}

/// CP-067, CP-068, MCP-110: an absent or oddly spelt `main` is `main`.
#[test]
fn main_has_several_spellings() {
    let plain = || Command::method("m", "1");
    let commands =
        [plain(), plain().channel(" MAIN "), plain().channel(""), plain().member("channel", "null")];
    let texts: Vec<String> = commands.iter().map(Command::text).collect();
    let rig = deliver(&texts, &plain());
    for command in &commands {
        let answer = rig.plane.wait_answer(command);
        assert_eq!((answer.code(), &answer.json["channel"]), (200, &"main".into()));
    }
}

/// CP-069, MCP-111: an impossible channel name is neither executed nor answered.
#[test]
fn impossible_channels_are_dropped() {
    let commands: Vec<Command> = ["a/b", "ä", "a b", &"x".repeat(65)]
        .iter()
        .map(|c| Command::method("dropped", "1").channel(c))
        .collect();
    let texts: Vec<String> = commands.iter().map(Command::text).collect();
    let rig = deliver(&texts, &Command::method("kept", "2"));
    assert_eq!(rig.mcp.calls_of("dropped").len(), 0);
    assert!(commands.iter().all(|c| rig.plane.posts_of(c).is_empty()));
}

/// CP-073, MCP-009, MCP-011, REV-050: a malformed payload is refused once and never forwarded.
#[test]
fn malformed_payloads_are_answered_and_not_forwarded() {
    let payloads = [
        r#"[{"jsonrpc":"2.0","id":1,"method":"dropped"}]"#,
        r#""text""#,
        "null",
        "{}",
        r#"{"jsonrpc":"1.0","id":1,"method":"dropped"}"#,
        r#"{"id":1,"method":"dropped"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"dropped"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"dropped"}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"dropped"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"kept","method":"dropped"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"dropped","\u0069d":2}"#,
    ];
    let mut commands: Vec<Command> = payloads.iter().map(Command::rpc).collect();
    commands.push(Command::of_type("jsonrpc"));
    let texts: Vec<String> = commands.iter().map(Command::text).collect();
    let rig = deliver(&texts, &Command::method("last", "2"));
    for command in &commands {
        rig.plane.wait_answer(command);
        assert_refused_once(&rig.plane.posts_of(command), &command.text());
    }
    let methods: Vec<String> = rig.mcp.calls().iter().map(|r| r.rpc_method()).collect();
    assert!(methods.iter().all(|m| m == "last" || m == "ping"), "{methods:?}");
}

/// CP-074: commands that share a request id are executed and answered each.
#[test]
fn equal_request_ids_are_two_commands() {
    let command = Command::method("twice", "1");
    let rig = deliver(&[command.text()], &command);
    assert_eq!(rig.plane.wait_posts(&command, 2, |_| true).len(), 2);
    assert_eq!(rig.mcp.calls_of("twice").len(), 2);
}

/// CP-075, MCP-010, REV-051: a response by the product is forwarded and acknowledged.
#[test]
fn responses_from_the_product_are_forwarded() {
    let rig = Rig::start();
    for payload in [
        r#"{"jsonrpc":"2.0","id":"srv-1","result":{"roots":[1.50]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#,
    ] {
        let command = Command::rpc(payload);
        let answer = rig.send(&command);
        assert_eq!((answer.kind(), answer.code()), ("notify_ack", 202));
        assert!(answer.json.get("resp_json").is_none());
        assert_eq!(rig.mcp.calls_of("response").last().unwrap().text(), payload);
    }
}
