//! Server-sent events, against a reader that has all lines before it; and however the bytes arrive.

use std::time::{Duration, Instant};

use super::bytes::Bytes;
use crate::mcp::http::sse::{EVENT_BYTES_MAX, Position, Source, Stream};
use crate::net::{Budget, Error};

/// Lines without data that are longer may be cut, by whatever had come of them.
const CUT_BYTES: usize = 2048;

/// Longest id that counts.
const ID_BYTES_MAX: usize = 1024;

/// An event: its data, and the position behind it.
type Seen = (String, Option<Vec<u8>>, Option<Duration>);

struct Pieces<'a> {
    rest: &'a [u8],
    length: usize,
}

impl Source for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> Result<usize, Error> {
        let count = self.length.min(buffer.len()).min(self.rest.len());
        let (now, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = rest;
        Ok(count)
    }
}

/// All events of a stream that comes in pieces of this length, and whether it ended well.
fn events(stream: &[u8], length: usize, most: usize) -> (Vec<Seen>, bool) {
    let source = Pieces { rest: stream, length };
    let mut stream =
        Stream::new(source, Budget::new(1 << 30), most, Instant::now() + Duration::from_secs(60));
    let (mut position, mut seen) = (Position::default(), Vec::new());
    loop {
        match stream.next(&mut position) {
            Ok(Some(event)) => {
                let id = position.last_id.as_ref().map(|id| id.as_bytes().to_vec());
                seen.push((event.data, id, position.retry));
            }
            Ok(None) => return (seen, true),
            Err(_) => return (seen, false),
        }
    }
}

/// The same, read naively.
fn expected(stream: &[u8]) -> (Vec<Seen>, bool) {
    let stream = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let (mut seen, mut id, mut retry) = (Vec::new(), None, None);
    let (mut data, mut name, mut own_id): (Vec<&str>, &[u8], Option<&[u8]>) = (Vec::new(), b"", None);
    for (at, line) in lines.iter().chain([&b"".as_slice()]).enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // The line behind the last ends an event that has data, and nothing else.
            if at == lines.len() && data.is_empty() {
                break;
            }
            if let Some(own) = own_id {
                let legal =
                    own.len() <= ID_BYTES_MAX && own.iter().all(|byte| matches!(byte, 9 | 32..=126 | 128..));
                id = legal.then(|| own.to_vec());
            }
            let text = data.join("\n").trim_start_matches('\n').to_owned();
            if !text.is_empty() && matches!(name, b"" | b"message") {
                seen.push((text, id.clone(), retry));
            }
            (data, name, own_id) = (Vec::new(), b"", None);
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match std::str::from_utf8(value) {
                Ok(text) => data.push(text),
                Err(_) => return (seen, false),
            },
            b"event" => name = value,
            b"id" if !value.is_empty() => own_id = Some(value),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let number = std::str::from_utf8(value).unwrap().parse().ok();
                retry = number.map(Duration::from_millis).or(retry);
            }
            _ => {}
        }
    }
    (seen, true)
}

/// The first byte says how small the pieces are.
pub fn run(data: &[u8]) {
    let mut choices = Bytes(data);
    let length = 1 + choices.below(40);
    let stream = choices.0;
    let whole = events(stream, usize::MAX, EVENT_BYTES_MAX);
    let is_cut = |line: &[u8]| line.len() > CUT_BYTES && !line.starts_with(b"data");
    if !stream.split(|byte| *byte == b'\n').any(is_cut) {
        assert_eq!(whole, expected(stream));
        assert_eq!(whole, events(stream, length, EVENT_BYTES_MAX));
    }
    // What is larger than it may be ends the stream, and changes nothing before.
    let (small, _) = events(stream, length, 40);
    assert!(small.iter().all(|(data, ..)| data.len() <= 40));
    assert!(small.len() <= whole.0.len());
}
