//! Which server a command goes to, and what becomes of one that has none.

use serde_json::json;

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::rig::Rig;

/// CP-134, CP-135, MCP-109, MCP-112: a call for an unknown channel is answered 400 and reaches nobody.
#[test]
fn unknown_channels_are_refused() {
    let rig = Rig::start();
    for channel in ["zzz", "harpoon"] {
        let command = Command::method("m", "\"a\"").channel(channel);
        let answer = rig.send(&command);
        assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 400));
        let message = format!("Bad Request: unsupported channel \"{channel}\"");
        let error = json!({ "code": -32603, "message": message });
        assert_eq!(answer.payload(), &json!({ "jsonrpc": "2.0", "id": "a", "error": error }));
        assert_eq!(answer.json["channel"], channel);
        assert!(answer.json.get("resp_headers").is_none());
    }
    let answer = rig.send(&Command::notification("m").channel("zzz"));
    assert_eq!(answer.code(), 400);
    assert_eq!(rig.mcp.calls().len(), 0);
    let mut rig = rig;
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("command_unsupported_channel_total{"), "CP-168, MCP-174");
}

/// CP-136, MCP-113: other command types for an unknown channel are refused in their own form.
#[test]
fn unknown_channels_are_refused_for_every_type() {
    let rig = Rig::start();
    let answer = rig.send(&Command::termination("s").channel("zzz"));
    assert_eq!((answer.kind(), answer.code()), ("session_termination_response", 400));
    assert!(answer.json.get("resp_json").is_none());
    let answer = rig.send(&Command::of_type("oauth_discovery").channel("zzz"));
    assert_eq!((answer.kind(), answer.code()), ("oauth_discovery_response", 400));
    let error = &answer.payload()["error"];
    assert_eq!(error["code"], "unsupported_channel");
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["message"], "unsupported channel \"zzz\"");
    assert_eq!(rig.mcp.calls().len(), 0);
}

/// CP-137, MCP-110: named channels reach their own servers, in any letter case.
#[test]
fn channels_route_to_their_own_servers() {
    let second = Mcp::start();
    let binding = format!("channel=Two,url={}", second.url());
    let rig = Rig::with(|b| b.flag("mcp.server-url", &binding));
    let answer = rig.send(&Command::method("m", "1").channel(" TWO "));
    assert_eq!((answer.code(), &answer.json["channel"]), (200, &json!("two")));
    assert_eq!((rig.mcp.calls_of("m").len(), second.calls_of("m").len()), (0, 1));
    rig.send(&Command::method("m", "1"));
    assert_eq!((rig.mcp.calls_of("m").len(), second.calls_of("m").len()), (1, 1));
}

/// CP-031, CP-134: a channel outside the configured poll list is not served.
#[test]
fn channels_outside_the_poll_list_are_refused() {
    let second = Mcp::start();
    let binding = format!("channel=two,url={}", second.url());
    let rig = Rig::with(|b| b.flag("mcp.server-url", &binding).flag("control-plane.poll-channel", "main"));
    let poll = &rig.plane.wait_polls(1)[0];
    let info = r#"{"version":1,"channels":[{"name":"main"}]}"#;
    assert_eq!(poll.header("x-tunnel-mcp-server-info"), Some(info));
    assert_eq!(rig.send(&Command::method("m", "1").channel("two")).code(), 400);
    assert_eq!(second.calls().len(), 0);
}

/// A server whose channel is not polled is asked nothing, and its state is no part of readiness.
#[test]
fn a_channel_that_is_not_polled_is_not_probed() {
    let second = Mcp::start();
    let binding = format!("channel=two,url={}", second.url());
    let mut rig = Rig::with(|b| b.flag("mcp.server-url", &binding).flag("control-plane.poll-channel", "two"));
    // The main server is asked before the first poll, if at all.
    rig.plane.wait_polls(1);
    rig.client.wait_get("/readyz", |answer| answer.status == 200);
    assert_eq!(rig.send(&Command::method("m", "1").channel("two")).code(), 200);
    assert_eq!(rig.mcp.server.connections(), 0);
    assert!(second.server.connections() > 0);
}

/// CP-010, CP-011, NEW-009, NEW-010: the channel of what is called by name is declared, last of all, while there is something to call
/// and it may be asked for.
#[test]
fn the_channel_of_named_endpoints_is_declared_with_the_first() {
    const DECLARED: &str = r#"{"version":2,"channels":[{"name":"main"},{"name":"harpoon","stateless":true,"proc_affinity":true}]}"#;
    const OTHERWISE: &str = r#"{"version":1,"channels":[{"name":"main"}]}"#;
    for (channels, info) in [(None, DECLARED), (Some("main,harpoon"), DECLARED), (Some("main"), OTHERWISE)] {
        let rig = Rig::with(|builder| {
            let builder = builder.flag("harpoon.target", "label=a,url=https://127.0.0.1:1/");
            match channels {
                Some(channels) => builder.env("CONTROL_PLANE_POLL_CHANNELS", channels),
                None => builder,
            }
        });
        let poll = &rig.plane.wait_polls(1)[0];
        assert_eq!(poll.header("x-tunnel-mcp-server-info"), Some(info), "{channels:?}");
    }
}

/// DESIGN, drop-in, NEW-011: as many channels as may be declared can be bound; what discovery may find takes no place of theirs.
#[test]
fn a_full_declaration_starts() {
    let server = Mcp::start();
    let rig = Rig::with(|builder| {
        (1..32).fold(builder, |builder, number| {
            builder.flag("mcp.server-url", &format!("channel=c{number},url={}", server.url()))
        })
    });
    rig.assert_alive();
    let polls = rig.plane.wait_polls(1);
    assert!(polls[0].header("x-tunnel-mcp-server-info").unwrap().contains("\"c31\""));
}
