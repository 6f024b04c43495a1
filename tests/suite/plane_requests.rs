//! What every request to the control plane carries, and what stops the client before it sends one.

use crate::support::client::{API_KEY, Builder};
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// One metadata GET, some polls and one POST.
fn traffic(rig: &Rig) -> Vec<Request> {
    rig.assert_alive();
    rig.plane.server.wait_requests(1, |r| r.target.ends_with(TUNNEL));
    rig.plane.server.requests()
}

/// Starts a client that must refuse, and returns what it said.
fn refused(adjust: impl FnOnce(Builder) -> Builder) -> String {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let builder = adjust(Builder::run(&plane.server.origin(), &mcp.url()));
    let (code, log) = builder.finish();
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(plane.server.requests().len() + mcp.server.requests().len(), 0, "{log}");
    log
}

/// CP-001, CP-002, CP-004, CP-005, CP-008, CP-014, CP-019, NEW-001, NEW-002: every request names client and key.
#[test]
fn every_request_carries_the_key_and_the_client_identity() {
    let rig = Rig::with(|b| b.flag("control-plane.extra-headers", "X-Site: north"));
    for request in traffic(&rig) {
        let seen = request.dump();
        let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("{name}: {seen}"));
        assert_eq!(header("authorization"), format!("Bearer {API_KEY}"));
        assert_eq!(request.all("authorization").len(), 1);
        assert_eq!(header("x-tunnel-client-name"), "tunnel-client-rs");
        assert!(!header("x-tunnel-client-version").is_empty());
        assert!(header("user-agent").starts_with("tunnel-client-rs/"));
        assert_eq!(header("accept"), "application/json");
        assert_eq!(request.all("x-tunnel-client-wire-protocol-version"), ["2026-08-25"]);
        assert_eq!(header("x-site"), "north");
        let info = r#"{"version":1,"channels":[{"name":"main"}]}"#;
        assert_eq!(header("x-tunnel-mcp-server-info"), info);
        assert!(request.target.starts_with(&format!("/v1/tunnels/{TUNNEL}")), "{seen}");
        if request.method == "POST" {
            assert_eq!(header("content-length"), request.body.len().to_string());
            assert_eq!(header("content-type"), "application/json");
        } else {
            assert!(request.body.is_empty() && request.header("content-length").is_none());
        }
    }
}

/// CP-003: the instance id is one per process, 32 lower-case hex characters, and new every time.
#[test]
fn the_instance_id_lasts_as_long_as_the_process() {
    let ids = [Rig::start(), Rig::start()].map(|rig| {
        let all = traffic(&rig);
        let id = all[0].header("x-tunnel-client-instance-id").unwrap().to_owned();
        assert!(all.iter().all(|r| r.header("x-tunnel-client-instance-id") == Some(&id)));
        assert!(id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        id
    });
    assert_ne!(ids[0], ids[1]);
}

/// CP-006, CP-007: a configured prefix stands before every path, a path in the base URL does not.
#[test]
fn paths_are_built_from_the_prefix_alone() {
    let plane = Plane::start();
    let base = plane.server.origin() + "/v1/tunnel?x=y";
    let rig = Rig::over(plane, Mcp::start(), |b| {
        b.set("control-plane.base-url", &base).flag("control-plane.url-path", "/a/b/")
    });
    let wanted = format!("/a/b/v1/tunnels/{TUNNEL}");
    rig.plane.wait_polls(1);
    rig.plane.server.wait_requests(1, |r| r.target == wanted);
    rig.assert_alive();
    assert!(rig.plane.server.requests().iter().all(|r| r.target.starts_with(&wanted)));
}

/// CP-011, CP-010: bindings are declared once each, canonically, in their order, without affinity.
#[test]
fn server_info_lists_the_bindings_in_order() {
    let other = Mcp::start();
    let rig = Rig::with(|b| {
        b.flag("mcp.server-url", &format!("channel= Zulu ,url={}", other.url()))
            .flag("mcp.server-url", &format!("channel=alpha,url={}", other.url()))
    });
    let poll = &rig.plane.wait_polls(1)[0];
    let wanted = r#"{"version":1,"channels":[{"name":"main"},{"name":"zulu"},{"name":"alpha"}]}"#;
    assert_eq!(poll.header("x-tunnel-mcp-server-info"), Some(wanted));
}

/// CP-013, CP-016, CP-017, NEW-007: configured extra headers never replace what the client itself says.
#[test]
fn extra_headers_do_not_replace_our_own() {
    let rig = Rig::with(|b| {
        b.flag("control-plane.organization-id", "org-real")
            .flag("control-plane.extra-headers", "OpenAI-Organization: org-fake")
            .flag("control-plane.extra-headers", "X-Tunnel-Client-Instance-Id: fake")
            .flag("control-plane.extra-headers", "X-Tunnel-Shard-Token: fake")
            .flag("control-plane.extra-headers", "X-Tunnel-Client-Capabilities: fake")
            .flag("control-plane.extra-headers", "Content-Type: text/fake")
    });
    let command = Command::method("ping", "1");
    let answer = rig.send(&command);
    assert_eq!(answer.request.all("x-tunnel-shard-token"), [command.token.as_str()]);
    assert_eq!(answer.request.all("content-type"), ["application/json"]);
    for request in traffic(&rig) {
        assert_eq!(request.all("openai-organization"), ["org-real"]);
        assert_eq!(request.all("x-tunnel-client-instance-id").len(), 1);
        assert!(!request.headers.iter().any(|(_, value)| value.contains("fake")), "{}", request.dump());
    }
}

/// CP-015, NEW-007: an extra header that names our identity is refused before any traffic.
#[test]
fn reserved_extra_headers_stop_the_start() {
    for name in [
        "Authorization",
        "Accept",
        "User-Agent",
        "X-Tunnel-Client-Name",
        "x-tunnel-client-version",
        "X-Tunnel-Client-Wire-Protocol-Version",
        "X-Tunnel-MCP-Server-Info",
    ] {
        let log = refused(|b| b.flag("control-plane.extra-headers", &format!("{name}: v")));
        assert!(log.to_lowercase().contains(&name.to_lowercase()), "{log}");
    }
}

/// CP-018: a malformed key or tunnel id ends the start, and the key is not printed.
#[test]
fn malformed_identity_stops_the_start() {
    let log = refused(|b| b.env("CONTROL_PLANE_API_KEY", "sk bad-key-5511"));
    assert!(!log.contains("bad-key-5511"), "{log}");
    for id in ["tunnel_ABC", "tunnel_0123", "x", ""] {
        refused(|b| b.set("control-plane.tunnel-id", id));
    }
    refused(|b| b.without("control-plane.tunnel-id"));
    refused(|b| b.without_env("CONTROL_PLANE_API_KEY"));
}

/// CP-020: compression is not asked for, and a compressed poll is a failure that passes.
#[test]
fn a_compressed_poll_is_backed_off_from() {
    let rig = Rig::start();
    let first = &rig.plane.wait_polls(1)[0];
    assert!(!first.header("accept-encoding").unwrap_or("identity").contains("gzip"));
    rig.plane.next_poll(Reply::json(200, "\u{1f}gzip").header("Content-Encoding", "gzip").off_contract());
    rig.assert_alive();
}
