//! What the revisions of the protocol ask of a server's replies on their way back.

use std::time::Duration;

use serde_json::json;

use crate::era_requests::modern;
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::{Reply, notification};
use crate::support::rig::Rig;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

/// Has the server answer one call of method `m` and returns what was posted for it.
fn answered(rig: &Rig, reply: Reply) -> Posted {
    rig.mcp.reply("m", reply);
    rig.send(&Command::method("m", "1"))
}

/// Has the server answer one claimed call of method `m`.
fn answered_modern(rig: &Rig, reply: Reply) -> Posted {
    rig.mcp.reply("m", reply);
    rig.call(modern("m", "1", ""))
}

fn message(text: &str) -> String {
    notification("notifications/message", &json!({ "data": text }))
}

fn request(method: &str, id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#)
}

/// REV-021, REV-022: errors that ride on 400 and 404 reach the product whole.
#[test]
fn modern_errors_are_kept_whole() {
    let rig = Rig::start();
    for (status, code, data) in [
        (400, -32020, r#"{"header":"Mcp-Name","n":1.50}"#),
        (400, -32021, r#"{"requiredCapabilities":{"sampling":{}}}"#),
        (400, -32022, r#"{"supported":["2026-07-28"],"requested":"2099-01-01"}"#),
        (404, -32601, "null"),
    ] {
        let error =
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m","data":{data}}}}}"#);
        let answer = answered_modern(&rig, Reply::json(status, error.as_str()));
        assert_eq!(answer.code(), u64::from(status));
        assert_eq!(answer.payload_text(), error);
    }
    assert_eq!(rig.mcp.calls().len(), 4);
}

/// REV-023: an error without an id, or with a null one, belongs to its request.
#[test]
fn errors_without_an_id_are_delivered() {
    let rig = Rig::start();
    for id in ["\"id\":null,", ""] {
        let error = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32000,"message":"gone"}}}}"#);
        for status in [400, 404, 200] {
            let answer = answered(&rig, Reply::json(status, error.as_str()));
            assert_eq!(answer.code(), u64::from(status));
            assert_eq!(answer.payload()["id"], 1);
            assert_eq!(answer.payload()["error"], json!({"code": -32000, "message": "gone"}));
        }
    }
}

/// REV-024: an error with somebody else's id is no answer.
#[test]
fn errors_of_others_are_not_taken() {
    let rig = Rig::start();
    for id in ["2", "\"1\"", "\"other\""] {
        let error = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"x"}}}}"#);
        let answer = answered(&rig, Reply::json(400, error));
        assert_eq!(answer.code(), 400);
        assert_eq!(answer.failure()["source"], "target_http", "{id}");
        assert_eq!(answer.payload()["id"], 1);
    }
}

/// REV-025: a lost session is the product's affair; none is begun here.
#[test]
fn a_lost_session_passes_through() {
    let rig = Rig::start();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Session not found"}}"#;
    rig.mcp.reply("m", Reply::json(404, error));
    let command = Command::method("m", "1").header("Mcp-Session-Id", &["gone"]);
    let answer = rig.send(&command);
    assert_eq!((answer.code(), answer.payload_text().as_str()), (404, error));
    rig.assert_alive();
    let methods: Vec<String> = rig.mcp.calls().iter().map(|r| r.rpc_method()).collect();
    assert_eq!(methods, ["m", "ping"]);
}

/// REV-026: any 2xx to a notification acknowledges it, whatever its body.
#[test]
fn every_success_acknowledges_a_notification() {
    let rig = Rig::start();
    for (status, reply) in [
        (200, Reply::json(200, "{}")),
        (200, Reply::body(200, "text/html", "<html>")),
        (201, Reply::status(201)),
        (202, Reply::status(202)),
        (202, Reply::json(202, RESULT)),
        (204, Reply::status(204)),
        (200, Reply::sse().event(message("ignored"))),
    ] {
        rig.mcp.reply("notifications/x", reply);
        let command = Command::notification("notifications/x");
        let answer = rig.send(&command);
        assert_eq!((answer.kind(), answer.code()), ("notify_ack", status));
        assert_eq!(rig.plane.posts_of(&command).len(), 1);
    }
    rig.assert_alive();
}

/// REV-027: a success without a usable body is a failure of the protocol.
#[test]
fn an_empty_success_is_no_answer() {
    let rig = Rig::start();
    for reply in [
        Reply::status(200),
        Reply::json(200, ""),
        Reply::json(200, "  "),
        Reply::status(202),
        Reply::status(204),
        Reply::body(200, "text/html", RESULT),
        Reply::json(200, "{}"),
        Reply::json(200, "[]"),
        Reply::json(200, message("no answer")),
    ] {
        let answer = answered(&rig, reply);
        assert_eq!(answer.code(), 502, "{}", answer.request.text());
        assert_eq!(answer.failure()["source"], "protocol");
        assert_eq!(answer.failure()["upstream_response_received"], true);
    }
    rig.assert_alive();
}

/// REV-028: a session id in any reply has no effect on later requests.
#[test]
fn sessions_of_servers_are_not_adopted() {
    let rig = Rig::start();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"missing session"}}"#;
    for reply in [Reply::json(200, RESULT), Reply::json(400, error)] {
        let answer = answered_modern(&rig, reply.clone().header("Mcp-Session-Id", "minted"));
        assert_eq!(answer.header("mcp-session-id"), ["minted"]);
        answered(&rig, reply.header("Mcp-Session-Id", "minted"));
    }
    rig.assert_alive();
    let calls = rig.mcp.calls();
    assert_eq!(calls.len(), 5);
    assert!(calls.iter().all(|r| r.header("mcp-session-id").is_none()));
}

/// REV-029: priming events, comments and other noise are neither messages nor errors.
#[test]
fn priming_events_are_nothing() {
    let rig = Rig::start();
    let stream = Reply::sse()
        .bytes(": welcome\n\n")
        .bytes("id: p-1\ndata:\n\n")
        .bytes("id: p-2\ndata: \n\n: still there\n\nretry: 5\n\n")
        .bytes("event: other\ndata: {\"no\":1}\n\n")
        .event(RESULT);
    rig.mcp.reply("m", stream);
    let command = Command::method("m", "1");
    let answer = rig.send(&command);
    assert_eq!((answer.code(), answer.payload_text().as_str()), (200, RESULT));
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
}

/// REV-030, MCP-043: an array in one event, or in a JSON body, is unpacked in order.
#[test]
fn arrays_are_unpacked_in_order() {
    let rig = Rig::start();
    let array = format!("[{},{},{RESULT}]", message("1"), message("2"));
    for reply in [Reply::sse().event(&array), Reply::json(200, array.as_str())] {
        rig.mcp.reply("m", reply);
        let command = Command::method("m", "1");
        rig.send(&command);
        let posts = rig.plane.posts_of(&command);
        let texts: Vec<String> = posts.iter().map(Posted::payload_text).collect();
        assert_eq!(texts, [message("1"), message("2"), RESULT.to_owned()]);
    }
}

/// REV-031: a legacy stream is resumed behind its last event, with the call's headers, after `retry`.
#[test]
fn legacy_streams_are_resumed() {
    let rig = Rig::start();
    let cut = Reply::sse()
        .bytes("retry: 700\n\n")
        .event_with_id("e-1", message("1"))
        .event_with_id("e-2", message("2"))
        .close();
    rig.mcp.reply("m", cut);
    let again = Reply::sse().event_with_id("e-3", message("3")).close();
    rig.mcp.reply("GET", again);
    rig.mcp.reply("GET", Reply::sse().event(RESULT));
    let command = Command::method("m", "1")
        .header("Mcp-Session-Id", &["s-1"])
        .header("Authorization", &["Bearer caller"]);
    assert_eq!(rig.send(&command).code(), 200);
    let posts = rig.plane.posts_of(&command);
    let texts: Vec<String> = posts.iter().map(Posted::payload_text).collect();
    let wanted = ["1", "2", "3"].map(message);
    assert_eq!(texts[..3], wanted);
    let gets = rig.mcp.calls_of("GET");
    let ids: Vec<_> = gets.iter().map(|r| r.header("last-event-id")).collect();
    assert_eq!(ids, [Some("e-2"), Some("e-3")]);
    for get in &gets {
        assert_eq!(get.header("mcp-session-id"), Some("s-1"));
        assert_eq!(get.header("authorization"), Some("Bearer caller"));
    }
    let first = &rig.mcp.calls_of("m")[0];
    assert!(gets[0].at - first.at >= Duration::from_millis(680));
    assert_eq!(rig.mcp.calls_of("m").len(), 1);
}

/// REV-032: a modern stream that breaks is a failure at once; nothing is asked again.
#[test]
fn modern_streams_are_not_resumed() {
    let rig = Rig::start();
    let cut = Reply::sse().event_with_id("e-1", message("1")).close();
    let answer = answered_modern(&rig, cut);
    assert_eq!(answer.code(), 502);
    assert_eq!(answer.failure()["source"], "transport_closed");
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("GET").len(), 0);
    assert_eq!(rig.mcp.calls_of("m").len(), 1);
}

/// REV-033: requests of a legacy server are answered here, and the call goes on.
#[test]
fn requests_of_legacy_servers_are_answered() {
    let rig = Rig::start();
    let refused = ["sampling/createMessage", "roots/list", "elicitation/create"];
    let stream = Reply::sse().event(request("ping", "\"p\""));
    let stream = refused.iter().fold(stream, |s, method| s.event(request(method, "99.0")));
    rig.mcp.reply("m", stream.event(message("on")).event(RESULT));
    let command = Command::method("m", "1")
        .header("Mcp-Session-Id", &["s-1"])
        .header("MCP-Protocol-Version", &["2025-11-25"]);
    assert_eq!(rig.send(&command).payload_text(), RESULT);
    assert_eq!(rig.plane.posts_of(&command).len(), 2);
    let answers = rig.mcp.wait_calls("response", 4);
    let pong = json!({"jsonrpc": "2.0", "id": "p", "result": {}});
    assert_eq!(answers[0].json(), pong);
    for answer in &answers {
        assert_eq!(answer.header("mcp-session-id"), Some("s-1"));
        assert_eq!(answer.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    for answer in &answers[1..] {
        assert_eq!(answer.json()["error"]["code"], -32601);
        assert!(answer.text().contains("\"id\":99.0"), "{}", answer.text());
    }
}

/// REV-033: a server that does not take the answer to its own request still gets its call done.
#[test]
fn unwanted_answers_cost_no_call() {
    let rig = Rig::start();
    for reply in [Reply::status(500), Reply::closed(), Reply::silence()] {
        rig.mcp.reply("response", reply);
        let stream = Reply::sse().event(request("ping", "9")).event(RESULT);
        assert_eq!(answered(&rig, stream).payload_text(), RESULT);
    }
    rig.assert_alive();
}

/// REV-034: a request of a modern server is dropped; nothing is written back and the call goes on.
#[test]
fn requests_of_modern_servers_are_dropped() {
    let rig = Rig::start();
    let stream =
        Reply::sse().event(request("ping", "1")).event(request("sampling/createMessage", "2")).event(RESULT);
    assert_eq!(answered_modern(&rig, stream).payload_text(), RESULT);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("response").len(), 0);
}

/// REV-039, REV-040, REV-041: results of every kind pass with every byte, and each call is forwarded.
#[test]
fn results_pass_with_every_byte() {
    let rig = Rig::start();
    for result in [
        r#"{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list","params":{}}},"requestState":"a\u002f=="}"#,
        r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":1.0e3}"#,
        r#"{"resultType":"never heard of","x":[ 1 , 2 ]}"#,
        r#"{"tools":[],"nextCursor":"c\/1","ttlMs":60000,"cacheScope":"public","_meta":{"a/b":null}}"#,
        "{}",
    ] {
        for _ in 0..2 {
            let before = rig.mcp.calls_of("m").len();
            let answer = answered_modern(&rig, Reply::result("1", result));
            let whole = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            assert_eq!((answer.code(), answer.payload_text()), (200, whole));
            assert_eq!(rig.mcp.calls_of("m").len(), before + 1);
        }
    }
}

/// REV-039: the second round of a call is an ordinary call under its new id.
#[test]
fn a_second_round_is_an_ordinary_call() {
    let rig = Rig::start();
    let params = r#""name":"n","requestState":"a\u002f==","inputResponses":{"k":{"roots":[]}}"#;
    let payload = modern("tools/call", "\"round-2\"", params);
    let command = Command::rpc(&payload);
    let request = rig.forwarded(&command, "tools/call");
    assert_eq!(request.text(), payload);
    assert_eq!(rig.plane.wait_answer(&command).payload()["id"], "round-2");
}
