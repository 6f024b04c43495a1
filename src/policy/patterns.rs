//! Patterns of names, in which `*` stands for any run of characters.

use std::sync::Arc;

/// List of patterns, compiled.
pub(super) struct Patterns {
    /// Those without `*`, which are looked at first and sorted, so that few of many are compared.
    exact: Vec<Pattern>,
    open: Vec<Pattern>,
    /// The first byte of what each of those matches, when that is known: most of many are passed over by it.
    leads: Vec<Option<u8>>,
}

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
        let (mut exact, open): (Vec<_>, Vec<_>) = list.iter().map(pattern).partition(Pattern::is_exact);
        exact.sort_by(|one, other| one.start().cmp(other.start()));
        let leads = open.iter().map(|pattern| pattern.start().bytes().next()).collect();
        Patterns { exact, open, leads }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.open.is_empty()
    }

    /// The first pattern that a name matches.
    pub(super) fn find(&self, name: &str) -> Option<&Pattern> {
        let exact = self.exact.binary_search_by(|pattern| pattern.start().cmp(name)).ok();
        let lead = name.bytes().next();
        let open = self.leads.iter().zip(&self.open);
        let mut open = open.filter(|(first, _)| first.is_none() || **first == lead).map(|(_, one)| one);
        exact.and_then(|at| self.exact.get(at)).or_else(|| open.find(|one| one.matches(name)))
    }

    /// The first pattern that all names match which begin so.
    pub(super) fn find_all(&self, start: &str) -> Option<&Pattern> {
        let is_open = |pattern: &Pattern| pattern.parts.last().is_some_and(|end| end.is_empty());
        self.open.iter().find(|one| is_open(one) && one.matches(start))
    }
}

impl Pattern {
    /// Whether it matches nothing but itself.
    pub(super) fn is_exact(&self) -> bool {
        self.parts.len() == 1
    }

    /// What stands before its first `*`.
    fn start(&self) -> &str {
        self.parts.first().map_or("", |start| start)
    }

    /// Each part is taken where it first occurs: that leaves the most for those behind it, so nothing is tried twice.
    fn matches(&self, name: &str) -> bool {
        let [start, middle @ .., end] = self.parts.as_slice() else { return false };
        let inner = name.strip_prefix(&**start).and_then(|rest| rest.strip_suffix(&**end));
        middle.iter().fold(inner, |rest, part| rest?.split_once(&**part).map(|(_, rest)| rest)).is_some()
    }
}
