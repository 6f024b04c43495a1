//! Spellings of `Location`: what counts as the same origin, and how far a chain goes.

use crate::support::command::Command;
use crate::support::mcp::{Mcp, answer};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// A server that sends everything but its last path on to the next one.
fn chain(status: u16, hops: usize) -> Mcp {
    let mcp = Mcp::start();
    mcp.hook(move |request| {
        let at = request.path().trim_start_matches("/hop").parse::<usize>().unwrap_or(0);
        if at >= hops {
            return Some(answer(request));
        }
        Some(Reply::status(status).header("Location", &format!("/hop{}", at + 1)))
    });
    mcp
}

fn command() -> Command {
    Command::rpc(r#"{"jsonrpc":"2.0","id":7.0,"method":"tools/call","params":{"x":1e2}}"#)
        .header("Authorization", &["Bearer caller-token"])
}

/// MCP-084: a location is read as RFC 3986 says, seen from the URL that answered.
#[test]
fn a_location_may_be_absolute_or_relative() {
    for (location, target) in [
        ("/other/", "/other/"),
        ("next", "/deep/next"),
        ("?x=1", "/deep/mcp?x=1"),
        ("/other#fragment", "/other"),
        ("http://127.0.0.1:PORT/other?y", "/other?y"),
    ] {
        let mcp = Mcp::start();
        let port = mcp.server.port();
        let text = location.replace("PORT", &port.to_string());
        mcp.hook(move |request| {
            (request.target == "/deep/mcp").then(|| Reply::status(307).header("Location", &text))
        });
        let rig = Rig::over(Plane::start(), mcp, |b| {
            b.set("mcp.server-url", &format!("http://127.0.0.1:{port}/deep/mcp"))
        });
        assert_eq!(rig.send(&command()).code(), 200, "{location}");
        assert_eq!(rig.mcp.calls_of("tools/call")[1].target, target, "{location}");
    }
}

/// MCP-086: five redirects are followed, a sixth is not.
#[test]
fn a_chain_ends_after_five() {
    let rig = Rig::over(Plane::start(), chain(307, 5), |b| b);
    assert_eq!(rig.send(&command()).code(), 200);
    let rig = Rig::over(Plane::start(), chain(307, usize::MAX), |b| b);
    let posted = rig.send(&command());
    assert_ne!(posted.code(), 200);
    assert_eq!(rig.mcp.calls_of("tools/call").len(), 6);
}

/// MCP-087: a location that is no http URL is a failure and no more.
#[test]
fn odd_locations_are_failures() {
    for location in ["ftp://127.0.0.1/", "http://[", "javascript:alert(1)", "/\u{7f}", "http://"] {
        let mcp = Mcp::start();
        mcp.reply("tools/call", Reply::status(307).header("Location", location));
        let rig = Rig::over(Plane::start(), mcp, |b| b);
        assert_ne!(rig.send(&command()).code(), 200, "{location}");
        rig.assert_alive();
    }
}
