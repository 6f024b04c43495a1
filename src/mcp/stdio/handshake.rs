//! What a child was told and answered when its session was opened, so that it can be told again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::net::FREE_BYTES;
use crate::relay::message::Message;

use super::mailbox::Mailbox;

/// Our own opening, for callers whose session is older than this process.
const OWN: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"tunnel-client-rs","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

const CONFIRMATION: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The handshake of one child and the memory of the last good one.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    /// The last `initialize` that a child accepted, and its answer.
    memory: Option<(Arc<Message>, Arc<Message>)>,
    /// The `initialize` that the present child has not answered yet.
    awaited: Option<Arc<Message>>,
    /// The present child has accepted one.
    done: bool,
    /// The present child has been told `initialized`.
    confirmed: bool,
    /// The session was opened for callers who do not know of it: we confirm it ourselves.
    replay: bool,
    /// Other calls that wait for the same answer, by number.
    followers: BTreeMap<u64, Follower>,
}

/// A call that waits for the answer to another's `initialize`.
pub(super) type Follower = (Arc<Message>, Arc<Mailbox>);

/// What an `initialize` meets.
pub(super) enum Opening {
    /// It is the first: it goes to the child.
    First,
    /// One is on its way: it waits for the same answer.
    Awaited,
    /// The child has answered one: this is the answer.
    Answered(Arc<Message>),
}

impl Handshake {
    /// Our own opening.
    fn own() -> Arc<Message> {
        let own = Message::parse(OWN.to_owned());
        Arc::new(own.unwrap_or_else(|_| unreachable!("a constant, parsed by the tests")))
    }

    /// The notification that ends an opening.
    pub(super) fn confirmation() -> &'static str {
        CONFIRMATION
    }

    /// An `initialize` arrives.
    pub(super) fn open(&mut self, message: &Arc<Message>) -> Opening {
        match &self.memory {
            Some((_, result)) if self.done => Opening::Answered(Arc::clone(result)),
            _ if self.awaited.is_some() => Opening::Awaited,
            _ => {
                self.awaited = Some(Arc::clone(message));
                self.replay = false;
                Opening::First
            }
        }
    }

    /// The awaited `initialize` is ours: nobody else will confirm it.
    pub(super) fn on_behalf(&mut self) {
        self.replay = true;
    }

    /// Somebody waits for the same answer.
    pub(super) fn follow(&mut self, number: u64, caller: Arc<Message>, mailbox: Arc<Mailbox>) {
        self.followers.insert(number, (caller, mailbox));
    }

    /// It waits no longer.
    pub(super) fn unfollow(&mut self, number: u64) {
        self.followers.remove(&number);
    }

    /// How many wait for the same answer.
    pub(super) fn followers(&self) -> usize {
        self.followers.len()
    }

    /// The child has answered. Tells whether we have to confirm it, and who else waits.
    pub(super) fn answered(&mut self, answer: &Arc<Message>) -> (bool, Vec<Follower>) {
        if let (Some(message), false) = (self.awaited.take(), answer.is_error()) {
            // A giant one is passed on, and asked for again when it is wanted again.
            let small = message.text().len() + answer.text().len() <= FREE_BYTES;
            self.memory = small.then(|| (message, Arc::clone(answer)));
            self.done = true;
        }
        (self.done && self.replay, self.take_followers())
    }

    /// Whether nothing has opened a session with the present child.
    pub(super) fn is_missing(&self) -> bool {
        !self.done && self.awaited.is_none()
    }

    /// Whether `initialized` is still owed; it counts as sent from now on.
    pub(super) fn confirm(&mut self) -> bool {
        let owed = self.done && !self.confirmed;
        self.confirmed |= owed;
        owed
    }

    /// The awaited `initialize` was never sent. Tells whether somebody else waits for its answer.
    pub(super) fn withdrawn(&mut self) -> bool {
        self.awaited = None;
        !self.followers.is_empty()
    }

    /// Whether any child has accepted an `initialize`, so that the next one has to be told.
    pub(super) fn is_known(&self) -> bool {
        self.memory.is_some()
    }

    /// What a fresh child has to be told first.
    pub(super) fn remembered(&self) -> Arc<Message> {
        self.memory.as_ref().map_or_else(Handshake::own, |(message, _)| Arc::clone(message))
    }

    /// The child is gone; whoever waited for its answer gets none.
    pub(super) fn died(&mut self) -> Vec<Follower> {
        (self.done, self.confirmed, self.awaited) = (false, false, None);
        self.take_followers()
    }

    fn take_followers(&mut self) -> Vec<Follower> {
        std::mem::take(&mut self.followers).into_values().collect()
    }
}
