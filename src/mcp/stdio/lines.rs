//! Lines of a child's standard output, bounded and charged to the byte budget, and the messages in them.
//!
//! One message a line, as the stdio transport has it; blank lines, CRLF and arrays of messages (which one old revision
//! knows) are understood. Anything else is noise and costs nobody anything.
//!
//! A child may print a line without an end, or stop in the middle of one. A long line is charged before it grows;
//! where there is no room in time, or where it does not end in time, it is read to its end and forgotten. It
//! fails with what the pipe fails with.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::net::{Budget, Reservation};
use crate::relay::json;
use crate::relay::message::{Malformed, Message};
use crate::text::head;

/// Longest line of a child.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a long line may take to end, and may be waited for: children that stop in the middle of theirs would
/// otherwise keep everybody else from reading large bodies. Smaller answers of the same child wait behind it.
const LONG_LINE_TIME_MAX: Duration = Duration::from_secs(30);

/// How much of either end of a skipped line is kept, to tell whose answer it was.
const END_KEPT_BYTES: usize = 1024;

/// Most messages of an array. Each takes memory beyond its text, and a long line has room for millions of elements;
/// no child owes as many answers.
const ARRAY_MAX: usize = 4096;

/// How much of what is no message is handed to the log, which cleans it and shows less.
const NOISE_BYTES_MAX: usize = 4096;

/// The pipe of a child, or bytes in a test.
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

/// What a line of a child is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Its message, or those of its array; an error is the beginning of what is no message.
    Messages(Vec<Result<Message, String>>),
    /// A line above the bound, or one for which there was no memory: the id of the answer in it, where it could be
    /// told.
    Skipped(Option<String>),
}

impl Output {
    /// The beginning of the first text in it that is no message. What has the mark of one may be a caller's data.
    pub(super) fn noise(&self) -> Option<&str> {
        let Output::Messages(messages) = self else { return None };
        let noise = messages.iter().find_map(|message| message.as_ref().err())?;
        (!noise.contains("jsonrpc")).then_some(noise)
    }
}

/// Reader of lines within a budget.
#[derive(Debug)]
pub(super) struct Lines {
    budget: Arc<Budget>,
    /// How long a long line may take to end, and may be waited for.
    time: Duration,
    /// What the line that is being read, or the last one, occupies of the budget.
    held: Option<Reservation>,
}

impl Lines {
    pub(super) fn new(budget: Arc<Budget>) -> Lines {
        Lines { budget, time: LONG_LINE_TIME_MAX, held: None }
    }

    /// What the last line occupies of the budget, for the holder of its messages.
    pub(super) fn held(&mut self) -> Option<Reservation> {
        self.held.take()
    }

    /// Reads the next line that is not blank; `None` at the end of the stream.
    pub(super) fn next(&mut self, source: &mut impl Source) -> io::Result<Option<Output>> {
        loop {
            self.held = None;
            let mut line = Vec::new();
            // In this order: reading to the end of a line takes as long as the child likes.
            if !read_to_end_of_line(source, &mut line, self.budget.free_bytes())?
                && !self.read_long(source, &mut line)?
            {
                self.held = None;
                return skip(source, line).map(|id| Some(Output::Skipped(id)));
            }
            if line.is_empty() {
                return Ok(None);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Output::Messages(messages(line))));
            }
        }
    }

    /// Reads the rest of a line that is longer than what is free; false when it has to be skipped.
    fn read_long(&mut self, source: &mut impl Source, line: &mut Vec<u8>) -> io::Result<bool> {
        // Room for the longest line there is, at once and not by and by: two half-read lines can then never wait for
        // each other.
        let bytes = LINE_BYTES_MAX.min(self.budget.capacity());
        self.held = self.budget.reserve(bytes, Instant::now() + self.time);
        let Some(held) = &mut self.held else { return Ok(false) };
        let until = Instant::now() + self.time;
        loop {
            if !source.wait(until) {
                return Ok(false);
            }
            // No more than has come already, so that reading it does not wait.
            let come = buffered(source)?;
            if line.len() + come > bytes {
                return Ok(false);
            }
            if read_to_end_of_line(source, line, come)? {
                held.shrink(line.len());
                line.shrink_to_fit();
                return Ok(true);
            }
        }
    }
}

/// Reads up to the end of a line, and `most` bytes at most; false when the line goes on. The end of the stream is the
/// end of the last line.
fn read_to_end_of_line(source: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let read = source.take(most).read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n") || u64::try_from(read).is_ok_and(|read| read < most || most == 0))
}

/// How many bytes of the present line have come; none at the end of the stream.
fn buffered(source: &mut impl BufRead) -> io::Result<usize> {
    loop {
        match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(come) => {
                return { come }.skip_until(b'\n');
            }
        }
    }
}

/// Reads a line to its end and forgets it, but for both its ends: servers write the id of an answer first or last.
fn skip(source: &mut impl BufRead, mut line: Vec<u8>) -> io::Result<Option<String>> {
    let first = String::from_utf8_lossy(line.get(..END_KEPT_BYTES).unwrap_or(&line)).into_owned();
    let mut last = line.split_off(line.len().saturating_sub(END_KEPT_BYTES));
    drop(line);
    loop {
        let come = buffered(source)?;
        let ended = read_to_end_of_line(source, &mut last, come)?;
        last.drain(..last.len().saturating_sub(END_KEPT_BYTES));
        if ended {
            break;
        }
    }
    let last = String::from_utf8_lossy(&last);
    // Whatever else stands there is no JSON value, and names no call.
    let mut ids = [first_id(&first), last_id(&last)].into_iter().flatten();
    Ok(ids.find(|id| json::value(id).is_ok()).map(str::to_owned))
}

/// The id as it is written. Of the members of an object only the first two and the last are known to be its own.
fn first_id(text: &str) -> Option<&str> {
    let members = text.trim_start().strip_prefix('{')?.trim_start();
    let members = match members.strip_prefix("\"jsonrpc\"") {
        Some(version) => version.split_once(',')?.1,
        None => members,
    };
    let value = members.trim_start().strip_prefix("\"id\"")?.trim_start().strip_prefix(':')?;
    Some(value.split_once(',')?.0.trim())
}

fn last_id(text: &str) -> Option<&str> {
    let (_, value) = text.trim_end().strip_suffix('}')?.rsplit_once("\"id\"")?;
    Some(value.trim_start().strip_prefix(':')?.trim())
}

/// The messages of a line.
fn messages(line: Vec<u8>) -> Vec<Result<Message, String>> {
    let noise = |text: &str| Err(head(text, NOISE_BYTES_MAX).to_owned());
    let Ok(text) = String::from_utf8(line) else { return vec![noise("")] };
    match Message::parse(text) {
        Ok(message) => vec![Ok(message)],
        Err((Malformed::NotAnObject, text)) => {
            let elements = json::value(&text).and_then(|whole| json::elements(&text, whole));
            let elements = elements.ok().flatten().filter(|elements| elements.len() <= ARRAY_MAX);
            let Some(elements) = elements else { return vec![noise(&text)] };
            let message =
                |element: &str| Message::parse(element.to_owned()).or_else(|(_, text)| noise(&text));
            elements.into_iter().map(|span| message(span.of(&text))).collect()
        }
        Err((_, text)) => vec![noise(&text)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::FREE_BYTES;

    impl Source for &[u8] {
        fn wait(&mut self, _: Instant) -> bool {
            true
        }
    }

    /// An answer as long as a line may be without being charged, and a little more.
    fn long(head: &str, tail: &str) -> String {
        format!("{{{head}\"result\":\"{}\"{tail}}}\n", "x".repeat(FREE_BYTES))
    }

    /// The lines of a text.
    fn lines(text: &[u8]) -> Vec<Output> {
        let (mut source, mut lines) = (text, Lines::new(Budget::new(LINE_BYTES_MAX)));
        std::iter::from_fn(|| lines.next(&mut source).unwrap()).collect()
    }

    fn noise(text: &str) -> Output {
        Output::Messages(vec![Err(text.to_owned())])
    }

    fn message(text: &str) -> Output {
        Output::Messages(vec![Ok(Message::parse(text.to_owned()).unwrap())])
    }

    const ANSWER: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";

    #[test]
    fn blank_lines_and_noise_cost_nothing() {
        let text = format!("\n{ANSWER}\r\n\r\n \nstarting up\n{{}}\nhalf {{\n{ANSWER}");
        let answer = message(&format!("{ANSWER}\r\n"));
        let wanted = [answer, noise("starting up\n"), noise("{}\n"), noise("half {\n"), message(ANSWER)];
        assert_eq!(lines(text.as_bytes()), wanted);
        let latin = [b"\xe9t\xe9\n", ANSWER.as_bytes()].concat();
        assert_eq!(lines(&latin), [noise(""), message(ANSWER)]);
        let [Output::Messages(read)] = &lines("x".repeat(9_000).as_bytes())[..] else { panic!() };
        assert_eq!(read[0].as_ref().unwrap_err().len(), NOISE_BYTES_MAX);
    }

    #[test]
    fn a_message_over_several_lines_is_noise_and_swallows_nothing() {
        let spread = ANSWER.replace(',', ",\n");
        let text = format!("{{\"torn\":\n{ANSWER}\n{spread}\n{ANSWER}\n");
        let read = lines(text.as_bytes());
        let answers: Vec<usize> =
            (0..read.len()).filter(|at| read[*at] == message(&format!("{ANSWER}\n"))).collect();
        assert_eq!((read.len(), answers), (6, vec![1, 5]));
    }

    #[test]
    fn an_array_is_several_messages() {
        let kinds = |text: &str| match &lines(text.as_bytes())[..] {
            [Output::Messages(read)] => read.iter().map(Result::is_ok).collect::<Vec<bool>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kinds(ANSWER), [true]);
        assert_eq!(kinds(&format!("[{ANSWER},7,{ANSWER}]")), [true, false, true]);
        assert_eq!(kinds("7"), [false]);
        assert!(kinds("[]").is_empty());
        // More than anybody can mean is not taken apart.
        let many = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert_eq!(kinds(&many(ARRAY_MAX)).len(), ARRAY_MAX);
        assert_eq!(kinds(&many(ARRAY_MAX + 1)), [false]);
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
        assert_eq!(lines.next(&mut source).unwrap(), Some(Output::Skipped(None)));
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_some());
    }

    #[test]
    fn a_long_line_is_charged() {
        let budget = Budget::new(LINE_BYTES_MAX);
        let answer = long("\"jsonrpc\":\"2.0\",\"id\":7,", "");
        let (mut source, mut lines) = (answer.as_bytes(), Lines::new(Arc::clone(&budget)));
        assert_eq!(lines.next(&mut source).unwrap(), Some(message(&answer)));
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
            let Some(Output::Skipped(id)) = lines.next(&mut source).unwrap() else { panic!("it was taken") };
            assert_eq!(lines.next(&mut source).unwrap(), Some(noise("{}\n")));
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
        assert_eq!(lines.next(&mut source).unwrap(), Some(Output::Skipped(Some("7".into()))));
        assert!(budget.reserve(LINE_BYTES_MAX, Instant::now()).is_some());
    }
}
