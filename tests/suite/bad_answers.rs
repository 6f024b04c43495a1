//! Servers that answer nonsense, break off, or cannot be reached: one 502, and service goes on.

use std::net::TcpListener;

use crate::support::certs::Authority;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, Posted};
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;

/// Sends one call with id 1 whose reply is scripted; whatever happens it is answered once.
fn outcome(rig: &Rig, reply: Reply) -> Posted {
    rig.mcp.reply("m", reply);
    let command = Command::method("m", "1");
    let answer = rig.send(&command);
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    answer
}

fn assert_502(answer: &Posted, source: &str) {
    let text = answer.request.text();
    assert_eq!(answer.code(), 502, "{text}");
    assert_eq!(answer.payload()["error"]["code"], -32603, "{text}");
    assert_eq!(answer.payload()["error"]["message"], "Bad Gateway", "{text}");
    assert_eq!(answer.failure()["source"], source, "{text}");
    assert!(answer.failure().get("upstream_status").is_none(), "{text}");
    assert_eq!(answer.payload()["id"], 1, "{text}");
}

/// CP-089, CP-109, CP-110, MCP-037, MCP-038, MCP-040, MCP-046, REV-027: a 2xx without a usable body is a protocol failure.
#[test]
fn a_2xx_without_an_answer_is_a_protocol_failure() {
    let rig = Rig::start();
    let good = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let replies = [
        Reply::body(200, "text/html", "<html>"),
        Reply::body(200, "text/plain", good),
        Reply::status(200).bytes(good),
        Reply::status(202),
        Reply::status(204),
        Reply::json(200, ""),
        Reply::json(200, "{not json"),
        Reply::json(200, "[]"),
        Reply::json(200, "7"),
        Reply::json(200, r#"{"jsonrpc":"1.0","id":1,"result":{}}"#),
        Reply::json(200, r#"{"jsonrpc":"2.0","id":null,"result":{}}"#),
        Reply::json(200, r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#),
        Reply::json(200, "\u{1f}\u{8b}gzip").header("Content-Encoding", "gzip"),
    ];
    for reply in replies {
        assert_502(&outcome(&rig, reply), "protocol");
    }
    rig.assert_alive();
}

/// CP-111, CP-112, MCP-041, MCP-044: another id, or a request instead of a response, is no answer.
#[test]
fn answers_to_something_else_are_refused() {
    let rig = Rig::start();
    for body in [
        r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    ] {
        let answer = outcome(&rig, Reply::json(200, body));
        assert_502(&answer, "protocol");
        assert_eq!(answer.cause(), "protocol/invalid_protocol_response");
    }
}

/// MCP-045: a lone notification in place of the answer still ends in one terminal answer.
#[test]
fn a_lone_notification_is_no_answer() {
    let rig = Rig::start();
    let body = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    rig.mcp.reply("m", Reply::json(200, body));
    let answer = rig.send(&Command::method("m", "1"));
    assert_502(&answer, "protocol");
}

/// A client whose only server is at `url`, asked once.
fn unreachable(url: &str) -> Posted {
    let rig = Rig::with(|b| b.set("mcp.server-url", url));
    rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#)
}

/// CP-106, CP-107, MCP-080, MCP-081: refusal, name and TLS failures are told apart.
#[test]
fn unreachable_servers_are_classified() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = unreachable(&format!("http://{address}/mcp"));
    assert_502(&refused, "connect");
    assert_eq!(refused.cause(), "connect/connection_refused");
    assert_eq!(refused.failure()["upstream_response_received"], false);
    let nameless = unreachable("http://no-such-host.invalid/mcp");
    assert_502(&nameless, "dns");
    let secure = Mcp::start_with(Some(Authority::new("unknown root").server()));
    let distrusted = unreachable(&secure.url());
    assert_502(&distrusted, "tls");
    assert!(!distrusted.request.text().contains("unknown root"));
}

/// MCP-047: a JSON answer of 30 MB passes; 100 MiB are refused within the stated bound.
#[test]
fn json_bodies_are_bounded() {
    let rig = Rig::over(Plane::start(), Mcp::start(), |b| b);
    let sized = |size: usize| {
        let head = r#"{"jsonrpc":"2.0","id":1,"result":{"text":""#;
        Reply::json(200, head).then(Part::Fill(size)).bytes("\"}}")
    };
    let answer = outcome(&rig, sized(30_000_000));
    assert_eq!(answer.code(), 200);
    assert_eq!(answer.payload()["result"]["text"].as_str().unwrap().len(), 30_000_000);
    let answer = outcome(&rig, sized(100 << 20));
    assert_eq!(answer.code(), 502);
    assert_eq!(answer.failure()["transport_error_kind"], "response_body_too_large");
    rig.assert_alive();
}
