//! Calls that work and calls that are refused: every tool, every text, what is counted and logged.

use serde_json::{Value, json};

use super::{Called, Harbour, tool};
use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

const TARGETS: &str = "
- {label: open, url: ORIGIN/open, description: For all}
- {label: read-only, url: ORIGIN/read, methods: [GET]}
- {label: small, url: ORIGIN/small, max_request_bytes: 4}
";

fn harbour() -> Harbour {
    Harbour::start(TARGETS, |request| {
        Reply::body(418, "Text/Plain; charset=x", request.method.clone() + " " + &request.text())
    })
}

/// Any status is a success, with headers and body.
#[test]
fn a_call_returns_what_the_endpoint_said() {
    let harbour = harbour();
    for (method, body, seen) in
        [("GET", None, "GET "), ("POST", Some("b\u{e4}"), "POST b\u{e4}"), ("PUT", Some(""), "PUT ")]
    {
        let mut more = json!({"method": method});
        if let Some(body) = body {
            more["body"] = json!(body);
        }
        let answer = harbour.call("open", more);
        assert_eq!((answer.status(), answer.body().as_str()), (418, seen));
        assert_eq!(answer.header("Content-Type"), ["Text/Plain; charset=x"]);
    }
    let requests = harbour.server.requests();
    assert_eq!(requests[2].header("content-length"), Some("0"));
    for request in requests {
        assert_eq!(request.target, "/open");
        assert!(request.header("user-agent").unwrap().starts_with("tunnel-client-rs/"));
        assert_eq!(request.header("accept-encoding"), None);
    }
}

/// The text of a result leaves out what is empty; the structure has all.
#[test]
fn an_empty_response_has_all_members_in_its_structure() {
    let harbour = Harbour::start(TARGETS, |_| Reply::raw("HTTP/1.1 204 None\r\n\r\n"));
    let answer = harbour.call("open", json!({}));
    let whole = json!({"status_code": 204, "headers": {}, "body_base64": "", "body_size_bytes": 0, "truncated": false});
    assert_eq!(answer.result(), &whole);
    let text = answer.0.payload()["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, r#"{"body_size_bytes":0,"status_code":204,"truncated":false}"#);
}

/// Errors of tools name the label; nothing was sent.
#[test]
fn calls_that_may_not_be_are_told_so() {
    let harbour = harbour();
    for (label, more, text) in [
        ("nobody", json!({}), "label nobody: unknown target"),
        ("read-only", json!({"method": "POST"}), "label read-only: invalid method"),
        (
            "small",
            json!({"method": "PUT", "body": "\u{e4}\u{e4}\u{e4}"}),
            "label small: request body exceeds size limit",
        ),
        ("open", json!({"body": "x"}), "label open: invalid parameters"),
    ] {
        assert_eq!(harbour.call(label, more).fault(), text);
    }
    assert_eq!(harbour.server.connections(), 0);
    assert_eq!(harbour.call("small", json!({"method": "PUT", "body": "\u{e4}\u{e4}"})).status(), 418);
}

/// Arguments are held to the schema, and each refusal names one.
#[test]
fn arguments_are_held_to_their_schema() {
    let harbour = harbour();
    let many: serde_json::Map<String, Value> = (0..101).map(|n| (format!("x-{n}"), json!("v"))).collect();
    let refused = [
        (json!({"label": "Open"}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": ""}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": "-open"}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": "open/../x"}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": "\u{43e}pen"}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": "a".repeat(65)}), "label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        (json!({"label": 1}), "label must be a text"),
        (json!({"label": null}), "label must be a text"),
        (json!({"method": "get"}), "method must be GET, POST or PUT"),
        (json!({"method": "DELETE"}), "method must be GET, POST or PUT"),
        (json!({"timeout_ms": 99}), "timeout_ms must be a whole number from 100 to 120000"),
        (json!({"timeout_ms": 120_001}), "timeout_ms must be a whole number from 100 to 120000"),
        (json!({"timeout_ms": 100.5}), "timeout_ms must be a whole number from 100 to 120000"),
        (json!({"timeout_ms": "100"}), "timeout_ms must be a whole number from 100 to 120000"),
        (json!({"max_response_bytes": 0}), "max_response_bytes must be a whole number from 1 to 102400"),
        (
            json!({"max_response_bytes": 102_401}),
            "max_response_bytes must be a whole number from 1 to 102400",
        ),
        (json!({"max_redirects": -1}), "max_redirects must be a whole number from 0 to 5"),
        (json!({"max_redirects": 6}), "max_redirects must be a whole number from 0 to 5"),
        (json!({"follow_redirects": 1}), "follow_redirects must be true or false"),
        (json!({"body": {}}), "body must be a text"),
        (json!({"headers": []}), "headers must be an object of texts"),
        (json!({"headers": {"a": 1}}), "headers must be an object of texts"),
        (json!({"headers": many}), "headers holds more than 100"),
        (json!({"url": "http://x"}), "there is no argument \"url\""),
    ];
    for (more, text) in refused {
        let refusal = harbour.call("open", more).refusal();
        assert_eq!(refusal, format!("validating \"arguments\": {text}"));
    }
    let called = |arguments: Value| Called(harbour.rig.send(&tool("call_target", &arguments))).refusal();
    assert_eq!(called(json!({"method": "GET"})), "validating \"arguments\": label is required");
    assert_eq!(called(json!({"label": "open"})), "validating \"arguments\": method is required");
    assert_eq!(harbour.server.connections(), 0);
    let whole = json!({"timeout_ms": 20_000.0, "max_redirects": 0, "max_response_bytes": 102_400});
    assert_eq!(harbour.call("open", whole).status(), 418);
}

/// Labels, descriptions and methods are told, URLs are not; filters narrow the list.
#[test]
fn targets_are_listed_without_their_urls() {
    let harbour = harbour();
    let list = |filter: Value| {
        let answer = harbour.rig.send(&tool("list_targets", &filter));
        assert!(!answer.payload_text().contains("127.0.0.1"));
        answer.payload()["result"]["structuredContent"]["targets"].clone()
    };
    let methods = json!(["GET", "POST", "PUT"]);
    let all = json!([
        {"label": "open", "description": "For all", "category": "config", "source": "config", "allowed_methods": methods},
        {"label": "read-only", "category": "config", "source": "config", "allowed_methods": ["GET"]},
        {"label": "small", "category": "config", "source": "config", "allowed_methods": methods},
    ]);
    for filter in [json!({}), json!({"categories": [" CONFIG ", "x"], "sources": ["config"], "tags": [" "]})]
    {
        assert_eq!(list(filter), all);
    }
    for filter in [json!({"categories": ["oauth"]}), json!({"sources": ["x"]}), json!({"tags": ["x"]})] {
        assert_eq!(list(filter), json!([]));
    }
    for bad in [json!({"tags": "x"}), json!({"categories": [1]}), json!({"x": []})] {
        Called(harbour.rig.send(&tool("list_targets", &bad))).refusal();
    }
}

/// The audience is told of token endpoints that were discovered, and of nothing else.
#[test]
fn configured_targets_have_no_audience() {
    let harbour = harbour();
    let ask =
        |label: &str| Called(harbour.rig.send(&tool("get_oauth_target_audience", &json!({"label": label}))));
    assert_eq!(ask("open").fault(), "label open: target is not an OAuth token endpoint");
    assert_eq!(ask("nobody").fault(), "label nobody: unknown target");
    assert!(ask("No").refusal().contains("label must match"));
}

/// What is counted has registered labels only, and the log has neither bodies nor values of headers.
#[test]
fn calls_are_counted_and_logged_without_their_content() {
    let mut harbour = harbour();
    let secret = "content-4711";
    let more = json!({"method": "POST", "body": secret, "headers": {"X-A": secret, "Cookie": secret, "User-Agent": secret}});
    harbour.call("open", more);
    harbour.call("invented", json!({}));
    let line = harbour.rig.client.wait_log(|line| line.contains("harpoon request completed"));
    for part in [
        "\"label\":\"open\"",
        "\"status\":418",
        "\"content_type\":\"text/plain\"",
        "\"component\":\"harpoon\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = harbour.rig.client.wait_log(|line| line.contains("dropped non-forwardable headers"));
    assert!(line.contains("sensitive-name,user-agent"), "{line}");
    harbour
        .rig
        .client
        .wait_log(|line| line.contains("harpoon enabled") && line.contains("open,read-only,small"));
    harbour.rig.client.wait_log(|line| line.contains("harpoon route resolved") && line.contains("read-only"));
    let metrics = harbour.rig.client.get("/metrics").body;
    for sample in [
        "harpoon_call_total{label=\"open\",status_class=\"4xx\",outcome=\"success\"} 1",
        "harpoon_call_total{label=\"__unknown__\",status_class=\"none\",outcome=\"invalid_input\"} 1",
        "harpoon_call_latency_milliseconds_count{label=\"open\"",
        "harpoon_response_size_bytes_count{label=\"open\"",
    ] {
        assert!(metrics.contains(sample), "{sample}\n{metrics}");
    }
    assert!(!metrics.contains("invented"));
    let log = harbour.rig.client.log();
    assert!(!log.contains(secret) && !log.contains("/open"), "{log}");
}

/// Without a target, or outside the list of channels, there is nobody on the channel.
#[test]
fn the_channel_is_there_with_its_first_target_only() {
    let ping = || Command::method("ping", "1").channel("harpoon");
    let rig = Rig::start();
    assert_eq!(rig.send(&ping()).code(), 400);
    let harbour = harbour();
    assert_eq!(harbour.rig.send(&ping()).code(), 200);
    assert_eq!(harbour.rig.send(&Command::method("ping", "1")).code(), 200);
    let narrow = Harbour::with(
        TARGETS,
        |builder| builder.flag("control-plane.poll-channel", "main"),
        |_| Reply::status(204),
    );
    assert_eq!(narrow.rig.send(&ping()).code(), 400);
}
