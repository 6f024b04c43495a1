//! Messages without an answer, and the end of sessions.

use crate::support::closed;
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;

fn assert_ack(answer: &Posted, kind: &str, code: u64) {
    assert_eq!((answer.kind(), answer.code()), (kind, code), "{}", answer.request.text());
    assert!(answer.json.get("resp_json").is_none(), "{}", answer.request.text());
}

/// A loopback URL where nothing listens.
fn dead_url() -> String {
    format!("http://127.0.0.1:{}/mcp", closed::port())
}

/// CP-126, CP-127, CP-128, MCP-103, MCP-104, REV-026: a notification is acknowledged with the server's status.
#[test]
fn notifications_are_acknowledged_with_the_real_status() {
    let rig = Rig::start();
    let session = |reply: Reply| reply.header("Mcp-Session-Id", "s").header("X-Other", "x");
    let replies = [
        (202, session(Reply::status(202))),
        (204, Reply::status(204)),
        (200, Reply::json(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)),
        (200, Reply::body(200, "text/html", "<html>")),
        (200, Reply::sse().event("{}")),
        (400, Reply::json(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#)),
        (401, session(Reply::status(401))),
        (503, Reply::status(503)),
    ];
    for (status, reply) in replies {
        rig.mcp.reply("note", reply);
        let command = Command::notification("note");
        assert_ack(&rig.send(&command), "notify_ack", status);
        assert_eq!(rig.plane.posts_of(&command).len(), 1);
    }
    let first = &rig.plane.posts()[0];
    assert_eq!(first.header("mcp-session-id"), ["s"]);
    assert!(first.header("x-other").is_empty());
}

/// CP-126: the acknowledgement does not wait for the body.
#[test]
fn an_acknowledgement_needs_no_body() {
    let rig = Rig::start();
    rig.mcp.reply("note", Reply::sse().hang());
    assert_ack(&rig.send(&Command::notification("note")), "notify_ack", 200);
}

/// MCP-104: a notification that cannot be delivered is answered once, with 502.
#[test]
fn undeliverable_notifications_are_answered_once() {
    let rig = Rig::start();
    rig.mcp.reply("note", Reply::closed());
    let command = Command::notification("note");
    assert_ack(&rig.send(&command), "notify_ack", 502);
    rig.assert_alive();
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    assert_eq!(rig.mcp.calls_of("note").len(), 1);
}

/// CP-042, CP-126: a notification does not wait behind the calls that fill every worker.
#[test]
fn notifications_pass_full_workers() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let call = Command::method("held", "1");
    rig.mcp.reply("held", Reply::silence());
    rig.plane.queue(&call);
    rig.mcp.wait_calls("held", 1);
    assert_ack(&rig.send(&Command::notification("notifications/cancelled")), "notify_ack", 202);
    assert_eq!(rig.plane.posts_of(&call).len(), 0);
}

/// CP-129, CP-130, CP-131, MCP-105, CP-149: a termination is one DELETE, its status is posted.
#[test]
fn terminations_become_one_delete() {
    let rig = Rig::with(|b| b.flag("mcp.extra-headers", "X-Static: s"));
    for status in [204, 200, 202, 404, 405, 500] {
        let reply =
            if status == 500 { Reply::body(500, "text/plain", "oops") } else { Reply::status(status) };
        rig.mcp.reply("DELETE", reply.header("Mcp-Session-Id", "s-1"));
        let command = Command::of_type("session_termination")
            .header("mcp-session-id", &["s-1"])
            .header("Authorization", &["Bearer u"])
            .member("jsonrpc", r#"{"stray":1}"#);
        let answer = rig.send(&command);
        assert_ack(&answer, "session_termination_response", u64::from(status));
        assert_eq!(answer.header("mcp-session-id"), ["s-1"]);
        assert_eq!(rig.plane.posts_of(&command).len(), 1);
        let sent = rig.mcp.calls_of("DELETE").pop().unwrap();
        assert_eq!(sent.target, "/mcp");
        assert_eq!(sent.all("mcp-session-id"), ["s-1"]);
        assert_eq!(sent.all("authorization"), ["Bearer u"]);
        assert_eq!(sent.all("x-static"), ["s"]);
        assert!(sent.body.is_empty());
    }
    assert_eq!(rig.mcp.calls().len(), 6);
}

/// CP-130, MCP-107: a termination that cannot be delivered is posted as 502.
#[test]
fn undeliverable_terminations_are_502() {
    let url = dead_url();
    let rig = Rig::with(|b| b.set("mcp.server-url", &url));
    assert_ack(&rig.send(&Command::termination("s")), "session_termination_response", 502);
}

/// CP-131, MCP-106: a termination without a session contacts nobody.
#[test]
fn a_termination_needs_a_session() {
    let rig = Rig::start();
    let bare = Command::of_type("session_termination");
    let empty = bare.clone().header("Mcp-Session-Id", &[""]);
    rig.plane.queue_all(&[bare, empty]);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("DELETE").len(), 0);
}

/// CP-133, MCP-077, MCP-079: no failure of a call ever sends a DELETE.
#[test]
fn failed_calls_send_no_delete() {
    let rig = Rig::start();
    let session = |reply: Reply| reply.header("Mcp-Session-Id", "s-9");
    for reply in [
        session(Reply::status(500)),
        session(Reply::json(200, "{bad")),
        session(Reply::sse().event("{bad")),
        session(Reply::sse().then(Part::Close)),
        Reply::closed(),
        session(Reply::result("1", "{}")),
    ] {
        rig.mcp.reply("m", reply);
        rig.send(&Command::method("m", "1"));
    }
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("DELETE").len(), 0);
}
