//! The state of one child, without threads: which calls wait, what is to be written, what an answer
//! means. Everything that can go wrong with ids is decided here, and tested here.
//!
//! Lines wait in `outgoing` in the order of admission, across restarts of the child; a call is
//! written once or not at all. Private ids are never used twice, so whatever arrives late finds
//! nobody and is dropped.
//!
//! All of it runs under a lock that other channels wait for, so no text is looked at or copied here:
//! messages are shared, and where their spans are was found when they were read.

mod incoming;
mod opening;
mod question;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net;
use crate::relay::failure::{self, Failure};
use crate::relay::inflight::Ticket;
use crate::relay::message::{Kind, Message, same_id};
use crate::relay::revision::Era;

use super::handshake::Handshake;
use super::mailbox::{End, Mailbox};
use super::rewrite::{Line, Numbers};

pub(super) use incoming::under;

/// Most calls of one child at once, and most lines that wait for it. Workers and subscriptions cannot
/// reach it; notifications to a child that reads nothing can.
const WAITING_MAX: usize = 512;

/// Bytes of waiting lines above which no more are taken. What a poll brings may still be added whole.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a child may leave a handshake unanswered while calls wait behind it. Launchers that fetch
/// their packages first take most of it.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// How long, and of how many calls, the ids are remembered after the end: a cancellation that comes late
/// must not hit a newer call of the same id.
const ENDED_FOR: Duration = Duration::from_secs(30);
const ENDED_MAX: usize = 256;

/// Longest id of a child's request that is answered, of an ended call that is remembered, of one to cancel.
const ID_BYTES_MAX: usize = 1024;

/// What became of a command.
#[derive(Debug)]
pub(super) enum Admission {
    /// It waits for its answer; the number names it towards this state.
    Call(u64, Arc<Mailbox>),
    /// The child answered the same before.
    Answered(Arc<Message>),
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

/// What tells the conversation of a command from others; those of which nothing tells it are one.
pub(super) type Conversation = Option<u64>;

#[derive(Debug)]
struct Waiting {
    /// What was asked, under the caller's own id.
    caller: Arc<Message>,
    conversation: Conversation,
    mailbox: Arc<Mailbox>,
    written: bool,
    /// Our own handshake, or one of the caller's: its answer changes the state.
    opening: bool,
    /// A subscription, whose silence means nothing.
    endless: bool,
}

impl Waiting {
    fn id(&self) -> &str {
        self.caller.id().unwrap_or_default()
    }

    /// Whether a caller of this conversation means it by this id. One that is longer than any real one is not
    /// compared.
    fn is_named(&self, id: &str, conversation: Conversation) -> bool {
        let short = self.id().len().max(id.len()) <= ID_BYTES_MAX;
        short && !self.opening && self.conversation == conversation && same_id(self.id(), id)
    }
}

/// The state of one child.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) era: Era,
    numbers: Numbers,
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
    ended: VecDeque<(Instant, Conversation, String)>,
    /// Whether the present child has answered anything.
    pub(super) answered: bool,
    /// The number of the question that it was asked because it was silent.
    question: Option<u64>,
}

impl Core {
    pub(super) fn new(era: Era, numbers: Numbers) -> Core {
        Core {
            era,
            numbers,
            calls: BTreeMap::new(),
            urgent: VecDeque::new(),
            outgoing: VecDeque::new(),
            handshake: Handshake::default(),
            running: false,
            opening_since: None,
            ended: VecDeque::new(),
            answered: false,
            question: None,
        }
    }

    /// Takes a message for the child, in the order of dequeuing.
    pub(super) fn admit(&mut self, message: &Arc<Message>, conversation: Conversation) -> Admission {
        let bytes: usize = self.urgent.iter().chain(&self.outgoing).map(Line::bytes).sum();
        if self.pending() >= WAITING_MAX || self.outgoing.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            let cause = "the server does not read its input";
            return Admission::Refused(Failure::new(net::Kind::ClosedPipe, cause));
        }
        match (message.kind(), message.method()) {
            (Kind::Request, Some("initialize")) if self.era == Era::Legacy => {
                self.initialize(message, conversation)
            }
            (Kind::Request, method) => {
                if method != Some("ping") {
                    self.greet();
                }
                let (number, mailbox, line) = self.call(message, conversation, false);
                self.outgoing.push_back(line);
                Admission::Call(number, mailbox)
            }
            (Kind::Notification, Some("notifications/initialized")) if self.era == Era::Legacy => {
                self.confirm();
                Admission::Taken
            }
            (Kind::Notification, Some("notifications/cancelled")) => {
                self.cancelled(message, conversation);
                Admission::Taken
            }
            _ => {
                self.greet();
                self.outgoing.push_back(Line::of(message, Vec::new(), None));
                Admission::Taken
            }
        }
    }

    /// Registers a call and makes its line.
    fn call(
        &mut self,
        message: &Arc<Message>,
        conversation: Conversation,
        opening: bool,
    ) -> (u64, Arc<Mailbox>, Line) {
        let number = self.numbers.give();
        let id = message.id().unwrap_or_default();
        let mut replaced: Vec<_> = message.renamed(&self.numbers.private(number, id)).into_iter().collect();
        let token = message.places().token;
        replaced.extend(token.map(|span| (span, self.numbers.private(number, span.of(message.text())))));
        let mailbox = Arc::<Mailbox>::default();
        let waiting = Waiting {
            caller: Arc::clone(message),
            conversation,
            mailbox: Arc::clone(&mailbox),
            written: false,
            opening,
            endless: message.method() == Some("subscriptions/listen"),
        };
        self.calls.insert(number, waiting);
        (number, mailbox, Line::of(message, replaced, Some(number)))
    }

    /// A caller gave up a call of its own: the child is told under its own number, at once. Ids that name no
    /// call of that conversation, or several, are nobody's.
    fn cancelled(&mut self, message: &Arc<Message>, conversation: Conversation) {
        let Some(span) = message.places().cancelled else { return };
        let id = span.of(message.text());
        let mut ended =
            self.ended.iter().filter(|(at, of, _)| at.elapsed() < ENDED_FOR && *of == conversation);
        if id.len() > ID_BYTES_MAX || ended.any(|(_, _, ended)| same_id(ended, id)) {
            return;
        }
        let mut named = self.calls.iter().filter(|(_, waiting)| waiting.is_named(id, conversation));
        if let (Some((number, waiting)), None) = (named.next(), named.next()) {
            let (private, written) = (self.numbers.private(*number, waiting.id()), waiting.written);
            drop(named);
            let line = Line::of(message, vec![(span, private)], None);
            if written { self.urge(line) } else { self.outgoing.push_back(line) }
        }
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message, conversation: Conversation) -> bool {
        let id = cancellation.places().cancelled.map(|span| span.of(cancellation.text()));
        id.is_some_and(|id| self.calls.values().any(|waiting| waiting.is_named(id, conversation)))
    }

    /// Keeps what the line of a message occupies, wherever it waits, until it has been written.
    pub(super) fn hold(&mut self, message: &Arc<Message>, held: Ticket) {
        let mut lines = self.urgent.iter_mut().chain(&mut self.outgoing);
        let Some(line) = lines.find(|line| line.is_of(message)) else { return };
        line.held.get_or_insert(held);
    }

    /// The next line to be written. The caller writes it at once.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        if !self.running {
            return None;
        }
        loop {
            let line = match self.urgent.pop_front() {
                Some(line) => line,
                None if self.opening_since.is_none() => self.outgoing.pop_front()?,
                None => return None,
            };
            let Some(call) = line.call else { return Some(line) };
            // A call that has ended meanwhile is never written.
            if let Some(waiting) = self.calls.get_mut(&call) {
                waiting.written = true;
                waiting.mailbox.written();
                return Some(line);
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
    pub(super) fn died(&mut self, kind: net::Kind, cause: &str) {
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

    fn fail_followers(&mut self, kind: net::Kind, cause: &str) {
        for (_, mailbox) in self.handshake.died() {
            mailbox.end(End::Failed(Failure::new(kind, cause)));
        }
    }

    /// Nobody will ever be served again.
    pub(super) fn closed(&mut self, cause: &str) {
        self.died(net::Kind::ConnectionClosed, cause);
        let rest: Vec<u64> = self.calls.keys().copied().collect();
        for number in rest {
            self.fail(number, net::Kind::ConnectionClosed, cause);
        }
        self.fail_followers(net::Kind::ConnectionClosed, cause);
        self.urgent.clear();
        self.outgoing.clear();
    }

    fn fail(&mut self, number: u64, kind: net::Kind, cause: &str) {
        if let Some(waiting) = self.calls.remove(&number) {
            waiting.mailbox.end(End::Failed(Failure::new(kind, cause)));
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
        let private = self.numbers.private(number, waiting.id());
        self.urge(Line::own(failure::cancellation(&private)));
        self.remember(&waiting);
        false
    }

    /// Remembers the id of a call that has ended.
    fn remember(&mut self, call: &Waiting) {
        if call.id().len() <= ID_BYTES_MAX {
            self.ended.truncate(ENDED_MAX - 1);
            self.ended.push_front((Instant::now(), call.conversation, call.id().to_owned()));
        }
    }

    /// Writes a line before all others, unless the child has stopped reading them.
    fn urge(&mut self, line: Line) {
        if self.urgent.len() < WAITING_MAX {
            self.urgent.push_back(line);
        }
    }

    /// Whether a child runs that has not closed a pipe.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Whether a child runs whose handshake is unanswered.
    pub(super) fn is_opening(&self) -> bool {
        self.running && self.opening_since.is_some()
    }

    /// How many calls wait.
    pub(super) fn pending(&self) -> usize {
        self.calls.len() + self.handshake.followers()
    }

    /// Whether anything waits to be written.
    pub(super) fn has_work(&self) -> bool {
        !self.outgoing.is_empty() || !self.urgent.is_empty()
    }
}
