//! Lines of a child's standard output, bounded, with its noise left out.
//!
//! One message a line is the rule; blank lines, CRLF and messages that were printed over several lines
//! are understood. Anything else is noise and costs nobody anything.

use std::io::{self, BufRead};

use crate::relay::json;
use crate::relay::message::{Malformed, Message};

/// Longest line of a child.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest message that may be spread over several lines. Each further line means reading what there
/// is once more, so this bounds work as well as memory.
const SPREAD_BYTES_MAX: usize = 256 * 1024;

/// One step of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A JSON text that may be a message.
    Text(String),
    /// A line that is none.
    Noise,
}

/// Puts lines together. It holds at most one unfinished message.
#[derive(Debug, Default)]
pub(super) struct Frames {
    unfinished: String,
}

impl Frames {
    /// Reads the next line; `None` at the end of the stream.
    pub(super) fn next(&mut self, source: &mut impl BufRead) -> io::Result<Option<Frame>> {
        loop {
            let line = match read_line(source)? {
                Line::End => return Ok(None),
                Line::TooLong => {
                    self.unfinished.clear();
                    return Ok(Some(Frame::Noise));
                }
                Line::Bytes(bytes) => bytes,
            };
            let Ok(line) = String::from_utf8(line) else {
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

    /// A line that is complete by itself ends what was unfinished before it: a torn message must not
    /// swallow the ones that follow.
    fn take(&mut self, line: String) -> Option<Frame> {
        match json::value(&line) {
            Ok(_) => {
                self.unfinished.clear();
                Some(Frame::Text(line))
            }
            Err(_) if !self.unfinished.is_empty() => {
                self.unfinished.push('\n');
                self.unfinished.push_str(&line);
                self.finish()
            }
            Err(fault) if fault.is_cut && line.trim_start().starts_with(['{', '[']) => {
                self.unfinished = line;
                None
            }
            Err(_) => Some(Frame::Noise),
        }
    }

    fn finish(&mut self) -> Option<Frame> {
        match json::value(&self.unfinished) {
            Ok(_) => Some(Frame::Text(std::mem::take(&mut self.unfinished))),
            // Still a beginning, and still within bounds.
            Err(fault) if fault.is_cut && self.unfinished.len() < SPREAD_BYTES_MAX => None,
            Err(_) => {
                self.unfinished.clear();
                Some(Frame::Noise)
            }
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

enum Line {
    Bytes(Vec<u8>),
    TooLong,
    End,
}

/// Reads up to a line end. What exceeds the bound is read to its end and forgotten.
fn read_line(source: &mut impl BufRead) -> io::Result<Line> {
    let (mut line, mut too_long, mut any) = (Vec::new(), false, false);
    loop {
        let available = match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() {
            return Ok(if too_long {
                Line::TooLong
            } else if any {
                Line::Bytes(line)
            } else {
                Line::End
            });
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        if line.len() + taken > LINE_BYTES_MAX {
            too_long = true;
            line = Vec::new();
        }
        if !too_long {
            line.extend_from_slice(available.get(..taken).unwrap_or_default());
        }
        source.consume(taken);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Bytes(line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<Frame> {
        let mut source = text.as_bytes();
        let mut frames = Frames::default();
        std::iter::from_fn(|| frames.next(&mut source).unwrap()).collect()
    }

    fn text(text: &str) -> Frame {
        Frame::Text(text.into())
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
            [text("{\n\n  \"a\": 1\n\n}\n"), text("{\"b\":2}\n")]
        );
    }

    #[test]
    fn a_torn_message_swallows_nothing() {
        assert_eq!(frames("{\"a\":\n{\"b\":2}\n"), [text("{\"b\":2}\n")]);
        assert_eq!(frames("{\"a\":\nnonsense\n{\"b\":2}\n"), [Frame::Noise, text("{\"b\":2}\n")]);
        assert_eq!(frames("{\"a\":"), []);
    }

    #[test]
    fn an_endless_line_is_forgotten() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(frames(&format!("{long}\n{{}}\n")), [Frame::Noise, text("{}\n")]);
    }
}
