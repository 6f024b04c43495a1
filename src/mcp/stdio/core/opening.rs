//! How a session with a legacy child is opened, by a caller's `initialize` or by one of our own.

use std::sync::Arc;
use std::time::Instant;

use crate::relay::message::Message;
use crate::relay::revision::Era;

use super::super::handshake::{Handshake, Opening};
use super::super::mailbox::Mailbox;
use super::super::rewrite::Line;
use super::{Admission, Conversation, Core};

impl Core {
    /// The first `initialize` goes to the child. While its answer is awaited others wait for the same
    /// one, afterwards they are answered from memory: strict servers refuse a second handshake.
    pub(super) fn initialize(&mut self, message: &Arc<Message>, conversation: Conversation) -> Admission {
        match self.handshake.open(message) {
            Opening::First => self.begin(message, conversation),
            Opening::Answered(answer) => Admission::Answered(answer),
            Opening::Awaited => {
                let (number, mailbox) = (self.numbers.give(), Arc::<Mailbox>::default());
                self.handshake.follow(number, Arc::clone(message), Arc::clone(&mailbox));
                mailbox.written();
                Admission::Call(number, mailbox)
            }
        }
    }

    /// Sends an `initialize`; nothing else is written before the child has answered it.
    fn begin(&mut self, message: &Arc<Message>, conversation: Conversation) -> Admission {
        let (number, mailbox, line) = self.call(message, conversation, true);
        self.opening_since = Some(Instant::now());
        self.urgent.push_back(line);
        Admission::Call(number, mailbox)
    }

    /// Sends an `initialize` that no caller waits for: the last good one, else one of our own.
    pub(super) fn begin_on_behalf(&mut self) {
        let message = self.handshake.remembered();
        self.handshake.open(&message);
        self.handshake.on_behalf();
        self.begin(&message, None);
    }

    /// Opens the session ourselves when a caller goes ahead without one: its session is older than this
    /// process or this child, and the server must not notice.
    pub(super) fn greet(&mut self) {
        match self.era {
            Era::Modern => {}
            Era::Legacy if self.handshake.is_missing() => self.begin_on_behalf(),
            // Some callers never confirm it, and some servers stay silent until it is.
            Era::Legacy => self.confirm(),
        }
    }

    /// `notifications/initialized` is owed once per child.
    pub(super) fn confirm(&mut self) {
        if self.handshake.confirm() {
            let text = Handshake::confirmation().to_owned();
            self.outgoing.push_back(Line::own(text));
        }
    }

    /// An `initialize` was given up before it was written. Whoever waits behind it still needs one.
    pub(super) fn reopen(&mut self) {
        self.opening_since = None;
        if self.handshake.withdrawn() || !self.outgoing.is_empty() {
            self.begin_on_behalf();
        }
    }
}
