//! Event streams: order, tolerance, and the one terminal answer.

use serde_json::json;

use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::plane::Posted;
use crate::support::reply::{Part, Reply, notification};
use crate::support::rig::Rig;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"n":1.50}}"#;

fn note(number: usize) -> String {
    notification("notifications/progress", &json!({ "progress": number }))
}

/// Sends one call whose reply is scripted and returns all its POSTs once the terminal one is there.
fn posts(rig: &Rig, reply: Reply) -> Vec<Posted> {
    rig.mcp.reply("m", reply);
    let command = Command::method("m", "1");
    rig.send(&command);
    let posts = rig.plane.posts_of(&command);
    for post in &posts {
        assert_eq!(post.request.header("x-tunnel-shard-token"), Some(command.token.as_str()));
    }
    let terminal = posts.iter().filter(|p| p.kind() != "jsonrpc_notify").count();
    assert_eq!((terminal, posts.last().unwrap().kind()), (1, "jsonrpc_response"));
    posts
}

fn assert_failed(posts: &[Posted], source: &str) {
    let last = posts.last().unwrap();
    assert_eq!((last.code(), &last.payload()["error"]["code"]), (502, &json!(-32603)));
    assert_eq!(last.failure()["source"], source, "{}", last.request.text());
}

/// CP-115, CP-117, MCP-048, MCP-049, MCP-050: notifications in order, then the answer.
#[test]
fn notifications_come_before_the_answer_in_order() {
    let rig = Rig::start();
    let posts = posts(&rig, Reply::sse().event(note(1)).event(note(2)).event(note(3)).event(RESULT));
    assert_eq!(posts.len(), 4);
    for (number, post) in posts[..3].iter().enumerate() {
        assert_eq!(post.kind(), "jsonrpc_notify");
        assert_eq!(post.payload_text(), note(number + 1));
    }
    assert_eq!(posts[3].payload_text(), RESULT);
    for post in &posts {
        assert_eq!((post.code(), post.header("content-type")), (200, vec!["text/event-stream"]));
    }
}

/// CP-116: the next notification is posted only when the one before has been taken.
#[test]
fn notifications_are_posted_one_by_one() {
    let rig = Rig::start();
    let gate = Gate::new();
    let command = Command::method("m", "1");
    rig.plane.answer_for(&command, Reply::json(200, "{}").behind(&gate));
    rig.mcp.reply("m", Reply::sse().event(note(1)).event(note(2)).event(RESULT));
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.assert_alive();
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    gate.open();
    rig.plane.wait_answer(&command);
    assert_eq!(rig.plane.posts_of(&command).len(), 3);
}

/// MCP-048: a notification is posted when it arrives, not when the stream ends.
#[test]
fn notifications_do_not_wait_for_the_end() {
    let rig = Rig::start();
    let gate = Gate::new();
    let command = Command::method("m", "1");
    rig.mcp.reply("m", Reply::sse().event(note(1)).wait(&gate).event(RESULT));
    rig.plane.queue(&command);
    rig.plane.wait_posts(&command, 1, |p| p.kind() == "jsonrpc_notify");
    gate.open();
    assert_eq!(rig.plane.wait_answer(&command).code(), 200);
}

/// CP-118, CP-120, MCP-062: a refused notification ends the notifications, never the answer.
#[test]
fn a_refused_notification_costs_the_later_ones() {
    let rig = Rig::start();
    for refusal in [500, 502, 503, 400].map(Reply::status).into_iter().chain([Reply::closed()]) {
        let command = Command::method("m", "1");
        rig.plane.answer_for(&command, refusal.off_contract());
        rig.mcp.reply("m", Reply::sse().event(note(1)).event(note(2)).event(RESULT));
        assert_eq!(rig.send(&command).payload_text(), RESULT);
        let kinds: Vec<Posted> = rig.plane.posts_of(&command);
        assert_eq!(kinds.len(), 2, "one notification and the answer");
    }
}

/// CP-119: a throttled notification is repeated after `Retry-After`, then the stream goes on.
#[test]
fn a_throttled_notification_is_repeated() {
    let rig = Rig::start();
    let command = Command::method("m", "1");
    rig.plane.answer_for(&command, Reply::status(429).header("Retry-After", "1"));
    rig.mcp.reply("m", Reply::sse().event(note(1)).event(note(2)).event(RESULT));
    rig.send(&command);
    let posts = rig.plane.posts_of(&command);
    let texts: Vec<String> = posts.iter().map(Posted::payload_text).collect();
    assert_eq!(texts, [note(1), note(1), note(2), RESULT.to_owned()]);
    assert_eq!(posts[0].request.body, posts[1].request.body);
    assert!((posts[1].request.at - posts[0].request.at).as_millis() >= 980);
}

/// CP-121, MCP-051, MCP-052, REV-029, REV-030: every legal form of a stream is understood.
#[test]
fn streams_come_in_many_forms() {
    let rig = Rig::start();
    let sse = Reply::sse;
    let split = "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n";
    let noted = format!("data: [{},{RESULT}]\n\n", note(1));
    let forms = [
        (sse().bytes(": hello\n\n: again\n").event(RESULT), 1),
        (sse().bytes("id: 0\ndata:\n\n").event(RESULT), 1),
        (sse().bytes(split), 1),
        (sse().bytes(format!("data: {RESULT}\r\n\r\n")), 1),
        (sse().bytes(format!("data: {RESULT}\n")), 1),
        (sse().bytes(format!("data:{RESULT}")), 1),
        (sse().bytes(format!("event: message\nretry: 5\nfoo: bar\ndata: {RESULT}\n\n")), 1),
        (sse().bytes("event: custom\ndata: not json\n\n").event(RESULT), 1),
        (sse().event(note(1)).bytes("\n\n\n").event(RESULT), 2),
        (sse().bytes(noted), 2),
        (sse().with_status(201).event(RESULT), 1),
    ];
    for (number, (reply, count)) in forms.into_iter().enumerate() {
        let posts = posts(&rig, reply);
        assert_eq!(posts.len(), count, "form {number}");
        assert_eq!(posts[count - 1].payload()["id"], 1, "form {number}");
        assert!(posts[count - 1].payload()["error"].is_null(), "form {number}");
    }
}

/// MCP-053, MCP-056: undecodable data or another call's answer fails the call.
#[test]
fn undecodable_events_fail_the_call() {
    let rig = Rig::start();
    for data in ["not json", "7", r#"{"jsonrpc":"2.0","id":2,"result":{}}"#] {
        assert_failed(&posts(&rig, Reply::sse().event(data).event(RESULT)), "protocol");
    }
    rig.assert_alive();
}

/// CP-124, MCP-054: the answer ends the call although the stream stays open.
#[test]
fn the_answer_ends_the_call() {
    let rig = Rig::start();
    let reply = Reply::sse().event(RESULT).event(note(9)).hang();
    assert_eq!(posts(&rig, reply).len(), 1);
    rig.mcp.server.wait_abandoned(1);
    rig.assert_alive();
    assert_eq!(rig.plane.posts().iter().filter(|p| p.kind() == "jsonrpc_notify").count(), 0);
}

/// CP-123, MCP-057: a stream that ends early is `transport_closed`, with no replay.
#[test]
fn an_early_end_is_a_transport_failure() {
    let rig = Rig::start();
    for reply in [Reply::sse().event(note(1)), Reply::sse(), Reply::sse().event(note(1)).close()] {
        assert_failed(&posts(&rig, reply), "transport_closed");
    }
    assert_eq!(rig.mcp.calls().len(), 3);
}

/// CP-122, MCP-058, MCP-059, MCP-060, REV-031: a broken stream is resumed after its last event.
#[test]
fn a_broken_stream_is_resumed() {
    let rig = Rig::start();
    let first = Reply::sse().bytes("retry: 300\n\n").event_with_id("e-7", note(1)).close();
    rig.mcp.reply("m", first);
    rig.mcp.reply("GET", Reply::sse().event_with_id("e-8", note(2)).event(RESULT));
    let command =
        Command::method("m", "1").header("Authorization", &["Bearer u"]).header("Mcp-Session-Id", &["s-1"]);
    assert_eq!(rig.send(&command).payload_text(), RESULT);
    assert_eq!(rig.plane.posts_of(&command).len(), 3);
    let calls = rig.mcp.calls();
    let (post, get) = (&calls[0], &calls[1]);
    assert_eq!((calls.len(), get.target.as_str(), get.header("last-event-id")), (2, "/mcp", Some("e-7")));
    assert_eq!(get.all("authorization"), ["Bearer u"]);
    assert_eq!(get.all("mcp-session-id"), ["s-1"]);
    assert!((get.at - post.at).as_millis() >= 280);
}

/// CP-122: a stream that breaks inside an event is resumed before that event, so that nothing is lost.
#[test]
fn a_stream_that_breaks_inside_an_event_loses_nothing() {
    let rig = Rig::start();
    let begun = "retry: 10\nid: e-1\ndata:\n\nid: e-2\ndata: {\"jsonrpc\":";
    rig.mcp.reply("m", Reply::sse().bytes(begun).close());
    rig.mcp.reply("GET", Reply::sse().event_with_id("e-2", RESULT));
    assert_eq!(rig.send(&Command::method("m", "1")).payload_text(), RESULT);
    assert_eq!(rig.mcp.calls_of("GET")[0].header("last-event-id"), Some("e-1"));
}

/// MCP-061: a refused resumption ends the call.
#[test]
fn a_refused_resumption_ends_the_call() {
    let rig = Rig::start();
    for status in [404, 405] {
        rig.mcp.reply("GET", Reply::status(status));
        let broken = Reply::sse().bytes("retry: 10\nid: 1\ndata:\n\n").close();
        let posts = posts(&rig, broken);
        assert_eq!(posts.last().unwrap().code(), 502);
    }
    assert_eq!(rig.mcp.calls_of("GET").len(), 2);
}

/// REV-032: a stream of the modern revision is never resumed.
#[test]
fn modern_streams_are_not_resumed() {
    let rig = Rig::start();
    rig.mcp.reply("m", Reply::sse().bytes("retry: 1\n").event_with_id("1", note(1)).close());
    let claim = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    let answer = rig.call(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{claim}}}"#));
    assert_eq!((answer.code(), &answer.failure()["source"]), (502, &json!("transport_closed")));
    assert_eq!(rig.mcp.calls().len(), 1);
}

/// CP-125, MCP-055, REV-033: the server's own requests are answered here and the call goes on.
#[test]
fn server_requests_are_answered_locally() {
    let rig = Rig::start();
    let ask = |id: &str, method: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
    let reply = Reply::sse()
        .event(ask("\"p-1\"", "ping"))
        .event(ask("2", "sampling/createMessage"))
        .event(ask("1e1", "roots/list"))
        .event(RESULT);
    rig.mcp.reply("m", reply);
    let command = Command::method("m", "1").header("Mcp-Session-Id", &["s-1"]);
    assert_eq!(rig.send(&command).payload_text(), RESULT);
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    let answers = rig.mcp.wait_calls("response", 3);
    assert_eq!((&answers[0].json()["id"], &answers[0].json()["result"]), (&json!("p-1"), &json!({})));
    assert_eq!(answers[1].json()["error"]["code"], -32601);
    assert!(answers[2].text().contains("1e1"), "{}", answers[2].text());
    assert!(answers.iter().all(|a| a.header("mcp-session-id") == Some("s-1")));
}

/// MCP-063: a data line of 5 MB passes; one of 100 MiB is refused within the bound.
#[test]
fn stream_lines_are_bounded() {
    let rig = Rig::start();
    let sized = |size: usize| {
        let head = r#"data: {"jsonrpc":"2.0","id":1,"result":{"text":""#;
        Reply::sse().bytes(head).then(Part::Fill(size)).bytes("\"}}\n\n")
    };
    let passed = posts(&rig, sized(5_000_000));
    assert_eq!(passed[0].payload()["result"]["text"].as_str().unwrap().len(), 5_000_000);
    let refused = posts(&rig, sized(100 << 20));
    assert_eq!(refused[0].failure()["transport_error_kind"], "response_body_too_large");
    rig.assert_alive();
}
