//! Standard error of a child: to the log line by line, at a bounded rate, and its last lines to keep.
//!
//! It is a server's own log by custom, and meant for whoever runs the server; the last lines often say why it
//! ended. Nobody beyond the tunnel sees them. A line is never cut into several: the redactor would see neither
//! half of a secret that lies across. Standard error may close as it likes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::ChildStderr;
use std::time::{Duration, Instant};

use crate::ops::metrics::ChildEvent;

use super::Keeper;

/// Longest part of a line that is looked at: as much as the log cleans to show the first part of it.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Lines that are kept, and how many bytes of them.
const KEPT_LINES_MAX: usize = 50;
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a child may print into the log within a second. A log file has no limit of its own, as the journal has.
const RATE_LINES: u32 = 200;
const RATE_BYTES: usize = 1024 * 1024;
const RATE_TIME: Duration = Duration::from_secs(1);

/// The last lines that a server printed.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: VecDeque<String>,
    bytes: usize,
}

impl LastWords {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > KEPT_LINES_MAX || (self.bytes > KEPT_BYTES_MAX && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// All that are kept, the oldest first.
    #[cfg(feature = "page")]
    pub(super) fn all(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    /// The very last.
    pub(super) fn last(&self) -> &str {
        self.lines.back().map_or("", String::as_str)
    }
}

/// How much was printed in the present second.
#[derive(Debug)]
struct Rate {
    began: Instant,
    lines: u32,
    bytes: usize,
    dropped: u64,
}

impl Rate {
    fn new(now: Instant) -> Rate {
        Rate { began: now, lines: 0, bytes: 0, dropped: 0 }
    }

    /// Takes a line into account: whether it may be logged, and how many were dropped in a second that is over.
    fn take(&mut self, now: Instant, bytes: usize) -> (bool, u64) {
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

impl Keeper {
    /// Copies standard error to the log and keeps the last of it.
    pub(super) fn pump(&self, stderr: ChildStderr) {
        let mut source = BufReader::new(stderr);
        let mut rate = Rate::new(Instant::now());
        while let Ok(Some((line, bytes))) = read_line(&mut source) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.state().last_words.push(text.clone());
            let (room, dropped) = rate.take(Instant::now(), bytes);
            self.tell_dropped(dropped);
            // Last, and without the lock: who has read it here finds it on the page too.
            if room {
                log::info!(channel = self.channel.as_str(); "mcp server: {text}");
            } else {
                self.shared.metrics.child_event(&self.channel, ChildEvent::Dropped);
            }
        }
        self.tell_dropped(rate.dropped);
    }

    fn tell_dropped(&self, lines: u64) {
        if lines > 0 {
            log::warn!(channel = self.channel.as_str(); "{lines} lines of the mcp server's standard error dropped: more than {RATE_LINES} lines or {RATE_BYTES} bytes in a second");
        }
    }
}

/// The first part of the next line, and how long the whole was; `None` at the end.
fn read_line(source: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut line, mut bytes) = (Vec::new(), 0);
    loop {
        let available = match source.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok((bytes > 0).then_some((line, bytes)));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        let room = LINE_BYTES_MAX - line.len();
        line.extend(available.iter().take(taken.min(room)));
        bytes += taken;
        source.consume(taken);
        if end.is_some() {
            return Ok(Some((line, bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_one_line() {
        let text = format!("short\n{}secret\nafter\nlast", "x".repeat(LINE_BYTES_MAX - 3));
        // Smaller than any line, so that every one is put together.
        let mut source = BufReader::with_capacity(4, text.as_bytes());
        let mut next = || read_line(&mut source).unwrap();
        assert_eq!(next(), Some((b"short\n".to_vec(), 6)));
        let (line, bytes) = next().unwrap();
        assert_eq!((line.len(), bytes), (LINE_BYTES_MAX, LINE_BYTES_MAX + 4));
        assert_eq!(next(), Some((b"after\n".to_vec(), 6)));
        assert_eq!(next(), Some((b"last".to_vec(), 4)));
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
    fn the_last_words_are_bounded() {
        let mut words = LastWords::default();
        (0..60).for_each(|n| words.push(format!("{n}")));
        assert_eq!((words.all().len(), words.last()), (KEPT_LINES_MAX, "59"));
        (0..60).for_each(|_| words.push("x".repeat(LINE_BYTES_MAX)));
        assert_eq!(words.all().len(), 8);
    }
}
