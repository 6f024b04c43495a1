//! What becomes of a caller's headers, and of those that the operator adds.

use serde_json::json;

use super::Harbour;
use crate::support::reply::Reply;

const TARGETS: &str = "
- label: a
  url: ORIGIN/a
  headers:
    X-Service-Token: env:SERVICE_TOKEN
    X-Static: plain
- {label: b, url: ORIGIN/b}
";

const TOKEN: &str = "service-token-77";

fn harbour(script: impl Fn(&crate::support::http::Request) -> Reply + Send + Sync + 'static) -> Harbour {
    Harbour::with(TARGETS, |builder| builder.env("SERVICE_TOKEN", TOKEN), script)
}

/// Names of framing, hops, proxies and identities stay here; what the caller says of its request passes.
#[test]
fn names_of_framing_and_identity_do_not_pass() {
    let harbour = harbour(|_| Reply::status(204));
    let dropped = [
        "accept-encoding",
        "cf-connecting-ip",
        "content-length",
        "cookie",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "user-agent",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-custom-cf-witness-actor",
        "x-custom-cf-witness-authorization",
        "x-envoy-external-address",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-openai-actor-authorization",
        "x-openai-authorization",
        "x-openai-authorization-error",
        "x-openai-internal-caller",
        "x-openai-skip-auth",
        "x-original-forwarded-for",
        "x-real-ip",
        "x-tunnel-traffic-source",
        "X_Forwarded_For",
        "Transfer_Encoding",
        "X.Forwarded!For",
        "Content.Length",
    ];
    let mut headers: serde_json::Map<_, _> =
        dropped.iter().map(|name| ((*name).to_owned(), json!("smuggled"))).collect();
    for (name, value) in
        [("Authorization", "Bearer u"), ("Content-Type", "text/x"), ("X-Own", "1"), ("Accept", "a/b")]
    {
        headers.insert(name.to_owned(), json!(value));
    }
    let more = json!({"method": "POST", "body": "12345", "headers": headers});
    assert_eq!(harbour.call("b", more).status(), 204);
    let request = &harbour.server.requests()[0];
    assert!(!request.dump().contains("smuggled"), "{}", request.dump());
    assert_eq!(request.header("content-length"), Some("5"));
    assert_eq!(request.header("authorization"), Some("Bearer u"));
    assert_eq!(request.header("content-type"), Some("text/x"));
    assert_eq!((request.header("x-own"), request.header("accept")), (Some("1"), Some("a/b")));
    assert_eq!(request.all("host").len(), 1);
}

/// What a `Connection` header nominates stays here with it, whatever it is.
#[test]
fn nominated_headers_stay_here() {
    let harbour = harbour(|_| Reply::status(204));
    let headers = json!({
        "Connection": "X-Hop, authorization ,x-service-token", "X-Hop": "1", "Authorization": "Bearer u", "X-Kept": "1",
    });
    harbour.call("a", json!({"headers": headers})).result();
    let request = &harbour.server.requests()[0];
    assert_eq!((request.header("x-hop"), request.header("authorization")), (None, None));
    assert!(request.header("connection").is_none_or(|value| !value.to_lowercase().contains("x-hop")));
    assert_eq!((request.header("x-kept"), request.header("x-service-token")), (Some("1"), Some(TOKEN)));
}

/// What is no name or no value never becomes a line of a request.
#[test]
fn names_and_values_that_break_lines_are_refused() {
    let harbour = harbour(|_| Reply::status(204));
    for name in
        ["", " a", "a ", "a b", "a:b", "a\r\nb", "a\nb", "a\0", "a\u{e4}", "a\"", "(a)", "a\t", ":path"]
    {
        let refusal = harbour.call("b", json!({"headers": {name: "v"}})).refusal();
        assert!(refusal.contains("headers holds") && refusal.contains("no header name"), "{refusal}");
        assert!(!refusal.contains(['\r', '\n', '\0']));
    }
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\u{1}", "\u{7f}"] {
        let refusal = harbour.call("b", json!({"headers": {"x-a": value}})).refusal();
        let text = "validating \"arguments\": headers holds \"x-a\", whose value has characters that no header may have";
        assert_eq!(refusal, text);
    }
    let twice = harbour.call("b", json!({"headers": {"X-A": "1", "x-a": "2"}})).refusal();
    assert!(twice.ends_with("twice"), "{twice}");
    assert_eq!(harbour.server.connections(), 0);
    harbour.call("b", json!({"headers": {"x-a": "\u{e4} tab\t end"}})).result();
}

/// The operator's headers win in every spelling and are shown nowhere.
#[test]
fn added_headers_win_and_stay_inside() {
    let harbour = harbour(|request| Reply::body(200, "text/plain", request.target.clone()));
    let headers =
        json!({"x-service-token": "mine", "X_Service_Token": "mine", "X-STATIC": "mine", "x.static": "mine"});
    let answer = harbour.call("a", json!({"headers": headers}));
    assert_eq!(answer.body(), "/a");
    let request = &harbour.server.requests()[0];
    assert_eq!((request.all("x-service-token"), request.all("x-static")), (vec![TOKEN], vec!["plain"]));
    assert!(!request.dump().contains("mine"));
    let listed = harbour.rig.send(&super::tool("list_targets", &json!({})));
    for text in [answer.0.request.text(), listed.request.text(), harbour.rig.client.log()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    harbour.call("b", json!({})).result();
    assert_eq!(harbour.server.requests()[1].header("x-service-token"), None);
}

/// They go to their own endpoint alone, also when a redirect leads away from it or to it.
#[test]
fn added_headers_do_not_follow_redirects() {
    let harbour = harbour(|request| match request.target.as_str() {
        "/a" if request.header("x-own").is_some() => Reply::status(307).header("Location", "/b"),
        "/b" if request.header("x-back").is_some() => Reply::status(307).header("Location", "/a"),
        _ => Reply::status(204),
    });
    harbour.call("a", json!({"headers": {"x-own": "1"}})).result();
    harbour.call("b", json!({"headers": {"x-back": "1"}})).result();
    let seen: Vec<_> = harbour.server.requests();
    let seen: Vec<_> = seen.iter().map(|r| (r.target.as_str(), r.header("x-service-token"))).collect();
    assert_eq!(seen, [("/a", Some(TOKEN)), ("/b", None), ("/b", None), ("/a", Some(TOKEN))]);
}
