//! The text format of Prometheus (0.0.4), and families of samples with a bounded number of labels.
//!
//! A family knows its name, its help and its labels, so that counting and writing cannot disagree.
//! Nothing here can fail: a label set that would be one too many is counted under the family's
//! overflow set instead.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::{Mutex, MutexGuard};

use crate::sync;

use super::histogram::Histogram;
use super::labels::{Label, OTHER};

/// Label sets of one family. Half of it would hold every combination seen in practice; what lies
/// above is somebody's invention and must not grow our memory or the scraper's.
const MAX_LABEL_SETS: usize = 512;

/// Identifies the process rather than the event, so it also stands in the overflow set: a dashboard
/// that selects one tunnel must see all of its counts.
pub(super) const TUNNEL_ID: &str = "tunnel_id";

/// Name of a label whose value is text that [`pairs`] made: several labels that always go together. Where
/// exchanges go is configured and so bounded, and stands in the overflow set too.
pub(super) const READY: &str = "";

/// Text being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Opens a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one sample; the labels are as [`pairs`] makes them.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A family with one sample that has no labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// `name="value"` of each label, with commas between. One with an empty value is left out, which is
/// what an empty value means in this format.
pub(super) fn pairs<'a>(labels: impl Iterator<Item = (&'a str, impl Display)>) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let value = value.to_string();
        if value.is_empty() {
            continue;
        }
        let comma = if out.is_empty() { "" } else { "," };
        if name == READY {
            let _ = write!(out, "{comma}{value}");
            continue;
        }
        // The three characters that a value may not hold as they are; the backslash goes first.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

/// What a label set leads to.
pub(super) trait Value: Clone {
    /// Writes the samples of one label set.
    fn write(&self, text: &mut Text, name: &str, labels: &str);
}

impl Value for u64 {
    fn write(&self, text: &mut Text, name: &str, labels: &str) {
        text.sample(name, labels, self);
    }
}

/// A metric with `N` labels: a value for each label set, at most [`MAX_LABEL_SETS`] and one overflow
/// set. Every method holds the lock for the change or the visit of one family, never for two.
#[derive(Debug)]
pub(super) struct Family<V, const N: usize> {
    name: Word,
    kind: Word,
    help: Word,
    labels: [Word; N],
    /// What a new label set starts from.
    zero: V,
    max_sets: usize,
    sets: Mutex<BTreeMap<[Label; N], V>>,
}

/// A name, a help text or a label: part of this program.
type Word = &'static str;

/// What only ever grows.
pub(super) fn counter<const N: usize>(name: Word, help: Word, labels: [Word; N]) -> Family<u64, N> {
    Family::new("counter", name, help, labels, 0)
}

/// What goes up and down.
pub(super) fn gauge<const N: usize>(name: Word, help: Word, labels: [Word; N]) -> Family<u64, N> {
    Family::new("gauge", name, help, labels, 0)
}

/// What is sorted by size, with the bounds that the reference uses nearly everywhere.
pub(super) fn histogram<const N: usize>(name: Word, help: Word, labels: [Word; N]) -> Family<Histogram, N> {
    Family::new("histogram", name, help, labels, Histogram::usual())
}

/// The same with bounds for durations of requests.
pub(super) fn durations<const N: usize>(name: Word, help: Word, labels: [Word; N]) -> Family<Histogram, N> {
    Family::new("histogram", name, help, labels, Histogram::of_requests())
}

impl<V: Value, const N: usize> Family<V, N> {
    fn new(kind: Word, name: Word, help: Word, labels: [Word; N], zero: V) -> Family<V, N> {
        Family { name, kind, help, labels, zero, max_sets: MAX_LABEL_SETS, sets: Mutex::default() }
    }

    /// The same with these label sets shown from the start: an alert on a counter that does not exist
    /// before its first increase misses that increase.
    pub(super) fn showing<const M: usize>(self, keys: [[Label; N]; M]) -> Family<V, N> {
        for key in keys {
            self.update(key, |_| {});
        }
        self
    }

    /// The same with room for fewer label sets.
    pub(super) fn at_most(self, max_sets: usize) -> Family<V, N> {
        Family { max_sets, ..self }
    }

    /// Changes the value of a label set.
    pub(super) fn update(&self, mut key: [Label; N], change: impl FnOnce(&mut V)) {
        let mut sets = self.lock();
        if sets.len() >= self.max_sets && !sets.contains_key(&key) {
            let chosen =
                self.labels.iter().zip(&mut key).filter(|(name, _)| ![TUNNEL_ID, READY].contains(*name));
            chosen.for_each(|(_, value)| *value = OTHER);
        }
        change(sets.entry(key).or_insert_with(|| self.zero.clone()));
    }

    /// Announces the family, also while it has no samples (a dashboard can be built against an idle
    /// process), and writes all label sets in order. Without labels there is always the one sample.
    pub(super) fn write(&self, text: &mut Text) {
        text.family(self.name, self.kind, self.help);
        let sets = self.lock();
        if N == 0 && sets.is_empty() {
            self.zero.write(text, self.name, "");
        }
        for (key, value) in sets.iter() {
            value.write(text, self.name, &pairs(self.labels.into_iter().zip(key)));
        }
    }

    /// Values are whole after every single change, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<[Label; N], V>> {
        sync::lock(&self.sets)
    }
}

impl<const N: usize> Family<u64, N> {
    /// Adds to a counter.
    pub(super) fn add(&self, key: [Label; N], more: u64) {
        self.update(key, |value| *value = value.saturating_add(more));
    }

    /// Sets a gauge.
    pub(super) fn set(&self, key: [Label; N], now: u64) {
        self.update(key, |value| *value = now);
    }
}

impl<const N: usize> Family<Histogram, N> {
    /// Counts a value in millionths of the metric's unit.
    pub(super) fn observe(&self, key: [Label; N], value: u64) {
        self.update(key, |histogram| histogram.observe(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_escape_and_omit() {
        let mut text = Text::default();
        text.single("a", "counter", "Help.", 3);
        let family = counter("b", "More.", ["x", "y"]);
        family.add([Label::Text("q\"\\\n".into()), Label::Word("")], 1);
        family.write(&mut text);
        let expected = "# HELP a Help.\n# TYPE a counter\na 3\n\
            # HELP b More.\n# TYPE b counter\nb{x=\"q\\\"\\\\\\n\"} 1\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn excess_label_sets_are_counted_together() {
        let family = counter("a", "Help.", ["n", TUNNEL_ID]);
        let tunnel = || Label::Text("t".into());
        for n in 0..u16::try_from(MAX_LABEL_SETS).unwrap() + 100 {
            family.add([Label::Number(n), tunnel()], 1);
        }
        family.add([Label::Number(0), tunnel()], 1);
        let sets = family.lock();
        assert_eq!(sets.len(), MAX_LABEL_SETS + 1);
        assert_eq!(sets[&[Label::Number(0), tunnel()]], 2);
        assert_eq!(sets[&[OTHER, tunnel()]], 100);
    }

    #[test]
    fn what_never_happened_is_shown_as_zero() {
        let mut text = Text::default();
        gauge("a", "Help.", []).write(&mut text);
        counter("b", "Help.", ["w"]).showing([["x".into()], ["y".into()]]).write(&mut text);
        counter("c", "Help.", ["w"]).write(&mut text);
        let samples =
            text.finish().lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(";");
        assert_eq!(samples, "a 0;b{w=\"x\"} 0;b{w=\"y\"} 0");
    }
}
