//! Targets that look into `config`: YAML, and whole profiles.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::document::{self, File};
use super::lookup::Lookup;
#[cfg(feature = "operator")]
use super::yaml::quoted;
use super::yaml::{self, Node, Value};
use super::{Environment, Flags, Settings, Source};
use crate::fuzz::strict_json::{self as strict, Is};

/// Longest key that is written here: one that is followed by its colon has a bound in YAML.
const KEY_BYTES_MAX: usize = 500;

/// The key of the environment, which no complaint may show.
const KEY: &str = "sk-hidden-0123456789";

/// Deepest nesting that is compared.
const DEPTH_MAX: usize = 28;

/// Reads a text as YAML; what is JSON must mean the same, and what was read is written and read again.
pub fn documents(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = yaml::parse(text);
    if let Ok(tree) = strict::read(data) {
        let outside = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r');
        let comparable =
            !text.as_bytes().iter().any(outside) && tree.depth() <= DEPTH_MAX && is_plain(&tree, text);
        if comparable {
            let (node, only) = read.as_ref().unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert!(only.is_ok() && same(node, &tree, text), "{text}: {node:?}");
        }
    }
    #[cfg(feature = "operator")]
    if let Ok((node, _)) = read {
        let mut written = String::new();
        if write(&node, &mut written) {
            let (again, only) = yaml::parse(&written).unwrap_or_else(|fault| panic!("{written}: {fault:?}"));
            assert!(only.is_ok() && alike(&node, &again), "{written}");
        }
    }
}

/// Whether YAML has all of it: names once, and no escape of half a pair.
fn is_plain(tree: &strict::Value, text: &str) -> bool {
    let whole = |at: &std::ops::Range<usize>| {
        let written = &text[at.clone()];
        written.len() < KEY_BYTES_MAX && !written.contains("\\u")
    };
    match &tree.is {
        Is::Text(_) => whole(&tree.at),
        Is::List(items) => items.iter().all(|item| is_plain(item, text)),
        Is::Object(members) => {
            let mut names: Vec<_> = members.iter().map(|(name, _)| &name.units).collect();
            names.sort();
            names.windows(2).all(|two| two[0] != two[1])
                && members.iter().all(|(name, value)| whole(&name.at) && is_plain(value, text))
        }
        _ => true,
    }
}

fn same(node: &Node, tree: &strict::Value, text: &str) -> bool {
    match (&node.value, &tree.is) {
        (Value::Null, Is::Null) => true,
        (Value::Scalar { text: own, plain: true }, Is::Bool(_) | Is::Number) => *own == text[tree.at.clone()],
        (Value::Scalar { text, plain: false }, Is::Text(units)) => strict::text(units).as_ref() == Some(text),
        (Value::List(nodes), Is::List(items)) => {
            nodes.len() == items.len() && nodes.iter().zip(items).all(|(node, item)| same(node, item, text))
        }
        (Value::Map(entries), Is::Object(members)) => {
            entries.len() == members.len()
                && entries.iter().zip(members).all(|((key, node), (name, value))| {
                    strict::text(&name.units).as_ref() == Some(key) && same(node, value, text)
                })
        }
        _ => false,
    }
}

/// Writes a node on one line; false where that cannot be.
#[cfg(feature = "operator")]
fn write(node: &Node, out: &mut String) -> bool {
    match &node.value {
        Value::Null => out.push('~'),
        Value::Scalar { text, .. } => out.push_str(&quoted(text)),
        Value::List(nodes) => {
            out.push('[');
            if !nodes.iter().all(|node| {
                let written = write(node, out);
                out.push_str(", ");
                written
            }) {
                return false;
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (key, node) in entries {
                out.push_str(&quoted(key));
                out.push_str(": ");
                if key.len() > KEY_BYTES_MAX / 8 || !write(node, out) {
                    return false;
                }
                out.push_str(", ");
            }
            out.push('}');
        }
    }
    true
}

/// Whether two nodes say the same, with quotes or without.
#[cfg(feature = "operator")]
fn alike(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Scalar { text: one, .. }, Value::Scalar { text: other, .. }) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (name, other))| key == name && alike(one, other))
        }
        (one, other) => one == other,
    }
}

/// Reads a text as a profile, twice: what is said of it does not depend on anything else, and stays on its line.
pub fn profiles(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Whatever else it names, no file is opened that could be another one the next time.
    if text.contains("file:/proc") || text.contains("/dev/") {
        return;
    }
    let (once, again) = (settings(text), settings(text));
    assert_eq!(once, again);
    if let Err(error) = once {
        assert!(error.len() < 8 * 1024, "{error}");
        assert!(!error.contains(KEY) || text.contains("sk-"), "{error}");
    }
}

fn settings(text: &str) -> Result<String, String> {
    let document = document::parse(text).map_err(|fault| fault.text)?;
    let file = File { path: "profile.yaml".into(), document, digest: String::new(), warnings: Vec::new() };
    let environment = Environment::of_process().map_err(|error| error.to_string())?;
    let environment = environment
        .with("CONTROL_PLANE_API_KEY", KEY)
        .with("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345");
    let flags = Flags::default();
    let lookup = Lookup::of(&flags, &environment, Some(&file), false);
    let read = Settings::of(&Source::default(), &lookup).map_err(|error| error.to_string())?;
    Ok(format!("{:?}", (read.mcp, read.policy, read.control_plane.origin, read.warnings)))
}

/// The template of a text.
#[cfg(feature = "harpoon")]
pub fn template(text: &str) -> Option<super::Template> {
    let (node, _) = yaml::parse(text).ok()?;
    super::Template::read("template".into(), node).ok().map(|(template, _)| template)
}
