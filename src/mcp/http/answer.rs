//! The answer to a request, in one body or in a stream of events.
//!
//! A stream brings notifications on the way and requests of the server, and it may break.
//! The answer ends the call, whatever the stream does after it. A stream that ends without one is resumed
//! where its revision has resumption, and is a failure otherwise: the POST itself is never repeated. All
//! waits lie within the call's deadline, however many events arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, Method, header};

use crate::net::{Kind, Reply};
use crate::relay::failure::{self, Class, Failure, Source};
use crate::relay::headers::{self, ReplyHeaders};
use crate::relay::port::{Outcome, Sink};
use crate::relay::revision::Era;
use crate::relay::stop::Phase;

use super::exchange::Exchange;
use super::reply::{self, Content, Incoming};
use super::sse::{self, Position};
use super::upstream::Purpose;

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

/// Largest message of a subscription: it tells that something changed, and it may wait for a day.
const SUBSCRIPTION_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Status and headers of all posts of a call: those of the first reply. A resumption is our affair, the caller asked
/// once.
struct Head {
    status: u16,
    headers: ReplyHeaders,
}

impl Exchange<'_> {
    /// Reads the reply to a request and ends its call.
    pub(super) fn answer(&self, reply: Reply, sink: &mut dyn Sink) -> Outcome {
        self.read(reply, sink).unwrap_or_else(|failure| {
            // Only when it ran out of time may the server still be at work; a lost connection tells it by itself.
            let is_given_up = failure.source == Source::Timeout;
            self.end(failure, is_given_up, sink)
        })
    }

    /// What the reply means. The status decides first: an error status with a stream or a compressed body is
    /// still an error status.
    fn read(&self, reply: Reply, sink: &mut dyn Sink) -> Result<Outcome, Failure> {
        let (status, headers) = (reply.status, ReplyHeaders::allowed(&reply.headers));
        if !(200..300).contains(&status) {
            let (headers, payload) =
                reply::error_body(reply, &self.upstream.budget, self.deadline.end(), self.id)?;
            return Ok(self.answered(status, headers, payload));
        }
        if headers::is_encoded(&reply.headers) {
            return Err(Failure::new(Class::Encoding, "the reply is compressed, which was not asked for"));
        }
        // What the reply calls itself decides how it is read; nothing is guessed from its bytes.
        match reply::content(&reply) {
            Content::Json => self.json(reply, Head { status, headers: headers.with_json_content() }, sink),
            Content::Events => self.events(reply, &Head { status, headers }, sink),
            Content::Other => {
                // These two say themselves that nothing follows.
                let is_empty = status == 204 || status == 202;
                let class = if is_empty { Class::NoBody } else { Class::InvalidAnswer };
                let cause = format!("the server answered {status} without a JSON or event-stream body");
                Err(Failure::new(class, cause))
            }
        }
    }

    /// Reads one JSON body. Notifications may stand before the answer in an array; a request of the server
    /// cannot be answered here, because the exchange is over.
    fn json(&self, reply: Reply, head: Head, sink: &mut dyn Sink) -> Result<Outcome, Failure> {
        let (text, held) = reply::json_body(reply, &self.upstream.budget, self.deadline.end())?;
        for message in reply::incoming(text, held, self.id).map_err(reply::malformed)? {
            match message {
                Incoming::Answer(payload) => return Ok(self.answered(head.status, head.headers, payload)),
                Incoming::Notification(payload) => {
                    sink.notify(payload, head.status, &head.headers, self.deadline.end());
                }
                Incoming::Request { .. } | Incoming::Stranger => break,
            }
        }
        Err(Failure::new(Class::InvalidAnswer, "the server's reply holds no answer to the request"))
    }

    /// Reads a stream until the answer, resuming it where the revision allows.
    fn events(&self, first: Reply, head: &Head, sink: &mut dyn Sink) -> Result<Outcome, Failure> {
        let mut position = Position::default();
        let mut reply = first;
        let mut idle_resumes = 0;
        loop {
            let before = position.last_id.clone();
            let failure = match self.stream(reply, head, &mut position, sink) {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => failure,
            };
            idle_resumes = if position.last_id == before { idle_resumes + 1 } else { 0 };
            // Since 2026-07-28 a lost connection is a cancelled call, and nothing is left to resume. No
            // connection helps against a breach of protocol, or when this side ended the call.
            let is_resumable = self.era == Era::Legacy
                && position.last_id.is_some()
                && idle_resumes <= RESUMES_WITHOUT_PROGRESS_MAX
                && Instant::now() < self.deadline.end()
                && !matches!(failure.source, Source::Protocol | Source::Timeout | Source::ClientInternal);
            if !is_resumable {
                return Err(failure);
            }
            reply = self.resume(&position)?;
        }
    }

    /// Reads one connection's part of a stream, until the answer.
    fn stream(
        &self,
        reply: Reply,
        head: &Head,
        position: &mut Position,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Failure> {
        let event_bytes_max = match self.purpose {
            Purpose::Subscription => SUBSCRIPTION_EVENT_BYTES_MAX,
            _ => sse::EVENT_BYTES_MAX,
        };
        let budget = Arc::clone(&self.upstream.budget);
        let mut stream = sse::Stream::new(reply, budget, event_bytes_max, self.deadline.end());
        loop {
            let event = stream.next(position).map_err(|error| match error.kind {
                Kind::TooLarge => Failure::new(Class::BodyTooLarge, error.to_string()),
                Kind::Protocol => Failure::new(Class::InvalidAnswer, error.to_string()),
                _ => Failure::transport(&error),
            })?;
            let event = event.ok_or_else(|| Failure::new(Kind::Eof, "the stream ended before the answer"))?;
            // One event is one message, or an array of them; whatever else it is ends the call, since
            // the answer may have been in it.
            for message in reply::incoming(event.data, event.held, self.id).map_err(reply::malformed)? {
                match message {
                    // Later events would reach nobody. The connection is worth a moment, no more.
                    Incoming::Answer(payload) => {
                        let outcome = self.answered(head.status, head.headers.clone(), payload);
                        stream.into_source().finish(FINISH_WAIT);
                        return Ok(outcome);
                    }
                    Incoming::Notification(payload) => {
                        sink.notify(payload, head.status, &head.headers, self.deadline.end());
                    }
                    Incoming::Request { method, id } => self.answer_server(&method, &id),
                    // A stream belongs to one POST; whoever mixes answers up may have mixed up more.
                    Incoming::Stranger => {
                        let cause = "the stream holds an answer to another request";
                        return Err(Failure::new(Class::InvalidAnswer, cause));
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
        self.upstream.metrics.server_request(&self.upstream.channel, answered);
        let channel = self.upstream.channel.as_str();
        log::debug!(channel = channel, method = method, answered = answered; "request of the MCP server inside a stream");
        if !answered {
            return;
        }
        let answer = failure::answer_to_server(Some(method), id);
        let deadline = self.deadline.within(LOCAL_ANSWER_TIME);
        self.upstream.send_aside(self.purpose, &self.headers, &answer, deadline);
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
            if self.upstream.stop.sleep(wait.min(left), Phase::Cutting) {
                return Err(Failure::new(Kind::ConnectionClosed, "shutting down"));
            }
            if wait >= left {
                return Err(Failure::timeout());
            }
            match self.upstream.send(self.purpose, Method::GET, &headers, None, self.deadline.end()) {
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
}
