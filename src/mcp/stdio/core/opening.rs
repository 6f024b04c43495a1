//! Opening of a session with a legacy child, by the `initialize` of a caller or by one of our own.

use std::sync::Arc;
use std::time::Instant;

use crate::relay::message::Message;
use crate::relay::revision::Era;

use super::super::handshake::CONFIRMATION;
use super::super::life::Change;
use super::super::replies::{Named, Received, Reply};
use super::super::rewrite::Line;
use super::{Admission, Conversation, Core, OURS, Role};

impl Core {
    /// The first `initialize` goes to the child. While its answer is awaited others wait for the same
    /// one, afterwards they are answered from memory: strict servers refuse a second handshake.
    pub(super) fn initialize(&mut self, message: &Arc<Message>, conversation: Conversation) -> Admission {
        self.handshake.used(false);
        if let Some((answer, _)) = self.handshake.answer() {
            let message = Arc::clone(answer);
            return self.ended_call(Reply::Answer(Received { message, held: None, named: Named::Nowhere }));
        }
        if self.handshake.is_asked() {
            let (number, replies, _) = self.call(message, conversation, Role::Follower);
            replies.written(self.stamp);
            return Admission::Call(number, replies);
        }
        self.open(message, conversation, false)
    }

    /// Sends an `initialize`; nothing else is written before the child has answered it.
    fn open(&mut self, message: &Arc<Message>, conversation: Conversation, ours: bool) -> Admission {
        self.handshake.ask(message, ours);
        let (number, replies, line) = self.call(message, conversation, Role::Opening);
        self.urgent.push_back(line);
        self.change(Change::Opens(Instant::now()));
        Admission::Call(number, replies)
    }

    /// Sends an `initialize` that no caller waits for.
    pub(super) fn open_on_behalf(&mut self) {
        self.open(&self.handshake.remembered(), None, true);
    }

    /// Opens the session ourselves when a caller goes ahead without one: its session is older than this
    /// process or this child, and the server must not notice. A ping needs none.
    pub(super) fn ensure_session(&mut self, method: Option<&str>, conversation: Conversation) {
        if self.era == Era::Legacy && method != Some("ping") {
            self.handshake.used(conversation == OURS);
            if self.handshake.is_missing() {
                self.open_on_behalf();
            }
        }
        // Some callers never confirm it, and some servers stay silent until it is.
        self.confirm();
    }

    /// Sends the `notifications/initialized` that the child is still owed. It is for this child alone, so that it goes
    /// with it: the next one has a handshake of its own.
    pub(super) fn confirm(&mut self) {
        let confirmation = self.handshake.confirm().then(|| Line::own(CONFIRMATION.to_owned()));
        self.urgent.extend(confirmation);
    }

    /// The answer by which the present child's session was opened, and when it came.
    pub(in super::super) fn opening(&self) -> Option<(Arc<Message>, Instant)> {
        self.handshake.answer().map(|(answer, at)| (Arc::clone(answer), at))
    }

    /// Whether an `initialize` waits to be written.
    pub(super) fn awaits_opening(&self) -> bool {
        self.calls.values().any(|waiting| waiting.role == Role::Opening && !waiting.written)
    }

    /// An `initialize` was given up before it was written. What waits behind it still needs one.
    pub(super) fn reopen(&mut self) {
        self.handshake.reset();
        self.change(Change::Opened);
        if !self.outgoing.is_empty() || self.calls.values().any(|waiting| waiting.role == Role::Follower) {
            self.open_on_behalf();
        }
    }
}
