//! State of one child, without threads: which calls wait, what is to be written, what an answer means. Everything that
//! can go wrong with ids is decided here, and tested here. Lines wait in `outgoing` in the order of admission, across
//! restarts of the child; a call is written once or not at all. Private ids are never used twice, so whatever arrives
//! late finds no call and is dropped.
//!
//! All of it runs under a lock that others wait for, so no text is looked at or copied here: messages are shared, and
//! where their spans are was found when they were read.

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
use super::life::{self, Change, Life, Speaks};
use super::observed::Stamp;
use super::replies::{Replies, Reply};
use super::rewrite::{Line, Numbers};

/// Most calls of one child at once, and most lines that wait for it; notifications alone can reach it.
const WAITING_MAX: usize = 512;

/// Bytes of waiting lines above which no more are taken. What a poll brings may still be added whole.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a handshake may be unanswered while calls wait. Launchers that fetch packages take most of it.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// How long, and of how many ended calls, the ids are remembered: a late cancellation must hit no newer call.
const ENDED_FOR: Duration = Duration::from_secs(30);
const ENDED_MAX: usize = 256;

/// Longest id of a child's request that is answered, of an ended call, of one to cancel.
const ID_BYTES_MAX: usize = 1024;

/// What is done with a message for the child.
#[derive(Debug)]
pub(super) enum Admission {
    /// It waits for its end, or has ended already; the number names it towards this state.
    Call(u64, Arc<Replies>),
    /// It was taken and needs no answer.
    Taken,
    /// The server does not speak this era.
    Unspoken,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A line or message that belongs to no call.
    Noise,
    /// An answer or notification whose call has ended.
    Late,
    /// A request of the child: answered here, or dropped.
    ServerRequest(bool),
}

/// What tells the conversation of a command from others; those of which nothing tells it are one.
pub(super) type Conversation = Option<u64>;

/// Conversation of our own questions. Those of callers have digests that nobody can choose.
pub(super) const OURS: Conversation = Some(0);

/// What a call is to the state of the child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Plain,
    /// An `initialize`, of a caller or our own: its answer changes the state.
    Opening,
    /// An `initialize` that is never written, since another one is unanswered: it gets the same answer.
    Follower,
    /// A subscription, whose silence means nothing.
    Endless,
}

struct Waiting {
    /// What was asked, under the caller's own id.
    caller: Arc<Message>,
    conversation: Conversation,
    replies: Arc<Replies>,
    role: Role,
    written: bool,
}

impl Waiting {
    fn id(&self) -> &str {
        self.caller.id().unwrap_or_default()
    }

    /// Whether a caller of this conversation means it by this id. A longer one than any real one is not compared.
    fn is_named(&self, id: &str, conversation: Conversation) -> bool {
        let short = self.id().len().max(id.len()) <= ID_BYTES_MAX;
        let plain = matches!(self.role, Role::Plain | Role::Endless);
        short && plain && self.conversation == conversation && same_id(self.id(), id)
    }
}

/// The caller's id of a call that ended lately.
struct Ended {
    at: Instant,
    conversation: Conversation,
    id: String,
}

/// State of one child.
pub(super) struct Core {
    era: Era,
    /// Changed by [`Core::change`] alone, as `speaks` is.
    pub(super) life: Life,
    pub(super) speaks: Speaks,
    numbers: Numbers,
    calls: BTreeMap<u64, Waiting>,
    /// Goes before everything else: the handshake, answers to the child, cancellations.
    urgent: VecDeque<Line>,
    outgoing: VecDeque<Line>,
    pub(super) handshake: Handshake,
    ended: VecDeque<Ended>,
    /// What an answer to a line that is written now tells about.
    pub(super) stamp: Stamp,
    /// Whether the present child has answered anything.
    pub(super) answered: bool,
    /// The number of the question that it was asked because it was silent.
    question: Option<u64>,
    /// Whether subscriptions are still taken.
    subscribes: bool,
}

impl Core {
    pub(super) fn new(era: Era, numbers: Numbers) -> Core {
        Core {
            era,
            life: Life::Down,
            speaks: Speaks::before(era),
            numbers,
            calls: BTreeMap::new(),
            urgent: VecDeque::new(),
            outgoing: VecDeque::new(),
            handshake: Handshake::default(),
            ended: VecDeque::new(),
            stamp: Stamp::default(),
            answered: false,
            question: None,
            subscribes: true,
        }
    }

    /// Takes a message for the child, in the order of dequeuing. `held` is what it occupies beyond the time of its
    /// command, where that does not wait for an answer.
    pub(super) fn admit(
        &mut self,
        message: &Arc<Message>,
        conversation: Conversation,
        held: Ticket,
    ) -> Admission {
        if matches!(self.life, Life::Closing(_) | Life::Closed) {
            return self.refused(net::Kind::ConnectionClosed, "shutting down");
        }
        if self.speaks == Speaks::No {
            return Admission::Unspoken;
        }
        let bytes: usize = self.urgent.iter().chain(&self.outgoing).map(Line::bytes).sum();
        if self.pending() >= WAITING_MAX || self.outgoing.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return self.refused(net::Kind::ClosedPipe, "the server does not read its input");
        }
        match (message.kind(), message.method()) {
            (Kind::Request, Some("initialize")) if self.era == Era::Legacy => {
                return self.initialize(message, conversation);
            }
            (Kind::Request, method) => {
                self.ensure_session(method, conversation);
                let endless = message.is_subscription();
                let role = if endless { Role::Endless } else { Role::Plain };
                let (number, replies, line) = self.call(message, conversation, role);
                self.outgoing.push_back(line);
                if endless && !self.subscribes {
                    replies.fail(net::Kind::ConnectionClosed, "shutting down");
                }
                return Admission::Call(number, replies);
            }
            (Kind::Notification, Some("notifications/initialized")) if self.era == Era::Legacy => {
                self.confirm();
            }
            (Kind::Notification, Some("notifications/cancelled")) => {
                self.cancelled(message, conversation, held);
            }
            _ => {
                self.ensure_session(message.method(), conversation);
                self.outgoing.push_back(Line::of(message, Vec::new(), Some(held)));
            }
        }
        Admission::Taken
    }

    fn refused(&mut self, kind: net::Kind, cause: &str) -> Admission {
        self.ended_call(Reply::Failed(Failure::new(kind, cause)))
    }

    /// A call that needs nothing of the child.
    fn ended_call(&mut self, end: Reply) -> Admission {
        let replies = Arc::<Replies>::default();
        replies.end(end);
        Admission::Call(self.numbers.give(), replies)
    }

    /// Registers a call and makes its line.
    fn call(
        &mut self,
        message: &Arc<Message>,
        conversation: Conversation,
        role: Role,
    ) -> (u64, Arc<Replies>, Line) {
        let number = self.numbers.give();
        let id = message.id().unwrap_or_default();
        let mut replaced: Vec<_> = message.renamed(&self.numbers.private(number, id)).into_iter().collect();
        let token = message.places().token;
        replaced.extend(token.map(|span| (span, self.numbers.private(number, span.of(message.text())))));
        let replies = Arc::<Replies>::default();
        let waiting = Waiting {
            caller: Arc::clone(message),
            conversation,
            replies: Arc::clone(&replies),
            role,
            written: false,
        };
        self.calls.insert(number, waiting);
        (number, replies, Line::calling(number, message, replaced))
    }

    /// A caller gave up a call of its own: the child is told under its own number, at once. Ids that name no
    /// call of that conversation, or several, are left alone.
    fn cancelled(&mut self, message: &Arc<Message>, conversation: Conversation, held: Ticket) {
        let Some(span) = message.places().cancelled else { return };
        let id = span.of(message.text());
        let lately = |ended: &Ended| ended.at.elapsed() < ENDED_FOR && ended.conversation == conversation;
        if id.len() > ID_BYTES_MAX || self.ended.iter().any(|ended| lately(ended) && same_id(&ended.id, id)) {
            return;
        }
        let mut named = self.calls.iter().filter(|(_, waiting)| waiting.is_named(id, conversation));
        if let (Some((number, waiting)), None) = (named.next(), named.next()) {
            let (private, written) = (self.numbers.private(*number, waiting.id()), waiting.written);
            drop(named);
            let line = Line::of(message, vec![(span, private)], Some(held));
            if written { self.push_urgent(line) } else { self.outgoing.push_back(line) }
        }
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message, conversation: Conversation) -> bool {
        let id = cancellation.places().cancelled.map(|span| span.of(cancellation.text()));
        id.is_some_and(|id| self.calls.values().any(|waiting| waiting.is_named(id, conversation)))
    }

    /// The next line to be written. The caller writes it at once.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        loop {
            let line = match self.life {
                // One that closes still hears which calls were given up.
                Life::Opening(_) | Life::Closing(_) => self.urgent.pop_front(),
                Life::Serving | Life::Silent(_) => {
                    self.urgent.pop_front().or_else(|| self.outgoing.pop_front())
                }
                Life::Down | Life::Starting | Life::Ending(_) | Life::Closed => None,
            }?;
            let Some(call) = line.call else { return Some(line) };
            // A call that has ended meanwhile is never written.
            if let Some(waiting) = self.calls.get_mut(&call) {
                waiting.written = true;
                waiting.replies.written(self.stamp);
                return Some(line);
            }
        }
    }

    /// A fresh child runs. One that was initialized before is initialized again before anything else.
    pub(super) fn started(&mut self) {
        self.change(Change::Started);
        self.answered = false;
        self.stamp = Stamp { child: self.stamp.child + 1, ..Stamp::default() };
        if self.era == Era::Modern || self.life != Life::Serving {
            return;
        }
        if self.awaits_opening() {
            // A caller asked for one while no child ran.
            self.change(Change::Opens(Instant::now()));
        } else if self.handshake.is_known() || !self.outgoing.is_empty() {
            // Without a known one: the last child died with its first, and calls still wait.
            self.open_on_behalf();
        }
    }

    /// The child ends or has ended: what was written to it has failed, what waits goes to the next.
    pub(super) fn ends(&mut self, change: Change, kind: net::Kind, cause: &str) {
        self.change(change);
        // Of what was urgent only an `initialize` means something to the next child.
        self.urgent.retain(|line| line.call.is_some());
        let waits = self.awaits_opening();
        if !waits {
            self.handshake.reset();
        }
        self.fail(|waiting| waiting.written || (waiting.role == Role::Follower && !waits), kind, cause);
    }

    /// None of what waits will be served.
    pub(super) fn fail_all(&mut self, kind: net::Kind, cause: &str) {
        self.fail(|_| true, kind, cause);
        self.handshake.reset();
        self.urgent.retain(|line| line.call.is_none() && matches!(self.life, Life::Closing(_)));
        self.outgoing.clear();
    }

    fn fail(&mut self, fails: impl Fn(&Waiting) -> bool, kind: net::Kind, cause: &str) {
        self.calls.retain(|_, waiting| {
            let fails = fails(waiting);
            if fails {
                waiting.replies.fail(kind, cause);
            }
            !fails
        });
    }

    /// Subscriptions never end by themselves: those that are open end now, and later ones at once.
    pub(super) fn end_subscriptions(&mut self) {
        self.subscribes = false;
        for waiting in self.calls.values().filter(|waiting| waiting.role == Role::Endless) {
            waiting.replies.fail(net::Kind::ConnectionClosed, "shutting down");
        }
    }

    /// A caller waits no longer. The child is told; true when it has to be replaced instead, because
    /// its state after a half-done handshake is unknown.
    pub(super) fn give_up(&mut self, number: u64) -> bool {
        let Some(waiting) = self.calls.remove(&number) else { return false };
        match (waiting.role, waiting.written) {
            (Role::Opening, true) => true,
            (Role::Follower, _) => false,
            (role, false) => {
                self.urgent.retain(|line| line.call != Some(number));
                self.outgoing.retain(|line| line.call != Some(number));
                if role == Role::Opening {
                    self.reopen();
                    return false;
                }
                // It waited for a handshake that is never answered.
                matches!(self.life, Life::Opening(since) if since.elapsed() > OPENING_MAX)
            }
            (Role::Plain | Role::Endless, true) => {
                let private = self.numbers.private(number, waiting.id());
                self.push_urgent(Line::own(failure::cancellation(&private)));
                self.remember(&waiting);
                false
            }
        }
    }

    /// Remembers the id of a call that has ended.
    fn remember(&mut self, call: &Waiting) {
        if call.id().len() <= ID_BYTES_MAX {
            self.ended.truncate(ENDED_MAX - 1);
            let (conversation, id) = (call.conversation, call.id().to_owned());
            self.ended.push_front(Ended { at: Instant::now(), conversation, id });
        }
    }

    /// Has a line written before all others, unless the child has stopped reading them.
    fn push_urgent(&mut self, line: Line) {
        if self.urgent.len() < WAITING_MAX {
            self.urgent.push_back(line);
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        (self.life, self.speaks) = life::after(self.life, self.speaks, change);
    }

    /// Whether a child runs that has not closed a pipe.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.life, Life::Opening(_) | Life::Serving | Life::Silent(_))
    }

    pub(super) fn pending(&self) -> usize {
        self.calls.len()
    }

    /// Whether anything waits to be written.
    pub(super) fn has_work(&self) -> bool {
        !self.outgoing.is_empty() || !self.urgent.is_empty()
    }
}
