//! Decisions, by hand and against a second implementation that is as plain as one can be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

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
        rules.charge(&message, &Subject::of(&message), Instant::now())
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

/// A stream of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A text of up to three pieces.
    fn text(&mut self, pieces: &[&str]) -> String {
        (0..self.below(4)).map(|_| self.of(pieces)).collect()
    }

    /// The text as JSON, some letters of it escaped.
    fn literal(&mut self, text: &str) -> String {
        let escaped = |letter: char| match self.below(4) {
            0 => format!("\\u{:04x}", u32::from(letter)),
            _ => Value::from(letter.to_string()).to_string().trim_matches('"').to_owned(),
        };
        format!("\"{}\"", text.chars().map(escaped).collect::<String>())
    }
}

const PIECES: [&str; 18] = [
    "a", "b", "ab", "B", "/", "..", "/../", "%2e", "%61", "//", "\\", "{x}", " ", "\0", "\u{e9}", "x:", "*",
    "a",
];
const PATTERNS: [&str; 9] = ["a", "b", "ab", "*", "x:", "/", "\u{e9}", "..", "{x}"];
const METHODS: [&str; 14] = [
    "tools/call",
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "completion/complete",
    "tools/list",
    "initialize",
    "ping",
    "ab",
    "a",
    "logging/setLevel",
];

fn random_rules(numbers: &mut Numbers) -> ChannelPolicy {
    let mut rules = ChannelPolicy::default();
    for (kind, names) in rules.names.iter_mut().enumerate() {
        let mut list = |most: usize| {
            let count = numbers.below(most);
            let method = |numbers: &mut Numbers| match numbers.below(2) {
                0 => numbers.of(&METHODS).to_owned(),
                _ => numbers.text(&PATTERNS),
            };
            let one = |_| if kind == 3 { method(numbers) } else { numbers.text(&PATTERNS) };
            (0..count).map(one).filter(|text| !text.is_empty()).collect::<Vec<String>>()
        };
        let (allow, deny) = (list(6), list(3));
        *names = Names { place: String::new(), allow: (numbers.below(3) > 0).then_some(allow), deny };
    }
    rules
}

fn random_message(numbers: &mut Numbers) -> (String, HeaderMap) {
    let method = numbers.of(&METHODS);
    let name = numbers.text(&PIECES);
    let mut value = numbers.literal(&name);
    if numbers.below(12) == 0 {
        value = numbers.of(&["7", "null", "[\"a\"]", "{\"a\":1}", "\"a\\ud800\"", "\"\""]).to_owned();
    }
    let member = numbers.of(&["name", "uri", "\\u006eame", "name", "uri"]);
    let kind = numbers.of(&["ref/prompt", "ref/resource", "ref/prompt", "ref/resource", "ref/tool"]);
    let params = match (method, numbers.below(12)) {
        (_, 0) => format!("[{value}]"),
        ("completion/complete", 1) => format!("{{\"ref\":{value},\"name\":\"a\"}}"),
        ("completion/complete", _) => format!("{{\"ref\":{{\"type\":\"{kind}\",\"{member}\":{value}}}}}"),
        _ => format!("{{\"{member}\":{value},\"arguments\":{{\"name\":\"b\"}}}}"),
    };
    let mut headers = HeaderMap::new();
    let mut add = |header: &'static str, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(header), value);
        }
    };
    match numbers.below(8) {
        0 => add("mcp-method", numbers.of(&METHODS).as_bytes()),
        1 => add("mcp-method", method.as_bytes()),
        2 => add("mcp-name", name.as_bytes()),
        3 => add("mcp-name", numbers.text(&PIECES).as_bytes()),
        4 => add("mcp-name", format!("=?base64?{}?=", STANDARD.encode(&name)).as_bytes()),
        _ => {}
    }
    (format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}"), headers)
}

/// Whether a pattern matches, letter by letter.
fn plainly_matches(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skipped| plainly_matches(rest, &name[skipped..])),
        Some((letter, rest)) => name.first() == Some(letter) && plainly_matches(rest, &name[1..]),
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let letters = |text: &str| text.chars().collect::<Vec<char>>();
    plainly_matches(&letters(pattern), &letters(name))
}

/// Whether the rules allow a message, read from a tree and from DESIGN alone.
fn plainly_allowed(rules: &ChannelPolicy, message: &Value, headers: &HeaderMap) -> bool {
    let method = message["method"].as_str().unwrap();
    let params = &message["params"];
    let of_header = |name: &str| headers.get(name).map(|value| value.as_bytes().trim_ascii());
    if of_header("mcp-method").is_some_and(|said| said != method.as_bytes()) {
        return false;
    }
    let named = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    if let (Some(name), Some(said)) = (named, of_header("mcp-name").filter(|said| !said.is_empty())) {
        let inner = said.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
        let said = inner.map_or(Some(said.to_owned()), |inner| STANDARD.decode(inner).ok());
        if said != Some(name.as_bytes().to_owned()) {
            return false;
        }
    }
    if ["initialize", "ping", "server/discover"].contains(&method) {
        return true;
    }
    let [tools, prompts, resources, methods] = &rules.names;
    let known = METHODS.contains(&method) && method != "ab" && method != "a";
    let exactly = methods.allow.as_ref().is_some_and(|allow| allow.iter().any(|one| one == method));
    if !(known || exactly) || !plainly_listed(methods, method, false, false) {
        return false;
    }
    let reference = &params["ref"];
    let (names, name, is_uri) = match (method, reference["type"].as_str()) {
        ("tools/call", _) => (tools, &params["name"], false),
        ("prompts/get", _) => (prompts, &params["name"], false),
        ("resources/read" | "resources/subscribe" | "resources/unsubscribe", _) => {
            (resources, &params["uri"], true)
        }
        ("completion/complete", Some("ref/prompt")) => (prompts, &reference["name"], false),
        ("completion/complete", Some("ref/resource")) => (resources, &reference["uri"], true),
        ("completion/complete", _) => return false,
        _ => return true,
    };
    let is_template = method == "completion/complete" && is_uri;
    name.as_str().is_some_and(|name| plainly_listed(names, name, is_uri, is_template))
}

fn plainly_listed(names: &Names, name: &str, is_uri: bool, may_be_template: bool) -> bool {
    if name.trim() != name || name.chars().any(char::is_control) {
        return false;
    }
    let start = name.split('{').next().filter(|_| may_be_template && name.contains('{'));
    // All that begins so: a star at the end that the beginning reaches.
    let covers = |pattern: &String| match start {
        Some(start) => pattern.ends_with('*') && matches(pattern, start),
        None => matches(pattern, name),
    };
    if names.deny.iter().any(covers) {
        return false;
    }
    let Some(allow) = &names.allow else { return true };
    if start.is_none() && allow.iter().any(|one| one == name) && !name.contains('*') {
        return true;
    }
    let text = start.unwrap_or(name).to_lowercase();
    let strange = ["%2e", "%2f", "%5c", "\\"].iter().any(|what| text.contains(what))
        || text.split(['/', '?', '#', ';']).any(|part| part == "." || part == "..");
    let escaped = |byte: u8| text.contains(&format!("%{byte:02x}"));
    let plain = (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain(*b"-._~");
    let path = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap();
    let respelled = !names.deny.is_empty() && (path.contains("//") || plain.into_iter().any(escaped));
    !(is_uri && (strange || respelled)) && allow.iter().any(covers)
}

#[test]
fn decisions_are_those_of_a_plain_implementation() {
    let mut numbers = Numbers(14);
    let (mut allowed, mut denied, mut seen) = (0, 0, std::collections::BTreeMap::new());
    for round in 0..1_000 {
        let given = random_rules(&mut numbers);
        let rules = Rules::new(&given);
        for _ in 0..25 {
            let (text, headers) = random_message(&mut numbers);
            let Ok(message) = Message::parse(text.clone()) else { panic!("{text}") };
            let subject = Subject::of(&message);
            let ruling = rules.judge(&message, &headers, &subject);
            // serde_json knows no half of a surrogate pair; such a name is none.
            let tree = serde_json::from_str::<Value>(&text.replace("\\ud800\"", "\\u0000\"")).unwrap();
            let wanted = plainly_allowed(&given, &tree, &headers);
            assert_eq!(ruling.is_ok(), wanted, "{round}: {given:?} {text} {headers:?} {ruling:?}");
            *(if wanted { &mut allowed } else { &mut denied }) += 1;
            *seen.entry((subject.kind.word(), wanted)).or_insert(0) += 1;
        }
    }
    assert!(allowed > 4_000 && denied > 4_000, "{allowed} {denied}");
    assert!(seen.len() == 8 && seen.values().all(|count| *count > 100), "{seen:?}");
}
