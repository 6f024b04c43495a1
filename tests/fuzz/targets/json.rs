//! Spans of JSON: what stands where, against the strict reader and against `serde_json`.

use serde::de::IgnoredAny;

use super::strict_json::{self as strict, Is, Name, No, Value};
use crate::relay::json::{self, Member, Span};
use crate::relay::tree;

/// Nesting that `serde_json` builds trees of.
const TREE_DEPTH_MAX: usize = 127;

/// Reads a text in every way that there is.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(tree::read(data).is_err());
        return;
    };
    let expected = match strict::read(data) {
        Err(No::Verdict) => return,
        Err(No::Json) => {
            assert!(json::value(text).is_err() && json::object(text).is_err() && tree::read(data).is_err());
            assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "the oracle is too strict");
            return;
        }
        Ok(expected) => expected,
    };
    assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "the oracle is too generous");
    let span = json::value(text).expect("the oracle reads it");
    assert_eq!(span, Span { start: expected.at.start, end: expected.at.end });
    lists(text, &expected);
    under_a_path(text, &expected);
    strings(text, &expected);
    outside(text, &expected);
    whole_tree(text, &expected);
}

/// Members, elements, and both as they are written.
fn lists(text: &str, expected: &Value) {
    let span = json::value(text).unwrap();
    let (whole, members) = json::object(text).unwrap();
    assert_eq!(whole, span);
    match &expected.is {
        Is::Object(named) => {
            alike(text, named, &members.expect("an object"));
            alike(text, named, &json::members(text, span).unwrap().expect("an object"));
        }
        _ => assert!(members.is_none() && json::members(text, span).unwrap().is_none()),
    }
    let elements = json::elements(text, span).unwrap();
    match &expected.is {
        Is::List(items) => {
            let places: Vec<Span> = items.iter().map(place).collect();
            assert_eq!(elements, Some(places));
        }
        _ => assert_eq!(elements, None),
    }
    let written: Vec<(&str, &str)> = match &expected.is {
        Is::Object(named) => {
            named.iter().map(|(name, value)| (&text[name.at.clone()], &text[value.at.clone()])).collect()
        }
        Is::List(items) => items.iter().map(|item| ("", &text[item.at.clone()])).collect(),
        _ => return assert!(json::items(text).is_err()),
    };
    assert_eq!(json::items(text).unwrap(), written);
}

fn place(value: &Value) -> Span {
    Span { start: value.at.start, end: value.at.end }
}

/// Whether the members listed are those that the oracle sees.
fn alike(text: &str, expected: &[(Name, Value)], members: &[Member<'_>]) {
    assert_eq!(expected.len(), members.len());
    for ((name, value), member) in expected.iter().zip(members) {
        assert_eq!(place(value), member.value);
        match strict::text(&name.units) {
            Some(name) => assert_eq!(name, member.name),
            // Without a text: as it is written, or its text up to a NUL. Never a name that a caller could mean.
            None => {
                let literal = &text[name.at.start + 1..name.at.end - 1];
                let head = name.units.split(|unit| *unit == 0).next().unwrap_or_default();
                let head = strict::text(head).map(|head| head + "\0");
                assert!(member.name == literal || Some(member.name.as_ref()) == head.as_deref());
            }
        }
    }
}

/// The lists of a message: its members, those of `params`, and those of `_meta` in there.
fn under_a_path(text: &str, expected: &Value) {
    let (_, lists) = json::outline::<3>(text, &["params", "_meta"]).unwrap();
    let Some([own, params, meta]) = lists else {
        return assert!(!matches!(expected.is, Is::Object(_)));
    };
    alike(text, expected.members(), &own);
    let inner = below(std::slice::from_ref(expected), "params");
    same_places(&inner, &params);
    same_places(&below(&inner, "_meta"), &meta);
}

/// What stands under this name in each of these objects.
fn below(parents: &[Value], name: &str) -> Vec<Value> {
    let members = parents.iter().flat_map(Value::members);
    let named = members.filter(|(own, _)| strict::text(&own.units).as_deref() == Some(name));
    named.map(|(_, value)| value.clone()).collect()
}

/// Whether the list holds what stands in these objects and arrays, in this order.
fn same_places(parents: &[Value], listed: &[Member<'_>]) {
    let inside = parents.iter().flat_map(|parent| match &parent.is {
        Is::List(items) => items.iter().map(place).collect::<Vec<_>>(),
        _ => parent.members().iter().map(|(_, value)| place(value)).collect(),
    });
    assert_eq!(inside.collect::<Vec<_>>(), listed.iter().map(|member| member.value).collect::<Vec<_>>());
}

/// Every string of the value, unescaped.
fn strings(text: &str, value: &Value) {
    let literal = &text[value.at.clone()];
    match &value.is {
        Is::Text(units) => {
            let expected = strict::text(units);
            assert_eq!(json::exact(literal).as_deref(), expected.as_deref());
            let written = &literal[1..literal.len() - 1];
            let expected = expected.as_deref().unwrap_or(written);
            assert_eq!(json::string(literal).as_deref(), Some(expected));
        }
        Is::List(items) => items.iter().for_each(|item| strings(text, item)),
        Is::Object(members) => members.iter().for_each(|(_, item)| strings(text, item)),
        _ => assert!(json::string(literal).is_none() && json::exact(literal).is_none()),
    }
}

/// The bytes outside strings, with the quotes that open one.
fn outside(text: &str, value: &Value) {
    let mut inside = vec![false; text.len()];
    fn mark(value: &Value, inside: &mut [bool]) {
        match &value.is {
            Is::Text(_) => inside[value.at.start + 1..value.at.end].fill(true),
            Is::List(items) => items.iter().for_each(|item| mark(item, inside)),
            Is::Object(members) => {
                for (name, value) in members {
                    inside[name.at.start + 1..name.at.end].fill(true);
                    mark(value, inside);
                }
            }
            _ => {}
        }
    }
    mark(value, &mut inside);
    let expected = text.bytes().enumerate().filter(|(at, _)| !inside[*at]);
    assert!(expected.eq(json::outside_strings(text)));
}

/// The tree, in which the last of equal names counts.
fn whole_tree(text: &str, expected: &Value) {
    let read = tree::read(text.as_bytes());
    let expected = (expected.depth() <= TREE_DEPTH_MAX).then(|| grown(text, expected)).flatten();
    assert_eq!(read.ok(), expected);
}

/// The same as a tree of `serde_json`; nothing where a string has no text or a number is too large.
fn grown(text: &str, value: &Value) -> Option<serde_json::Value> {
    Some(match &value.is {
        Is::Null => serde_json::Value::Null,
        Is::Bool(is) => (*is).into(),
        // How a number is read is not ours; that it is read alone and inside alike is.
        Is::Number => serde_json::Value::Number(serde_json::from_str(&text[value.at.clone()]).ok()?),
        Is::Text(units) => strict::text(units)?.into(),
        Is::List(items) => items.iter().map(|item| grown(text, item)).collect::<Option<Vec<_>>>()?.into(),
        Is::Object(members) => {
            let mut map = serde_json::Map::new();
            for (name, value) in members {
                map.insert(strict::text(&name.units)?, grown(text, value)?);
            }
            map.into()
        }
    })
}
