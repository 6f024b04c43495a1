//! What happened in a run, as the sides of the tunnel saw it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::scheduler;
use crate::relay::record::Fate;

/// Number of a command. Its request id, shard token and JSON-RPC id are made of it.
pub(super) type Number = u64;

/// Place of a post in the stream of its command; nothing for the terminal answer.
pub(super) type Note = Option<u64>;

/// What a client was told of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It counts as taken.
    Accepted,
    /// There is an answer already.
    Settled,
    /// It may be taken later, not before this time has passed.
    Later(Duration),
    /// It will never be taken.
    Refused,
    /// It cannot be read, and will not be the next time.
    Unreadable,
    /// The key is refused, and may be another one soon.
    Unauthorized,
    /// Nothing came back; whether anything was sent.
    Broken { sent: bool },
    /// This side has cut it.
    Cut,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A poll that succeeded brought the command; the time is that of its head.
    Handed(Number),
    /// It is about to be queued.
    Began(Number),
    /// A limit refuses it.
    Limited(Number),
    /// Its server has admitted it.
    Admitted(Number),
    /// Its server runs it.
    Started(Number),
    /// Its server has ended.
    Finished(Number),
    /// Its fate is known.
    Ended(Number, Fate),
    /// Its answer was given up.
    Untold(Number),
    /// Its record was closed.
    Closed(Number),
    /// A post begins, with a digest of what is posted.
    Posts(Number, Note, u64),
    /// The plane has taken a post, whatever it says of it.
    Taken(Number, Note),
    /// A post has ended.
    Posted(Number, Note, Told),
    /// The limit of this place in the plan is in force from now on.
    Renewed(usize),
    /// The tunnel begins to end.
    Drains,
    /// It has ended, and says how many callers were not told.
    Drained(u64),
    /// Something that must not be.
    Wrong(String),
}

/// All events with their times.
#[derive(Default)]
pub(super) struct History(Mutex<Vec<(Duration, Event)>>);

impl History {
    /// Notes an event.
    pub(super) fn add(&self, event: Event) {
        self.add_at(scheduler::elapsed(), event);
    }

    /// Notes an event of another time.
    pub(super) fn add_at(&self, at: Duration, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, event));
    }

    /// Notes something that must not be.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.add(Event::Wrong(what.into()));
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> Vec<(Duration, Event)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
