//! Answers to one request: a whole one, or a stream of server-sent events.
//!
//! What a handler says is framed here and goes out at once. A peer that is gone is no error: whole answers
//! are lost with it, streams say so to whoever feeds them.

use std::fmt::Write;
use std::sync::Arc;

use ureq::http::StatusCode;

use super::stream::Stream;

/// One request being answered, and what its connection is left with.
pub(super) struct Exchange {
    pub(super) stream: Arc<Stream>,
    /// The method was HEAD: a body is announced and left out.
    pub(super) head_only: bool,
    /// The peer speaks HTTP/1.0, which has no chunks.
    pub(super) old_version: bool,
    /// Something was answered.
    pub(super) answered: bool,
    /// The connection may carry another request.
    pub(super) keep: bool,
}

/// Answers one request, once.
pub(crate) struct Responder<'a> {
    exchange: &'a mut Exchange,
}

/// A stream of events that is being sent.
pub(crate) struct EventStream<'a> {
    exchange: &'a mut Exchange,
    /// The connection is kept once the end was sent, if it was to be kept at all.
    keep: bool,
}

impl<'a> Responder<'a> {
    pub(super) fn new(exchange: &'a mut Exchange) -> Responder<'a> {
        Responder { exchange }
    }

    /// Answers with a whole body. Headers that would break the head are left out.
    pub(crate) fn whole(self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = self.exchange.head(status, headers);
        // These have no body, and a length would announce one.
        let bare = status == 204 || status == 304;
        if !bare {
            // Writing to a text cannot fail.
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !bare && !self.exchange.head_only {
            bytes.extend_from_slice(body);
        }
        self.exchange.send(&bytes);
    }

    /// Begins a stream of events; its head leaves at once.
    pub(crate) fn events(self, headers: &[(&str, &str)]) -> EventStream<'a> {
        let exchange = self.exchange;
        // Without chunks only the end of the connection can end the stream.
        exchange.keep &= !exchange.old_version;
        let mut head = exchange.head(200, headers);
        head.push_str("Content-Type: text/event-stream\r\nCache-Control: no-store\r\n");
        head.push_str(if exchange.old_version { "\r\n" } else { "Transfer-Encoding: chunked\r\n\r\n" });
        exchange.send(head.as_bytes());
        let keep = std::mem::replace(&mut exchange.keep, false);
        EventStream { exchange, keep }
    }

    /// Whether the peer has closed; for handlers that wait.
    pub(crate) fn is_gone(&self) -> bool {
        self.exchange.stream.is_gone()
    }
}

impl EventStream<'_> {
    /// Sends one event; false when the peer is gone.
    pub(crate) fn send(&mut self, data: &str) -> bool {
        // Readers of streams take each of these for the end of a line.
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let mut event: String = data.split('\n').map(|line| format!("data: {line}\n")).collect();
        event.push('\n');
        if !self.exchange.old_version {
            event = format!("{:x}\r\n{event}\r\n", event.len());
        }
        !self.is_gone() && self.exchange.stream.send(event.as_bytes()).is_ok()
    }

    /// Ends the stream in order. A stream that is only dropped is cut, which its reader can tell.
    pub(crate) fn finish(self) {
        let end: &[u8] = if self.exchange.old_version { b"" } else { b"0\r\n\r\n" };
        self.exchange.keep = self.exchange.stream.send(end).is_ok() && self.keep;
    }

    /// Whether the peer has closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.exchange.stream.is_gone()
    }
}

impl Exchange {
    /// The head without its end.
    fn head(&self, status: u16, headers: &[(&str, &str)]) -> String {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Unknown"));
        for (name, value) in headers {
            let token = |c: char| c.is_ascii_alphanumeric() || "-_.!#$%&'*+^`|~".contains(c);
            let legal = !name.is_empty() && name.chars().all(token) && !value.chars().any(char::is_control);
            if legal {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        if !self.keep {
            head.push_str("Connection: close\r\n");
        }
        head
    }

    fn send(&mut self, bytes: &[u8]) {
        self.answered = true;
        self.keep &= self.stream.send(bytes).is_ok();
    }
}
