//! The first requests of a process.

use std::time::Duration;

use crate::support::closed;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::Reply;
use crate::support::rig::Rig;

fn is_metadata(request: &Request) -> bool {
    request.method == "GET" && request.target.ends_with(TUNNEL)
}

/// A loopback URL where nothing listens.
fn dead_url() -> String {
    format!("http://127.0.0.1:{}/mcp", closed::port())
}

/// CP-021, CP-024: metadata is asked for once, and no answer to it keeps the client from polling.
#[test]
fn metadata_is_asked_once_and_its_failure_is_harmless() {
    let replies = [
        (Reply::json(403, r#"{"error":{"code":"tunnel_use_forbidden"}}"#), 1),
        (Reply::status(500), 1),
        (Reply::json(200, "{not json"), 1),
        (Reply::json(200, r#"{"id":"x","name":"n","extra":{"deep":[1]}}"#), 1),
        // On a connection that a poll has used before, a GET is then sent once more.
        (Reply::closed(), 2),
    ];
    for (reply, most) in replies {
        let plane = Plane::start();
        plane.metadata(reply.off_contract());
        let rig = Rig::over(plane, Mcp::start(), |b| b);
        rig.assert_alive();
        rig.plane.server.wait_requests(1, is_metadata);
        rig.plane.wait_polls(2);
        let asked = rig.plane.server.requests().into_iter().filter(is_metadata).count();
        assert!((1..=most).contains(&asked), "asked {asked} times, {most} at most");
    }
}

/// CP-022: an MCP server that is down does not keep the client from polling.
#[test]
fn polling_does_not_wait_for_the_server() {
    let url = dead_url();
    let rig = Rig::with(|b| b.set("mcp.server-url", &url));
    rig.plane.wait_polls(1);
    let answer = rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(answer.code(), 502);
}

/// CP-023, MCP-146, MCP-148: with a start-up wait, polling begins when the wait is used up.
#[test]
fn a_startup_wait_holds_back_the_first_poll() {
    let url = dead_url();
    let rig = Rig::with(|b| b.set("mcp.server-url", &url).flag("mcp.startup-wait-timeout", "1s"));
    rig.client.wait_log(|line| line.contains("retrying MCP startup probe"));
    let poll = &rig.plane.wait_polls(1)[0];
    let waited = poll.at - rig.client.started();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
}

/// MCP-146: with a start-up wait, polling begins as soon as the server listens.
#[test]
fn a_startup_wait_ends_when_the_server_listens() {
    let mut mcp = Mcp::start();
    mcp.server.stop();
    let rig = Rig::over(Plane::start(), mcp, |b| b.flag("mcp.startup-wait-timeout", "60s"));
    let mut rig = rig;
    rig.plane.server.wait_requests(1, is_metadata);
    assert_eq!(rig.plane.polls().len(), 0);
    rig.mcp.server.restart();
    rig.plane.wait_polls(1);
    rig.assert_alive();
}

/// MCP-147: an HTTP answer of any kind ends a start-up wait.
#[test]
fn any_http_answer_ends_the_startup_wait() {
    let mcp = Mcp::start();
    for method in ["server/discover", "initialize"] {
        mcp.reply(method, Reply::status(500));
    }
    let rig = Rig::over(Plane::start(), mcp, |b| b.flag("mcp.startup-wait-timeout", "60s"));
    rig.plane.wait_polls(1);
}
