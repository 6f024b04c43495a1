//! Lines of a child's standard error: bounded, at a bounded rate, and the last ones kept.
//!
//! Standard error is a server's own log by custom, and meant for the operator; the last lines often say why the server
//! ended. Nobody beyond the tunnel sees them. A line is never cut into several: the redactor would see neither
//! half of a secret that lies across.

#[cfg(any(feature = "page", test))]
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

/// Longest part of a line that is looked at: as much as the log cleans to show the first part of it.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// Lines that are kept for the page, and how many bytes of them.
#[cfg(any(feature = "page", test))]
const KEPT_LINES_MAX: usize = 50;
#[cfg(any(feature = "page", test))]
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a child may print into the log within a second. A log file has no limit of its own, as the journal has.
pub(super) const RATE_LINES: u32 = 200;
pub(super) const RATE_BYTES: usize = 1024 * 1024;
const RATE_TIME: Duration = Duration::from_secs(1);

/// Last lines that a server printed.
#[cfg(any(feature = "page", test))]
#[derive(Default)]
pub(super) struct LastLines {
    lines: VecDeque<String>,
    bytes: usize,
    /// Process id of the server's guard, and since when it runs.
    pub(super) runs: Option<(u32, Instant)>,
}

#[cfg(any(feature = "page", test))]
impl LastLines {
    pub(super) fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > KEPT_LINES_MAX || (self.bytes > KEPT_BYTES_MAX && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// All that are kept, the oldest first.
    pub(super) fn all(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// How much was printed in the present second.
#[derive(Debug)]
pub(super) struct Rate {
    began: Instant,
    lines: u32,
    bytes: usize,
    /// How many lines were dropped in it.
    pub(super) dropped: u64,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Rate {
        Rate { began: now, lines: 0, bytes: 0, dropped: 0 }
    }

    /// Takes a line into account: whether it may be logged, and how many were dropped in a second that is over.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> (bool, u64) {
        let mut dropped = 0;
        if now.saturating_duration_since(self.began) >= RATE_TIME {
            dropped = self.dropped;
            *self = Rate::new(now);
        }
        // A single line always has room.
        let room = self.lines == 0 || (self.lines < RATE_LINES && self.bytes + bytes <= RATE_BYTES);
        if room {
            self.lines += 1;
            self.bytes += bytes;
        } else {
            self.dropped += 1;
        }
        (room, dropped)
    }
}

/// The first part of the next line, and how many bytes the whole had; `None` at the end.
pub(super) fn read_line(source: &mut impl BufRead) -> io::Result<Option<(String, usize)>> {
    let mut line = Vec::new();
    let mut bytes = source.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if bytes == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        bytes += source.skip_until(b'\n')?;
    }
    Ok(Some((String::from_utf8_lossy(&line).trim_end().to_owned(), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_one_line() {
        let max = usize::try_from(LINE_BYTES_MAX).unwrap();
        let text = format!("short\n{}secret\n\nafter\nlast", "x".repeat(max - 3));
        // Smaller than any line, so that every one is put together.
        let mut source = io::BufReader::with_capacity(4, text.as_bytes());
        let mut next = || read_line(&mut source).unwrap();
        assert_eq!(next(), Some(("short".to_owned(), 6)));
        let (line, bytes) = next().unwrap();
        assert_eq!((line.len(), bytes), (max, max + 4));
        assert_eq!(next(), Some((String::new(), 1)));
        assert_eq!(next(), Some(("after".to_owned(), 6)));
        assert_eq!(next(), Some(("last".to_owned(), 4)));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_printed_has_a_rate() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        let mut rate = Rate::new(began);
        let printed = (0..300).filter(|n| rate.take(after(n * 3), 10).0).count();
        assert_eq!(printed, 200);
        assert_eq!(rate.take(after(1_000), RATE_BYTES + 1), (true, 100));
        assert_eq!(rate.take(after(1_001), 1), (false, 0));
        assert_eq!(rate.take(after(2_500), 1), (true, 1));
        assert_eq!(rate.take(after(2_501), RATE_BYTES), (false, 0));
    }

    #[test]
    fn the_last_lines_are_bounded() {
        let mut lines = LastLines::default();
        (0..60).for_each(|n| lines.push(format!("{n}")));
        assert_eq!((lines.all().len(), lines.all()[49].as_str()), (KEPT_LINES_MAX, "59"));
        (0..60).for_each(|_| lines.push("x".repeat(8 * 1024)));
        assert_eq!(lines.all().len(), 8);
    }
}
