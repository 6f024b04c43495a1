//! Definition of a tool in one spelling, with its digests: what an operator accepts, and what is compared later.
//!
//! Texts that all readers of JSON take for the same give the same digest: members are sorted, blanks are left out,
//! and strings have one spelling. Numbers stay as they are written, since readers differ about those. What could be
//! read in two ways (a member twice, half a surrogate pair) is no definition. Nothing is kept of a schema but digests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::crypto;
use crate::relay::json;
use crate::text;

/// Deepest nesting of a definition. Each level of a schema takes two; reading takes a stack of its depth.
const DEPTH_MAX: usize = 64;

/// Largest definition; servers describe their tools at length, but not at this.
const DEFINITION_BYTES_MAX: usize = 1024 * 1024;

/// Longest name of a tool.
const NAME_BYTES_MAX: usize = 1024;

/// Longest title, and longest first line of a description, that is shown in a review.
const SHOWN_BYTES_MAX: usize = 200;

/// The members whose changes are told apart; all others are `rest`.
const PARTS: [&str; 4] = ["annotations", "description", "inputSchema", "outputSchema"];

const UNREADABLE: &str = "cannot be read as JSON that means one thing";

/// What is kept of a tool: of one that was accepted, and of one that a server offers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// SHA-256 of the definition.
    pub(crate) sha256: String,
    /// What the tool says of itself; `None` where it says nothing.
    pub(crate) read_only_hint: Option<bool>,
    pub(crate) title: Option<String>,
    /// The first line.
    pub(crate) description: Option<String>,
    /// Short digests of its parts, which tell what has changed. Nothing is allowed by them.
    pub(crate) parts: BTreeMap<String, String>,
}

impl Tool {
    /// Reads a definition. Fails with what is wrong with it, in words that follow its subject.
    pub(crate) fn read(definition: &str) -> Result<Tool, &'static str> {
        if definition.len() > DEFINITION_BYTES_MAX {
            return Err("is larger than 1 MiB");
        }
        let members = members(definition.trim())?;
        let annotations =
            value(&members, "annotations").map(self::members).and_then(Result::ok).unwrap_or_default();
        let said = |members: &[(String, &str)], name: &str| string(value(members, name)?).ok();
        let name = said(&members, "name").filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
        let name = name.ok_or("has no name, or one above 1 KiB")?;
        let (mut whole, mut rest) = (String::new(), String::new());
        let mut parts = BTreeMap::new();
        for (name, value) in &members {
            let mut one = String::new();
            write(value, DEPTH_MAX, &mut one)?;
            if PARTS.contains(&name.as_str()) {
                parts.insert(name.clone(), crypto::fingerprint(&one));
            } else {
                push_member(&mut rest, name, &one);
            }
            push_member(&mut whole, name, &one);
        }
        parts.insert("rest".to_owned(), crypto::fingerprint(&rest));
        let shown =
            |text: String| Some(text::cut(text.trim().lines().next()?.trim().to_owned(), SHOWN_BYTES_MAX));
        Ok(Tool {
            name,
            sha256: crypto::sha256_hex(format!("{{{whole}}}").as_bytes()),
            read_only_hint: value(&annotations, "readOnlyHint").and_then(|value| value.parse().ok()),
            title: said(&members, "title").or_else(|| said(&annotations, "title")).and_then(shown),
            description: said(&members, "description").and_then(shown),
            parts,
        })
    }

    /// The parts in which another definition of the tool differs from this one, in words.
    pub(crate) fn differences(&self, other: &Tool) -> String {
        let named = self.parts.keys().chain(other.parts.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = named.into_iter().filter(|part| self.parts.get(*part) != other.parts.get(*part));
        let words: Vec<&str> =
            differing.map(|part| if part == "rest" { "other members" } else { part }).collect();
        // The digests of parts are short: of two definitions that differ they may all be the same.
        if words.is_empty() { "its definition".to_owned() } else { words.join(", ") }
    }
}

/// The value of the member of this name.
fn value<'a>(members: &[(String, &'a str)], name: &str) -> Option<&'a str> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// Writes a value in its one spelling.
fn write(value: &str, depth: usize, out: &mut String) -> Result<(), &'static str> {
    let deeper = depth.checked_sub(1).ok_or("is nested more than 64 deep")?;
    match value.bytes().next() {
        Some(b'{') => {
            let mut inner = String::new();
            for (name, value) in members(value)? {
                let mut one = String::new();
                write(value, deeper, &mut one)?;
                push_member(&mut inner, &name, &one);
            }
            out.push_str(&format!("{{{inner}}}"));
        }
        Some(b'[') => {
            let mut comma = "[";
            for (_, element) in json::items(value).map_err(|_| UNREADABLE)? {
                out.push_str(std::mem::replace(&mut comma, ","));
                write(element, deeper, out)?;
            }
            out.push_str(if comma == "[" { "[]" } else { "]" });
        }
        Some(b'"') => out.push_str(&literal(&string(value)?)),
        _ => out.push_str(value),
    }
    Ok(())
}

fn push_member(out: &mut String, name: &str, value: &str) {
    let comma = if out.is_empty() { "" } else { "," };
    out.push_str(&format!("{comma}{}:{value}", literal(name)));
}

/// The one spelling of a text.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text of a literal. Half a surrogate pair is none.
fn string(literal: &str) -> Result<String, &'static str> {
    json::exact(literal).map(Cow::into_owned).ok_or(UNREADABLE)
}

/// The members of an object, sorted by name.
fn members(object: &str) -> Result<Vec<(String, &str)>, &'static str> {
    let items = json::items(object).ok().filter(|_| object.starts_with('{')).ok_or(UNREADABLE)?;
    let named = items.into_iter().map(|(name, value)| Ok((string(name)?, value)));
    let mut members = named.collect::<Result<Vec<(String, &str)>, &'static str>>()?;
    members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let twice = members.iter().zip(members.iter().skip(1)).any(|((one, _), (next, _))| one == next);
    if twice { Err("has a member twice") } else { Ok(members) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> String {
        Tool::read(text).unwrap_or_else(|fault| panic!("{fault}: {text}")).sha256
    }

    #[test]
    fn one_definition_has_one_digest_however_it_is_written() {
        let plain = r#"{"a":[1.50,{"x":null,"y":"ä/\n"}],"name":"t"}"#;
        assert_eq!(digest(plain), crypto::sha256_hex(plain.as_bytes()));
        for same in [
            r#" { "name" : "t", "a" : [ 1.50 , { "y" : "\u00e4\/\u000a", "x" : null } ] } "#,
            r#"{"n\u0061me":"\u0074","\u0061":[1.50,{"x":null,"y":"ä/\n"}]}"#,
        ] {
            assert_eq!(digest(same), digest(plain), "{same}");
        }
        for other in [
            r#"{"a":[1.5,{"x":null,"y":"ä/\n"}],"name":"t"}"#,
            r#"{"a":[{"x":null,"y":"ä/\n"},1.50],"name":"t"}"#,
            r#"{"a":[1.50,{"x":null,"y":"ä/\n "}],"name":"t"}"#,
            r#"{"a":[1.50,{"X":null,"y":"ä/\n"}],"name":"t"}"#,
            r#"{"a":[1.50,{"x":null,"y":"a\u0308/\n"}],"name":"t"}"#,
            r#"{"a":[1.50,{"x":null,"y":"ä/\n"}],"name":"t","b":{}}"#,
        ] {
            assert_ne!(digest(other), digest(plain), "{other}");
        }
    }

    #[test]
    fn what_means_two_things_or_is_beyond_the_bounds_is_no_definition() {
        let deep = |n: usize| format!(r#"{{"name":"t","a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(Tool::read(&deep(DEPTH_MAX)).is_ok());
        for (text, why) in [
            (r#"{"name":"t","n\u0061me":"u"}"#.to_owned(), "has a member twice"),
            (r#"{"name":"t","a":[{"b":1,"\u0062":2}]}"#.into(), "has a member twice"),
            (r#"{"name":"t","a":"\ud800"}"#.into(), UNREADABLE),
            (r#"{"name":"t","\ud800":1}"#.into(), UNREADABLE),
            (r#"["name"]"#.into(), UNREADABLE),
            (r#"{"name":""}"#.into(), "has no name, or one above 1 KiB"),
            (r#"{"name":7}"#.into(), "has no name, or one above 1 KiB"),
            (
                format!(r#"{{"name":"{}"}}"#, "n".repeat(NAME_BYTES_MAX + 1)),
                "has no name, or one above 1 KiB",
            ),
            (deep(DEPTH_MAX + 1), "is nested more than 64 deep"),
            (format!(r#"{{"name":"t","a":"{}"}}"#, "x".repeat(DEFINITION_BYTES_MAX)), "is larger than 1 MiB"),
        ] {
            assert_eq!(Tool::read(&text).unwrap_err(), why, "{}", text::head(&text, 80));
        }
    }

    #[test]
    fn a_review_sees_the_hint_the_title_and_the_first_line() {
        let read = |text: &str| Tool::read(text).unwrap();
        let tool = read(
            r#"{"name":"t","description":"\n One. \nTwo.","annotations":{"readOnlyHint":true,"title":"T"}}"#,
        );
        let shown = (tool.read_only_hint, tool.title.as_deref(), tool.description.as_deref());
        assert_eq!(shown, (Some(true), Some("T"), Some("One.")));
        for (text, hint) in [
            (r#"{"name":"t"}"#, None),
            (r#"{"name":"t","annotations":{"readOnlyHint":"true"}}"#, None),
            (r#"{"name":"t","annotations":{"readonlyhint":true}}"#, None),
            (r#"{"name":"t","readOnlyHint":true}"#, None),
            (r#"{"name":"t","annotations":{"readOnlyHint":false}}"#, Some(false)),
        ] {
            assert_eq!(read(text).read_only_hint, hint, "{text}");
        }
    }

    #[test]
    fn a_change_is_named_by_its_parts() {
        let read = |text: &str| Tool::read(text).unwrap();
        let old = read(r#"{"name":"t","description":"d","inputSchema":{"type":"object"}}"#);
        for (text, words) in [
            (r#"{"name":"t","description":"e","inputSchema":{"type":"object"}}"#, "description"),
            (
                r#"{"name":"t","inputSchema":{"type":"object","a":1},"title":"T"}"#,
                "description, inputSchema, other members",
            ),
            (
                r#"{"name":"t","description":"d","inputSchema":{"type":"object"},"annotations":{}}"#,
                "annotations",
            ),
            (
                r#"{"name":"t","description":"d","outputSchema":{},"inputSchema":{"type":"object"}}"#,
                "outputSchema",
            ),
        ] {
            assert_eq!(old.differences(&read(text)), words, "{text}");
        }
    }
}
