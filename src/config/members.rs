//! Map of a settings file that is read key by key: what nobody has asked for is refused in the end.
//!
//! A key without a value is refused as well. It could mean "nothing" or "as before", and whoever writes a protection
//! must not have to guess which.

use std::ops::RangeInclusive;

use super::yaml::{Fault, Node, Value, shown};

/// The members of a map that were not read yet.
pub(crate) struct Members {
    path: String,
    line: usize,
    left: Vec<(String, Node)>,
}

impl Members {
    /// Those of the map that complaints call by this path.
    pub(crate) fn of(path: &str, node: Node) -> Result<Members, Fault> {
        Ok(Members { path: path.to_owned(), line: node.line, left: node.map(path)? })
    }

    /// The keys that were not read yet, and their values.
    #[cfg(feature = "harpoon")]
    pub(crate) fn left(&self) -> &[(String, Node)] {
        &self.left
    }

    /// The value of a key, with the path of the key; nothing where there is no such key.
    pub(crate) fn find(&mut self, key: &str) -> Option<(String, Node)> {
        let at = self.left.iter().position(|(name, _)| name == key)?;
        let (key, node) = self.left.remove(at);
        Some((format!("{}.{key}", self.path), node))
    }

    /// The value of a key as `read` understands it, which gets the path of the key; nothing where there is no such key.
    pub(crate) fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str, Node) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some((path, node)) = self.find(key) else { return Ok(None) };
        if matches!(node.value, Value::Null) {
            return Err(Fault::at(node.line, format!("{path} has no value: give it one, or remove it")));
        }
        read(&path, node).map(Some)
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Fault> {
        self.take(key, |path, node| {
            let line = node.line;
            let text = node.text(path)?;
            let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            known.ok_or_else(|| Fault::at(line, format!("{path} must be one of: {}", all.join(", "))))
        })
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, Fault> {
        Ok(self.take(key, |path, node| node.text(path))?.filter(|text| !text.is_empty()))
    }

    /// A list of texts, each of which is looked at.
    pub(crate) fn texts(
        &mut self,
        key: &str,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Result<Option<Vec<String>>, Fault> {
        self.take(key, |path, node| {
            let text = |item: Node| {
                let line = item.line;
                let text = item.text(&format!("each item of {path}"))?;
                let wrong = |what| Fault::at(line, format!("an item of {path} {what}"));
                check(&text).map_err(wrong).map(|()| text)
            };
            node.list(path)?.into_iter().map(text).collect()
        })
    }

    /// A whole number.
    pub(crate) fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Fault> {
        self.take(key, |path, node| {
            let (line, bounds) = (node.line, format!("{} to {}", range.start(), range.end()));
            let number = node.integer(path)?.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| Fault::at(line, format!("{path} must be a whole number from {bounds}")))
        })
    }

    /// All that is left, for maps whose keys are names.
    pub(crate) fn rest(self) -> Vec<(String, Node)> {
        self.left
    }

    /// A complaint about the whole.
    pub(crate) fn fault(&self, what: &str) -> Fault {
        Fault::at(self.line, format!("{} {what}", self.path))
    }

    /// Checks that all was read.
    pub(crate) fn end(self) -> Result<(), Fault> {
        match self.left.first() {
            Some((name, node)) => {
                Err(Fault::at(node.line, format!("unknown key {:?} in {}", shown(name), self.path)))
            }
            None => Ok(()),
        }
    }
}
