//! Patterns of names, in which `*` stands for any run of characters.

use std::sync::Arc;

/// List of patterns, compiled. Those without `*` stand first, so that a name is found as it is.
pub(super) struct Patterns(Vec<Pattern>);

/// One of them.
pub(super) struct Pattern {
    /// What stands before, between and behind its `*`.
    parts: Vec<Box<str>>,
    /// The rule, as the log names it.
    pub(super) rule: Arc<str>,
}

impl Patterns {
    /// Compiles a list that stands at this place of the file.
    pub(super) fn new(list: &[String], place: &str) -> Patterns {
        let pattern = |text: &String| Pattern {
            parts: text.split('*').map(Box::from).collect(),
            rule: format!("{place}: {text}").into(),
        };
        let mut patterns: Vec<Pattern> = list.iter().map(pattern).collect();
        patterns.sort_by_key(|pattern| !pattern.is_exact());
        Patterns(patterns)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first pattern that a name matches.
    pub(super) fn find(&self, name: &str) -> Option<&Pattern> {
        self.0.iter().find(|pattern| pattern.matches(name))
    }

    /// The first pattern that all names match which begin so.
    pub(super) fn find_all(&self, start: &str) -> Option<&Pattern> {
        let is_open = |pattern: &Pattern| pattern.parts.last().is_some_and(|end| end.is_empty());
        self.0.iter().find(|one| !one.is_exact() && is_open(one) && one.matches(start))
    }
}

impl Pattern {
    /// Whether it matches nothing but itself.
    pub(super) fn is_exact(&self) -> bool {
        self.parts.len() == 1
    }

    /// Each part is taken where it first occurs: that leaves the most for those behind it, so nothing is tried twice.
    fn matches(&self, name: &str) -> bool {
        let [start, middle @ .., end] = self.parts.as_slice() else {
            return self.parts.iter().any(|part| **part == *name);
        };
        let inner = name.strip_prefix(&**start).and_then(|rest| rest.strip_suffix(&**end));
        middle.iter().fold(inner, |rest, part| rest?.split_once(&**part).map(|(_, rest)| rest)).is_some()
    }
}
