//! One request on its way: what its reply means, and how it ends when there is none.
//!
//! A POST is sent once. Whatever becomes of it, lost connection or strange reply, it is not repeated:
//! the server may have done the work. Every way out of here is one [`Outcome`].

use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method};

use crate::net::{Client, Error, Kind, Reply};
use crate::relay::command::Deadline;
use crate::relay::failure::{self, Class, Failure, Source};
use crate::relay::headers::{self, ReplyHeaders};
use crate::relay::message::{self, Message};
use crate::relay::port::{Outcome, Sink};
use crate::relay::revision::Era;

use super::Shared;
use super::reply::{self, Content, Incoming};

/// How long telling a server that a call was given up may take. It comes on top of the call's own time,
/// and the worker waits for it.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// One request on its way: what every later step needs. It borrows everything, for it lives no longer
/// than the call that made it.
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Shared,
    pub(super) client: &'a Client,
    pub(super) message: &'a Message,
    /// The id as the caller wrote it.
    pub(super) id: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) era: Era,
    pub(super) deadline: Deadline,
    /// Largest event of a stream.
    pub(super) event_bytes_max: usize,
}

impl Exchange<'_> {
    /// Posts a text with the headers of this request: its own message, or one of ours about it, which
    /// thereby travels in the same session and with the same credentials.
    pub(super) fn post(&self, text: &str, deadline: Instant) -> Result<Reply, Error> {
        let body = Some(text.as_bytes());
        self.shared.exchange(self.client, &Method::POST, &self.headers, body, deadline)
    }

    /// Posts a message of ours of which nothing depends: what the server says to it changes nothing.
    pub(super) fn post_aside(&self, text: &str, deadline: Instant) {
        if let Err(error) = self.post(text, deadline) {
            let error = error.to_string();
            log::debug!(error = error.as_str(); "the server did not take a message about a call");
        }
    }

    /// What the reply to a request means. The status decides first: an error status with a stream or a
    /// compressed body is still an error status.
    pub(super) fn answer(&self, reply: Reply, sink: &mut dyn Sink) -> Outcome {
        let (status, headers) = (reply.status, ReplyHeaders::allowed(&reply.headers));
        if !(200..300).contains(&status) {
            let error = reply::error_body(reply, &self.shared.budget, self.deadline.end(), self.id);
            return match error {
                Ok((headers, payload)) => Outcome::Response { status, headers, payload },
                Err(failure) => self.failed(failure),
            };
        }
        if headers::is_encoded(&reply.headers) {
            let cause = "the reply is compressed, which was not asked for";
            return self.failed(Failure::new(Class::Encoding, cause));
        }
        // What the reply calls itself decides how it is read; nothing is guessed from its bytes.
        match reply::content(&reply) {
            Content::Json => self.json(reply, status, headers, sink),
            Content::Events => self.events(reply, status, &headers, sink),
            Content::Other => {
                // These two say themselves that nothing follows.
                let empty = status == 204 || status == 202;
                let class = if empty { Class::NoBody } else { Class::InvalidAnswer };
                let cause = format!("the server answered {status} without a JSON or event-stream body");
                self.failed(Failure::new(class, cause))
            }
        }
    }

    /// Reads one JSON body. Notifications may stand before the answer in an array; a request of the server
    /// cannot be answered here, because the exchange is over.
    fn json(&self, reply: Reply, status: u16, headers: ReplyHeaders, sink: &mut dyn Sink) -> Outcome {
        let headers = headers.with_json_content();
        let messages = reply::json_body(reply, &self.shared.budget, self.deadline.end())
            .and_then(|(text, held)| reply::incoming(text, held, self.id).map_err(reply::malformed));
        let messages = match messages {
            Ok(messages) => messages,
            Err(failure) => return self.failed(failure),
        };
        for message in messages {
            match message {
                Incoming::Answer(payload) => return Outcome::Response { status, headers, payload },
                Incoming::Notification(payload) => {
                    sink.notify(payload, status, &headers, self.deadline.end())
                }
                Incoming::Request { .. } | Incoming::Stranger => break,
            }
        }
        let cause = "the server's reply holds no answer to the request";
        self.failed(Failure::new(Class::InvalidAnswer, cause))
    }

    /// The exchange broke before a reply. A server that was never reached has nothing to cancel.
    pub(super) fn broken(&self, error: &Error) -> Outcome {
        let given_up = error.kind == Kind::Timeout && error.request_sent;
        self.end(Failure::transport(error), given_up)
    }

    /// The exchange broke after the head of a reply. Only when it ran out of time may the server still be
    /// at work; a lost connection tells it by itself.
    pub(super) fn failed(&self, failure: Failure) -> Outcome {
        let given_up = failure.source == Source::Timeout;
        self.end(failure, given_up)
    }

    /// Ends the call; a server that still works on it is told so, also when the caller is not: it would
    /// otherwise go on with work that nobody waits for.
    fn end(&self, failure: Failure, given_up: bool) -> Outcome {
        if given_up {
            self.cancel();
        }
        if self.deadline.is_silent() {
            return Outcome::Expired;
        }
        Outcome::Failed(failure)
    }

    /// Tells a server of the revisions with a handshake that a call was given up; the others see it
    /// from the closed connection. An `initialize` is never cancelled: the revisions forbid it.
    fn cancel(&self) {
        let request = self.message.kind() == message::Kind::Request;
        if !request || self.era == Era::Modern || self.message.method() == Some("initialize") {
            return;
        }
        self.post_aside(&failure::cancellation(self.id), Instant::now() + CANCEL_TIME);
    }
}
