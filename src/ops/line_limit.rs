//! Limit of log lines that callers can cause: so many a second, and a count of those that were left out.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync;

/// Lines of one kind a second: more than a person reads, less than fills a disk before anybody looks.
const LINES_MAX: u32 = 50;

/// Counts lines of one kind: when their second began, how many it had, and how many were left out since the last one.
#[derive(Default)]
pub(crate) struct LineLimit(Mutex<(Option<Instant>, u32, u64)>);

impl LineLimit {
    /// Whether a line may be written now; then how many were left out.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let (began, lines, left_out) = &mut *sync::lock(&self.0);
        if began.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            (*began, *lines) = (Some(now), 0);
        }
        if *lines == LINES_MAX {
            *left_out += 1;
            return None;
        }
        *lines += 1;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_in_the_next_second() {
        let (limit, began) = (LineLimit::default(), Instant::now());
        let told = |now| (0..60).filter_map(|_| limit.admit(now)).collect::<Vec<_>>();
        assert_eq!(told(began), [0; 50]);
        assert_eq!(limit.admit(began + Duration::from_millis(999)), None);
        let next = told(began + Duration::from_secs(1));
        assert_eq!((next.len(), next[0], next[1]), (50, 11, 0));
    }
}
