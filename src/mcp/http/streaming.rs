//! A reply that is a stream of events: notifications on the way, requests of the server, breaks.
//!
//! The answer ends the call, whatever the stream does after it. A stream that ends without one is resumed
//! where its revision has resumption, and is a failure otherwise: the POST itself is never repeated. All
//! waits lie within the call's deadline, however many events arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Method, header};

use crate::net::{Kind, Reply};
use crate::relay::failure::{self, Class, Failure, Source};
use crate::relay::headers::ReplyHeaders;
use crate::relay::port::{Outcome, Sink};
use crate::relay::revision::Era;
use crate::relay::stop::Phase;

use super::call::Exchange;
use super::reply::{self, Content, Incoming};
use super::sse::{self, Position};

/// How long an answer to a request of the server may hold up its stream: nobody reads it meanwhile.
const LOCAL_ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long the end of a stream is waited for behind the answer, to keep its connection. Servers end
/// their streams there, most of them in the next packet.
const FINISH_WAIT: Duration = Duration::from_millis(5);

/// Reconnects of one stream that bring no new event before it counts as ended, and failed attempts of one
/// reconnect. A server that opens and closes streams for ever would otherwise be asked for ever.
const RESUMES_WITHOUT_PROGRESS_MAX: u32 = 5;

/// Wait before a reconnect when the server named none. Some close streams on purpose and say when to
/// come back.
const RESUME_WAIT: Duration = Duration::from_secs(1);

/// Least wait before a reconnect, whatever the server names: `retry: 0` would be a loop.
const RESUME_WAIT_MIN: Duration = Duration::from_millis(100);

/// Longest wait before a reconnect, also when the server asks for more: the caller waits too.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(30);

impl Exchange<'_> {
    /// Reads a stream until the answer, resuming it where the revision allows. Status and headers of all
    /// posts are those of the first reply: a resumption is our affair, the caller asked once.
    pub(super) fn events(
        &self,
        first: Reply,
        status: u16,
        headers: &ReplyHeaders,
        sink: &mut dyn Sink,
    ) -> Outcome {
        let mut position = Position::default();
        let mut reply = first;
        let mut idle_resumes = 0;
        loop {
            let before = position.last_id.clone();
            let cause = match self.stream(reply, status, headers, &mut position, sink) {
                Ok(outcome) => return outcome,
                Err(cause) => cause,
            };
            idle_resumes = if position.last_id == before { idle_resumes + 1 } else { 0 };
            // Since 2026-07-28 a lost connection is a cancelled call, and nothing is left to resume.
            let resumable = self.era == Era::Legacy && position.last_id.is_some();
            if !resumable || idle_resumes > RESUMES_WITHOUT_PROGRESS_MAX || self.is_over(&cause) {
                return self.failed(cause);
            }
            reply = match self.resume(&position) {
                Ok(reply) => reply,
                Err(failure) => return self.failed(failure),
            };
        }
    }

    /// Reads one connection's part of a stream. The error says why it ended without the answer; what
    /// another connection could not mend is an outcome already.
    fn stream(
        &self,
        reply: Reply,
        status: u16,
        headers: &ReplyHeaders,
        position: &mut Position,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Failure> {
        let mut stream = sse::Stream::new(
            reply,
            Arc::clone(&self.shared.budget),
            self.event_bytes_max,
            self.deadline.end(),
        );
        loop {
            let event = match stream.next(position) {
                Ok(Some(event)) => event,
                Ok(None) => return Err(Failure::new(Kind::Eof, "the stream ended before the answer")),
                Err(error) if error.kind == Kind::TooLarge => {
                    let failure = Failure::new(Class::BodyTooLarge, error.to_string());
                    return Ok(self.failed(failure));
                }
                Err(error) if error.kind == Kind::Protocol => {
                    return Ok(self.failed(Failure::new(Class::InvalidAnswer, error.to_string())));
                }
                Err(error) => return Err(Failure::transport(&error)),
            };
            // One event is one message, or an array of them; whatever else it is ends the call, since
            // the answer may have been in it.
            let messages = match reply::incoming(event.data, event.held, self.id) {
                Ok(messages) => messages,
                Err(malformed) => return Ok(self.failed(reply::malformed(malformed))),
            };
            for message in messages {
                match message {
                    // Later events would reach nobody. The connection is worth a moment, no more.
                    Incoming::Answer(payload) => {
                        stream.into_source().finish(FINISH_WAIT);
                        return Ok(Outcome::Response { status, headers: headers.clone(), payload });
                    }
                    Incoming::Notification(payload) => {
                        sink.notify(payload, status, headers, self.deadline.end());
                    }
                    Incoming::Request { method, id } => self.answer_server(&method, &id),
                    // A stream belongs to one POST; whoever mixes answers up may have mixed up more.
                    Incoming::Stranger => {
                        let cause = "the stream holds an answer to another request";
                        return Ok(self.failed(Failure::new(Class::InvalidAnswer, cause)));
                    }
                }
            }
        }
    }

    /// Answers a request of the server here: nobody beyond the tunnel could. An unanswered one would keep
    /// the call waiting until its deadline. Revisions without a handshake have no such requests; there it
    /// is dropped, and counted.
    fn answer_server(&self, method: &str, id: &str) {
        let answered = self.era == Era::Legacy;
        self.shared.metrics.server_request(&self.shared.channel, answered);
        log::debug!(channel = self.shared.channel.as_str(), method = method, answered = answered; "request of the MCP server inside a stream");
        if !answered {
            return;
        }
        let answer = match method {
            "ping" => failure::empty_result(id),
            _ => failure::method_not_found(id),
        };
        self.post_aside(&answer, self.deadline.within(LOCAL_ANSWER_TIME));
    }

    /// Opens a broken stream again behind the last event that arrived. The caller's headers go with it, the
    /// session's and `Authorization` above all; a `Last-Event-ID` of the caller's own gives way.
    fn resume(&self, position: &Position) -> Result<Reply, Failure> {
        let mut wait = position.retry.unwrap_or(RESUME_WAIT).clamp(RESUME_WAIT_MIN, RESUME_WAIT_MAX);
        let mut headers = self.headers.clone();
        if let Some(id) = &position.last_id {
            headers.insert("last-event-id", id.clone());
        }
        // A caller's own `Accept` stays: it was chosen for this very call.
        if !headers.contains_key(header::ACCEPT) {
            headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        let mut attempt = 1;
        loop {
            // In this order: a stop beats the deadline, and the wait never outlasts either.
            let left = self.deadline.end().saturating_duration_since(Instant::now());
            if self.shared.stop.sleep(wait.min(left), Phase::Cutting) {
                return Err(Failure::new(Kind::ConnectionClosed, "shutting down"));
            }
            if wait >= left {
                return Err(Failure::timeout());
            }
            match self.shared.exchange(self.client, &Method::GET, &headers, None, self.deadline.end()) {
                Ok(reply) => {
                    if (200..300).contains(&reply.status) && reply::content(&reply) == Content::Events {
                        return Ok(reply);
                    }
                    // The server has spoken: it will not resume, so asking again is of no use.
                    let cause = format!("the server refused to resume its stream with {}", reply.status);
                    return Err(Failure::new(Kind::Eof, cause));
                }
                Err(error) if attempt == RESUMES_WITHOUT_PROGRESS_MAX || error.kind == Kind::Shutdown => {
                    return Err(Failure::transport(&error));
                }
                // The server may be restarting; it gets more time with each attempt.
                Err(_) => {
                    attempt += 1;
                    wait = (wait + wait / 2).min(RESUME_WAIT_MAX);
                }
            }
        }
    }

    /// Whether no reconnect could help: the time is up, or this side ended the connection.
    fn is_over(&self, cause: &Failure) -> bool {
        Instant::now() >= self.deadline.end()
            || matches!(cause.source, Source::Timeout | Source::ClientInternal)
    }
}
