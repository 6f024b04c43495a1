//! An MCP server may redirect within its own origin, and no further.

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

fn redirect(status: u16, location: &str) -> Reply {
    Reply::status(status).header("Location", location)
}

/// MCP-084: 307 and 308 within the origin repeat the POST with body and headers.
#[test]
fn redirects_within_the_origin_repeat_the_post() {
    let rig = Rig::start();
    for (status, location) in [(307, "/mcp/"), (308, "/elsewhere?x=1")] {
        rig.mcp.reply("m", redirect(status, location));
        let command = Command::method("m", "1").header("Authorization", &["Bearer u"]);
        assert_eq!(rig.send(&command).code(), 200);
        let calls = rig.mcp.calls_of("m");
        let (first, second) = (&calls[calls.len() - 2], &calls[calls.len() - 1]);
        assert_eq!((second.method.as_str(), second.target.as_str()), ("POST", location));
        assert_eq!(second.body, first.body);
        assert_eq!(second.all("authorization"), ["Bearer u"]);
    }
}

/// What the operator adds may be credentials of one path: another path of the same origin does not see it.
#[test]
fn static_headers_go_to_the_configured_path_alone() {
    let rig = Rig::with(|b| b.flag("mcp.extra-headers", "X-Static: s"));
    for (location, expected) in [("/mcp/", Some("s")), ("/mcp?x=1", Some("s")), ("/elsewhere", None)] {
        rig.mcp.reply("m", redirect(307, location));
        assert_eq!(rig.send(&Command::method("m", "1")).code(), 200);
        let calls = rig.mcp.calls_of("m");
        let (first, second) = (&calls[calls.len() - 2], &calls[calls.len() - 1]);
        assert_eq!(
            (first.header("x-static"), second.header("x-static")),
            (Some("s"), expected),
            "{location}"
        );
    }
}

/// NEW-066, CP-088, MCP-085, MCP-087, MCP-030: nothing follows a redirect to another origin or with a new method.
#[test]
fn other_redirects_are_failures() {
    let other = Mcp::start();
    let rig = Rig::with(|b| b.flag("mcp.extra-headers", "X-Static: secret-static"));
    for status in [301, 302, 303, 307, 308] {
        rig.mcp.reply("m", redirect(status, &other.url()));
        let command = Command::method("m", "1").header("Authorization", &["Bearer u"]);
        let answer = rig.send(&command);
        assert_eq!(answer.payload()["error"]["code"], -32603, "{status}");
        assert_eq!(answer.failure()["source"], "protocol", "{status}");
        assert!(!answer.request.text().contains(&other.server.origin()));
    }
    rig.mcp.reply("m", redirect(302, "/mcp2"));
    assert_eq!(rig.send(&Command::method("m", "1")).payload()["error"]["code"], -32603);
    assert_eq!(other.server.connections(), 0);
    assert!(rig.mcp.calls().iter().all(|r| r.method == "POST" && r.target == "/mcp"));
    let origin = other.server.origin();
    rig.client.wait_log(|line| line.contains(&origin));
}

/// MCP-086: a redirect loop ends after five redirects.
#[test]
fn redirect_loops_end() {
    let rig = Rig::start();
    for _ in 0..20 {
        rig.mcp.reply("m", redirect(307, "/mcp"));
    }
    assert_eq!(rig.send(&Command::method("m", "1")).payload()["error"]["code"], -32603);
    assert_eq!(rig.mcp.calls_of("m").len(), 6);
    rig.assert_alive();
}
