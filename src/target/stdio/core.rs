//! The state of one child, without threads: which calls wait, what is to be written, what an answer
//! means. Everything that can go wrong with ids is decided here, and tested here.
//!
//! Lines wait in `outgoing` in the order of admission, across restarts of the child; a call is
//! written once or not at all. Private ids are never used twice, so whatever arrives late finds
//! nobody and is dropped.

mod incoming;
mod opening;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::relay::failure::{self, Failure};
use crate::relay::message::{Era, Kind, Malformed, Message, same_id};
use crate::relay::payload::Payload;

use super::handshake::Handshake;
use super::mailbox::{End, Mailbox};
use super::rewrite::{self, line};

/// Most calls of one child at once, and most lines that wait for it. Workers and subscriptions cannot
/// reach it; notifications to a child that reads nothing can.
const WAITING_MAX: usize = 512;

/// Bytes of waiting lines above which no more are taken. What a poll brings may still be added whole.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a child may leave a handshake unanswered while calls wait behind it. Launchers that fetch
/// their packages first take most of it.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// How long, and of how many calls, the ids are remembered after the end: a cancellation that comes late
/// must not hit another conversation's call of the same id.
const ENDED_FOR: Duration = Duration::from_secs(30);
const ENDED_MAX: usize = 256;

/// Longest id of a child's own request that is answered, and of an ended call that is remembered.
const ID_BYTES_MAX: usize = 1024;

/// What became of a command.
#[derive(Debug)]
pub(super) enum Admission {
    /// It waits for its answer; the number names it towards this state.
    Call(u64, Arc<Mailbox>),
    /// It was taken and needs no answer.
    Taken,
    /// It cannot be served.
    Refused(Failure),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A line or message that belongs to nobody.
    Noise,
    /// An answer or notification whose call has ended.
    Late,
    /// A request of the child: answered here, or dropped.
    ServerRequest(bool),
}

#[derive(Debug)]
struct Waiting {
    /// The caller's own spelling.
    id: String,
    token: Option<String>,
    mailbox: Arc<Mailbox>,
    written: bool,
    /// Our own handshake, or one of the caller's: its answer changes the state.
    opening: bool,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    /// The call that it begins; written only while that still waits.
    call: Option<u64>,
}

/// The state of one child.
#[derive(Debug)]
pub(super) struct Core {
    era: Era,
    next: u64,
    calls: BTreeMap<u64, Waiting>,
    /// Goes before everything else: the handshake, answers to the child, cancellations.
    urgent: VecDeque<Line>,
    outgoing: VecDeque<Line>,
    handshake: Handshake,
    /// Whether a child runs.
    running: bool,
    /// Since when an `initialize` is unanswered; until then nothing else is written.
    opening_since: Option<Instant>,
    /// The callers' ids of calls that ended lately.
    ended: VecDeque<(Instant, String)>,
    /// Whether the present child has answered anything.
    pub(super) answered: bool,
}

impl Core {
    pub(super) fn new(era: Era) -> Core {
        Core {
            era,
            next: 1,
            calls: BTreeMap::new(),
            urgent: VecDeque::new(),
            outgoing: VecDeque::new(),
            handshake: Handshake::default(),
            running: false,
            opening_since: None,
            ended: VecDeque::new(),
            answered: false,
        }
    }

    /// Takes a message for the child, in the order of dequeuing.
    pub(super) fn admit(&mut self, message: &Message) -> Admission {
        let bytes: usize = self.outgoing.iter().map(|line| line.bytes.len()).sum();
        if self.pending() >= WAITING_MAX || self.outgoing.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            let cause = "the server does not read its input";
            return Admission::Refused(Failure::closed("closed_pipe", cause));
        }
        match (message.kind(), message.method()) {
            (Kind::Request, Some("initialize")) if self.era == Era::Legacy => self.initialize(message),
            (Kind::Request, _) => self.request(message),
            (Kind::Notification, Some("notifications/initialized")) if self.era == Era::Legacy => {
                self.confirm();
                Admission::Taken
            }
            (Kind::Notification, Some("notifications/cancelled")) => self.cancelled(message),
            _ => {
                self.greet();
                self.outgoing.push_back(Line { bytes: line(message.text().to_owned()), call: None });
                Admission::Taken
            }
        }
    }

    fn request(&mut self, message: &Message) -> Admission {
        if message.method() != Some("ping") {
            self.greet();
        }
        match self.call(message, false) {
            Ok((number, mailbox, line)) => {
                self.outgoing.push_back(line);
                Admission::Call(number, mailbox)
            }
            Err(malformed) => refused(malformed),
        }
    }

    /// Registers a call and writes its line.
    fn call(&mut self, message: &Message, opening: bool) -> Result<(u64, Arc<Mailbox>, Line), Malformed> {
        let number = self.number();
        let text = message.text();
        let id = message.id().unwrap_or_default();
        let mut replaced: Vec<_> = message.renamed(&rewrite::private(number, id)).into_iter().collect();
        let token = rewrite::find(text, &rewrite::REQUEST_TOKEN)?;
        replaced.extend(token.map(|span| (span, rewrite::private(number, span.of(text)))));
        let mailbox = Arc::<Mailbox>::default();
        let waiting = Waiting {
            id: id.to_owned(),
            token: token.map(|span| span.of(text).to_owned()),
            mailbox: Arc::clone(&mailbox),
            written: false,
            opening,
        };
        self.calls.insert(number, waiting);
        let bytes = line(rewrite::splice(text, replaced));
        Ok((number, mailbox, Line { bytes, call: Some(number) }))
    }

    /// A caller gave up a call: the child is told under its own number, at once. Ids that name no call
    /// or several are nobody's.
    fn cancelled(&mut self, message: &Message) -> Admission {
        let text = message.text();
        let span = match rewrite::find(text, &rewrite::CANCELLED_ID) {
            Ok(Some(span)) => span,
            Ok(None) => return Admission::Taken,
            Err(malformed) => return refused(malformed),
        };
        let id = span.of(text);
        if self.ended.iter().any(|(at, ended)| at.elapsed() < ENDED_FOR && same_id(ended, id)) {
            return Admission::Taken;
        }
        let mut named = self.named(id);
        if let (Some((number, waiting)), None) = (named.next(), named.next()) {
            let (private, written) = (rewrite::private(*number, &waiting.id), waiting.written);
            drop(named);
            let line = line(rewrite::splice(text, vec![(span, private)]));
            if written { self.urge(line) } else { self.outgoing.push_back(Line { bytes: line, call: None }) }
        }
        Admission::Taken
    }

    /// The calls with this id of their callers.
    fn named(&self, id: &str) -> impl Iterator<Item = (&u64, &Waiting)> {
        self.calls.iter().filter(move |(_, waiting)| !waiting.opening && same_id(&waiting.id, id))
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message) -> bool {
        let text = cancellation.text();
        let span = rewrite::find(text, &rewrite::CANCELLED_ID).ok().flatten();
        span.is_some_and(|span| self.named(span.of(text)).next().is_some())
    }

    /// The next line to be written. The caller writes it at once.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        if !self.running {
            return None;
        }
        loop {
            let line = match self.urgent.pop_front() {
                Some(line) => line,
                None if self.opening_since.is_none() => self.outgoing.pop_front()?,
                None => return None,
            };
            let Some(call) = line.call else { return Some(line.bytes) };
            // A call that has ended meanwhile is never written.
            if let Some(waiting) = self.calls.get_mut(&call) {
                waiting.written = true;
                waiting.mailbox.written();
                return Some(line.bytes);
            }
        }
    }

    /// A fresh child runs. One that was initialized before is initialized again before anything else.
    pub(super) fn started(&mut self) {
        self.answered = false;
        self.running = true;
        // Answers to the last child's own requests mean nothing to this one.
        self.urgent.retain(|line| line.call.is_some());
        if self.era == Era::Modern {
            return;
        }
        if self.awaits_opening() {
            // Somebody asked for one while nothing ran.
            self.opening_since = Some(Instant::now());
        } else if self.handshake.is_known() || !self.outgoing.is_empty() {
            // Without a known one: the last child died with its first, and calls still wait.
            self.begin_on_behalf();
        }
    }

    /// Whether an `initialize` waits to be written.
    fn awaits_opening(&self) -> bool {
        self.calls.values().any(|waiting| waiting.opening && !waiting.written)
    }

    /// The child is gone: what was written to it has failed, what waits goes to the next one.
    pub(super) fn died(&mut self, kind: &'static str, cause: &str) {
        self.running = false;
        self.opening_since = None;
        // Of what was urgent only an `initialize` means something to the next child.
        self.urgent.retain(|line| line.call.is_some());
        let written: Vec<u64> =
            self.calls.iter().filter(|(_, waiting)| waiting.written).map(|(n, _)| *n).collect();
        for number in written {
            self.fail(number, kind, cause);
        }
        if !self.awaits_opening() {
            self.fail_followers(kind, cause);
        }
    }

    fn fail_followers(&mut self, kind: &'static str, cause: &str) {
        for (_, mailbox) in self.handshake.died() {
            mailbox.end(End::Failed(Failure::closed(kind, cause)));
        }
    }

    /// Nobody will ever be served again.
    pub(super) fn closed(&mut self, cause: &str) {
        self.died("connection_closed", cause);
        let rest: Vec<u64> = self.calls.keys().copied().collect();
        for number in rest {
            self.fail(number, "connection_closed", cause);
        }
        self.fail_followers("connection_closed", cause);
        self.urgent.clear();
        self.outgoing.clear();
    }

    fn fail(&mut self, number: u64, kind: &'static str, cause: &str) {
        if let Some(waiting) = self.calls.remove(&number) {
            waiting.mailbox.end(End::Failed(Failure::closed(kind, cause)));
        }
    }

    /// A caller waits no longer. The child is told; true when it has to be replaced instead, because
    /// nobody knows what state a half-done handshake left it in.
    pub(super) fn give_up(&mut self, number: u64) -> bool {
        let Some(waiting) = self.calls.remove(&number) else {
            self.handshake.unfollow(number);
            return false;
        };
        if !waiting.written {
            self.urgent.retain(|line| line.call != Some(number));
            self.outgoing.retain(|line| line.call != Some(number));
        }
        if waiting.opening {
            if !waiting.written {
                self.reopen();
            }
            return waiting.written;
        }
        if !waiting.written {
            // It waited for a handshake that nobody answers.
            return self.opening_since.is_some_and(|since| since.elapsed() > OPENING_MAX);
        }
        self.urge(line(failure::cancellation(&rewrite::private(number, &waiting.id))));
        self.remember(waiting.id);
        false
    }

    /// Remembers the id of a call that has ended.
    fn remember(&mut self, id: String) {
        if id.len() <= ID_BYTES_MAX {
            self.ended.truncate(ENDED_MAX - 1);
            self.ended.push_front((Instant::now(), id));
        }
    }

    /// Writes a line before all others, unless the child has stopped reading them.
    fn urge(&mut self, bytes: Vec<u8>) {
        if self.urgent.len() < WAITING_MAX {
            self.urgent.push_back(Line { bytes, call: None });
        }
    }

    /// Whether a child runs that has not closed a pipe.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// How many calls wait.
    pub(super) fn pending(&self) -> usize {
        self.calls.len() + self.handshake.followers()
    }

    /// Whether anything waits to be written.
    pub(super) fn has_work(&self) -> bool {
        !self.outgoing.is_empty() || !self.urgent.is_empty()
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

fn refused(malformed: Malformed) -> Admission {
    Admission::Refused(Failure::local(400, "client_internal", "invalid_mcp_request", malformed.to_string()))
}

/// A remembered answer under another id.
fn under(result: &str, id: &str) -> Payload {
    let Ok(message) = Message::parse(result.to_owned()) else { return Payload::own(result.to_owned()) };
    let renamed = message.renamed(id);
    let payload = Payload::own(message.into_text());
    match renamed {
        Some((span, id)) => payload.replacing(span, id),
        None => payload,
    }
}
