//! Private ids of the calls of a child, and the lines that are written to it under them.
//!
//! Every call of a child carries a number of ours in place of the caller's id, so equal ids of two
//! conversations cannot meet and a late answer cannot reach a newer call. A progress token becomes
//! the same number. Both keep their JSON type; everything else keeps its text.
//!
//! A caller that could guess the number of another's call could have it answered by a server that takes a
//! message's id from elsewhere. So the first number of a child is random, and strings carry a random mark.

use std::io::{self, Write};
use std::sync::Arc;

use crate::crypto;
use crate::relay::inflight::Ticket;
use crate::relay::json::{self, Span};
use crate::relay::message::Message;

/// How much of a line is written at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Bits of the first number. Servers exist that keep ids in 32 bits and answer under what is left of a
/// longer one; half of what fits there remains to count in.
const FIRST_BITS: u32 = 30;

/// Longest spelling of a private id that is looked at: ours with every letter escaped.
const LITERAL_BYTES_MAX: usize = 256;

/// The private ids of one child. None is given out twice.
pub(super) struct Numbers {
    /// What private strings begin with; numbers need no mark.
    mark: String,
    first: u64,
    /// The next number.
    pub(super) next: u64,
}

impl Numbers {
    /// Private ids that begin with this mark and this number.
    pub(super) fn new(mark: String, first: u64) -> Numbers {
        Numbers { mark, first, next: first }
    }

    /// Private ids that cannot be guessed. Fails when the system has no random bytes.
    pub(super) fn random() -> io::Result<Numbers> {
        let drawn = u128::from_le_bytes(crypto::random()?);
        let mark = u64::try_from(drawn >> 64).unwrap_or_default();
        let first = u64::try_from(drawn & ((1 << FIRST_BITS) - 1)).unwrap_or_default();
        Ok(Numbers::new(format!("tc-{mark:016x}-"), first))
    }

    pub(super) fn give(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn has_given(&self, number: u64) -> bool {
        (self.first..self.next).contains(&number)
    }

    /// The private form of a number for a caller's id or token, of the same JSON type.
    pub(super) fn private(&self, number: u64, like: &str) -> String {
        if like.starts_with('"') { format!("\"{}{number}\"", self.mark) } else { number.to_string() }
    }

    /// The number behind a private id or token.
    pub(super) fn read(&self, literal: &str) -> Option<u64> {
        if literal.len() > LITERAL_BYTES_MAX {
            return None;
        }
        match json::string(literal) {
            Some(text) => text.strip_prefix(&self.mark)?.parse().ok(),
            None => literal.parse().ok(),
        }
    }
}

/// A line that waits for a child. Its text is a caller's and may be large, so the line is made by the
/// thread that writes it, when nobody waits for a lock.
pub(super) struct Line {
    text: Text,
    replaced: Vec<(Span, String)>,
    /// The call that it begins; written only while that still waits.
    pub(super) call: Option<u64>,
    /// Its bytes in flight, where its command does not wait for the line to be written.
    _held: Option<Ticket>,
}

enum Text {
    Own(String),
    Caller(Arc<Message>),
}

impl Line {
    /// A line of our own making.
    pub(super) fn own(text: String) -> Line {
        Line { text: Text::Own(text), replaced: Vec::new(), call: None, _held: None }
    }

    /// A caller's message with its spans replaced, and what its command still holds.
    pub(super) fn of(message: &Arc<Message>, replaced: Vec<(Span, String)>, held: Option<Ticket>) -> Line {
        Line { text: Text::Caller(Arc::clone(message)), replaced, call: None, _held: held }
    }

    /// The message that begins a call, whose command waits for its end.
    pub(super) fn calling(number: u64, message: &Arc<Message>, replaced: Vec<(Span, String)>) -> Line {
        Line { call: Some(number), ..Line::of(message, replaced, None) }
    }

    /// How many bytes of text it holds.
    pub(super) fn bytes(&self) -> usize {
        self.text().len()
    }

    fn text(&self) -> &str {
        match &self.text {
            Text::Own(text) => text,
            Text::Caller(message) => message.text(),
        }
    }
}

/// Writes lines: short ones together, and a long one a piece at a time, so that a large message does not exist twice for
/// as long as a child does not read it. Raw line ends can only stand between tokens, where a space is as good: otherwise
/// one command could smuggle in others.
pub(super) fn write(lines: &[Line], pipe: &mut impl Write) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIECE_BYTES.min(lines.iter().map(Line::bytes).sum::<usize>() + 1024));
    for line in lines {
        let parts = parts(line.text(), &line.replaced);
        for piece in parts.iter().flat_map(|part| part.as_bytes().chunks(PIECE_BYTES)) {
            if buffer.len() + piece.len() > PIECE_BYTES {
                pipe.write_all(&buffer)?;
                buffer.clear();
            }
            let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
            buffer.extend(piece.iter().map(blank));
        }
        buffer.push(b'\n');
    }
    pipe.write_all(&buffer)
}

/// The pieces of the text with its spans replaced, of which there are two at most, in their order.
pub(super) fn parts<'a>(text: &'a str, replaced: &'a [(Span, String)]) -> Vec<&'a str> {
    let mut replaced: Vec<_> = replaced.iter().collect();
    replaced.sort_by_key(|(span, _)| span.start);
    let (mut parts, mut at) = (Vec::new(), 0);
    for (span, new) in replaced {
        parts.extend([Span { start: at, end: span.start }.of(text), new]);
        at = span.end;
    }
    parts.push(Span { start: at, end: text.len() }.of(text));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_forms_keep_the_type_and_lead_back() {
        let numbers = Numbers { next: 8, ..Numbers::new("tc-a-".into(), 5) };
        assert_eq!(
            (numbers.private(7, "1.5"), numbers.private(7, "\"x\"")),
            ("7".into(), "\"tc-a-7\"".into())
        );
        for literal in ["7", "\"tc-a-7\"", "\"\\u0074c-a-7\""] {
            assert_eq!(numbers.read(literal), Some(7));
        }
        for literal in ["\"x\"", "1.5", "\"tc-7\"", "\"7\""] {
            assert_eq!(numbers.read(literal), None);
        }
        assert_eq!([4, 5, 7, 8].map(|number| numbers.has_given(number)), [false, true, true, false]);
    }

    #[test]
    fn private_ids_begin_anywhere_and_fit_into_32_bits() {
        let drawn: Vec<Numbers> = (0..8).map(|_| Numbers::random().unwrap()).collect();
        assert!(drawn.iter().all(|numbers| numbers.first < 1 << 30 && numbers.mark.len() == 20));
        assert!(drawn.windows(2).any(|two| two[0].first.abs_diff(two[1].first) > 1 << 16));
        assert!(drawn.windows(2).all(|two| two[0].mark != two[1].mark));
    }

    #[test]
    fn only_spans_change_and_lines_stay_lines() {
        let text = "{\"id\":1,\n\"x\":\"a\\nb\",\"t\":2}";
        let replaced =
            vec![(Span { start: 24, end: 25 }, "9".to_owned()), (Span { start: 6, end: 7 }, "88".to_owned())];
        assert_eq!(parts(text, &replaced).concat(), "{\"id\":88,\n\"x\":\"a\\nb\",\"t\":9}");
        let line = Line { replaced, ..Line::own(text.to_owned()) };
        let mut bytes = Vec::new();
        write(&[line], &mut bytes).unwrap();
        assert_eq!(bytes, b"{\"id\":88, \"x\":\"a\\nb\",\"t\":9}\n");
    }
}
