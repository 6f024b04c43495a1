//! Server-sent events, read within bounds.
//!
//! It knows lines and fields, not messages. Lines end with LF or CR LF; a server that ends them with CR
//! alone is not known. It fails on data that is not UTF-8, on an event above its bound, and with whatever
//! the connection fails with.
//!
//! A server can put much into an event that nobody needs: of a line without data only its beginning is kept, so that
//! what is charged to the byte budget is all that a stream occupies.

use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

use crate::net::{Budget, Error, Kind, Reply, Reservation};
use crate::text;

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

/// Source of the bytes of a stream: a reply, or pieces in a test.
pub trait Source {
    /// Reads some bytes, and waits for them until `until`; 0 is the end.
    fn read(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, Error>;
}

impl Source for Reply {
    fn read(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, Error> {
        self.read_until(buffer, until)
    }
}

/// Event that is a message.
#[derive(Debug)]
pub struct Event {
    /// Its lines of data, joined with a newline.
    pub data: String,
    /// What it occupies of the byte budget.
    pub held: Option<Reservation>,
}

/// Where and when a stream can be resumed.
#[derive(Debug, Default, Clone)]
pub struct Position {
    /// The id of the last event that arrived whole, when it is one that a header can carry.
    pub last_id: Option<HeaderValue>,
    /// The last `retry` of the server.
    pub retry: Option<Duration>,
}

/// Reader of one stream.
pub struct Stream<S> {
    source: S,
    budget: Arc<Budget>,
    event_bytes_max: usize,
    deadline: Instant,
    /// Bytes that were read; those before `taken` belong to lines.
    chunk: Vec<u8>,
    taken: usize,
    /// The line that is being read.
    line: Vec<u8>,
    is_first_line: bool,
    event: Unfinished,
}

/// Event that is being read.
#[derive(Default)]
struct Unfinished {
    data: Option<String>,
    /// Whether its name says that it is no message.
    foreign: bool,
    /// Its id, cut behind the longest that counts.
    id: Option<Vec<u8>>,
    /// What a large event occupies of the budget, and by when it must have ended.
    held: Option<(Reservation, Instant)>,
}

impl<S: Source> Stream<S> {
    /// Starts reading events of at most so many bytes, and no more than the budget has; memory beyond the free size is
    /// waited for until `deadline`.
    pub fn new(source: S, budget: Arc<Budget>, event_bytes_max: usize, deadline: Instant) -> Stream<S> {
        Stream {
            source,
            event_bytes_max: event_bytes_max.min(budget.capacity().max(budget.free_bytes())),
            budget,
            deadline,
            chunk: Vec::new(),
            taken: 0,
            line: Vec::new(),
            is_first_line: true,
            event: Unfinished::default(),
        }
    }

    /// The next event that carries a message, or `None` at the end of the stream. Comments, other
    /// events and empty data only move `position`.
    pub fn next(&mut self, position: &mut Position) -> Result<Option<Event>, Error> {
        loop {
            let Some(line) = self.line()? else {
                // A last event may lack its blank line; one without data has not begun to arrive.
                return Ok(if self.event.data.is_some() { self.event(position) } else { None });
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
                b"event" => self.event.foreign = !matches!(value, b"" | b"message"),
                b"id" if !value.is_empty() => {
                    self.event.id = Some(value.get(..=ID_BYTES_MAX).unwrap_or(value).to_vec());
                }
                b"retry" => {
                    let retry = std::str::from_utf8(value).ok().and_then(text::number);
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
        let Unfinished { data, foreign, id, held } = std::mem::take(&mut self.event);
        if let Some(id) = id {
            let short = id.len() <= ID_BYTES_MAX;
            position.last_id = HeaderValue::from_bytes(&id).ok().filter(|_| short);
        }
        let mut data = data.filter(|data| !foreign && !data.is_empty())?;
        let held = held.map(|(mut held, _)| {
            // It grew by doubling, and what is charged is all that it may occupy.
            data.shrink_to_fit();
            held.shrink(data.len());
            held
        });
        Some(Event { data, held })
    }

    /// Adds the rest of a `data` line from `start`; several make one text with newlines between. The bound counts
    /// the newline too. The first line becomes the text itself: a large event would otherwise exist twice.
    fn append(&mut self, mut line: Vec<u8>, start: usize) -> Result<(), Error> {
        let data = self.event.data.get_or_insert_default();
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
            let rest = self.chunk.get(self.taken..).unwrap_or_default();
            let come = rest.get(..{ rest }.skip_until(b'\n').unwrap_or_default()).unwrap_or_default();
            let end = come.strip_suffix(b"\n");
            let part = end.unwrap_or(come);
            // Of an unfinished line that is no data only the beginning is kept.
            let line = self.line.strip_prefix(BYTE_ORDER_MARK).filter(|_| self.is_first_line);
            let line = line.unwrap_or(&self.line);
            if line.len() <= LINE_KEPT_BYTES || line.starts_with(b"data") {
                self.line.extend_from_slice(part);
            }
            self.taken += come.len();
            if end.is_none() {
                if self.fill()? {
                    continue;
                } else if self.line.is_empty() {
                    return Ok(None);
                }
            }
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if std::mem::take(&mut self.is_first_line) && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            return Ok(Some(line));
        }
    }

    /// Reads more bytes; false at the end. Small events are free, as small bodies are; a large one is charged.
    fn fill(&mut self) -> Result<bool, Error> {
        let occupied = self.line.len() + self.event.data.as_ref().map_or(0, String::len);
        if occupied >= self.event_bytes_max {
            return Err(too_large());
        }
        if occupied > self.budget.free_bytes() && self.event.held.is_none() {
            // The whole bound at once: two half-read events can then never wait for each other.
            let held = self.budget.reserve(self.event_bytes_max, self.deadline).ok_or_else(too_large)?;
            self.event.held = Some((held, Instant::now() + HELD_TIME_MAX));
        }
        let held_until = self.event.held.as_ref().map(|(_, until)| *until);
        self.chunk.resize(CHUNK_BYTES, 0);
        self.taken = 0;
        match self.source.read(&mut self.chunk, held_until.unwrap_or(self.deadline)) {
            Err(_) if held_until.is_some_and(|until| Instant::now() >= until) => Err(too_large()),
            read => {
                self.chunk.truncate(read?);
                Ok(!self.chunk.is_empty())
            }
        }
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
    use crate::net::FREE_BYTES;

    struct Pieces(Vec<Vec<u8>>);

    impl Source for Pieces {
        fn read(&mut self, buffer: &mut [u8], _: Instant) -> Result<usize, Error> {
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
    fn a_retry_is_digits_alone() {
        for (text, retry) in
            [("7", Some(7)), ("+5", None), ("-5", None), ("5 ", None), ("", None), ("5s", None)]
        {
            let (_, position) = read(&format!("retry: {text}\n"), 3);
            assert_eq!(position.retry, retry.map(Duration::from_millis), "{text}");
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
        // Nothing is charged: a budget that is spent does.
        let budget = Budget::new(1);
        let _spent = budget.reserve(1, Instant::now()).unwrap();
        for piece in [1000, CHUNK_BYTES] {
            let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
            let mut stream =
                Stream::new(Pieces(pieces), Arc::clone(&budget), EVENT_BYTES_MAX, Instant::now());
            let event = stream.next(&mut Position::default()).unwrap().unwrap();
            assert_eq!((event.data.as_str(), stream.event.id, stream.event.foreign), ("a", None, false));
            assert!(stream.chunk.capacity() + stream.line.capacity() < 8 * CHUNK_BYTES);
        }
        let unfinished = Pieces(vec![format!("id: {long}\nevent: {long}\n: more").into()]);
        let mut stream = Stream::new(unfinished, budget, EVENT_BYTES_MAX, Instant::now());
        assert!(stream.next(&mut Position::default()).unwrap().is_none());
        assert_eq!((stream.event.id.unwrap().len(), stream.event.foreign), (ID_BYTES_MAX + 1, true));
    }

    /// A byte order mark counts at the beginning of a stream alone: later it makes an unknown field.
    #[test]
    fn a_later_byte_order_mark_makes_no_data() {
        let long = "x".repeat(FREE_BYTES * 2);
        let text = format!("\u{feff}data: a\n\u{feff}data: {long}\n\n");
        let pieces = text.as_bytes().chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect();
        // It is cut as other lines without data, so the bound of an event does not end the stream.
        let mut stream = Stream::new(Pieces(pieces), Budget::new(0), FREE_BYTES, Instant::now());
        assert_eq!(stream.next(&mut Position::default()).unwrap().unwrap().data, "a");
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
