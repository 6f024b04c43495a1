//! Decisions, against a second implementation that is as plain as one can be.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::{ChannelPolicy, Names};
use crate::relay::message::Message;

/// A stream of numbers, the same in every run: first those of an input.
struct Numbers<'a>(u64, std::slice::Iter<'a, u8>);

impl Numbers<'_> {
    fn below(&mut self, bound: usize) -> usize {
        if let Some(chosen) = self.1.next() {
            return usize::from(*chosen) % bound;
        }
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

fn random_rules(numbers: &mut Numbers<'_>) -> ChannelPolicy {
    let mut rules = ChannelPolicy::default();
    for (kind, names) in rules.names.iter_mut().enumerate() {
        let mut list = |most: usize| {
            let count = numbers.below(most);
            let method = |numbers: &mut Numbers<'_>| match numbers.below(2) {
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

fn random_message(numbers: &mut Numbers<'_>) -> (String, HeaderMap) {
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

/// What a message is about, and whether it is allowed, as both implementations have it.
fn compared(given: &ChannelPolicy, rules: &Rules, numbers: &mut Numbers<'_>) -> (&'static str, bool) {
    let (text, headers) = random_message(numbers);
    let Ok(message) = Message::parse(text.clone()) else { panic!("{text}") };
    let subject = Subject::of(&message);
    let ruling = rules.judge(&message, &headers, &subject);
    // serde_json knows no half of a surrogate pair; such a name is none.
    let tree = serde_json::from_str::<Value>(&text.replace("\\ud800\"", "\\u0000\"")).unwrap();
    let wanted = plainly_allowed(given, &tree, &headers);
    assert_eq!(ruling.is_ok(), wanted, "{given:?} {text} {headers:?} {ruling:?}");
    (subject.kind.word(), wanted)
}

/// Compares decisions about messages that an input chooses, by rules that it chooses.
pub(super) fn compare(input: &[u8]) {
    let mut numbers = Numbers(1, input.iter());
    let given = random_rules(&mut numbers);
    let rules = Rules::new(&given);
    for _ in 0..4 {
        compared(&given, &rules, &mut numbers);
    }
}

#[test]
fn decisions_are_those_of_a_plain_implementation() {
    let mut numbers = Numbers(14, [].iter());
    let (mut allowed, mut denied, mut seen) = (0, 0, std::collections::BTreeMap::new());
    for _ in 0..1_000 {
        let given = random_rules(&mut numbers);
        let rules = Rules::new(&given);
        for _ in 0..25 {
            let (kind, wanted) = compared(&given, &rules, &mut numbers);
            *(if wanted { &mut allowed } else { &mut denied }) += 1;
            *seen.entry((kind, wanted)).or_insert(0) += 1;
        }
    }
    assert!(allowed > 4_000 && denied > 4_000, "{allowed} {denied}");
    assert!(seen.len() == 8 && seen.values().all(|count| *count > 100), "{seen:?}");
}
