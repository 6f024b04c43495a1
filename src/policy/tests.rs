//! Decisions, by hand.

use serde_json::Value;
use ureq::http::HeaderMap;

use super::*;
use crate::config::{ChannelPolicy, Names};
use crate::relay::message::Message;

/// Kind, `allow` where it is there, and `deny`.
type Given<'a> = (&'a str, Option<&'a [&'a str]>, &'a [&'a str]);

/// Rules of one channel.
fn rules(given: &[Given<'_>]) -> ChannelPolicy {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let names = ["tools", "prompts", "resources", "methods"].map(|kind| {
        let (_, allow, deny) = given.iter().find(|(known, ..)| *known == kind).unwrap_or(&("", None, &[]));
        Names { place: format!("main.{kind}"), allow: allow.map(texts), deny: texts(deny) }
    });
    ChannelPolicy { names, ..ChannelPolicy::default() }
}

fn request(method: &str, params: &str) -> Message {
    Message::parse(format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":{},"params":{params}}}"#,
        Value::from(method)
    ))
    .unwrap()
}

/// The rule that refuses, if one does.
fn refused(given: &ChannelPolicy, method: &str, params: &str) -> Option<String> {
    let message = request(method, params);
    let ruling = Rules::new(given).judge(&message, &HeaderMap::new(), &Subject::of(&message));
    ruling.err().map(|(_, rule)| rule.to_string())
}

#[test]
fn names_are_judged_by_both_lists() {
    let given = rules(&[("tools", Some(&["search", "get_*", "a*b*c", "*"][..3]), &["*_delete", "get_x"])]);
    let said = |name: &str| refused(&given, "tools/call", &format!("{{\"name\":{}}}", Value::from(name)));
    for name in ["search", "get_", "get_all", "abc", "aXbYc", "abbc", "abcbc", "axxbc"] {
        assert_eq!(said(name), None, "{name}");
    }
    let none = Some("main.tools: not in allow".to_owned());
    for name in ["Search", "searchx", "xsearch", "get", "ab", "ac", "acb", "abcx", "aab", "bac", "é"] {
        assert_eq!(said(name), none, "{name}");
    }
    assert_eq!(said("get_delete").unwrap(), "main.tools.deny: *_delete");
    assert_eq!(said("get_x").unwrap(), "main.tools.deny: get_x");
    let unclean = "main.tools: the name has blanks at an end, or control characters";
    for name in ["", " search", "search ", "get_\0", "get_\u{7f}", "get_\u{85}", "get_\u{2003}"] {
        let rule = if name.is_empty() { "main.tools: not in allow" } else { unclean };
        assert_eq!(said(name).unwrap(), rule, "{name:?}");
    }
    assert_eq!(said(&"get_".repeat(4096)).unwrap(), "main.tools: the name is too long");
    for params in ["{}", "[\"search\"]", r#"{"name":7}"#, r#"{"name":"get_\ud800"}"#, r#"{"uri":"search"}"#] {
        assert_eq!(
            refused(&given, "tools/call", params).unwrap(),
            "main.tools: the request has no such name"
        );
    }
    // Other kinds have no rules here.
    assert_eq!(refused(&given, "prompts/get", r#"{"name":"x"}"#), None);
    assert!(refused(&given, "prompts/get", "{}").is_some());
}

#[test]
fn an_empty_list_allows_nothing_and_a_star_everything() {
    let (nothing, all) = (rules(&[("tools", Some(&[]), &[])]), rules(&[("tools", Some(&["*"]), &[])]));
    for name in ["a", "*", "ä"] {
        let params = format!("{{\"name\":\"{name}\"}}");
        assert!(refused(&nothing, "tools/call", &params).is_some());
        assert_eq!(refused(&all, "tools/call", &params), None);
    }
}

/// A subscription never ends by itself: it has to find room, and keeps none.
#[test]
fn a_subscription_keeps_no_place_among_calls() {
    let place = String::new();
    let limit = config::Limit { place, tools: None, per_minute: None, burst: None, concurrent: Some(1) };
    let rules = Rules::new(&ChannelPolicy { limits: vec![limit], ..ChannelPolicy::default() });
    let charge = |method: &str| {
        let message = request(method, "{}");
        rules.charge(&message, &Subject::of(&message), sync::now())
    };
    let subscription = charge("subscriptions/listen").unwrap();
    let call = charge("tools/list").unwrap();
    assert!(charge("subscriptions/listen").is_err() && charge("tools/list").is_err());
    drop((subscription, call));
    assert!(charge("tools/list").is_ok());
}

#[test]
fn uris_that_lead_elsewhere_match_no_star() {
    let given = rules(&[("resources", Some(&["file:///srv/docs/*", "file:///../x"]), &["*secret*"])]);
    let read = |uri: &str| refused(&given, "resources/read", &format!("{{\"uri\":{}}}", Value::from(uri)));
    for uri in [
        "file:///srv/docs/a",
        "file:///srv/docs/a..b/.c/...",
        "file:///../x",
        "file:///srv/docs/%C3%a9?u=x://y",
    ] {
        assert_eq!(read(uri), None, "{uri}");
    }
    for tail in ["../etc", "a/..", "a/./b", "a%2Fb", "%2e%2E/x", "a\\b", "%5C..", "..;x", "a/..?b", "a/..#b"]
        .into_iter()
        .chain(["/secre%74", "a//b", "%73", "%5f", "a?%7E"])
    {
        let rule = "main.resources: the URI leads elsewhere than it seems";
        assert_eq!(read(&format!("file:///srv/docs/{tail}")).unwrap(), rule, "{tail}");
    }
    // Where nothing is denied, no spelling leads past it.
    let open = rules(&[("resources", Some(&["file:///srv/docs/*"]), &[])]);
    for tail in ["%73ecret", "a//b"] {
        let uri = format!("{{\"uri\":\"file:///srv/docs/{tail}\"}}");
        assert_eq!(refused(&open, "resources/read", &uri), None, "{tail}");
    }
    assert_eq!(read("file:///etc/passwd").unwrap(), "main.resources: not in allow");
    assert_eq!(read("file:///srv/docs/secret").unwrap(), "main.resources.deny: *secret*");
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        assert!(refused(&given, method, r#"{"uri":"file:///etc/passwd"}"#).is_some());
    }
}

#[test]
fn subscriptions_are_judged_by_their_resources() {
    let given = rules(&[("resources", Some(&["file:///srv/docs/*"]), &["*secret*"])]);
    let listen = |wanted: &str| {
        refused(&given, "subscriptions/listen", &format!("{{\"notifications\":{wanted}}}")).is_some()
    };
    for wanted in [
        r#"{"toolsListChanged":true}"#,
        r#"{"resourceSubscriptions":[]}"#,
        r#"{"resourceSubscriptions":null}"#,
        r#"{"resourceSubscriptions":["file:///srv/docs/a","file:\/\/\/srv/docs/b"]}"#,
    ] {
        assert!(!listen(wanted), "{wanted}");
    }
    for wanted in [
        r#"{"resourceSubscriptions":["file:///etc/passwd"]}"#,
        r#"{"resourceSubscriptions":["file:///srv/docs/a","file:///srv/docs/secre\u0074"]}"#,
        r#"{"resourceSubscriptions":["file:///srv/docs/../x"]}"#,
        r#"{"resourceSubscriptions":[7]}"#,
        r#"{"resourceSubscriptions":"file:///etc/passwd"}"#,
        r#"{"resourceSubscriptions":[],"resourceSubscriptions":["file:///etc/passwd"]}"#,
        r#"{"resourcesubscriptions":["file:///etc/passwd"]}"#,
        r#"{},"Notifications":{"resourceSubscriptions":["file:///etc/passwd"]}"#,
    ] {
        assert!(listen(wanted), "{wanted}");
    }
    assert_eq!(refused(&given, "subscriptions/listen", "{}"), None);
}

#[test]
fn completions_are_judged_by_what_they_complete() {
    let given = rules(&[
        ("prompts", Some(&["p"]), &[]),
        ("resources", Some(&["file:///srv/*", "x:*y"]), &["file:///srv/private/*"]),
    ]);
    let complete = |reference: &str| {
        refused(&given, "completion/complete", &format!("{{\"ref\":{reference},\"name\":\"p\"}}"))
    };
    let resource = |uri: &str| complete(&format!(r#"{{"type":"ref/resource","uri":"{uri}"}}"#));
    assert_eq!(complete(r#"{"type":"ref/prompt","name":"p"}"#), None);
    for uri in ["file:///srv/{path}", "file:///srv/a", "file:///srv/pri{x}", "x:zy"] {
        assert_eq!(resource(uri), None, "{uri}");
    }
    for uri in ["file:///{path}", "file:///srv/private/{x}", "file:///srv/../{x}", "x:{z}y", "x:{z}"] {
        assert!(resource(uri).is_some(), "{uri}");
    }
    for reference in [r#"{"type":"ref/prompt","name":"q"}"#, r#"{"type":"ref/tool","name":"p"}"#, "{}", "7"] {
        assert!(complete(reference).is_some(), "{reference}");
    }
}

#[test]
fn methods_of_no_revision_are_named_or_refused() {
    let none = ChannelPolicy::default();
    for method in ["tools/list", "initialize", "ping", "server/discover", "tasks/get", "subscriptions/listen"]
    {
        assert_eq!(refused(&none, method, "{}"), None, "{method}");
    }
    for method in ["", "Tools/list", "tools/list ", "sampling/createMessage", "notifications/x", "x/y"] {
        assert!(refused(&none, method, "{}").is_some(), "{method}");
    }
    let some = rules(&[("methods", Some(&["*", "x/y"]), &["logging/*", "p*"])]);
    assert_eq!(refused(&some, "x/y", "{}"), None);
    assert_eq!(refused(&some, "ping", "{}"), None);
    for method in ["x/z", "logging/setLevel", "prompts/list"] {
        assert!(refused(&some, method, "{}").is_some(), "{method}");
    }
    assert!(refused(&some, "prompts/get", r#"{"name":"a"}"#).is_some());
    let few = rules(&[("methods", Some(&["tools/*"]), &[])]);
    assert_eq!(refused(&few, "resources/list", "{}").unwrap(), "main.methods: not in allow");
    assert_eq!(refused(&few, "initialize", "{}"), None);
}
