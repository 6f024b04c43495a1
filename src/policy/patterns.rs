//! Patterns of names: texts, and texts with `*` for any run of characters.

use std::sync::Arc;

/// A list of patterns, compiled.
#[derive(Default)]
pub(super) struct Patterns {
    /// Those without `*`, in order.
    exact: Vec<(Box<str>, Arc<str>)>,
    globs: Vec<(Glob, Arc<str>)>,
}

/// A pattern that matched.
pub(super) struct Listed<'a> {
    /// The rule, as the log names it.
    pub(super) rule: &'a Arc<str>,
    /// Whether it is the name itself.
    pub(super) is_exact: bool,
}

/// Pattern with at least one `*`.
struct Glob {
    start: Box<str>,
    /// What stands between two of them, in order.
    middle: Vec<Box<str>>,
    end: Box<str>,
}

impl Patterns {
    /// Compiles a list that stands at this place of the file.
    pub(super) fn new(list: &[String], place: &str) -> Patterns {
        let mut patterns = Patterns::default();
        for text in list {
            let rule: Arc<str> = format!("{place}: {text}").into();
            match Glob::new(text) {
                Some(glob) => patterns.globs.push((glob, rule)),
                None => patterns.exact.push((text.as_str().into(), rule)),
            }
        }
        patterns.exact.sort();
        patterns
    }

    /// The pattern that a name matches; the name itself first.
    pub(super) fn find(&self, name: &str) -> Option<Listed<'_>> {
        if let Some(rule) = self.exactly(name) {
            return Some(Listed { rule, is_exact: true });
        }
        let (_, rule) = self.globs.iter().find(|(glob, _)| glob.matches(name))?;
        Some(Listed { rule, is_exact: false })
    }

    /// Whether a name stands in the list as it is.
    pub(super) fn has(&self, name: &str) -> bool {
        self.exactly(name).is_some()
    }

    fn exactly(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.exact.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.exact.get(at).map(|(_, rule)| rule)
    }

    /// The rule of a pattern that matches everything that begins so.
    pub(super) fn all_from(&self, start: &str) -> Option<&Arc<str>> {
        let all = self.globs.iter().find(|(glob, _)| glob.end.is_empty() && glob.matches(start));
        all.map(|(_, rule)| rule)
    }
}

impl Glob {
    fn new(text: &str) -> Option<Glob> {
        let (start, rest) = text.split_once('*')?;
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty()).map(Box::from);
        Some(Glob { start: start.into(), middle: middle.collect(), end: end.into() })
    }

    /// Each part is taken where it first occurs: that leaves the most for those behind it, so nothing is tried twice.
    fn matches(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&*self.start).and_then(|rest| rest.strip_suffix(&*self.end));
        let parts = self.middle.iter();
        parts.fold(rest, |rest, part| rest?.split_once(&**part).map(|(_, rest)| rest)).is_some()
    }
}
