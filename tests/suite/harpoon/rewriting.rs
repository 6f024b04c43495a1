//! URLs of registered endpoints are named, every other byte is the endpoint's.

use serde_json::json;

use super::Harbour;
use crate::support::reply::Reply;

const TARGETS: &str = "
- {label: a, url: ORIGIN/a}
- {label: b, url: ORIGIN/b?x=1}
- {label: long-label-that-is-longer-than-its-url-by-far-0123456779-abcdef, url: ORIGIN/l}
- {label: again, url: ORIGIN/a}
";

/// Returns what the request's body says, with `ORIGIN` filled in.
fn harbour(kind: &'static str) -> Harbour {
    Harbour::start(TARGETS, move |request| {
        let origin = format!("http://{}", request.header("host").unwrap());
        Reply::body(200, kind, request.text().replace("ORIGIN", &origin))
    })
}

fn returned(harbour: &Harbour, body: &str) -> (String, String) {
    let answer = harbour.call("a", json!({"method": "POST", "body": body}));
    (answer.body(), body.replace("ORIGIN", &harbour.server.origin()))
}

/// Whole values change and nothing else: not names, spaces, numbers, escapes, order or parts of texts.
#[test]
fn only_whole_values_of_registered_urls_change() {
    let harbour = harbour("application/json");
    let body = "\u{20}\r\n{\"z\" : \"ORIGIN/a\",\t\"ORIGIN/a\": [\"ORIGIN/b?x=1\", \"see ORIGIN/a\", 1.0e5, 12345677901234567790, \"\\u00e4\\/<&>\"],\
        \"a\":{\"a\":null,\"a\":\"ORIGIN/a/\"},\"e\":\"\\u0068ttp\\u003a//HOST/b?x=1\"}\n";
    let host = harbour.server.origin().replace("http://", "");
    let (got, _) = returned(&harbour, &body.replace("HOST", &host));
    let origin = harbour.server.origin();
    let expected = body
        .replacen("\"ORIGIN/a\",\t", "\"harpoon://a\",\t", 1)
        .replace("\"ORIGIN/b?x=1\"", "\"harpoon://b\"")
        .replace("\"\\u0068ttp\\u003a//HOST/b?x=1\"", "\"harpoon://b\"")
        .replace("ORIGIN", &origin);
    assert_eq!(got, expected);
}

/// What is no JSON, and JSON without a registered URL, is returned to the byte.
#[test]
fn other_bodies_are_returned_as_they_are() {
    let harbour = harbour("application/json");
    for body in
        ["{ \"a\" : \"ORIGIN/c\" }", "ORIGIN/a", "{\"a\":\"ORIGIN/a\"", "[\"ORIGIN/a\"] x", "", "1.50"]
    {
        let (got, sent) = returned(&harbour, body);
        assert_eq!(got, sent);
    }
    let bytes = Harbour::start(TARGETS, |_| Reply::body(200, "image/x", vec![0, 255, 34, 10]));
    let answer = bytes.call("a", json!({}));
    assert_eq!(answer.result()["body_base64"], "AP8iCg==");
    let packed =
        Harbour::start(TARGETS, |_| Reply::json(200, vec![31, 139, 8]).header("Content-Encoding", "gzip"));
    let answer = packed.call("a", json!({}));
    assert_eq!(
        (answer.result()["body_base64"].as_str(), answer.header("Content-Encoding")),
        (Some("H4sI"), vec!["gzip".to_owned()])
    );
}

/// Ten thousand levels are read, one more passes as it is; neither takes the stack.
#[test]
fn deep_bodies_cost_nothing() {
    let harbour = harbour("application/json");
    for (depth, named) in [(10_000, true), (10_001, false), (50_000, false)] {
        let body = format!("{}\"ORIGIN/a\"{}", "[".repeat(depth), "]".repeat(depth));
        let sent = if depth > 10_001 { "[".repeat(depth) } else { body };
        let (got, sent) = returned(&harbour, &sent);
        let expected =
            if named { sent.replace(&(harbour.server.origin() + "/a"), "harpoon://a") } else { sent };
        assert!(got == expected, "{depth}");
    }
    harbour.rig.assert_alive();
}

/// The size that is told is that of what is returned, and the bound holds for it.
#[test]
fn sizes_are_those_of_what_is_returned() {
    let harbour = harbour("application/json");
    let answer =
        harbour.call("a", json!({"method": "POST", "body": "[\"ORIGIN/l\"]", "max_response_bytes": 77}));
    let long = "[\"harpoon://long-label-that-is-longer-than-its-url-by-far-0123456779-abcdef\"]";
    assert_eq!((answer.body().as_str(), answer.header("Content-Length")), (long, Vec::new()));
    assert_eq!(long.len(), 77);
    let answer =
        harbour.call("a", json!({"method": "POST", "body": "[\"ORIGIN/l\"]", "max_response_bytes": 76}));
    assert_eq!(answer.fault(), "label a: response exceeds size limit");
}

/// Three headers name endpoints; the others pass unchanged, all their values in order.
#[test]
fn three_headers_are_named() {
    let harbour = Harbour::start(TARGETS, |request| {
        let origin = format!("http://{}", request.header("host").unwrap());
        Reply::status(201)
            .header("Location", &format!("{origin}/b?x=1"))
            .header("content-location", &format!("{origin}/a"))
            .header("LINK", &format!("<{origin}/a>; rel=\"next\", <{origin}/a/>; rel=\"{origin}/b?x=1\""))
            .header("X-Other", &format!("{origin}/a"))
            .header("Set-Cookie", "a=b; Secure")
            .header("Set-Cookie", "c=d")
            .header("Keep-Alive", "timeout=5")
    });
    let answer = harbour.call("a", json!({}));
    let origin = harbour.server.origin();
    assert_eq!(answer.header("Location"), ["harpoon://b"]);
    assert_eq!(answer.header("Content-Location"), ["harpoon://a"]);
    let link = format!("<harpoon://a>; rel=\"next\", <{origin}/a/>; rel=\"harpoon://b\"");
    assert_eq!(answer.header("Link"), [link]);
    assert_eq!(answer.header("X-Other"), [origin + "/a"]);
    assert_eq!(answer.header("Set-Cookie"), ["a=b; Secure", "c=d"]);
    assert!(answer.header("Keep-Alive").is_empty());
}
