//! One request and its reply: how messages are posted, and how a call ends without an answer.
//!
//! A POST is sent once. Whatever happens to it, lost connection or strange reply, it is not repeated:
//! the server may have done the work. Every way out of here is one [`Outcome`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use crate::relay::command::Deadline;
use crate::relay::failure::{self, Failure};
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::{self, Message};
use crate::relay::payload::Payload;
use crate::relay::port::{Outcome, Sink, Timing};
use crate::relay::revision::Era;

use super::upstream::{Purpose, Upstream};

/// How long telling a server that a call was given up may take. It comes after the call's answer, and the worker
/// waits for it.
const CANCEL_TIME: Duration = Duration::from_secs(1);

/// One message on its way: what every later step needs. It borrows everything, for it lives no longer
/// than the call that made it.
pub(super) struct Exchange<'a> {
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) purpose: Purpose,
    pub(super) message: &'a Message,
    /// The id as the caller wrote it.
    pub(super) id: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) era: Era,
    pub(super) deadline: Deadline,
    /// When it was made, just before it is written.
    pub(super) began: Instant,
}

impl Exchange<'_> {
    /// Ends the call with its answer.
    pub(super) fn answered(&self, status: u16, headers: ReplyHeaders, payload: Payload) -> Outcome {
        let elapsed = self.began.elapsed();
        let timing = (!payload.is_without_id()).then_some(Timing { transport: "streamable_http", elapsed });
        Outcome::Response { status, headers, payload, timing }
    }

    /// Ends the call; a server that still works on it is told so: it would otherwise go on with work that nobody
    /// waits for.
    pub(super) fn end(&self, failure: Failure, is_given_up: bool, sink: &mut dyn Sink) -> Outcome {
        if is_given_up {
            self.cancel(sink);
        }
        Outcome::Failed(if self.deadline.is_expired() { Failure::expired() } else { failure })
    }

    /// Tells a server of the revisions with a handshake that a call was given up, once the caller knows; the others
    /// see it from the closed connection. An `initialize` is never cancelled: the revisions forbid it.
    fn cancel(&self, sink: &mut dyn Sink) {
        let request = self.message.kind() == message::Kind::Request;
        if !request || self.era == Era::Modern || self.message.method() == Some("initialize") {
            return;
        }
        let (upstream, purpose, headers) = (Arc::clone(self.upstream), self.purpose, self.headers.clone());
        let text = failure::cancellation(self.id);
        sink.afterwards(Box::new(move || {
            upstream.send_aside(purpose, &headers, &text, Instant::now() + CANCEL_TIME);
        }));
    }
}
