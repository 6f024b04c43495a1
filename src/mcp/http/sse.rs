//! Reads server-sent events, bounded.
//!
//! It knows lines and fields, not messages. Lines end with LF or CR LF; a server that ends them with CR
//! alone is not known. It fails on data that is not UTF-8, on an event above its bound, and with whatever
//! the connection fails with.
//!
//! A server can put much into an event that nobody needs: of a line without data only its beginning is kept, so that
//! what is charged to the byte budget is all that a stream occupies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

use crate::net::{Budget, Error, FREE_BYTES, Kind, Reservation};

/// Most that one event may occupy, its data and the line that is being read together: what a JSON body may have. The
/// number of events has no bound but the call's time, since each is posted before the next is read.
pub const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an event that occupies the budget may take to end: two that never do would keep everybody
/// else from reading large bodies.
const HELD_TIME_MAX: Duration = Duration::from_secs(30);

/// How much is read at once: most events fit, and a hundred idle streams still cost little.
const CHUNK_BYTES: usize = 16 * 1024;

/// Longest event id that is kept for a resumption; it travels in a header, and servers bound those.
const ID_BYTES_MAX: usize = 1024;

/// How much is kept of a line that is no data: enough to see that an id is too long. A name that long is not `message`.
const LINE_KEPT_BYTES: usize = 2 * ID_BYTES_MAX;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Where the bytes of a stream come from: a reply, or pieces in a test.
pub trait Source {
    /// Reads some bytes, by `until` if one is given; 0 is the end.
    fn read(&mut self, buffer: &mut [u8], until: Option<Instant>) -> Result<usize, Error>;
}

impl Source for crate::net::Reply {
    fn read(&mut self, buffer: &mut [u8], until: Option<Instant>) -> Result<usize, Error> {
        match until {
            Some(until) => self.read_until(buffer, until),
            None => crate::net::Reply::read(self, buffer),
        }
    }
}

/// The data of one event that is a message.
#[derive(Debug)]
pub struct Event {
    /// Its text, lines joined with a newline.
    pub data: String,
    /// What it occupies of the byte budget.
    pub held: Option<Reservation>,
}

/// What outlives one connection: where to resume, and when.
#[derive(Debug, Default, Clone)]
pub struct Position {
    /// The id of the last event that arrived whole, when it is one that a header can carry.
    pub last_id: Option<HeaderValue>,
    /// The last `retry` of the server.
    pub retry: Option<Duration>,
}

/// One stream being read.
pub struct Stream<S> {
    source: S,
    budget: Arc<Budget>,
    event_bytes_max: usize,
    deadline: Instant,
    /// Bytes read; those before `start` are consumed. Up to `scanned` there is no line end and nothing is
    /// looked at again, or a long line in small pieces would cost the square of its length.
    pending: Vec<u8>,
    start: usize,
    scanned: usize,
    at_start: bool,
    ended: bool,
    held: Option<Reservation>,
    held_until: Option<Instant>,
    // The event that is being read.
    data: Option<String>,
    /// Whether it has a name by which it is no message.
    foreign: bool,
    /// Its id, cut behind the longest that counts.
    id: Option<Vec<u8>>,
}

impl<S: Source> Stream<S> {
    /// Starts reading events of at most so many bytes; memory beyond the free size is waited for until
    /// `deadline`.
    pub fn new(source: S, budget: Arc<Budget>, event_bytes_max: usize, deadline: Instant) -> Stream<S> {
        Stream {
            source,
            budget,
            event_bytes_max,
            deadline,
            pending: Vec::new(),
            start: 0,
            scanned: 0,
            at_start: true,
            ended: false,
            held: None,
            held_until: None,
            data: None,
            foreign: false,
            id: None,
        }
    }

    /// The next event that carries a message, or `None` at the end of the stream. Comments, other
    /// events and empty data only move `position`.
    pub fn next(&mut self, position: &mut Position) -> Result<Option<Event>, Error> {
        loop {
            let Some(line) = self.line()? else {
                // A last event may lack its blank line; one without data has not begun to arrive.
                return Ok(if self.data.is_some() { self.event(position) } else { None });
            };
            if line.is_empty() {
                match self.event(position) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let (field, value) = split(&line);
            match field {
                b"data" => {
                    let start = line.len() - value.len();
                    self.append(line, start)?;
                }
                b"event" => self.foreign = !matches!(value, b"" | b"message"),
                b"id" if !value.is_empty() => {
                    self.id = Some(value.get(..=ID_BYTES_MAX).unwrap_or(value).to_vec());
                }
                b"retry" => {
                    let retry = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                    position.retry = retry.map(Duration::from_millis).or(position.retry);
                }
                // A line that begins with a colon is a comment, often a sign of life; unknown fields are to be
                // ignored, or no server could ever add one.
                _ => {}
            }
        }
    }

    /// Gives back what the bytes came from, to be read to its end or dropped.
    pub fn into_source(self) -> S {
        self.source
    }

    /// Ends the event that was being read. Only now does its id count: a stream that breaks in the middle
    /// of an event is resumed before it, or the event would be lost. An id that no header can carry leaves
    /// nothing to resume from; from an earlier one everything since would come twice.
    fn event(&mut self, position: &mut Position) -> Option<Event> {
        if let Some(id) = self.id.take() {
            let short = id.len() <= ID_BYTES_MAX;
            position.last_id = HeaderValue::from_bytes(&id).ok().filter(|_| short);
        }
        let foreign = std::mem::take(&mut self.foreign);
        let data = self.data.take().filter(|data| !data.is_empty());
        let mut held = self.held.take();
        self.held_until = None;
        if foreign {
            return None;
        }
        let data = data?;
        if let Some(held) = &mut held {
            held.shrink(data.len());
        }
        Some(Event { data, held })
    }

    /// Adds the rest of a `data` line from `start`; several make one text with newlines between. The bound counts
    /// the newline too. The first line becomes the text itself: a large event would otherwise exist twice.
    fn append(&mut self, mut line: Vec<u8>, start: usize) -> Result<(), Error> {
        let data = self.data.get_or_insert_default();
        if data.len() + line.len() - start >= self.event_bytes_max {
            return Err(too_large());
        }
        line.drain(..start);
        let value = String::from_utf8(line)
            .map_err(|_| Error::new(Kind::Protocol, "the event stream is not UTF-8").sent(true))?;
        if data.is_empty() {
            *data = value;
        } else {
            data.push('\n');
            data.push_str(&value);
        }
        Ok(())
    }

    /// The next line without its end; `None` at the end of the stream. A last line may lack its end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let unscanned = self.pending.get(self.scanned..).unwrap_or_default();
            let end = unscanned.iter().position(|byte| *byte == b'\n').map(|offset| self.scanned + offset);
            match end {
                Some(end) => return Ok(Some(self.take_until(end, end + 1))),
                None if self.ended && self.start == self.pending.len() => return Ok(None),
                None if self.ended => {
                    let end = self.pending.len();
                    return Ok(Some(self.take_until(end, end)));
                }
                None => {
                    self.scanned = self.pending.len();
                    self.fill()?;
                }
            }
        }
    }

    /// Takes the bytes up to `end` as a line; reading goes on at `next`. A long line is not copied.
    fn take_until(&mut self, end: usize, next: usize) -> Vec<u8> {
        let mut line = if self.start == 0 && end > CHUNK_BYTES {
            let rest = self.pending.split_off(next);
            self.scanned = 0;
            std::mem::replace(&mut self.pending, rest)
        } else {
            let line = self.pending.get(self.start..end).unwrap_or_default().to_vec();
            (self.start, self.scanned) = (next, next);
            line
        };
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.at_start) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        line
    }

    /// Forgets all but the beginning of an unfinished line that is no data.
    fn cut(&mut self) {
        let line = self.pending.as_slice();
        let line = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| self.at_start).unwrap_or(line);
        if line.len() > LINE_KEPT_BYTES && !line.starts_with(b"data") {
            self.pending.truncate(LINE_KEPT_BYTES);
            self.scanned = LINE_KEPT_BYTES;
        }
    }

    /// Reads more bytes. Small events are free, as small bodies are; a large one is charged.
    fn fill(&mut self) -> Result<(), Error> {
        self.pending.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.cut();
        let occupied = self.pending.len() + self.data.as_ref().map_or(0, String::len);
        if occupied >= self.event_bytes_max {
            return Err(too_large());
        }
        if occupied > FREE_BYTES && self.held.is_none() {
            // The whole bound at once: two half-read events can then never wait for each other.
            let bytes = self.event_bytes_max.min(self.budget.capacity());
            let held = self.budget.reserve(bytes, self.deadline);
            self.held = Some(held.ok_or_else(too_large)?);
            self.held_until = Some(Instant::now() + HELD_TIME_MAX);
        }
        let filled = self.pending.len();
        self.pending.resize(filled + CHUNK_BYTES, 0);
        let free = self.pending.get_mut(filled..).unwrap_or_default();
        let read = self.source.read(free, self.held_until);
        self.pending.truncate(filled + read.as_ref().map_or(0, |count| *count));
        self.ended = match read {
            Err(_) if self.held_until.is_some_and(|until| Instant::now() >= until) => return Err(too_large()),
            read => read? == 0,
        };
        Ok(())
    }
}

/// The name of a line's field, and its value without the blank that may stand before it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return (line, b"") };
    let (field, value) = line.split_at(colon);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (field, value.strip_prefix(b" ").unwrap_or(value))
}

fn too_large() -> Error {
    Error::new(
        Kind::TooLarge,
        "an event of the stream is above its bound, takes too long, or finds the byte budget spent",
    )
    .sent(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<Vec<u8>>);

    impl Source for Pieces {
        fn read(&mut self, buffer: &mut [u8], _: Option<Instant>) -> Result<usize, Error> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let mut piece = self.0.remove(0);
            if piece.len() > buffer.len() {
                self.0.insert(0, piece.split_off(buffer.len()));
            }
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn read(text: &str, piece: usize) -> (Vec<String>, Position) {
        let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
        let mut stream = Stream::new(Pieces(pieces), Budget::new(1 << 30), EVENT_BYTES_MAX, Instant::now());
        let mut position = Position::default();
        let mut events = Vec::new();
        while let Some(event) = stream.next(&mut position).unwrap() {
            events.push(event.data);
        }
        (events, position)
    }

    #[test]
    fn events_are_the_same_however_the_bytes_arrive() {
        let text = "\u{feff}: hello\r\nid: 1\r\ndata: a\r\n\r\nevent: other\ndata: no\n\nevent: message\n\
                    data:b\ndata: c\nretry: 250\n\nid: 2\ndata:\n\nnonsense\n\ndata: last";
        for piece in [1, 2, 3, 7, 1000] {
            let (events, position) = read(text, piece);
            assert_eq!(events, ["a", "b\nc", "last"], "{piece}");
            assert_eq!(position.last_id.unwrap(), "2");
            assert_eq!(position.retry, Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn an_id_counts_once_its_event_is_whole() {
        let last_id = |text: &str| read(text, 5).1.last_id;
        assert_eq!(last_id("id: 1\ndata: a\n\nid: 2\n").unwrap(), "1");
        assert_eq!(last_id("id: 1\ndata: a\n\nid: 2\ndata: b").unwrap(), "2");
        assert_eq!(last_id("id: 1\n\n").unwrap(), "1");
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for unusable in ["a\u{1}b", "a\0", long.as_str()] {
            assert_eq!(last_id(&format!("id: 1\n\nid: {unusable}\ndata: a\n\n")), None);
        }
    }

    #[test]
    fn long_ids_names_and_comments_are_not_kept() {
        let long = "x".repeat(FREE_BYTES * 2);
        let text = format!("id: {long}\nevent: {long}\n: {long}\n{long}\n\ndata: a\n\n");
        // Nothing is charged: a budget without a byte does.
        for piece in [1000, CHUNK_BYTES] {
            let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
            let mut stream = Stream::new(Pieces(pieces), Budget::new(0), EVENT_BYTES_MAX, Instant::now());
            let event = stream.next(&mut Position::default()).unwrap().unwrap();
            assert_eq!((event.data.as_str(), stream.id, stream.foreign), ("a", None, false));
            assert!(stream.pending.capacity() < 8 * CHUNK_BYTES);
        }
        let unfinished = Pieces(vec![format!("id: {long}\nevent: {long}\n: more").into()]);
        let mut stream = Stream::new(unfinished, Budget::new(0), EVENT_BYTES_MAX, Instant::now());
        assert!(stream.next(&mut Position::default()).unwrap().is_none());
        assert_eq!((stream.id.unwrap().len(), stream.foreign), (ID_BYTES_MAX + 1, true));
    }

    #[test]
    fn data_and_the_line_being_read_have_one_bound() {
        let half = "x".repeat(FREE_BYTES / 2);
        let text = format!("data: {half}\ndata: {half}{half}");
        let pieces = || text.as_bytes().chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        let read = |bound| {
            let mut stream = Stream::new(Pieces(pieces()), Budget::new(1 << 30), bound, Instant::now());
            let read = stream.next(&mut Position::default()).map(|event| event.is_some());
            (read.map_err(|error| error.kind), stream.source.0.is_empty())
        };
        assert_eq!(read(FREE_BYTES * 2), (Ok(true), true));
        // At once, and not when the line has ended.
        assert_eq!(read(FREE_BYTES * 3 / 4), (Err(Kind::TooLarge), false));
    }

    #[test]
    fn an_event_name_counts_for_one_event() {
        let (events, _) = read("event: other\n\ndata: x\n\n", 5);
        assert_eq!(events, ["x"]);
    }

    #[test]
    fn a_long_line_is_charged_and_bounded() {
        let long = "x".repeat(FREE_BYTES * 2);
        let (events, _) = read(&format!("data: {long}\n\n"), 10_000);
        assert_eq!(events, [long]);
        let filler = (0..5000).map(|_| vec![b'x'; CHUNK_BYTES]);
        let endless = std::iter::once(b"data: ".to_vec()).chain(filler).collect();
        let budget = Budget::new(EVENT_BYTES_MAX);
        let mut stream = Stream::new(Pieces(endless), budget, EVENT_BYTES_MAX, Instant::now());
        assert_eq!(stream.next(&mut Position::default()).unwrap_err().kind, Kind::TooLarge);
    }
}
