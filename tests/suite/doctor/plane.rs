//! What `doctor` makes of the control plane's answers, and of those who answer in its place.

use super::{Findings, doctor};
use crate::support::client::Builder;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;

/// The explanation when the metadata is answered so.
fn verdict(reply: Reply) -> String {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    plane.metadata(reply.off_contract());
    let builder: Builder = doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url());
    Findings::of(builder).assert_failed(&["control_plane_metadata"])
}

fn refusal(status: u16, code: &str) -> String {
    verdict(Reply::json(status, format!(r#"{{"error":{{"message":"said so","code":"{code}"}}}}"#)))
}

/// Every status says who has to act; codes of the contract say it more exactly.
#[test]
fn every_status_says_what_to_do() {
    for (status, code, wanted) in [
        (401, "invalid_api_key", &["/organization/api-keys", "--control-plane.api-key", "said so"][..]),
        (403, "tunnel_use_forbidden", &["tunnel_use_forbidden", "may not use this tunnel"]),
        (403, "tunnel_active_organization_required", &["control-plane.organization-id"]),
        (404, "", &["answered 404", "/organization/tunnels", "control-plane.tunnel-id"]),
        (429, "rate_limit_exceeded", &["fewer requests"]),
        (503, "", &["answered 503", "fails by itself"]),
    ] {
        let text = refusal(status, code);
        for word in wanted {
            assert!(text.contains(word), "{status} {code}: no `{word}` in {text}");
        }
    }
}

/// A redirect is not followed, and said to be the trouble.
#[test]
fn a_redirect_is_a_failure() {
    let text = verdict(Reply::status(302).header("Location", "http://127.0.0.1:1/login"));
    assert!(text.contains("Redirects of the control plane are not followed"), "{text}");
}

/// A page, a foreign JSON and another tunnel's metadata are not the control plane.
#[test]
fn whoever_answers_in_its_place_is_found_out() {
    for reply in [
        Reply::body(200, "text/html", "<html>Please sign in</html>"),
        Reply::json(200, "{}"),
        Reply::json(200, r#"{"id":"tunnel_00000000000000000000000000000000"}"#),
    ] {
        let text = verdict(reply);
        assert!(text.contains("what answers is not the control plane"), "{text}");
        assert!(text.contains("curl -sSi http://127.0.0.1:"), "{text}");
    }
}

/// NEW-001: the request is that of `run`: key, organization, extra headers, version of the wire.
#[test]
fn it_asks_as_run_does() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let builder = doctor(&plane.server.origin())
        .flag("mcp.server-url", &mcp.url())
        .flag("control-plane.organization-id", "org-1")
        .flag("control-plane.extra-headers", "X-Gateway: g")
        .flag("control-plane.url-path", "/prefix");
    Findings::of(builder).assert_ok();
    let request = &plane.server.requests()[0];
    assert!(request.path().starts_with("/prefix/v1/tunnels/"));
    assert!(request.header("authorization").unwrap().starts_with("Bearer sk-"));
    assert_eq!(request.header("openai-organization"), Some("org-1"));
    assert_eq!(request.header("x-gateway"), Some("g"));
    assert!(request.header("x-tunnel-mcp-server-info").unwrap().contains("main"));
    assert_eq!(request.all("x-tunnel-client-wire-protocol-version"), ["2026-08-25"]);
}
