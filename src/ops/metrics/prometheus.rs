//! Prometheus text format (0.0.4), and a table of metrics whose samples are atomic numbers.
//!
//! A metric knows its name, its help and its labels, so that counting and writing cannot disagree; whoever makes
//! a row has it on the page. Samples stand in a list that only ever grows at its end, up to a bound, so counting
//! takes no lock. Nothing here can fail: a label set that would be one too many is counted under `other`.
//!
//! All numbers are integers: a duration is counted in microseconds and written in seconds, so nothing is rounded
//! and a sum never drifts.

use std::fmt::Write;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Label sets of one metric. Half of it would hold every combination seen in practice; what lies above is
/// an invention of a peer and must not grow our memory or the scraper's.
const SETS_MAX: usize = 512;

/// Names of channels that are not served. The rest of the name space is open to whoever sends commands; a
/// profile that misspells a channel invents a handful.
const UNSERVED_MAX: usize = 64;

/// Value of a gauge that has none any more: samples stay, and this one is not shown.
pub(super) const ABSENT: u64 = u64::MAX;

/// Label value of everything that has none of its own.
pub(super) const OTHER: &str = "other";

/// Labels whose values are configured, and so bounded. They keep their value also where a metric has too many
/// label sets: a dashboard that selects one tunnel or one server must see all of its counts.
const CONFIGURED: &str = "tunnel_id http_route network_protocol_name network_protocol_version server_address \
    server_port url_scheme";

/// The reference's boundaries for every histogram but one: 0 to 10 000 units, in thousandths.
const USUAL_BOUNDS: &[u64] = &[
    0, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// The boundaries for the duration of HTTP requests: 5 ms to 10 s.
const REQUEST_BOUNDS: &[u64] = &[5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000];

/// The boundaries for calls, which may take as long as their longest time: 1 ms to 10 min.
const CALL_BOUNDS: &[u64] = &[
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
    600_000,
];

/// Type of a metric and how its numbers are written.
pub(super) struct Kind {
    word: &'static str,
    /// Upper bounds of a histogram's buckets in thousandths of the unit; the last bucket has none.
    bounds: &'static [u64],
    /// Number of counted parts that make one unit of the metric.
    per_unit: u64,
    sets_max: usize,
}

pub(super) const COUNTER: Kind = Kind { word: "counter", bounds: &[], per_unit: 1, sets_max: SETS_MAX };
/// Counter with a label that whoever sends commands may choose.
pub(super) const UNSERVED: Kind = Kind { sets_max: UNSERVED_MAX, ..COUNTER };
/// Counter of clock ticks, written in seconds.
pub(super) const TICKS: Kind = Kind { per_unit: 100, ..COUNTER };
pub(super) const GAUGE: Kind = Kind { word: "gauge", ..COUNTER };
/// Histogram of whole numbers.
pub(super) const NUMBERS: Kind = Kind { word: "histogram", bounds: USUAL_BOUNDS, ..COUNTER };
/// Histogram of microseconds, written in seconds.
pub(super) const SECONDS: Kind = Kind { per_unit: 1_000_000, ..NUMBERS };
/// Histogram of microseconds with boundaries for HTTP requests.
pub(super) const REQUEST_SECONDS: Kind = Kind { bounds: REQUEST_BOUNDS, ..SECONDS };

/// Histogram of microseconds with boundaries for calls.
pub(super) const CALL_SECONDS: Kind = Kind { bounds: CALL_BOUNDS, ..SECONDS };

/// All metrics, in the order of the page.
#[derive(Default)]
pub(super) struct Table(Vec<Arc<Family>>);

impl Table {
    /// Adds a metric.
    pub(super) fn row<const N: usize>(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Metric<N> {
        let (sets, overflow) = Default::default();
        let family = Arc::new(Family { kind, name, help, labels: labels.to_vec(), sets, overflow });
        self.0.push(Arc::clone(&family));
        Metric(family)
    }

    /// Has all metrics without labels shown before their first change: an alert on a counter that does not exist
    /// before its first increase misses that increase.
    pub(super) fn show_zeros(&mut self) -> &mut Table {
        for family in self.0.iter().filter(|family| family.labels.is_empty()) {
            let _ = family.kind.find(&family.sets, &[]);
        }
        self
    }

    /// The text of all metrics.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        self.0.iter().for_each(|family| family.write(&mut page));
        page
    }
}

/// Counter, gauge or histogram with `N` labels.
pub(crate) struct Metric<const N: usize>(Arc<Family>);

impl<const N: usize> Metric<N> {
    /// Adds to a counter, or one observation to a histogram.
    pub(crate) fn add(&self, labels: [&str; N], value: impl TryInto<u64>) {
        let value = value.try_into().unwrap_or(u64::MAX);
        let Kind { bounds, per_unit, .. } = self.0.kind;
        self.sample(labels, |sample| {
            // A bound includes its own value.
            let index = bounds.partition_point(|bound| bound * per_unit / 1000 < value);
            if let Some(bucket) = sample.buckets.get(index) {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
            sample.value.fetch_add(value, Ordering::Relaxed);
        });
    }

    /// Takes from a gauge what was added to it.
    pub(crate) fn take(&self, labels: [&str; N], value: u64) {
        self.sample(labels, |sample| {
            sample.value.fetch_sub(value, Ordering::Relaxed);
        });
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, labels: [&str; N], now: impl TryInto<u64>) {
        let now = now.try_into().unwrap_or(u64::MAX);
        self.sample(labels, |sample| sample.value.store(now, Ordering::Relaxed));
    }

    /// The sum of all label sets that `counts` chooses.
    #[cfg(feature = "page")]
    pub(crate) fn sum(&self, counts: impl Fn(&[String]) -> bool) -> u64 {
        let samples = self.0.sets.samples().filter(|one| counts(&one.labels));
        samples.map(|one| one.value.load(Ordering::Relaxed)).sum()
    }

    /// The value of a counter or gauge; nothing before its first change.
    pub(crate) fn value(&self, labels: [&str; N]) -> Option<u64> {
        let mut samples = self.0.sets.samples();
        let value = samples.find(|one| one.labels.iter().eq(&labels))?.value.load(Ordering::Relaxed);
        Some(value).filter(|value| *value != ABSENT)
    }

    fn sample(&self, mut labels: [&str; N], change: impl FnOnce(&Sample)) {
        let Family { kind, labels: names, sets, overflow, .. } = &*self.0;
        let found = kind.find(sets, &labels).or_else(|| {
            let is_foreign = |name: &str| !CONFIGURED.split(' ').any(|known| known == name);
            let values = names.iter().zip(&mut labels).filter(|(name, _)| is_foreign(name));
            values.for_each(|(_, value)| *value = OTHER);
            kind.find(overflow, &labels)
        });
        // There are always some: fewer values are configured than an overflow has room for.
        if let Some(sample) = found {
            change(sample);
        }
    }
}

/// Name, type and labels of a metric, with its samples.
struct Family {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    labels: Vec<&'static str>,
    sets: Link,
    /// Label sets that had no place, counted together.
    overflow: Link,
}

/// The rest of a list of samples.
#[derive(Default)]
struct Link(OnceLock<Box<Sample>>);

impl Link {
    fn samples(&self) -> impl Iterator<Item = &Sample> {
        iter::successors(self.0.get(), |sample| sample.next.0.get()).map(Box::as_ref)
    }
}

/// Numbers of one label set.
struct Sample {
    labels: Vec<String>,
    /// Value of a counter or gauge, sum of a histogram.
    value: AtomicU64,
    /// Observations of a histogram in each bucket, not cumulative.
    buckets: Vec<AtomicU64>,
    next: Link,
}

impl Kind {
    /// The sample of a label set, made when there is none yet; nothing where the list is full.
    fn find<'a>(&self, mut link: &'a Link, labels: &[&str]) -> Option<&'a Sample> {
        for _ in 0..self.sets_max {
            let sample = link.0.get_or_init(|| {
                let labels = labels.iter().map(|value| (*value).to_owned()).collect();
                let buckets = if self.bounds.is_empty() { 0 } else { self.bounds.len() + 1 };
                let buckets = iter::repeat_with(AtomicU64::default).take(buckets).collect();
                Box::new(Sample { labels, value: AtomicU64::default(), buckets, next: Link::default() })
            });
            if sample.labels.iter().eq(labels) {
                return Some(sample);
            }
            link = &sample.next;
        }
        None
    }
}

impl Family {
    /// Announces the metric, also while it has no samples (a dashboard can be built against an idle process),
    /// and writes all label sets in order.
    fn write(&self, page: &mut String) {
        let Family { kind, name, help, .. } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {}", kind.word);
        let mut samples: Vec<&Sample> = self.sets.samples().chain(self.overflow.samples()).collect();
        samples.retain(|one| one.value.load(Ordering::Relaxed) != ABSENT);
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        for sample in samples {
            let labels = self.labels.iter().copied().zip(sample.labels.iter().map(String::as_str));
            let value = decimal(sample.value.load(Ordering::Relaxed), kind.per_unit);
            if kind.bounds.is_empty() {
                line(page, name, labels, &value);
                continue;
            }
            let mut count = 0;
            let bounds = kind.bounds.iter().map(|bound| decimal(*bound, 1000)).chain(["+Inf".to_owned()]);
            for (bucket, bound) in sample.buckets.iter().zip(bounds) {
                count += bucket.load(Ordering::Relaxed);
                let labels = labels.clone().chain([("le", bound.as_str())]);
                line(page, &format!("{name}_bucket"), labels, &count.to_string());
            }
            line(page, &format!("{name}_sum"), labels.clone(), &value);
            line(page, &format!("{name}_count"), labels, &count.to_string());
        }
    }
}

/// Writes one sample. A label with an empty value is left out, which is what an empty value means in this format.
fn line<'a>(page: &mut String, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>, value: &str) {
    page.push_str(name);
    let mut before = '{';
    for (name, value) in labels.filter(|(_, value)| !value.is_empty()) {
        // The three characters that a value may not hold as they are; the backslash goes first.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(page, "{before}{name}=\"{value}\"");
        before = ',';
    }
    let after = if before == ',' { "}" } else { "" };
    let _ = writeln!(page, "{after} {value}");
}

/// A number of parts of a unit as a decimal number without trailing zeros. `per_unit` is a power of ten.
fn decimal(value: u64, per_unit: u64) -> String {
    let (whole, part) = (value / per_unit, value % per_unit);
    if part == 0 {
        return whole.to_string();
    }
    let digits = usize::try_from(per_unit.ilog10()).unwrap_or_default();
    format!("{whole}.{part:0digits$}").trim_end_matches('0').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(page: &str) -> String {
        page.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(";")
    }

    #[test]
    fn samples_escape_and_omit() {
        let mut table = Table::default();
        table.row(COUNTER, "a", "Help.", []).add([], 3);
        table.row(COUNTER, "b", "More.", ["x", "y"]).add(["q\"\\\n", ""], 1);
        let expected = "# HELP a Help.\n# TYPE a counter\na 3\n\
            # HELP b More.\n# TYPE b counter\nb{x=\"q\\\"\\\\\\n\"} 1\n";
        assert_eq!(table.page(), expected);
    }

    #[test]
    fn excess_label_sets_are_counted_together() {
        let mut table = Table::default();
        let metric = table.row(COUNTER, "a", "Help.", ["n", "tunnel_id"]);
        let numbers: Vec<String> = (0..SETS_MAX + 100).map(|n| n.to_string()).collect();
        for number in &numbers {
            metric.add([number, "t"], 1);
        }
        metric.add(["0", "t"], 1);
        let page = table.page();
        assert_eq!(page.lines().count(), 2 + SETS_MAX + 1);
        assert!(page.contains("a{n=\"0\",tunnel_id=\"t\"} 2\n"));
        assert!(page.contains("a{n=\"other\",tunnel_id=\"t\"} 100\n"));
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let mut table = Table::default();
        let metric = table.row(COUNTER, "a", "Help.", ["n"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n: u32| metric.add([&(n % 20).to_string()], 1)));
            }
        });
        let page = table.page();
        assert_eq!(page.lines().filter(|line| line.ends_with("} 200")).count(), 20, "{page}");
    }

    #[test]
    fn what_never_happened_is_shown_as_zero() {
        let mut table = Table::default();
        table.row(GAUGE, "a", "Help.", []);
        table.row(COUNTER, "b", "Help.", ["w"]).add(["x"], 0);
        table.row(COUNTER, "c", "Help.", ["w"]);
        table.show_zeros();
        table.row(GAUGE, "d", "Help.", []);
        assert_eq!(samples(&table.page()), "a 0;b{w=\"x\"} 0");
    }

    #[test]
    fn decimals_have_no_trailing_zeros() {
        for (value, text) in
            [(0, "0"), (5_000, "0.005"), (7_500_000, "7.5"), (10_000_000, "10"), (1, "0.000001")]
        {
            assert_eq!(decimal(value, 1_000_000), text);
        }
        assert_eq!((decimal(42, 100), decimal(42, 1)), ("0.42".into(), "42".into()));
    }

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        let mut table = Table::default();
        let metric = table.row(REQUEST_SECONDS, "x", "Help.", ["a"]);
        for micros in [5_000, 5_001, 99_000_000] {
            metric.add(["b"], micros);
        }
        table.row(NUMBERS, "y", "Help.", []).add([], 5);
        let text = table.page();
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.01\"} 2\n"));
        assert!(text.contains("x_bucket{a=\"b\",le=\"10\"} 2\n"));
        assert!(text.contains("x_bucket{a=\"b\",le=\"+Inf\"} 3\n"));
        assert!(text.contains("x_sum{a=\"b\"} 99.010001\n"));
        assert!(text.contains("x_count{a=\"b\"} 3\n"));
        assert!(text.contains("y_bucket{le=\"0\"} 0\ny_bucket{le=\"5\"} 1\n"));
    }
}
