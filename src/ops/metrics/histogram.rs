//! A histogram in integers.
//!
//! Values are counted in millionths of the metric's unit (microseconds for a metric in seconds), so
//! that nothing is rounded, nothing is converted through floating point, and a sum never drifts.

use super::prometheus::{Text, Value};

/// Millionths of a unit in one unit.
pub(super) const MICRO: u64 = 1_000_000;

/// Millionths of a unit in one thousandth, the unit of the bounds below.
const MILLI: u64 = 1_000;

/// The reference's boundaries for every histogram but one: 0 to 10 000 units, in thousandths.
const DEFAULT_BOUNDS: &[u64] = &[
    0, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// The boundaries for the duration of HTTP requests: 5 ms to 10 s.
const REQUEST_BOUNDS: &[u64] = &[5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000];

/// Observations of one label set.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// Upper bounds in thousandths, ascending; the last bucket has none.
    bounds: &'static [u64],
    /// One a bound, then the rest; not cumulative.
    buckets: Vec<u64>,
    /// Wide enough that bytes in millionths cannot overflow it.
    sum: u128,
}

impl Histogram {
    /// An empty one with the boundaries that the reference uses nearly everywhere.
    pub(super) fn usual() -> Histogram {
        Histogram::with(DEFAULT_BOUNDS)
    }

    /// An empty one for the duration of requests in seconds.
    pub(super) fn of_requests() -> Histogram {
        Histogram::with(REQUEST_BOUNDS)
    }

    fn with(bounds: &'static [u64]) -> Histogram {
        Histogram { bounds, buckets: vec![0; bounds.len() + 1], sum: 0 }
    }

    /// Counts a value in millionths of the unit. A bound includes its own value.
    pub(super) fn observe(&mut self, value: u64) {
        let index = self.bounds.partition_point(|bound| bound * MILLI < value);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum += u128::from(value);
    }
}

impl Value for Histogram {
    /// Writes the cumulative buckets, the sum and the count.
    fn write(&self, text: &mut Text, name: &str, labels: &str) {
        let mut count = 0;
        let bounds = self.bounds.iter().map(|bound| decimal(u128::from(bound * MILLI)));
        let comma = if labels.is_empty() { "" } else { "," };
        for (bucket, bound) in self.buckets.iter().zip(bounds.chain(["+Inf".into()])) {
            count += bucket;
            text.sample(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), count);
        }
        text.sample(&format!("{name}_sum"), labels, decimal(self.sum));
        text.sample(&format!("{name}_count"), labels, count);
    }
}

/// Millionths as a decimal number without trailing zeros.
fn decimal(value: u128) -> String {
    let (whole, part) = (value / u128::from(MICRO), value % u128::from(MICRO));
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:06}").trim_end_matches('0').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_no_trailing_zeros() {
        for (value, text) in
            [(0, "0"), (5_000, "0.005"), (7_500_000, "7.5"), (10_000_000, "10"), (1, "0.000001")]
        {
            assert_eq!(decimal(value), text);
        }
    }

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        let mut histogram = Histogram::of_requests();
        for micros in [5_000, 5_001, 99_000_000] {
            histogram.observe(micros);
        }
        let mut text = Text::default();
        histogram.write(&mut text, "x", "a=\"b\"");
        let text = text.finish();
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.01\"} 2\n"));
        assert!(text.contains("x_bucket{a=\"b\",le=\"10\"} 2\n"));
        assert!(text.contains("x_bucket{a=\"b\",le=\"+Inf\"} 3\n"));
        assert!(text.contains("x_sum{a=\"b\"} 99.010001\n"));
        assert!(text.contains("x_count{a=\"b\"} 3\n"));
    }
}
