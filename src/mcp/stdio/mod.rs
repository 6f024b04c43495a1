//! Servers over stdio: one child a channel and era, kept running, with calls that cannot meet.
//!
//! The parts, each testable alone: `preflight` sees whether a command could start, `launch`, `guard` and `guards`
//! start and end processes, `lines` reads lines and `framing` messages, `rewrite` and `core` decide about ids, `handshake`
//! remembers how a session was opened, `keeper` has the threads, and `probe` asks children of its own. A
//! child never sees a setting or a key of ours, and its death is never ours.

mod core;
mod framing;
pub mod guard;
mod guards;
mod handshake;
mod keeper;
pub mod launch;
mod lines;
mod mailbox;
#[cfg(feature = "operator")]
pub mod preflight;
#[cfg(feature = "operator")]
pub mod probe;
mod rewrite;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::net::{self, Budget};
use crate::ops::heartbeat::Heartbeats;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::{NOT_STARTED, Readiness};
use crate::relay::command::{Body, Command, SUBSCRIPTION_TTL};
use crate::relay::failure::{self, Class, Failure};
use crate::relay::headers::ReplyHeaders;
use crate::relay::inflight::Ticket;
use crate::relay::message::{Kind, Message};
use crate::relay::payload::Payload;
use crate::relay::port::{Call, Outcome, Sink, Target};
use crate::relay::revision::{Era, VERSION_HEADER};
use crate::sync;

use self::core::{Admission, Conversation, Core, under};
pub use self::guards::Guards;
use self::keeper::{Keeper, SILENCE_MAX};
use self::launch::Launch;
use self::mailbox::{End, Letter, Mailbox};
use self::rewrite::Numbers;

/// How long a command waits for a child that is down or starting.
/// Long enough for a restart, which callers then never notice; short enough that a broken server is told
/// apart from a slow one.
const DOWN_WAIT: Duration = Duration::from_secs(5);

/// How long it waits for one that is starting, and has not answered its handshake.
const STARTING_WAIT: Duration = Duration::from_secs(60);

/// How long the end of a stopped child takes at most.
pub const END_MAX: Duration = keeper::END_MAX;

/// What the servers of one tunnel share.
#[derive(Clone)]
pub struct Shared {
    /// How long a call may take.
    pub ttl: Duration,
    /// How long a server that owes an answer may say nothing before readiness tells of it.
    pub silence: Duration,
    /// The memory for large answers.
    pub budget: Arc<Budget>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The verdict behind `/readyz`.
    pub readiness: Arc<Readiness>,
    /// All guards of this process.
    pub guards: Arc<Guards>,
}

/// A stdio server behind one channel.
pub struct StdioTarget {
    channel: Channel,
    legacy: Arc<Keeper>,
    modern: Arc<Keeper>,
    ttl: Duration,
    /// Calls that never end by themselves; none are taken any more once they have been ended.
    subscriptions: Mutex<Option<Vec<Weak<Mailbox>>>>,
    /// The secret of the digests of conversations.
    conversations: RandomState,
}

impl StdioTarget {
    /// Starts the channel's child. Fails when its program cannot be executed.
    pub fn start(
        channel: &Channel,
        launch: Launch,
        shared: &Shared,
        heartbeats: &Heartbeats,
    ) -> io::Result<StdioTarget> {
        launch.check().map_err(io::Error::other)?;
        let keeper = |era, peer| {
            let core = Core::new(era, Numbers::random()?);
            io::Result::Ok(Keeper::new(channel.clone(), core, launch.clone(), shared.clone(), peer))
        };
        let modern = keeper(Era::Modern, None)?;
        let legacy = keeper(Era::Legacy, Some(Arc::clone(&modern)))?;
        let target = StdioTarget {
            channel: channel.clone(),
            legacy,
            modern,
            ttl: shared.ttl,
            subscriptions: Mutex::new(Some(Vec::new())),
            conversations: RandomState::new(),
        };
        // Until it runs there is nothing to be ready with.
        shared.readiness.child_down(channel, NOT_STARTED);
        target.legacy.start(heartbeats)?;
        // Its thread alone: a child of the newer era is made for the first message that wants one, since most
        // servers know only the older.
        target.modern.start(heartbeats)?;
        Ok(target)
    }

    /// Its channel.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Before a process that does not wait for the end of its servers: ends those, of all channels, whose guard
    /// would not.
    pub fn leave(&self) {
        self.legacy.leave();
    }

    /// The last lines that its server printed on standard error.
    /// Those of the older era's child, the one that always runs.
    #[cfg(feature = "page")]
    pub fn last_words(&self) -> Vec<String> {
        self.legacy.last_words()
    }

    /// A cancellation follows the call that it names. One that names calls of both children is
    /// nobody's, unless it says which era it belongs to.
    fn cancel(&self, message: &Arc<Message>, conversation: Conversation, held: Ticket) -> Outcome {
        let named = |keeper: &Keeper| keeper.is_named_by(message, conversation);
        let keeper = if message.era(None) == Era::Modern {
            &self.modern
        } else {
            match (named(&self.legacy), named(&self.modern)) {
                // To cancel the wrong call harms; one that is not cancelled only works in vain.
                (true, true) => return admitted(Admission::Taken),
                (false, true) => &self.modern,
                (_, false) => &self.legacy,
            }
        };
        admitted(keeper.admit(message, conversation, held))
    }

    /// What a caller's conversation is known by: its session, else its credentials. Callers share a child, and
    /// ids are small numbers: without this anybody's cancellation could reach anybody's call. Only a digest is
    /// kept, since it outlives the call.
    fn conversation(&self, command: &Command) -> Conversation {
        let named = ["mcp-session-id", "authorization"].into_iter();
        let value = named.filter_map(|name| Some((name, command.headers.get(name)?.as_bytes()))).next();
        value.map(|value| self.conversations.hash_one(value))
    }

    /// Keeps a subscription in mind, or ends it when they have been ended already.
    fn subscribed(&self, mailbox: &Arc<Mailbox>) {
        match &mut *self.subscriptions() {
            Some(open) => {
                open.retain(|one| one.strong_count() > 0);
                open.push(Arc::downgrade(mailbox));
            }
            None => mailbox.end(wound_down()),
        }
    }

    fn subscriptions(&self) -> MutexGuard<'_, Option<Vec<Weak<Mailbox>>>> {
        sync::lock(&self.subscriptions)
    }

    /// The child that a message belongs to.
    fn keeper(&self, message: &Message, command: &Command) -> &Arc<Keeper> {
        match message.era(command.header(VERSION_HEADER.as_str())) {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        }
    }

    fn admit_message(&self, command: &Arc<Command>, message: &Arc<Message>) -> Box<dyn Call> {
        let (conversation, held) = (self.conversation(command), command.ticket.more(message.text().len()));
        if message.kind() == Kind::Notification && message.method() == Some("notifications/cancelled") {
            return Box::new(Done(self.cancel(message, conversation, held)));
        }
        let keeper = self.keeper(message, command);
        // Answered for the server, as one that speaks both would: the caller goes on in the other era at
        // once.
        if keeper.is_refused() {
            return Box::new(Done(unknown(message)));
        }
        match keeper.admit(message, conversation, held) {
            Admission::Answered(answer) => Box::new(Remembered { answer, caller: Arc::clone(message) }),
            Admission::Call(number, mailbox) => {
                if command.is_subscription() {
                    self.subscribed(&mailbox);
                }
                let keeper = Arc::clone(keeper);
                let (command, ttl) = (Arc::clone(command), self.ttl);
                Box::new(Waiting { keeper, mailbox, number, command, ttl, awaited: false })
            }
            other => Box::new(Done(admitted(other))),
        }
    }
}

impl Target for StdioTarget {
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        match &command.body {
            Body::Message(message) => self.admit_message(&command, message),
            // There is no session to end but the process, which serves others too.
            Body::SessionTermination => {
                Box::new(Done(Outcome::Terminated { status: 405, headers: ReplyHeaders::default() }))
            }
            Body::OauthDiscovery | Body::Unusable { .. } => {
                let failure = Failure::new(Class::Internal, "not a message");
                Box::new(Done(Outcome::Failed(failure)))
            }
        }
    }

    fn call_max(&self) -> Duration {
        self.ttl
    }

    fn wind_down(&self) {
        let open = self.subscriptions().take().unwrap_or_default();
        for mailbox in open.iter().filter_map(Weak::upgrade) {
            mailbox.end(wound_down());
        }
    }

    fn stop(&self) {
        self.legacy.stop();
        self.modern.stop();
    }

    fn close(&self) {
        // Both have been asked to end already, so they end side by side.
        self.legacy.close();
        self.modern.close();
    }
}

/// How a subscription ends when the tunnel does.
fn wound_down() -> End {
    End::Failed(Failure::new(net::Kind::ConnectionClosed, "shutting down"))
}

/// The answer of a server that does not speak a message's era.
fn unknown(message: &Message) -> Outcome {
    match (message.kind(), message.id()) {
        (Kind::Request, Some(id)) => {
            let headers = ReplyHeaders::content("application/json");
            Outcome::Response { status: 200, headers, payload: Payload::own(failure::method_not_found(id)) }
        }
        _ => admitted(Admission::Taken),
    }
}

/// The outcome of what has no answer of its own: it was taken, or why not.
fn admitted(admission: Admission) -> Outcome {
    match admission {
        Admission::Refused(failure) => Outcome::Failed(failure),
        Admission::Taken | Admission::Answered(_) | Admission::Call(..) => {
            Outcome::Acknowledged { status: 200, headers: ReplyHeaders::default() }
        }
    }
}

/// A command that was decided when it was admitted.
struct Done(Outcome);

impl Call for Done {
    fn run(self: Box<Self>, _: &mut dyn Sink) -> Outcome {
        self.0
    }
}

/// A call that was answered before.
struct Remembered {
    answer: Arc<Message>,
    caller: Arc<Message>,
}

impl Call for Remembered {
    fn run(self: Box<Self>, _: &mut dyn Sink) -> Outcome {
        let payload = under(self.answer, self.caller.id().unwrap_or_default(), None);
        Outcome::Response { status: 200, headers: ReplyHeaders::content("application/json"), payload }
    }
}

/// A call whose answer is awaited.
struct Waiting {
    keeper: Arc<Keeper>,
    mailbox: Arc<Mailbox>,
    number: u64,
    command: Arc<Command>,
    ttl: Duration,
    /// Somebody waits or has waited for its end.
    awaited: bool,
}

impl Drop for Waiting {
    /// A call that was dropped before it ran is given up, so that its server does not work for nobody.
    fn drop(&mut self) {
        if !self.awaited {
            self.keeper.give_up(self.number, Duration::ZERO);
        }
    }
}

impl Call for Waiting {
    fn run(mut self: Box<Self>, sink: &mut dyn Sink) -> Outcome {
        self.awaited = true;
        let subscription = self.command.is_subscription();
        let deadline = self.command.deadline(if subscription { SUBSCRIPTION_TTL } else { self.ttl });
        let discovers = self.command.message().is_some_and(|m| m.method() == Some("server/discover"));
        // The first question of callers that try the newer era: a server that does not know it may stay
        // silent, and the caller should be free to try the other one soon.
        let end = if discovers { deadline.within(SILENCE_MAX) } else { deadline.end() };
        let (began, mut unwritten) = (Instant::now(), deadline.within(DOWN_WAIT));
        loop {
            match self.mailbox.next(end, unwritten) {
                Letter::Note(payload) => {
                    sink.notify(payload, 200, &ReplyHeaders::content("text/event-stream"), end);
                }
                Letter::End(End::Answer(payload)) => {
                    let headers = ReplyHeaders::content("application/json");
                    return Outcome::Response { status: 200, headers, payload };
                }
                Letter::End(End::Failed(failure)) => {
                    // Its server may not know; of a call that it ended itself nothing is left to give up.
                    if subscription {
                        self.keeper.give_up(self.number, Duration::ZERO);
                    }
                    return Outcome::Failed(failure);
                }
                Letter::Nothing => {
                    let down = Instant::now() < end;
                    let (starting, cause) = self.keeper.why_unwritten();
                    if down && starting && began.elapsed() < STARTING_WAIT {
                        unwritten = deadline.within(DOWN_WAIT);
                        continue;
                    }
                    self.keeper.give_up(self.number, began.elapsed());
                    if deadline.is_silent() {
                        return Outcome::Expired;
                    }
                    return Outcome::Failed(if down {
                        Failure::new(net::Kind::Dial, cause)
                    } else {
                        Failure::timeout()
                    });
                }
            }
        }
    }
}
