//! What a scripted server says, piece by piece.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BOUND;
use super::gate::Gate;
use super::stream::Stream;

/// One step of an answer.
#[derive(Clone)]
pub enum Part {
    /// Body bytes.
    Bytes(Vec<u8>),
    /// So many bytes `x`, made while they are sent.
    Fill(usize),
    /// Wait for the test.
    Wait(Gate),
    /// Wait for time, where time itself is the subject.
    Pause(Duration),
    /// Say nothing more until the client leaves.
    Hang,
    /// Close in order, whatever is still owed.
    Close,
    /// Close so that the client sees a reset (plain TCP and a request with a body).
    Reset,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length(Option<usize>),
    Chunked,
    Raw,
}

/// How writing a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All written; the connection may carry the next request.
    Kept,
    /// The connection is to be closed in order.
    Closed,
    /// The connection is to be closed with the request's last byte unread.
    Reset,
    /// The client left first.
    Abandoned,
}

/// A scripted answer.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    reason: Option<String>,
    headers: Vec<(String, String)>,
    before: Vec<Part>,
    parts: Vec<Part>,
    framing: Framing,
    off_contract: bool,
}

impl Reply {
    /// A status and nothing else.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            reason: None,
            headers: Vec::new(),
            before: Vec::new(),
            parts: Vec::new(),
            framing: Framing::Length(None),
            off_contract: false,
        }
    }

    /// Says that the control plane's contract knows no such reply, which is meant.
    pub fn off_contract(mut self) -> Reply {
        self.off_contract = true;
        self
    }

    /// Whether that was said.
    pub fn is_off_contract(&self) -> bool {
        self.off_contract
    }

    /// The status.
    pub fn code(&self) -> u16 {
        self.status
    }

    /// The content type.
    pub fn content_type(&self) -> Option<&str> {
        let mut lines = self.headers.iter();
        lines.find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.as_str())
    }

    /// The body; `None` when not even a head is said. One byte stands for a filling.
    pub fn said(&self) -> Option<Vec<u8>> {
        if self.before.iter().any(|part| matches!(part, Part::Hang | Part::Close | Part::Reset)) {
            return None;
        }
        let bytes = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.as_slice(),
            Part::Fill(_) => b"x",
            _ => b"",
        });
        Some(bytes.collect::<Vec<_>>().concat())
    }

    /// A body with a content type.
    pub fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        Reply::status(status).header("Content-Type", content_type).bytes(body)
    }

    /// A JSON body, taken as text so that spelling is kept.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply::body(status, "application/json", body)
    }

    /// A 200 with the JSON-RPC result for `id`, both as JSON text.
    pub fn result(id: &str, result: &str) -> Reply {
        Reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }

    /// An event stream, to be filled with [`Reply::event`].
    pub fn sse() -> Reply {
        let mut reply = Reply::status(200).header("Content-Type", "text/event-stream");
        reply.framing = Framing::Chunked;
        reply
    }

    /// Bytes in place of head and body.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        let mut reply = Reply::status(0).bytes(bytes);
        reply.framing = Framing::Raw;
        reply
    }

    /// No answer until the client leaves.
    pub fn silence() -> Reply {
        Reply::status(200).first(Part::Hang)
    }

    /// The connection is closed without a word.
    pub fn closed() -> Reply {
        Reply::status(200).first(Part::Close)
    }

    /// The connection is reset without a word.
    pub fn reset() -> Reply {
        Reply::status(200).first(Part::Reset)
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the reason phrase.
    pub fn reason(mut self, reason: &str) -> Reply {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Replaces the status of a ready-made reply.
    pub fn with_status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }

    /// Adds a step before the head.
    pub fn first(mut self, part: Part) -> Reply {
        self.before.push(part);
        self
    }

    /// Holds the head back until the gate opens.
    pub fn behind(self, gate: &Gate) -> Reply {
        self.first(Part::Wait(gate.clone()))
    }

    /// Adds a step to the body.
    pub fn then(mut self, part: Part) -> Reply {
        self.parts.push(part);
        self
    }

    /// Adds body bytes.
    pub fn bytes(self, bytes: impl Into<Vec<u8>>) -> Reply {
        self.then(Part::Bytes(bytes.into()))
    }

    /// Adds one event whose data is this text.
    pub fn event(self, data: impl std::fmt::Display) -> Reply {
        self.bytes(format!("data: {data}\n\n"))
    }

    /// Adds one event with an id.
    pub fn event_with_id(self, id: &str, data: impl std::fmt::Display) -> Reply {
        self.bytes(format!("id: {id}\ndata: {data}\n\n"))
    }

    /// Waits for the test inside the body.
    pub fn wait(self, gate: &Gate) -> Reply {
        self.then(Part::Wait(gate.clone()))
    }

    /// Says nothing more inside the body.
    pub fn hang(self) -> Reply {
        self.then(Part::Hang)
    }

    /// Closes inside the body.
    pub fn close(self) -> Reply {
        self.then(Part::Close)
    }

    /// Sends the body in chunks, without a declared length.
    pub fn chunked(mut self) -> Reply {
        self.framing = Framing::Chunked;
        self
    }

    /// Declares a length that may differ from what is sent.
    pub fn declaring(mut self, length: usize) -> Reply {
        self.framing = Framing::Length(Some(length));
        self
    }

    /// Writes everything. `stopped` ends waits when the server is being stopped.
    pub fn write(&self, stream: &mut Stream, stopped: &dyn Fn() -> bool) -> io::Result<Ended> {
        for part in &self.before {
            if let Some(ended) = play(part, Framing::Raw, stream, stopped)? {
                return Ok(ended);
            }
        }
        if self.framing != Framing::Raw {
            stream.write_all(self.head().as_bytes())?;
            stream.flush()?;
        }
        for part in &self.parts {
            if let Some(ended) = play(part, self.framing, stream, stopped)? {
                return Ok(ended);
            }
        }
        if self.framing == Framing::Chunked {
            stream.write_all(b"0\r\n\r\n")?;
        }
        stream.flush()?;
        let closes = |(n, v): &(String, String)| {
            n.eq_ignore_ascii_case("connection") && v.to_ascii_lowercase().contains("close")
        };
        let kept = self.framing != Framing::Raw && !self.headers.iter().any(closes);
        Ok(if kept { Ended::Kept } else { Ended::Closed })
    }

    /// Whether it ends with a reset, for which the request must not be read to its end.
    pub fn resets(&self) -> bool {
        self.before.iter().chain(&self.parts).any(|part| matches!(part, Part::Reset))
    }

    fn head(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("Scripted");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            // These statuses have no body by definition, and no length either.
            Framing::Length(None) if matches!(self.status, 100..=199 | 204 | 304) => {}
            Framing::Length(length) => {
                let length = length.unwrap_or_else(|| self.length());
                head.push_str(&format!("Content-Length: {length}\r\n"));
            }
            Framing::Raw => {}
        }
        head + "\r\n"
    }

    fn length(&self) -> usize {
        let size = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Fill(count) => *count,
            _ => 0,
        };
        self.parts.iter().map(size).sum()
    }
}

/// Does one step; `Some` when the reply ends with it.
fn play(
    part: &Part,
    framing: Framing,
    stream: &mut Stream,
    stopped: &dyn Fn() -> bool,
) -> io::Result<Option<Ended>> {
    match part {
        Part::Bytes(bytes) => send(bytes, framing, stream)?,
        Part::Fill(count) => {
            let block = vec![b'x'; 64 * 1024];
            let mut left = *count;
            while left > 0 {
                let size = left.min(block.len());
                send(&block[..size], framing, stream)?;
                left -= size;
            }
        }
        Part::Wait(gate) => gate.pass(),
        Part::Pause(time) => std::thread::sleep(*time),
        Part::Hang => return Ok(Some(hang(stream, stopped))),
        Part::Close => return Ok(Some(Ended::Closed)),
        Part::Reset => return Ok(Some(Ended::Reset)),
    }
    Ok(None)
}

fn send(bytes: &[u8], framing: Framing, stream: &mut Stream) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if framing == Framing::Chunked {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)?;
    } else {
        stream.write_all(bytes)?;
    }
    stream.flush()
}

fn hang(stream: &mut Stream, stopped: &dyn Fn() -> bool) -> Ended {
    let end = Instant::now() + BOUND * 3;
    while !stopped() && Instant::now() < end {
        if stream.is_gone(Duration::from_millis(5)) {
            return Ended::Abandoned;
        }
    }
    Ended::Closed
}

/// A JSON-RPC result for the request in `body`, as text that keeps the id's spelling.
pub fn result_for(body: &[u8], result: &str) -> Reply {
    Reply::result(&id_text(body), result)
}

/// The text of the `id` member of a JSON-RPC message, `null` without one.
pub fn id_text(body: &[u8]) -> String {
    raw_member(body, "id").unwrap_or_else(|| "null".to_owned())
}

/// The text of one top-level member of a JSON object.
pub fn raw_member(body: &[u8], name: &str) -> Option<String> {
    type Members<'a> = std::collections::HashMap<String, &'a serde_json::value::RawValue>;
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    members.get(name).map(|raw| raw.get().to_owned())
}

/// A JSON-RPC notification as text.
pub fn notification(method: &str, params: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}
