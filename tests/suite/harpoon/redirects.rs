//! Redirects among registered endpoints, and those that lead elsewhere.

use std::sync::Arc;

use serde_json::json;

use super::{Called, Harbour, call_command, yaml};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;
use crate::support::temp::TempDir;

const TARGETS: &str = "
- {label: from, url: ORIGIN/from}
- {label: to, url: ORIGIN/to}
- {label: get, url: ORIGIN/get, methods: [GET]}
- {label: post, url: ORIGIN/post, methods: [POST]}
- {label: small, url: ORIGIN/small, max_request_bytes: 1}
";

/// `/from` redirects with the status and place that the caller's headers name; the rest answers.
fn harbour() -> Harbour {
    Harbour::start(TARGETS, |request| match (request.path(), request.header("x-status")) {
        ("/from", Some(status)) => {
            Reply::status(status.parse().unwrap()).header("Location", request.header("x-to").unwrap())
        }
        _ => Reply::body(200, "text/plain", format!("{} {}", request.method, request.text())),
    })
}

fn to(status: u16, location: &str) -> serde_json::Value {
    let headers = json!({"x-status": status.to_string(), "x-to": location, "content-type": "a/b"});
    json!({"method": "POST", "body": "b", "headers": headers})
}

/// 307 and 308 repeat the request, the others make it a GET without a body.
#[test]
fn the_status_decides_what_is_repeated() {
    let harbour = harbour();
    for (status, seen) in [(301, "GET "), (302, "GET "), (303, "GET "), (307, "POST b"), (308, "POST b")] {
        for location in ["/to".to_owned(), "to".to_owned(), harbour.server.origin() + "/to"] {
            assert_eq!(harbour.call("from", to(status, &location)).body(), seen, "{status} {location}");
        }
    }
    let requests = harbour.server.requests();
    let last = requests.iter().rev().find(|request| request.method == "GET").unwrap();
    assert_eq!(
        (last.header("content-type"), last.header("x-to")),
        (None, Some(&*(harbour.server.origin() + "/to")))
    );
    for status in [300, 304, 305] {
        assert_eq!(harbour.call("from", to(status, "/to")).status(), u64::from(status));
    }
}

/// A redirect that is not followed comes back, with its place named.
#[test]
fn a_redirect_can_be_had_as_it_is() {
    let harbour = harbour();
    for (location, named) in [
        (harbour.server.origin() + "/to", "harpoon://to"),
        ("/to".into(), "/to"),
        ("http://e/".into(), "http://e/"),
    ] {
        let mut more = to(302, &location);
        more["follow_redirects"] = json!(false);
        let answer = harbour.call("from", more);
        assert_eq!((answer.status(), answer.header("Location")), (302, vec![named.to_owned()]));
    }
    let mut more = to(302, "/to");
    more["max_redirects"] = json!(0);
    assert_eq!(harbour.call("from", more).fault(), "label from: redirect limit exceeded");
    assert!(harbour.paths().iter().all(|path| path == "/from"));
}

/// Nothing is dialled that is not registered, and no method is used where it is not allowed.
#[test]
fn redirects_elsewhere_are_blocked() {
    let harbour = harbour();
    let (origin, port) = (harbour.server.origin(), harbour.server.port());
    for (status, location) in [
        (302, "/other".to_owned()),
        (302, "/to/".into()),
        (302, "/to?x".into()),
        (302, "/to#f".into()),
        (302, "/%74o".into()),
        (302, "/x/../to".into()),
        (302, "//127.0.0.1/to".into()),
        (302, format!("http://u:p@127.0.0.1:{port}/to")),
        (302, format!("http://127.1:{port}/to")),
        (302, format!("http://127.0.0.1.:{port}/to")),
        (302, format!("http://[::ffff:127.0.0.1]:{port}/to")),
        (302, format!("http://127.0.0.1:0{port}/to")),
        (302, format!("http://localhost:{port}/to")),
        (302, "http://169.254.169.254/latest/meta-data".into()),
        (302, "http://[fd00:ec2::254]/".into()),
        (302, "http://\u{ff11}27.0.0.1/to".into()),
        (302, "file:///etc/passwd".into()),
        (302, "javascript:alert(1)".into()),
        (302, format!("{origin}\\@evil.example/to")),
        (302, "/post".into()),
        (307, "/get".into()),
    ] {
        let fault = harbour.call("from", to(status, &location)).fault();
        assert_eq!(fault, "label from: redirect blocked", "{location}");
    }
    assert!(harbour.paths().iter().all(|path| path == "/from"));
    let log = harbour.rig.client.log();
    for word in ["path_mismatch", "query_mismatch", "not_allowlisted_other", "request_not_allowed"] {
        assert!(log.contains(word), "{word}");
    }
    assert!(!log.contains("meta-data") && !log.contains("u:p@"));
}

/// A body that an endpoint would not be sent by name is not sent there by a redirect either.
#[test]
fn each_endpoint_bounds_what_it_is_sent() {
    let harbour = harbour();
    let sending = |status: u16, body: &str| {
        let mut call = to(status, "/small");
        call["body"] = json!(body);
        harbour.call("from", call)
    };
    assert_eq!(sending(307, "b").body(), "POST b");
    assert_eq!(sending(307, "bb").fault(), "label from: redirect blocked");
    assert_eq!(sending(303, "bb").body(), "GET ");
}

/// A place that is not named is none.
#[test]
fn an_empty_place_is_no_redirect() {
    let harbour = Harbour::start(TARGETS, |_| Reply::status(302).header("Location", ""));
    assert_eq!(harbour.call("from", json!({})).status(), 302);
    assert_eq!(harbour.paths(), ["/from"]);
}

/// Another scheme is named, because it is a slip and no attack.
#[test]
fn another_scheme_is_blocked_by_name() {
    let harbour = harbour();
    let secure = harbour.server.origin().replace("http://", "https://");
    let fault = harbour.call("from", to(302, &(secure + "/to"))).fault();
    let text = "label from: redirect blocked: scheme mismatch (allowlisted http, redirected to https)";
    assert_eq!(fault, text);
    let target = "- {label: from, url: ORIGIN/from}\n- {label: to, url: https://127.0.0.1:1/to}";
    let script = |_: &_| Reply::status(302).header("Location", "http://127.0.0.1:1/to");
    let harbour = Harbour::start(target, script);
    let text = "label from: redirect blocked: scheme mismatch (allowlisted https, redirected to http)";
    assert_eq!(harbour.call("from", json!({})).fault(), text);
}

/// A circle ends at the limit: the configured one, or a lower one of the call.
#[test]
fn circles_end() {
    let circle = |request: &crate::support::http::Request| {
        Reply::status(307).header("Location", if request.path() == "/from" { "/to" } else { "/from" })
    };
    let harbour = Harbour::start(TARGETS, circle);
    assert_eq!(harbour.call("from", json!({})).fault(), "label from: redirect limit exceeded");
    assert_eq!(harbour.paths().len(), 6);
    let fault = harbour.call("from", json!({"max_redirects": 2})).fault();
    assert_eq!((fault.as_str(), harbour.paths().len()), ("label from: redirect limit exceeded", 9));
    let none = Harbour::with(TARGETS, |builder| builder.flag("harpoon.max-redirects", "0"), circle);
    assert_eq!(none.call("from", json!({})).fault(), "label from: redirect limit exceeded");
    assert_eq!(none.paths().len(), 1);
    assert!(none.call("from", json!({"max_redirects": 1})).refusal().contains("max_redirects"));
}

/// Beyond the origin goes what describes the request, and no credential under any name. It does not come
/// back with a second redirect.
#[test]
fn credentials_stay_within_one_origin() {
    let home = Server::start(
        None,
        Arc::new(|request: &crate::support::http::Request| match request.path() {
            "/start" => Reply::status(307).header("Location", request.header("accept").unwrap()),
            _ => Reply::status(204),
        }),
    );
    let back = home.origin() + "/end";
    let away = Server::start(None, Arc::new(move |_| Reply::status(307).header("Location", &back)));
    let (near, far) = (home.origin(), away.origin());
    let targets = format!(
        "- {{label: start, url: {near}/start}}\n- {{label: end, url: {near}/end}}\n- {{label: far, url: {far}/far}}"
    );
    let rig = Rig::with(|builder| builder.yaml(&yaml(&targets)).argument("--harpoon.allow-plaintext-http"));
    let headers = |accept: String| json!({"headers": {"authorization": "Bearer u", "x-api-key": "k", "accept": accept}});
    let inside = call_command("start", headers(near.clone() + "/end"));
    assert_eq!(Called(rig.send(&inside)).status(), 204);
    assert_eq!(home.requests()[1].header("authorization"), Some("Bearer u"));
    assert_eq!(Called(rig.send(&call_command("start", headers(far + "/far")))).status(), 204);
    for request in [&away.requests()[0], &home.requests()[3]] {
        assert_eq!((request.header("authorization"), request.header("x-api-key")), (None, None));
        assert!(request.header("accept").is_some() && request.header("user-agent").is_some());
    }
}

/// Behind two sockets there are two servers, whatever host their URLs name.
#[test]
fn credentials_stay_behind_one_socket() {
    let directory = TempDir::new();
    let (near, far) = (directory.join("near.sock"), directory.join("far.sock"));
    let script = |request: &crate::support::http::Request| match request.path() {
        "/a" => Reply::status(307).header("Location", "/b"),
        _ => Reply::status(204),
    };
    let _near = Server::start_unix(&near, Arc::new(script));
    let other = Server::start_unix(&far, Arc::new(script));
    let (near, far) = (near.display(), far.display());
    let targets = format!(
        "- {{label: a, url: 'http://localhost/a', unix_socket: '{near}'}}\n- {{label: b, url: 'http://localhost/b', unix_socket: '{far}'}}"
    );
    let rig = Rig::with(|builder| builder.yaml(&yaml(&targets)).argument("--harpoon.allow-plaintext-http"));
    let more = json!({"headers": {"authorization": "Bearer u", "accept": "a/b"}});
    assert_eq!(Called(rig.send(&call_command("a", more))).status(), 204);
    let request = &other.requests()[0];
    assert_eq!((request.header("authorization"), request.header("accept")), (None, Some("a/b")));
}
