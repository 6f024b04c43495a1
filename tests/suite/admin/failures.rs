//! What goes wrong is said once, in the form that was asked for, and nothing is sent twice.

use serde_json::{Value, json};

use super::{ADMIN_KEY, admin, outcome, plane, record, refused};
use crate::support::closed;
use crate::support::plane::TUNNEL;
use crate::support::reply::Reply;

/// The text and the JSON of a failed `get`.
fn failed(reply: &Reply) -> (String, Value) {
    let reply = reply.clone();
    let server = plane(move |_| reply.clone());
    let text = outcome(admin(&server, &["get", TUNNEL]));
    assert_eq!((text.code, text.stdout.as_str()), (Some(1), ""), "{}", text.stderr);
    let json = outcome(admin(&server, &["get", TUNNEL, "--json"]));
    assert_eq!((json.code, json.stderr.as_str()), (Some(1), ""), "{}", json.stdout);
    assert_eq!(server.requests().len(), 2);
    let line = text.stderr.strip_suffix('\n').unwrap();
    let prefix = format!("request GET /v1/tunnels/{TUNNEL} failed: ");
    (line.strip_prefix(&prefix).unwrap().to_owned(), serde_json::from_str(&json.stdout).unwrap())
}

/// Code, message, what to do about it, and the id of the exchange.
#[test]
fn errors_of_the_plane_are_told() {
    let body = r#"{"error":{"message":"No access.","type":"invalid_request_error","param":null,"code":"tunnel_use_forbidden"}}"#;
    let (text, value) = failed(&Reply::json(403, body).header("X-Request-Id", "req_9"));
    let mitigation = "The key's project may not use this tunnel; allow it in the tunnel's settings.";
    assert_eq!(
        text,
        format!("403 tunnel_use_forbidden: No access. mitigation: {mitigation} (x-request-id: req_9)")
    );
    assert_eq!(
        value,
        json!({"error": {"message": "No access.", "method": "GET", "path": format!("/v1/tunnels/{TUNNEL}"),
            "status_code": 403, "request_id": "req_9", "code": "tunnel_use_forbidden",
            "type": "invalid_request_error", "mitigation": mitigation}})
    );
    let (text, value) = failed(&Reply::json(404, r#"{"detail":"gone"}"#));
    assert_eq!(text, "404: gone");
    assert_eq!(
        value["error"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["message", "method", "path", "status_code"]
    );
    assert_eq!(failed(&Reply::status(502)).0, "502: no reason was given");
}

/// JSON has its members in this order, since people read it too.
#[test]
fn errors_have_an_order() {
    let server = plane(|_| Reply::json(429, r#"{"message":"m","code":"rate_limit_exceeded"}"#));
    let text = outcome(admin(&server, &["list", "--tenant-id", "secret-tenant", "--json"])).stdout;
    let expected = "{\n  \"error\": {\n    \"message\": \"m\",\n    \"method\": \"GET\",\n    \"path\": \"/v1/tunnels\",\n    \"status_code\": 429,\n    \"code\": \"rate_limit_exceeded\",\n    \"mitigation\": \"";
    assert!(text.starts_with(expected), "{text}");
}

/// Whoever answers cannot fill or fool a terminal, nor make the key be shown.
#[test]
fn what_others_say_is_cut_and_harmless() {
    let (text, _) = failed(&Reply::body(500, "text/html", format!("<p>\x1b[2J\n{}", "x".repeat(9000))));
    assert!(text.starts_with("500: <p>\\u{1b}[2J\\nxxx") && text.len() < 1100, "{text}");
    let body = json!({"error": {"message": format!("wrong key {ADMIN_KEY}"), "code": ADMIN_KEY}});
    let (text, _) = failed(&Reply::json(401, body.to_string()).header("X-Request-Id", "r"));
    assert!(text.contains("wrong key "), "{text}");
    let server =
        plane(|_| Reply::json(200, r#"{"id":"x","name":"\u001b[31mred\nTunnel y","description":"\u202e"}"#));
    let text = outcome(admin(&server, &["get", TUNNEL])).stdout;
    assert!(text.contains("  Name: \\u{1b}[31mred\\nTunnel y\n  Description: \\u{202e}\n"), "{text}");
}

/// The key goes to the configured address alone.
#[test]
fn redirects_are_not_followed() {
    let other = record();
    let reply = Reply::status(307).header("Location", &format!("{}/v1/tunnels", other.origin()));
    assert_eq!(failed(&reply).0, "307: a redirect, which is not followed");
    assert!(other.requests().is_empty());
}

/// Bodies have bounds, announced or not.
#[test]
fn huge_replies_are_refused() {
    let huge = || format!(r#"{{"id":"x","name":"{}"}}"#, "x".repeat(1 << 20));
    for reply in [Reply::json(200, huge()), Reply::json(200, huge()).chunked()] {
        let (text, _) = failed(&reply);
        assert_eq!(text, "200: the body of the reply exceeds 1048576 bytes");
    }
    let (text, _) = failed(&Reply::json(200, "[1]").header("X-Request-Id", "r"));
    assert!(
        text.starts_with("200: the reply is not what was asked for: ")
            && text.ends_with(" (x-request-id: r)")
    );
    // A portal that answers everything.
    let (text, _) = failed(&Reply::body(200, "text/html", "<html>"));
    assert!(text.starts_with("200: the reply is not what was asked for: "), "{text}");
}

/// Nobody is there: said with the method and the path, and without a status.
#[test]
fn an_absent_plane_is_told() {
    let (server, port) = (record(), closed::port());
    let base = format!("http://127.0.0.1:{port}");
    let absent = |words: &[&str]| outcome(admin(&server, words).env("CONTROL_PLANE_BASE_URL", &base));
    let words = ["update", TUNNEL, "--name", "n"];
    let text = absent(&words).stderr;
    let start = format!("request POST /v1/tunnels/{TUNNEL} failed: connect to 127.0.0.1:{port}: ");
    assert!(text.starts_with(&start), "{text}");
    let text = absent(&[&words[..], &["--json"]].concat()).stdout;
    let value: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<&String> = value["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "method", "path"], "{text}");
}

/// Mistakes are found before anybody is asked.
#[test]
fn arguments_are_checked_first() {
    let server = record();
    let one = "provide exactly one of --organization-id, --workspace-id, or --tenant-id";
    let bad = "tunnel_../../x";
    for (words, wanted) in [
        (&["create"][..], "required flag(s) \"description\", \"name\" not set"),
        (&["create", "--name", "n"], "required flag(s) \"description\" not set"),
        (
            &["create", "--name", "n", "--description", "d", "--workspace-id", " ,"],
            "at least one of --organization-id or --workspace-id is required",
        ),
        (
            &[
                "create",
                "--name",
                "n",
                "--description",
                "d",
                "--organization-id",
                "b,a,a",
                "--organization-id",
                "b,c",
            ],
            "duplicate organization-id values: a, b",
        ),
        (&["list"], one),
        (&["list", "--organization-id", "a", "--tenant-id", "b"], one),
        (&["list", "--organization-id", "a,b"], one),
        (&["update", TUNNEL], "provide at least one field to update"),
        (&["delete", TUNNEL], "refusing to delete without --confirm"),
        (&["get"], "accepts 1 arg(s), received 0; usage: tunnel-client admin tunnels get <id>"),
        (&["get", TUNNEL, "x"], "unexpected argument: write every value as --flag=value"),
        (&["get", bad], "invalid tunnel ID \"tunnel_../../x\": must be safe for use as a URL path parameter"),
        (
            &["get", "tunnel_1"],
            "invalid tunnel ID \"tunnel_1\": must match tunnel_<32 lowercase letters or digits>, or tunnel_<4>_<32> with a namespace",
        ),
        (&["get", TUNNEL, "--profile", "p"], "unknown flag: --profile"),
    ] {
        let said = refused(&server, admin(&server, words));
        assert!(said == wanted || said.starts_with(&format!("{wanted} (did you mean")), "{said}");
    }
    let json = outcome(admin(&server, &["list", "--json"]));
    assert_eq!(json.stdout, format!("{{\n  \"error\": {{\n    \"message\": \"{one}\"\n  }}\n}}\n"));
    assert_eq!((json.code, json.stderr.as_str()), (Some(1), ""));
}

/// Settings are those of `run`, and so are the complaints about them.
#[test]
fn settings_are_checked_as_in_run() {
    let server = record();
    let get = || admin(&server, &["get", TUNNEL]);
    let plain = refused(&server, get().flag("control-plane.base-url", "http://plane.example"));
    assert_eq!(
        plain,
        "configure tunnel-client: invalid control-plane.base-url: http would send the API key in plain text; use https, or insist with --control-plane.allow-plaintext-http (control_plane.allow_plaintext_http in YAML)"
    );
    let proxied = refused(&server, get().flag("http-proxy", "http://p.example:1"));
    assert!(proxied.contains("http through a proxy would send the API key in plain text; use https, or insist with --control-plane.allow-plaintext-http "), "{proxied}");
    let absent = refused(&server, get().env("CA_BUNDLE", "/absent/ca.pem"));
    assert!(absent.starts_with("configure tunnel-client: ") && absent.contains("/absent/ca.pem"), "{absent}");
    let half = refused(&server, get().flag("control-plane.client-cert", "/c.pem"));
    assert_eq!(
        half,
        "configure tunnel-client: invalid control-plane client certificate configuration: client key path is required when certificate path is set"
    );
}
