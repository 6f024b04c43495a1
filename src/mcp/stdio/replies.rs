//! Queue of what a waiting call receives from its child: notifications in their order, then one end.
//!
//! A message gets its caller's own ids here, by the thread of the call: texts may be long, and the locks of the child
//! are waited for by others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::net::{self, Reservation};
use crate::relay::failure::{Class, Failure};
use crate::relay::json::Span;
use crate::relay::message::Message;
use crate::relay::payload::Payload;
use crate::sync::{self, Condition};

use super::observed::Stamp;
use super::rewrite::parts;

/// Most notifications that may wait for a slow control plane. The child's reader never waits for a
/// caller, so what exceeds this is dropped and counted.
const NOTIFICATIONS_MAX: usize = 1024;

/// Most bytes of them; a single larger one still passes.
const NOTIFICATION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Replies of one call, shared by the call and the state of its child.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: Mutex<Queue>,
    changed: Condition,
}

#[derive(Debug, Default)]
struct Queue {
    notifications: VecDeque<Received>,
    bytes: usize,
    end: Option<Reply>,
    /// When the command was handed to the child, and to which.
    written: Option<(Instant, Stamp)>,
    /// How long after that the call ended.
    took: Option<Duration>,
}

/// One reply to a call.
#[derive(Debug)]
pub(super) enum Reply {
    Notification(Received),
    /// The child's answer, which ends the call.
    Answer(Received),
    /// There will be no answer.
    Failed(Failure),
}

/// A message of the child for one call.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Arc<Message>,
    /// What it occupies of the byte budget.
    pub(super) held: Option<Arc<Reservation>>,
    pub(super) named: Named,
}

/// Where a notification names its call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Nowhere,
    /// By its progress token.
    Token(Span),
    /// By its id, as a subscription.
    Subscription(Span),
}

impl Replies {
    /// Adds a notification; false when there was no room.
    pub(super) fn notify(&self, notification: Received) -> bool {
        let mut queue = sync::lock(&self.queue);
        let bytes = notification.message.text().len();
        let room =
            queue.notifications.len() < NOTIFICATIONS_MAX && queue.bytes + bytes <= NOTIFICATION_BYTES_MAX;
        let taken = room || queue.notifications.is_empty();
        if taken {
            queue.bytes += bytes;
            queue.notifications.push_back(notification);
            drop(queue);
            self.changed.notify_one();
        }
        taken
    }

    /// Ends the call. The first end counts.
    pub(super) fn end(&self, end: Reply) {
        let mut queue = sync::lock(&self.queue);
        if queue.end.is_none() {
            queue.took = queue.written.map(|(at, _)| at.elapsed());
            queue.end = Some(end);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// How long the child took for the end of the call, if it was asked.
    pub(super) fn took(&self) -> Option<Duration> {
        sync::lock(&self.queue).took
    }

    /// Ends the call without an answer.
    pub(super) fn fail(&self, kind: net::Kind, cause: &str) {
        self.end(Reply::Failed(Failure::new(kind, cause)));
    }

    /// The command has been handed to this child. Who waits need not know before it is tired of waiting for that.
    pub(super) fn written(&self, stamp: Stamp) {
        sync::lock(&self.queue).written = Some((Instant::now(), stamp));
    }

    /// To which child the command has been handed.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        sync::lock(&self.queue).written.map(|(_, stamp)| stamp)
    }

    /// Waits for the next reply. While the command is not written, only until `unwritten`.
    pub(super) fn next(&self, deadline: Instant, unwritten: Instant) -> Option<Reply> {
        let mut queue = sync::lock(&self.queue);
        loop {
            if let Some(notification) = queue.notifications.pop_front() {
                queue.bytes -= notification.message.text().len();
                return Some(Reply::Notification(notification));
            }
            if let Some(end) = queue.end.take() {
                return Some(end);
            }
            let until = if queue.written.is_some() { deadline } else { deadline.min(unwritten) };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            queue = self.changed.wait_for(queue, left);
        }
    }
}

impl Received {
    /// The notification under the caller's own token or id.
    pub(super) fn notification(self, caller: &Message) -> Payload {
        let own = match self.named {
            Named::Nowhere => None,
            Named::Token(span) => caller.places().token.map(|token| (span, token.of(caller.text()))),
            Named::Subscription(span) => caller.id().map(|id| (span, id)),
        };
        let replaced = own.map(|(span, own)| (span, own.to_owned()));
        payload(self.message, replaced, self.held)
    }

    /// The answer under the caller's own id. The result of a subscription repeats its id: with ours in it, the caller
    /// could not find its own.
    pub(super) fn answer(self, caller: &Message) -> Result<Payload, Failure> {
        let id = caller.id().unwrap_or_default();
        let renamed = self.message.renamed(id);
        if caller.is_subscription() {
            let repeated = self.message.result_subscription().map_err(|malformed| {
                Failure::new(Class::InvalidAnswer, format!("the server's message: {malformed}"))
            })?;
            if let Some(span) = repeated {
                let replaced: Vec<_> = renamed.into_iter().chain([(span, id.to_owned())]).collect();
                let text = parts(self.message.text(), &replaced).concat();
                return Ok(Payload::received(text, None, self.held));
            }
        }
        Ok(payload(self.message, renamed, self.held))
    }
}

/// A message with one span replaced. Its text is copied only where the handshake remembers it too.
fn payload(
    message: Arc<Message>,
    replaced: Option<(Span, String)>,
    held: Option<Arc<Reservation>>,
) -> Payload {
    let text = Arc::try_unwrap(message).map_or_else(|shared| shared.text().to_owned(), Message::into_text);
    Payload::received(text, replaced, held)
}
