//! Times and sizes as people say them.

use std::time::{Duration, SystemTime};

use crate::ops::timestamp;

/// `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min"),
        (1..48, _) if minutes % 60 == 0 => format!("{hours} h"),
        (1..48, _) => format!("{hours} h {} min", minutes % 60),
        _ if hours % 24 == 0 => format!("{} d", hours / 24),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// `12 ms`, `1.5 s`, and longer ones as above.
pub(super) fn latency(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1_000 => format!("{millis} ms"),
        millis @ 1_000..60_000 => format!("{}.{} s", millis / 1000, millis / 100 % 10),
        _ => duration(time),
    }
}

/// `640 B`, `12.3 kB`, `3.4 MB`.
pub(super) fn bytes(count: usize) -> String {
    match count {
        ..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{}.{} kB", count / 1_000, count / 100 % 10),
        _ => format!("{}.{} MB", count / 1_000_000, count / 100_000 % 10),
    }
}

/// How long ago something was.
pub(super) fn ago(time: SystemTime) -> String {
    format!("{} ago", duration(since(time)))
}

/// The time since then.
pub(super) fn since(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

/// `2026-11-30 14:05:38Z (3 min ago)`.
pub(super) fn moment(time: SystemTime) -> String {
    format!("{} ({})", timestamp::shown(time), ago(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_say_few_digits() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (172_800, "2 d"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (1_540, "1.5 s"), (60_000, "1 min")] {
            assert_eq!(latency(Duration::from_millis(millis)), text);
        }
        for (count, text) in [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (3_456_789, "3.4 MB")] {
            assert_eq!(bytes(count), text);
        }
    }
}
