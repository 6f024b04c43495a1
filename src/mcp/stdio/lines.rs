//! Lines of a child's standard output, bounded and charged to the byte budget.
//!
//! A child may print a line without an end, or stop in the middle of one. A long line is charged before it grows;
//! where there is no room in time, or where it does not end in time, it is read to its end and forgotten. It
//! fails with what the pipe fails with.

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::net::{Budget, FREE_BYTES, Reservation};
use crate::relay::json;

/// Longest line of a child.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a long line may take to end, and may be waited for: children that stop in the middle of theirs would
/// otherwise keep everybody else from reading large bodies. Smaller answers of the same child wait behind it.
const LONG_LINE_TIME_MAX: Duration = Duration::from_secs(30);

/// How much of either end of a skipped line is kept, to tell whose answer it was.
const END_KEPT_BYTES: usize = 1024;

/// Where lines come from: the pipe of a child, or bytes in a test.
pub(super) trait Source: BufRead {
    /// Waits for bytes; false when there were none by `until`.
    fn wait(&mut self, until: Instant) -> bool;
}

impl Source for BufReader<ChildStdout> {
    fn wait(&mut self, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if !self.buffer().is_empty() {
                return true;
            }
            let mut pipe = [PollFd::new(self.get_ref().as_fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut pipe, left) {
                Ok(0) | Err(Errno::EINTR) => {}
                // The end of the pipe counts too, and what is wrong with it is for the reading to say.
                _ => return true,
            }
        }
    }
}

/// One step of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line with its end; the last may lack it.
    Bytes(Vec<u8>),
    /// One above the bound.
    TooLong,
    /// One for which there was no memory: the id of the answer in it, where it could be told.
    Skipped(Option<String>),
    /// The end of the stream.
    End,
}

/// Reads lines within a budget.
#[derive(Debug)]
pub(super) struct Lines {
    budget: Arc<Budget>,
    /// How long a long line may take to end, and may be waited for.
    time: Duration,
    /// What the line that is being read, or the last one, occupies of the budget.
    held: Option<Reservation>,
}

impl Lines {
    /// Reads within this budget.
    pub(super) fn new(budget: Arc<Budget>) -> Lines {
        Lines { budget, time: LONG_LINE_TIME_MAX, held: None }
    }

    /// What the last line occupies of the budget, for whoever keeps it.
    pub(super) fn held(&mut self) -> Option<Reservation> {
        self.held.take()
    }

    /// Reads up to a line end. What exceeds the bound, or finds no memory, is read to its end and forgotten.
    pub(super) fn next(&mut self, source: &mut impl Source) -> io::Result<Line> {
        let (mut line, mut skipped, mut any) = (Vec::new(), None, false);
        let mut until = None;
        self.held = None;
        loop {
            if until.is_some_and(|until| !source.wait(until)) {
                skipped = Some(Ends::of(std::mem::take(&mut line), false));
                (self.held, until) = (None, None);
            }
            let available = match source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            let piece = available.get(..taken).unwrap_or_default();
            any |= taken > 0;
            let bytes = line.len() + taken;
            let too_long = bytes > LINE_BYTES_MAX;
            if skipped.is_none() && (too_long || (bytes > FREE_BYTES && !self.charge(&mut until))) {
                skipped = Some(Ends::of(std::mem::take(&mut line), too_long));
                (self.held, until) = (None, None);
            }
            match &mut skipped {
                Some(ends) => ends.add(piece),
                None => line.extend_from_slice(piece),
            }
            source.consume(taken);
            if end.is_some() || taken == 0 {
                if let Some(held) = &mut self.held {
                    held.shrink(line.len());
                }
                return Ok(match skipped {
                    Some(ends) if ends.too_long => Line::TooLong,
                    Some(ends) => Line::Skipped(ends.id()),
                    None if any => Line::Bytes(line),
                    None => Line::End,
                });
            }
        }
    }

    /// Takes room for the longest line there is, at once and not by and by: two half-read lines can then never wait
    /// for each other. From now on the line has its time to end.
    fn charge(&mut self, until: &mut Option<Instant>) -> bool {
        if self.held.is_none() {
            let bytes = LINE_BYTES_MAX.min(self.budget.capacity());
            self.held = self.budget.reserve(bytes, Instant::now() + self.time);
            *until = Some(Instant::now() + self.time);
        }
        self.held.is_some()
    }
}

/// Both ends of a line that is skipped: servers write the id of an answer first or last.
struct Ends {
    too_long: bool,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    fn of(line: Vec<u8>, too_long: bool) -> Ends {
        let mut ends = Ends { too_long, head: Vec::new(), tail: Vec::new() };
        ends.add(&line);
        ends
    }

    fn add(&mut self, piece: &[u8]) {
        let room = END_KEPT_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let surplus = (self.tail.len() + piece.len()).saturating_sub(END_KEPT_BYTES);
        let (old, new) = (surplus.min(self.tail.len()), surplus.saturating_sub(self.tail.len()));
        self.tail.drain(..old);
        self.tail.extend_from_slice(piece.get(new..).unwrap_or_default());
    }

    /// The id as it is written: of the members of an object only the first two and the last are known to be its own.
    fn id(&self) -> Option<String> {
        let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&self.tail));
        let first = || {
            let members = head.trim_start().strip_prefix('{')?.trim_start();
            let members = match members.strip_prefix("\"jsonrpc\"") {
                Some(version) => version.split_once(',')?.1,
                None => members,
            };
            let value = members.trim_start().strip_prefix("\"id\"")?.trim_start().strip_prefix(':')?;
            Some(value.split_once(',')?.0.trim().to_owned())
        };
        let last = || {
            let members = tail.trim_end().strip_suffix('}')?;
            let (_, value) = members.rsplit_once("\"id\"")?;
            Some(value.trim_start().strip_prefix(':')?.trim().to_owned())
        };
        // Whatever else stands there is no JSON value, and names no call.
        [first(), last()].into_iter().flatten().find(|id| json::value(id).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Source for &[u8] {
        fn wait(&mut self, _: Instant) -> bool {
            true
        }
    }

    /// An answer as long as a line may be without being charged, and a little more.
    fn long(head: &str, tail: &str) -> String {
        format!("{{{head}\"result\":\"{}\"{tail}}}\n", "x".repeat(FREE_BYTES))
    }

    #[test]
    fn a_line_above_the_bound_is_not_kept() {
        /// So many bytes `x` and then a line end, none of which exist before they are read.
        struct Endless(usize);
        impl io::Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(self.0);
                buffer[..count].fill(b'x');
                self.0 -= count;
                match buffer.get_mut(count) {
                    Some(byte) if self.0 == 0 => *byte = b'\n',
                    _ => return Ok(count),
                }
                Ok(count + 1)
            }
        }
        impl Source for BufReader<Endless> {
            fn wait(&mut self, _: Instant) -> bool {
                true
            }
        }
        let budget = Budget::new(LINE_BYTES_MAX);
        let mut source = BufReader::with_capacity(1 << 20, Endless(LINE_BYTES_MAX));
        let mut lines = Lines::new(Arc::clone(&budget));
        assert_eq!(lines.next(&mut source).unwrap(), Line::TooLong);
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_some());
    }

    #[test]
    fn a_long_line_is_charged() {
        let budget = Budget::new(LINE_BYTES_MAX);
        let answer = long("", "");
        let (mut source, mut lines) = (answer.as_bytes(), Lines::new(Arc::clone(&budget)));
        assert_eq!(lines.next(&mut source).unwrap(), Line::Bytes(answer.clone().into()));
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_none());
        assert_eq!(lines.held().unwrap().bytes, answer.len());
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_some());
    }

    #[test]
    fn a_line_without_room_is_skipped_and_names_its_call() {
        let budget = Budget::new(LINE_BYTES_MAX);
        let _others = budget.reserve(1, Instant::now());
        let skipped = |head: &str, tail: &str| {
            let text = long(head, tail) + "{}\n";
            let (mut source, mut lines) = (text.as_bytes(), Lines::new(Arc::clone(&budget)));
            lines.time = Duration::ZERO;
            let Line::Skipped(id) = lines.next(&mut source).unwrap() else { panic!("it was taken") };
            assert_eq!(lines.next(&mut source).unwrap(), Line::Bytes(b"{}\n".to_vec()));
            id
        };
        assert_eq!(skipped("\"jsonrpc\": \"2.0\", \"id\" : 7 ,", "").as_deref(), Some("7"));
        assert_eq!(skipped("\"id\":\"tc-7\",", "").as_deref(), Some("\"tc-7\""));
        assert_eq!(skipped("", ",\"jsonrpc\":\"2.0\",\"id\":7").as_deref(), Some("7"));
        assert_eq!(skipped("\"x\":{\"id\":7},", ",\"y\":{\"id\":7}"), None);
    }

    #[test]
    fn a_line_that_does_not_end_gives_its_room_back() {
        struct Stuck(Vec<u8>, bool);
        impl io::Read for Stuck {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                unreachable!("it is read by its buffer")
            }
        }
        impl BufRead for Stuck {
            fn fill_buf(&mut self) -> io::Result<&[u8]> {
                Ok(&self.0)
            }
            fn consume(&mut self, count: usize) {
                self.0.drain(..count);
            }
        }
        impl Source for Stuck {
            fn wait(&mut self, _: Instant) -> bool {
                // Once the time is over, the rest comes.
                if !self.1 {
                    self.0 = b"\"}\n".to_vec();
                }
                std::mem::replace(&mut self.1, false)
            }
        }
        let budget = Budget::new(LINE_BYTES_MAX);
        let begun = long("\"id\":7,", "").replace("\"}\n", "");
        let (mut source, mut lines) = (Stuck(begun.into(), false), Lines::new(Arc::clone(&budget)));
        assert_eq!(lines.next(&mut source).unwrap(), Line::Skipped(Some("7".into())));
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_some());
    }
}
