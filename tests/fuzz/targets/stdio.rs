//! Targets that look into `mcp::stdio`: lines of a child, and what is written to one.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Instant;

use super::lines::{LINE_BYTES_MAX, Lines, Output, Source};
use super::rewrite::{Line, Numbers, write};
use crate::fuzz::bytes::Bytes;
use crate::fuzz::strict_json::{self as strict, Is, Value};
use crate::net::Budget;
use crate::relay::message::{Kind, Message};

/// A pipe that gives a few bytes at a time.
struct Pipe<'a> {
    rest: &'a [u8],
    length: usize,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.fill_buf()?.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pipe<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.rest[..self.length.min(self.rest.len())])
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}

impl Source for Pipe<'_> {
    fn wait(&mut self, _: Instant) -> bool {
        true
    }
}

/// What a child prints; the first byte says in what pieces it comes.
pub fn framing(data: &[u8]) {
    let mut choices = Bytes(data);
    let length = 1 + choices.below(60);
    let mut pipe = Pipe { rest: choices.0, length };
    let mut lines = Lines::new(Budget::new(LINE_BYTES_MAX));
    let mut expected = choices.0.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    while let Some(output) = lines.next(&mut pipe).unwrap() {
        let Output::Messages(messages) = output else { panic!("no line is long") };
        one_line(&messages, expected.next().expect("a line"));
    }
    assert_eq!(expected.next(), None);
}

fn one_line(messages: &[Result<Message, String>], line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else {
        return assert!(matches!(messages, [Err(noise)] if noise.is_empty()));
    };
    let Ok(Value { is: Is::List(items), .. }) = strict::read(line) else {
        let [one] = messages else { panic!("{messages:?}") };
        let alone = Message::parse(text.to_owned());
        assert_eq!(one.is_ok(), alone.is_ok());
        return match (one, alone) {
            (Ok(one), Ok(alone)) => {
                assert_eq!((one.text().trim_end_matches('\n'), one.id()), (text, alone.id()))
            }
            (Err(noise), _) => assert!(text.starts_with(noise.trim_end_matches('\n')) || noise.len() > 4000),
            _ => {}
        };
    };
    assert_eq!(messages.len(), items.len());
    for (message, item) in messages.iter().zip(items) {
        let element = &text[item.at];
        match message {
            Ok(message) => assert_eq!(message.text(), element),
            Err(noise) => {
                assert!(Message::parse(element.to_owned()).is_err() && element.starts_with(noise.as_str()))
            }
        }
    }
}

/// A request of a caller as a child gets it: one line, and but for id and token the same.
pub fn rewriting(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(message) = Message::parse(text.to_owned()) else { return };
    let Ok(before) = strict::read(data) else { return };
    let message = Arc::new(message);
    let mut numbers = Numbers::new("tc-00-".into(), 41);
    let number = numbers.give();
    let mut replaced = Vec::new();
    if message.kind() == Kind::Request {
        replaced.extend(message.renamed(&numbers.private(number, message.id().unwrap())));
        let token = message.places().token;
        replaced.extend(token.map(|span| (span, numbers.private(number, span.of(text)))));
    }
    let is_request = !replaced.is_empty();
    let mut out = Vec::new();
    write(&[Line::of(&message, replaced, None)], &mut out).unwrap();
    let line = out.strip_suffix(b"\n").expect("a line");
    assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    let after = strict::read(line).expect("still JSON");
    let again = Message::parse(String::from_utf8(line.to_vec()).unwrap()).expect("still a message");
    assert_eq!((again.kind(), again.method()), (message.kind(), message.method()));
    if is_request {
        let id = again.id().unwrap();
        assert_eq!(numbers.read(id), Some(number));
        assert_eq!(id.starts_with('"'), message.id().unwrap().starts_with('"'));
        let token = again.places().token.map(|span| numbers.read(span.of(again.text())));
        assert_eq!(token, message.places().token.map(|_| Some(number)));
    }
    assert!(same_but(&before, text.as_bytes(), &after, line, &["id", "params", "_meta"]));
}

/// Whether two values are the same but for the id, and the token at the end of this path.
fn same_but(one: &Value, text: &[u8], other: &Value, line: &[u8], path: &[&str]) -> bool {
    let (left, right) = (one.members(), other.members());
    left.len() == right.len()
        && left.iter().zip(right).all(|((name, left), (other, right))| {
            let is = |wanted: &str| strict::text(&name.units).as_deref() == Some(wanted);
            let inner = match path {
                ["id", ..] if is("id") => return true,
                ["id", "params", rest @ ..] if is("params") => Some(rest),
                ["_meta"] if is("_meta") => Some(&path[1..]),
                [] if is("progressToken") => return true,
                _ => None,
            };
            let same = match inner.filter(|_| matches!(left.is, Is::Object(_))) {
                Some(path) => same_but(left, text, right, line, path),
                None => left.same(text, right, line),
            };
            name.units == other.units && same
        })
}
