//! Strict reading of one map of YAML: every member is asked for, or is a mistake.
//!
//! A template is a rule of what strangers may do. A member that was ignored, or a value that means nothing, would
//! leave its writer with another rule than they read, so neither is let pass. Complaints name the line and the path and
//! repeat no value.

use std::ops::RangeInclusive;

use crate::config::members::Members;
use crate::config::yaml::{Fault, Node, Value, shown};

/// Members of a map that were not yet asked for. All names and values were looked at before the first is.
pub(super) struct Fields(Members);

impl Fields {
    /// The members of a map with no other names than these.
    pub(super) fn of(path: String, node: Node, names: &str) -> Result<Fields, Fault> {
        let members = Members::of(&path, node)?;
        for (name, node) in members.left() {
            if !names.split(' ').any(|known| known == name) {
                return Err(Fault::at(node.line, format!("{path}: unknown key {:?}", shown(name))));
            }
            if matches!(node.value, Value::Null) {
                return Err(Fault::at(node.line, format!("{path}.{name} has no value")));
            }
        }
        Ok(Fields(members))
    }

    /// A complaint about the whole map.
    pub(super) fn fault(&self, what: &str) -> Fault {
        self.0.fault(what)
    }

    /// A member, with what complaints call it.
    pub(super) fn take(&mut self, name: &str) -> Option<(String, Node)> {
        self.0.find(name)
    }

    /// A member that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<(String, Node), Fault> {
        self.take(name).ok_or_else(|| self.fault(&format!("requires {name}")))
    }

    /// A text, as `read` understands it; its complaint is the tail of a sentence.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Fault> {
        self.take(name).map(|(path, node)| text(&path, node, read)).transpose()
    }

    /// A text that must be there.
    pub(super) fn required_text<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Fault> {
        let (path, node) = self.required(name)?;
        text(&path, node, read)
    }

    /// A number in decimal digits.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Fault> {
        self.text(name, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
        })
    }

    /// True or false.
    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        self.text(name, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".into()),
        })
    }

    /// A list of different things, as `read` understands each.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        read: impl Fn(&str, Node) -> Result<T, Fault>,
    ) -> Result<Option<Vec<T>>, Fault> {
        let Some((path, node)) = self.take(name) else { return Ok(None) };
        let line = node.line;
        let nodes = node.list(&path)?;
        if !count.contains(&nodes.len()) {
            let what = format!("{path} must have {} to {} entries", count.start(), count.end());
            return Err(Fault::at(line, what));
        }
        let path = format!("each entry of {path}");
        let mut list = Vec::new();
        for node in nodes {
            let line = node.line;
            if matches!(node.value, Value::Null) {
                return Err(Fault::at(line, format!("{path} must have a value")));
            }
            let one = read(&path, node)?;
            if list.contains(&one) {
                return Err(Fault::at(line, format!("{path} must be there once")));
            }
            list.push(one);
        }
        Ok(Some(list))
    }

    /// A list of different texts.
    pub(super) fn texts(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Vec<String>, Fault> {
        let read = |path: &str, node| text(path, node, |value| check(value).map(|()| value.to_owned()));
        Ok(self.list(name, count, read)?.unwrap_or_default())
    }
}

/// A text, as `read` understands it.
pub(super) fn text<T>(
    path: &str,
    node: Node,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Fault> {
    let line = node.line;
    let text = node.text(path)?;
    read(&text).map_err(|what| Fault::at(line, format!("{path} {what}")))
}

/// A text of so many bytes without controls.
pub(super) fn plain(text: &str, bytes: RangeInclusive<usize>) -> Result<String, String> {
    if !bytes.contains(&text.len()) {
        return Err(format!("must have {} to {} bytes", bytes.start(), bytes.end()));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(text.to_owned())
}
