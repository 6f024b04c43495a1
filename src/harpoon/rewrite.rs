//! Names registered endpoints in what is handed back: their URLs become `harpoon://label`.
//!
//! Whoever reads an answer can then call what it names, and an address inside the network is not spread further
//! than it must be. It hides nothing: a URL inside a longer text stays.
//!
//! Only whole string values of JSON and whole URLs in three headers change; every other byte stays, because
//! spans are replaced in the text and nothing is written again. What is no JSON, or nested beyond the
//! bound, passes as it is. Nothing here can fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use ureq::http::{HeaderMap, HeaderName, header};

use crate::relay::json;

use super::registry::{Endpoint, Endpoints};
use super::strings::strings;

/// Headers whose URLs are named.
const NAMED: [HeaderName; 3] = [header::LOCATION, header::CONTENT_LOCATION, header::LINK];

/// Members of metadata documents that say which of several endpoints at one URL is meant.
const ROLES: [(&str, &str); 6] = [
    ("authorization_servers", "authorization-server"),
    ("introspection_endpoint", "introspection-endpoint"),
    ("jwks_uri", "jwks-uri"),
    ("registration_endpoint", "registration-endpoint"),
    ("revocation_endpoint", "revocation-endpoint"),
    ("token_endpoint", "token-endpoint"),
];

/// Members that are identifiers before they are addresses: who signs in compares them letter by letter with what
/// it knows, and takes any other text for a forgery.
const IDENTIFIERS: [&str; 2] = ["issuer", "resource"];

/// The body with its URLs named; `None` when nothing changes.
pub(super) fn body(body: &[u8], endpoints: &Endpoints) -> Option<String> {
    // What is not UTF-8, not JSON or too deep is not ours to judge: it passes.
    let text = std::str::from_utf8(body).ok()?;
    json::value(text).ok()?;
    let mut renamed = String::with_capacity(text.len());
    let mut done = 0;
    for string in strings(text) {
        let url = json::string(string.value.of(text))?;
        let name = json::string(string.name.of(text)).unwrap_or_default();
        if let Some(label) = label(&name, endpoints.at(&url)) {
            // What stands between the last change and this one is copied as it is.
            let before = json::Span { start: done, end: string.value.start };
            renamed.push_str(before.of(text));
            // Labels need no escaping.
            renamed.push_str(&format!("\"harpoon://{label}\""));
            done = string.value.end;
        }
    }
    renamed.push_str(json::Span { start: done, end: text.len() }.of(text));
    (done > 0).then_some(renamed)
}

/// The label for a URL under this name, of those that have the URL.
fn label<'a>(name: &str, candidates: &'a [Arc<Endpoint>]) -> Option<&'a str> {
    if IDENTIFIERS.contains(&name) {
        return None;
    }
    // Several labels at one URL are rare and come from metadata, where each member has its own role.
    let role = ROLES.iter().find(|(known, _)| *known == name).map(|(_, tag)| tag);
    let tagged = role.and_then(|tag| candidates.iter().find(|one| one.has_tag(tag)));
    tagged.or(candidates.first()).map(|one| one.target.label.as_str())
}

/// All headers by their usual spelling, with the URLs in three of them named. Values that are no UTF-8 are
/// shown as well as JSON can: the caller should see that there was one.
pub(super) fn headers(given: &HeaderMap, endpoints: &Endpoints) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in given {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let value = if NAMED.contains(name) { named(&value, endpoints) } else { value };
        shown.entry(spelt(name)).or_default().push(value);
    }
    shown
}

/// A header value with the URLs in it named. What stands between spaces, quotes and angle brackets is a URL
/// or it is none.
fn named(value: &str, endpoints: &Endpoints) -> String {
    let ends = |c: char| c.is_whitespace() || "<>\"'".contains(c);
    let pieces = value.split_inclusive(ends).map(|piece| {
        let url = piece.trim_end_matches(ends);
        let rest = piece.strip_prefix(url).unwrap_or_default();
        match label("", endpoints.at(url)) {
            Some(label) => format!("harpoon://{label}{rest}"),
            None => piece.to_owned(),
        }
    });
    pieces.collect()
}

/// `Content-Type` and the like: the HTTP crate lower-cases names.
fn spelt(name: &HeaderName) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::super::registry::tests::{endpoint, endpoints};
    use super::super::registry::{CONFIGURED, OAUTH};
    use super::*;

    #[test]
    fn only_whole_string_values_change() {
        let known = endpoints(vec![endpoint("a", "https://h/a", CONFIGURED, &[])]);
        let given =
            r#" {"https://h/a":"https:\/\/H/\u0061", "n":1.50e+1 ,"x":["https://h/a","https://h/ab"]} "#;
        let expected = r#" {"https://h/a":"harpoon://a", "n":1.50e+1 ,"x":["harpoon://a","https://h/ab"]} "#;
        assert_eq!(body(given.as_bytes(), &known).unwrap(), expected);
        for same in [&b"{\"x\":1}"[..], b"https://h/a", b"{\"x\":\"https://h/a\"", b"\xff\"https://h/a\""] {
            assert_eq!(body(same, &known), None);
        }
        let deep = |depth: usize| format!("{}\"https://h/a\"{}", "[".repeat(depth), "]".repeat(depth));
        assert!(body(deep(10_000).as_bytes(), &known).is_some());
        assert!(body(deep(10_001).as_bytes(), &known).is_none());
    }

    #[test]
    fn a_member_prefers_the_label_of_its_role() {
        let metadata = ["auth-server-metadata", "token-endpoint"];
        let resource = ["protected-resource-metadata", "resource"];
        let known = endpoints(vec![
            endpoint("first", "https://h/t", CONFIGURED, &[]),
            endpoint("token", "https://h/t", OAUTH, &metadata),
            endpoint("resource", "https://h/r", OAUTH, &resource),
        ]);
        let given = r#"{"token_endpoint":"https://h/t","x":"https://h/t","resource":"https://h/r","issuer":"https://h/t","y":"https://h/r"}"#;
        let expected = r#"{"token_endpoint":"harpoon://token","x":"harpoon://first","resource":"https://h/r","issuer":"https://h/t","y":"harpoon://resource"}"#;
        assert_eq!(body(given.as_bytes(), &known).unwrap(), expected);
    }

    #[test]
    fn links_keep_their_parameters() {
        let known = endpoints(vec![endpoint("a", "https://h/a", CONFIGURED, &[])]);
        let given = "<https://h/a>; rel=\"next\", <https://h/a?x>; rel=prev,<HTTPS://H/a>";
        let expected = "<harpoon://a>; rel=\"next\", <https://h/a?x>; rel=prev,<harpoon://a>";
        assert_eq!(named(given, &known), expected);
        assert_eq!(spelt(&HeaderName::from_static("x-request-id")), "X-Request-Id");
    }
}
