//! What waits for a tunnel client, and what waits for its answers.
//!
//! A request of a caller is put on the board, handed out to one poll, and taken off when its caller has
//! been answered or has gone; what was not handed out by then never is. Everything is bounded, and nothing
//! here knows HTTP. It fails by refusing: a full board, an unknown request, a wrong token.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;

use super::rehearsal::shown;
use crate::config::Channel;
use crate::ops::timestamp;
use crate::sync::{self, Condition};

/// Commands that may wait to be polled, and their bytes.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that one poll is answered with: clients take 64 MiB, and drop everything that is in more.
const POLL_BYTES_MAX: usize = 63 * 1024 * 1024;

/// What a command has besides message and headers, at most.
const ENVELOPE_BYTES: usize = 1024;

/// What may wait for one caller. A poster of more waits for the caller, as with a real plane.
const EVENTS_MAX: usize = 16;

/// For how long; then a notification pushes out the oldest, since a caller who reads nothing must hold up nobody.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// How often those who wait look whether their peer is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Headers by name.
pub(super) type Headers = std::collections::BTreeMap<String, Vec<String>>;

/// What a caller wants from the tunnel.
pub(super) struct Call {
    /// Its `command_type`.
    pub(super) kind: &'static str,
    pub(super) channel: Channel,
    pub(super) headers: Headers,
    /// The message, where the type has one.
    pub(super) message: Option<Box<RawValue>>,
    /// When nobody waits for it any more.
    pub(super) end: Instant,
}

/// What a tunnel client posted.
#[derive(Clone)]
pub(super) struct Posted {
    /// It is not the last word.
    pub(super) is_notification: bool,
    /// It acknowledges a message that has no answer.
    pub(super) is_ack: bool,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// JSON as it came.
    pub(super) body: Option<Box<RawValue>>,
}

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    TooLarge,
    Unknown,
    Token,
}

/// A command as polls carry it.
#[derive(Serialize)]
pub(super) struct Command {
    request_id: String,
    shard_token: String,
    command_type: &'static str,
    channel: String,
    created_at: String,
    response_timeout: String,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonrpc: Option<Box<RawValue>>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Command { request_id, channel, command_type, .. } = self;
        let message = self.jsonrpc.as_ref().map_or(String::new(), |message| shown(message.get()));
        write!(f, "{request_id}  {channel} {command_type}  {message}")
    }
}

/// A command that was not polled yet.
struct Waiting {
    end: Instant,
    /// In a poll's reply, at most.
    bytes: usize,
    command: Command,
}

/// Every command and answer under way.
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condition,
    /// [`ROOM_WAIT`], but for tests.
    room_wait: Duration,
}

struct State {
    /// The number of the last command.
    count: u64,
    /// What was not polled yet, oldest first.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Everything that somebody waits for, by request id.
    pending: HashMap<String, Pending>,
    polled: bool,
    polls_open: usize,
    seen: Instant,
}

struct Pending {
    token: String,
    events: VecDeque<Posted>,
    /// The answer has come.
    done: bool,
}

/// A call on the board. Dropping it takes it off.
pub(super) struct Ticket<'a> {
    board: &'a Board,
    id: String,
    end: Instant,
}

/// What waiting for an event came to.
pub(super) enum Waited {
    Event(Posted),
    /// Time is up.
    Expired,
    /// There is nobody left to tell.
    Gone,
}

impl Board {
    pub(super) fn new() -> Board {
        let state = State {
            count: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pending: HashMap::new(),
            polled: false,
            polls_open: 0,
            seen: Instant::now(),
        };
        Board { state: Mutex::new(state), changed: Condition::default(), room_wait: ROOM_WAIT }
    }

    /// Puts a call on the board.
    pub(super) fn put(&self, call: Call) -> Result<Ticket<'_>, Refused> {
        let mut state = self.state();
        let bytes = call.bytes();
        if bytes > POLL_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if state.waiting.len() >= WAITING_MAX || state.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return Err(Refused::Full);
        }
        state.count += 1;
        let (id, token) = (format!("local-{}", state.count), format!("shard-local-{}", state.count));
        let command = Command {
            request_id: id.clone(),
            shard_token: token.clone(),
            command_type: call.kind,
            channel: call.channel.as_str().to_owned(),
            created_at: timestamp::rfc3339(SystemTime::now()),
            // Known when it is handed out.
            response_timeout: String::new(),
            headers: call.headers,
            jsonrpc: call.message,
        };
        state.waiting_bytes += bytes;
        state.waiting.push_back(Waiting { end: call.end, bytes, command });
        state.pending.insert(id.clone(), Pending { token, events: VecDeque::new(), done: false });
        self.changed.notify_all();
        Ok(Ticket { board: self, id, end: call.end })
    }

    /// Waits until `end` for commands of these channels (of all, when none is named) and hands out up to
    /// `limit`; each goes out once. A poll whose client has gone takes nothing with it.
    pub(super) fn poll(
        &self,
        channels: &[Channel],
        limit: usize,
        end: Instant,
        is_gone: impl Fn() -> bool,
    ) -> Vec<Command> {
        let mut state = self.state();
        state.polled = true;
        state.polls_open += 1;
        let wanted = |command: &Command| {
            channels.is_empty() || channels.iter().any(|channel| channel.as_str() == command.channel)
        };
        while !state.waiting.iter().any(|waiting| wanted(&waiting.command))
            && Instant::now() < end
            && !is_gone()
        {
            state = self.wait(state, end);
        }
        let mut taken = Vec::new();
        let (mut at, mut room) = (0, POLL_BYTES_MAX);
        while taken.len() < limit && !is_gone() {
            let Some(waiting) = state.waiting.get(at) else { break };
            if !wanted(&waiting.command) {
                at += 1;
                continue;
            }
            let Some(left) = room.checked_sub(waiting.bytes) else { break };
            room = left;
            let Some(Waiting { end, mut command, .. }) = state.remove(at) else { break };
            let left = end.saturating_duration_since(Instant::now());
            command.response_timeout = format!("{}ms", left.as_millis());
            taken.push(command);
        }
        state.polls_open -= 1;
        state.seen = Instant::now();
        taken
    }

    /// Takes what a client posted for a request.
    pub(super) fn post(&self, id: &str, token: &str, posted: Posted) -> Result<(), Refused> {
        let mut state = self.state();
        let is_full = |state: &State| {
            state.pending.get(id).is_some_and(|one| one.token == token && one.events.len() >= EVENTS_MAX)
        };
        let end = Instant::now() + self.room_wait;
        // Answers wait too: order is kept, and the last of them fits then.
        while is_full(&state) && Instant::now() < end {
            state = self.wait(state, end);
        }
        let pending = state.pending.get_mut(id).filter(|pending| !pending.done).ok_or(Refused::Unknown)?;
        if pending.token != token {
            return Err(Refused::Token);
        }
        pending.done = !posted.is_notification;
        if pending.events.len() >= EVENTS_MAX {
            // All of them are notifications: an answer is the last event of its request.
            pending.events.pop_front();
        }
        pending.events.push_back(posted);
        self.changed.notify_all();
        Ok(())
    }

    /// A client showed that it is there.
    pub(super) fn saw_client(&self) {
        self.state().seen = Instant::now();
    }

    /// Whether a client polls, or was heard of within this time.
    pub(super) fn has_client(&self, within: Duration) -> bool {
        let state = self.state();
        state.polls_open > 0 || state.seen.elapsed() <= within
    }

    /// Whether there ever was a poll.
    pub(super) fn was_polled(&self) -> bool {
        self.state().polled
    }

    /// Waits for a change, but no longer than until the next look at the peer.
    fn wait<'a>(&self, state: sync::Guard<'a, State>, end: Instant) -> sync::Guard<'a, State> {
        let time = end.saturating_duration_since(Instant::now()).min(LOOK);
        self.changed.wait_for(state, time)
    }

    fn state(&self) -> sync::Guard<'_, State> {
        sync::lock(&self.state)
    }
}

impl Call {
    /// What it takes in a poll's reply, at most: JSON needs two bytes for some characters of a header.
    fn bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.get().len());
        let headers = self.headers.iter().map(|(name, values)| {
            let values: usize = values.iter().map(|value| 2 * value.len() + 3).sum();
            name.len() + values + 8
        });
        ENVELOPE_BYTES + message + headers.sum::<usize>()
    }
}

impl State {
    fn remove(&mut self, at: usize) -> Option<Waiting> {
        let removed = self.waiting.remove(at)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(removed.bytes);
        Some(removed)
    }
}

impl Ticket<'_> {
    /// Waits for the next event of this call, in the order of posting.
    pub(super) fn next(&self, is_gone: impl Fn() -> bool) -> Waited {
        let mut state = self.board.state();
        loop {
            let event = state.pending.get_mut(&self.id).and_then(|pending| pending.events.pop_front());
            if let Some(event) = event {
                // There is room for another one.
                self.board.changed.notify_all();
                return Waited::Event(event);
            }
            if is_gone() {
                return Waited::Gone;
            }
            if Instant::now() >= self.end {
                return Waited::Expired;
            }
            state = self.board.wait(state, self.end);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.board.state();
        state.pending.remove(&self.id);
        if let Some(at) = state.waiting.iter().position(|waiting| waiting.command.request_id == self.id) {
            state.remove(at);
        }
    }
}

#[cfg(test)]
mod tests;
