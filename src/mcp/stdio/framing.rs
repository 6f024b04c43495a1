//! Messages of a child's standard output, put together from its lines, with its noise left out.
//!
//! One message a line is the rule; blank lines, CRLF and messages that were printed over several lines
//! are understood. Anything else is noise and costs nobody anything.
//!
//! This module looks at what lines say; how much of one is taken is decided in [`super::lines`].

use std::io;
use std::sync::Arc;

use crate::net::{Budget, Reservation};
use crate::relay::json;
use crate::relay::message::{Malformed, Message};
use crate::text::head;

use super::lines::{Line, Lines, Source};

/// Longest message that may be spread over several lines: what is kept of one that never ends.
const SPREAD_BYTES_MAX: usize = 256 * 1024;

/// How much of a skipped line is kept for the log.
const SKIPPED_BYTES_MAX: usize = 4096;

/// One step of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message, read once and for all.
    Message(Box<Message>),
    /// Another JSON text: an array of messages, or none.
    Text(String),
    /// A line that is none.
    Noise,
    /// A line for which there was no memory: the id of the answer in it, where it could be told.
    Skipped(Option<String>),
}

/// Puts lines together. It holds at most one unfinished message.
#[derive(Debug)]
pub(super) struct Frames {
    unfinished: String,
    /// The beginning of a line that was skipped.
    skipped: Option<String>,
    /// How far into a value `unfinished` leads.
    scan: Scan,
    lines: Lines,
}

impl Frames {
    /// Reads lines within this budget.
    pub(super) fn new(budget: Arc<Budget>) -> Frames {
        Frames { unfinished: String::new(), skipped: None, scan: Scan::default(), lines: Lines::new(budget) }
    }

    /// What the last text occupies of the byte budget, for whoever keeps the text.
    pub(super) fn held(&mut self) -> Option<Reservation> {
        self.lines.held()
    }

    /// Reads the next line; `None` at the end of the stream.
    pub(super) fn next(&mut self, source: &mut impl Source) -> io::Result<Option<Frame>> {
        loop {
            let line = match self.lines.next(source)? {
                Line::End => return Ok(None),
                Line::TooLong => None,
                Line::Skipped(id) => {
                    self.unfinished.clear();
                    return Ok(Some(Frame::Skipped(id)));
                }
                Line::Bytes(bytes) => String::from_utf8(bytes).ok(),
            };
            let Some(line) = line else {
                self.unfinished.clear();
                return Ok(Some(Frame::Noise));
            };
            if line.trim().is_empty() {
                continue;
            }
            if let Some(frame) = self.take(line) {
                return Ok(Some(frame));
            }
        }
    }

    /// The beginning of the line that was skipped since the last call.
    pub(super) fn skipped(&mut self) -> Option<String> {
        self.skipped.take()
    }

    fn take(&mut self, line: String) -> Option<Frame> {
        if self.unfinished.is_empty() {
            return self.begin(line);
        }
        // A torn message must not swallow the ones that follow. Other values that are complete by
        // themselves are what long messages consist of.
        let line = match whole_message(line) {
            Ok(message) => {
                self.unfinished.clear();
                return Some(Frame::Message(Box::new(message)));
            }
            Err(line) => line,
        };
        if self.unfinished.len() + line.len() > SPREAD_BYTES_MAX {
            self.unfinished.clear();
            return Some(Frame::Noise);
        }
        match self.scan.pass(&line) {
            // The line may be the beginning of the next one.
            Progress::Broken => {
                self.unfinished.clear();
                self.begin(line)
            }
            progress => {
                self.unfinished.push_str(&line);
                if matches!(progress, Progress::Open) {
                    return None;
                }
                let text = std::mem::take(&mut self.unfinished);
                Some(whole(text).unwrap_or(Frame::Noise))
            }
        }
    }

    /// A line with nothing unfinished before it.
    fn begin(&mut self, line: String) -> Option<Frame> {
        let (fault, line) = match whole(line) {
            Ok(frame) => return Some(frame),
            Err(torn) => torn,
        };
        self.scan = Scan::default();
        let begins = fault.is_cut
            && line.len() <= SPREAD_BYTES_MAX
            && line.trim_start().starts_with(['{', '['])
            && matches!(self.scan.pass(&line), Progress::Open);
        if !begins {
            self.skipped = Some(head(&line, SKIPPED_BYTES_MAX).to_owned());
            return Some(Frame::Noise);
        }
        self.unfinished = line;
        None
    }
}

/// The frame that a text is, or why it is no JSON.
fn whole(text: String) -> Result<Frame, (json::Fault, String)> {
    match Message::parse(text) {
        Ok(message) => Ok(Frame::Message(Box::new(message))),
        Err((Malformed::Json(fault), text)) => Err((fault, text)),
        Err((_, text)) => Ok(Frame::Text(text)),
    }
}

/// The message that a line is, or the line back.
fn whole_message(line: String) -> Result<Message, String> {
    if !(line.trim_start().starts_with('{') && line.trim_end().ends_with('}')) {
        return Err(line);
    }
    Message::parse(line).map_err(|(_, line)| line)
}

/// What a line did to an unfinished value.
enum Progress {
    /// The value goes on.
    Open,
    /// The value ended. Whether it is one, and alone, is for the parser to say.
    Closed,
    /// No further line can make this a value.
    Broken,
}

/// Where in a value its lines have led so far. Every byte is looked at once, however many lines there
/// are; the parser sees the whole, at the end. This is coarser than the parser and never stricter.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    /// The last byte outside of strings that is not blank; 0 before the first.
    last: u8,
}

impl Scan {
    fn pass(&mut self, line: &str) -> Progress {
        let (mut in_string, mut escaped) = (false, false);
        for byte in line.bytes() {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                _ if !self.may_follow(byte) => return Progress::Broken,
                b'"' => in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth <= 1 => return Progress::Closed,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            self.last = byte;
        }
        // No string of JSON goes over the end of a line.
        if in_string { Progress::Broken } else { Progress::Open }
    }

    /// Whether a byte outside of strings can stand behind the last one. Two values always have
    /// something between them: what has not is a message that was torn and the next.
    fn may_follow(&self, byte: u8) -> bool {
        match byte {
            b'{' | b'[' => matches!(self.last, 0 | b'[' | b',' | b':'),
            b'"' => matches!(self.last, b'{' | b'[' | b',' | b':'),
            // Among the letters are those of true, false, null and of exponents.
            _ => b"}],:+-.0123456789Etruefalsn".contains(&byte),
        }
    }
}

/// The messages in one text: one, or those of an array.
pub(super) fn messages(text: String) -> Vec<Option<Message>> {
    match Message::parse(text) {
        Ok(message) => vec![Some(message)],
        Err((Malformed::NotAnObject, text)) => {
            let elements = json::value(&text).and_then(|whole| json::elements(&text, whole));
            let elements = elements.ok().flatten().unwrap_or_default();
            elements.into_iter().map(|span| Message::parse(span.of(&text).to_owned()).ok()).collect()
        }
        Err(_) => vec![None],
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::LINE_BYTES_MAX;
    use super::*;

    fn frames(text: &str) -> Vec<Frame> {
        let mut source = text.as_bytes();
        let mut frames = Frames::new(Budget::new(LINE_BYTES_MAX));
        std::iter::from_fn(|| frames.next(&mut source).unwrap()).collect()
    }

    fn text(text: &str) -> Frame {
        let read = Message::parse(text.into());
        read.map_or_else(|(_, text)| Frame::Text(text), |message| Frame::Message(message.into()))
    }

    #[test]
    fn lines_blank_lines_and_noise() {
        let read = frames("\n{\"a\":1}\r\n\r\nstarting up\n[1]\nhalf {\n{\"b\":2}");
        assert_eq!(
            read,
            [text("{\"a\":1}\r\n"), Frame::Noise, text("[1]\n"), Frame::Noise, text("{\"b\":2}")]
        );
    }

    #[test]
    fn an_array_is_several_messages() {
        let kinds =
            |text: &str| -> Vec<bool> { messages(text.to_owned()).iter().map(Option::is_some).collect() };
        let one = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert_eq!(kinds(one), [true]);
        assert_eq!(kinds(&format!("[{one},7,{one}]")), [true, false, true]);
        assert_eq!(kinds("{}"), [false]);
        assert!(kinds("[]").is_empty());
    }

    #[test]
    fn a_message_over_several_lines_is_one() {
        assert_eq!(
            frames("{\n  \"a\": 1\n}\n{\"b\":2}\n"),
            [text("{\n  \"a\": 1\n}\n"), text("{\"b\":2}\n")]
        );
    }

    #[test]
    fn values_on_lines_of_their_own_are_parts() {
        for whole in [
            "{\n\"x\": [\n  \"a\",\n  \"b\"\n]\n}\n",
            "{\n\"x\":\n  {\"k\": true}\n, \"y\": [\n1,\n-2.5E+3\n]\n}\n",
            "[\n{\n\"x\": \"}\\\"{\"\n},\nnull\n]\n",
        ] {
            assert_eq!(frames(&format!("{whole}{{}}\n")), [text(whole), text("{}\n")]);
        }
    }

    const MESSAGE: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";

    #[test]
    fn a_torn_message_swallows_nothing() {
        assert_eq!(frames(&format!("{{\"a\":\n{MESSAGE}")), [text(MESSAGE)]);
        assert_eq!(frames(&format!("{{\"a\":\nnonsense\n{MESSAGE}")), [Frame::Noise, text(MESSAGE)]);
        assert_eq!(frames("{\"a\":"), []);
        // Nor one that goes over several lines.
        let spread = MESSAGE.replace(',', ",\n");
        assert_eq!(frames(&format!("{{\"a\":1\n{spread}")), [text(&spread)]);
    }

    #[test]
    fn a_line_that_ends_in_a_string_is_noise() {
        assert_eq!(frames("{\"a\":\"b\n{\"c\":1}\n"), [Frame::Noise, text("{\"c\":1}\n")]);
        assert_eq!(frames("{\n\"a\":\"b\n{\"c\":1}\n"), [Frame::Noise, text("{\"c\":1}\n")]);
        assert_eq!(frames("{\"a\":\"b"), [Frame::Noise]);
        let bytes = b"{\n\xff\n{\"c\":1}\n";
        let (mut source, mut frames) = (&bytes[..], Frames::new(Budget::new(0)));
        assert_eq!(frames.next(&mut source).unwrap(), Some(Frame::Noise));
        assert_eq!(frames.next(&mut source).unwrap(), Some(text("{\"c\":1}\n")));
    }

    #[test]
    fn a_message_that_never_ends_is_bounded() {
        let line = format!("[{}\n", "1,".repeat(SPREAD_BYTES_MAX / 2));
        assert_eq!(frames(&format!("{line}{{}}\n")), [Frame::Noise, text("{}\n")]);
        // Looked at once: to read it again with every line took minutes.
        let begin = std::time::Instant::now();
        let endless = format!("[0\n{}", ",1\n".repeat(60_000));
        assert_eq!(frames(&format!("{endless}]\n")).len(), 1);
        assert!(begin.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn an_endless_line_is_forgotten() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(frames(&format!("{long}\n{{}}\n")), [Frame::Noise, text("{}\n")]);
    }
}
