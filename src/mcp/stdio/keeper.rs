//! Keeper of one child: starts it, waits for its end, starts it again. The state behind that is [`Core`].
//!
//! The keeper's own thread starts the child and outlives it. A child that dies costs its calls, which
//! fail at once; what was not written yet waits for the next child.

mod clock;
mod death;
#[cfg(feature = "page")]
mod page;
mod pipes;

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::crypto;
use crate::net::{self, Budget};
use crate::ops::health::{Clock, Component, Object, Status};
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::relay::backoff::Backoff;
use crate::relay::inflight::Ticket;
use crate::relay::message::Message;
use crate::relay::revision::Era;
use crate::sync::{self, Condition};

use super::core::{Admission, Conversation, Core};
use super::guards::{self, Guards, SWEEP_MAX};
use super::launch::{Launch, Process};
use super::life::{Change, Life, Speaks};
use super::observed::{self, Observed};
use super::pause;
use super::replies::Replies;
use super::silence::Silence;
#[cfg(feature = "page")]
use super::stderr::LastLines;

/// How long a start may take on a slow disk.
const START_MAX: Duration = Duration::from_secs(60);

/// A child of the newer era that leaves its first message unanswered for so long does not speak it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// For how long after that it is kept, should it only be slow to start.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How long the last output of a child that has ended is awaited; something else may hold its pipe.
const LAST_OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// How long after that its standard error may take to end. Something else may hold it open for ever.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(200);

/// How long a child may take to end after its input was closed.
const EOF_WAIT: Duration = Duration::from_secs(2);

/// How long it and its group may take after that, before and after TERM; the guard keeps these times. Then
/// the guard itself is killed.
const KILL_WAIT: Duration = Duration::from_millis(4_500);

/// How long the end of a stopped child takes at most: all of these with a sweep, and time to spare for a slow machine.
/// Any number of children end side by side.
pub const END_MAX: Duration = Duration::from_secs(12);

/// What the servers of one tunnel share.
#[derive(Clone)]
pub struct Shared {
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

/// Keeper of one child of a channel.
pub(super) struct Keeper {
    channel: Channel,
    era: Era,
    launch: Launch,
    shared: Shared,
    /// The child of the newer era; a new start of this one is a new chance for that one.
    newer: Option<Arc<Keeper>>,
    state: Mutex<State>,
    observed: Mutex<Observed>,
    /// Something to write, or a change of the state.
    changed: Condition,
    /// A time at which something is due has changed.
    due: Condition,
}

struct State {
    core: Core,
    /// A name for the present child that no other has.
    generation: String,
    /// Closing it has the guard end its server at once.
    lifeline: Option<File>,
    deaths: u32,
    /// How long the child has said nothing while calls wait.
    silence: Silence,
    /// It was said which variables it does not get.
    withheld_said: bool,
    /// The last line of its standard error.
    last_words: String,
    #[cfg(feature = "page")]
    last_lines: LastLines,
    /// Its standard error is still read.
    stderr_open: bool,
}

impl Keeper {
    pub(super) fn new(
        channel: &Channel,
        era: Era,
        core: Core,
        launch: &Launch,
        shared: &Shared,
        newer: Option<Arc<Keeper>>,
    ) -> Arc<Keeper> {
        let state = State {
            core,
            generation: String::new(),
            lifeline: None,
            deaths: 0,
            silence: Silence::new(shared.silence),
            withheld_said: false,
            last_words: String::new(),
            #[cfg(feature = "page")]
            last_lines: LastLines::default(),
            stderr_open: false,
        };
        let (channel, launch, shared) = (channel.clone(), launch.clone(), shared.clone());
        let (observed, changed, due) = Default::default();
        let state = Mutex::new(state);
        Arc::new(Keeper { channel, era, launch, shared, newer, state, observed, changed, due })
    }

    /// Starts the thread that keeps the child. A modern child is started with its first message.
    pub(super) fn start(self: &Arc<Keeper>, heartbeats: &Heartbeats) -> io::Result<()> {
        let heartbeat = heartbeats.add("keeper");
        self.spawn("keeper", move |keeper| keeper.keep(&heartbeat))
    }

    fn spawn(
        self: &Arc<Keeper>,
        name: &str,
        body: impl FnOnce(&Arc<Keeper>) + Send + 'static,
    ) -> io::Result<()> {
        let keeper = Arc::clone(self);
        sync::spawn(name, move || body(&keeper)).map(drop)
    }

    /// Takes a message for the child.
    pub(super) fn admit(
        &self,
        message: &Arc<Message>,
        conversation: Conversation,
        held: Ticket,
    ) -> Admission {
        let mut state = self.state_for(message);
        let admission = state.core.admit(message, conversation, held);
        if matches!(admission, Admission::Call(..)) && state.core.owes(u64::MAX) {
            state.silence.owed(Instant::now());
        }
        self.publish(&state);
        admission
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message, conversation: Conversation) -> bool {
        sync::lock(&self.state).core.is_named_by(cancellation, conversation)
    }

    /// A caller waits no longer, after it has waited for `waited`.
    pub(super) fn give_up(&self, number: u64, waited: Duration) {
        let mut state = sync::lock(&self.state);
        if waited >= SILENCE_MAX {
            state.core.change(Change::Unanswered(Instant::now() + SILENT_FOR));
            self.due.notify_all();
        }
        if state.core.give_up(number) {
            log::warn!(channel = self.channel.as_str(); "the server did not answer its handshake; replacing it");
            // What comes from now on waits for the next one.
            self.end_child(&mut state, net::Kind::Eof, "the server is being replaced");
        }
        self.publish(&state);
    }

    /// Why what was taken is not written to the child, and whether that is because it is still starting.
    pub(super) fn why_unwritten(&self) -> (bool, &'static str) {
        match sync::lock(&self.state).core.life {
            Life::Opening(_) => (true, "the server is still starting"),
            Life::Serving | Life::Silent(_) => (false, "the server does not read its input"),
            _ => (false, "the server is not running"),
        }
    }

    /// Looks at the answer to a question, of which few show anything.
    pub(super) fn observe(&self, replies: &Replies, question: &Message, answer: &Message) {
        if !matches!(question.method(), Some("server/discover" | "tools/list")) {
            return;
        }
        let Some(stamp) = replies.stamp() else { return };
        // One at a time: what is read of an answer may take many times its own memory.
        let mut observed = sync::lock(&self.observed);
        let Some(finding) = observed::finding(question, answer) else { return };
        // What has changed since it was asked, or the child has.
        if sync::lock(&self.state).core.stamp == stamp {
            observed.take(finding, stamp);
        }
    }

    /// The child as `/health` shows it; whether the server is known to fail.
    pub(super) fn component(&self, clock: Clock, fails: bool) -> Component {
        let state = sync::lock(&self.state);
        let (runs, stamp, opening) = (state.core.is_running(), state.core.stamp, state.core.opening());
        let child = match state.core.life {
            _ if runs => "running",
            Life::Starting => "starting",
            _ if stamp.child == 0 => "not_started",
            _ => "closed",
        };
        let name = Some(state.generation.clone()).filter(|name| !name.is_empty());
        drop(state);
        let head = Object::default().with("channel", self.channel.as_str()).with("transport", "stdio");
        let head = head.with("child_state", child).with("child_generation", name);
        // A child that is gone is evidence of nothing.
        let observed = if runs { sync::lock(&self.observed).clone() } else { Observed::default() };
        let opening = opening.as_ref().map(|(answer, at)| (&**answer, *at));
        let (details, word, at) = observed.show(clock, head, stamp, opening);
        let (status, word) = match word {
            _ if child == "closed" => (Status::Degraded, child),
            _ if fails => (Status::Degraded, "failed"),
            "not_observed" => (Status::Unknown, word),
            _ => (Status::Ok, word),
        };
        Component { details, observed: clock.time(at), ..Component::new("mcp", status, word) }
    }

    /// Ends the subscriptions, which never end by themselves.
    pub(super) fn end_subscriptions(&self) {
        sync::lock(&self.state).core.end_subscriptions();
    }

    /// Fails every call and closes the child's input, which asks it to end. Does not wait.
    pub(super) fn stop(&self) {
        let mut state = sync::lock(&self.state);
        state.core.change(Change::Close(Instant::now() + EOF_WAIT));
        state.core.fail_all(net::Kind::ConnectionClosed, "shutting down");
        self.changed.notify_all();
        self.due.notify_all();
    }

    /// Waits for the end of a stopped child, which its guard kills in the end, or else of its guard: up to
    /// [`EOF_WAIT`], [`KILL_WAIT`] and the time of a sweep after the stop.
    pub(super) fn close(&self) {
        let state = sync::lock(&self.state);
        let Life::Closing(due) = state.core.life else { return };
        let kill_wait = if state.lifeline.is_some() { KILL_WAIT } else { Duration::ZERO };
        let left = due.saturating_duration_since(Instant::now()) + kill_wait + SWEEP_MAX;
        let closing = |state: &mut State| matches!(state.core.life, Life::Closing(_));
        drop(self.changed.wait_while(state, left, closing));
    }

    /// Fails the calls of the child and has the guard end it at once.
    fn end_child(&self, state: &mut State, kind: net::Kind, cause: &str) {
        let due = Instant::now() + KILL_WAIT;
        if state.lifeline.take().is_some() {
            state.core.ends(Change::End(due), kind, cause);
        }
        self.changed.notify_all();
        self.due.notify_all();
    }

    /// What waits is counted, and threads that wait for something to write, or for an end, look again.
    fn publish(&self, state: &State) {
        self.shared.metrics.pending_calls.set([self.label(), self.era.word()], state.core.pending());
        if state.core.has_work() || !state.core.is_running() {
            self.changed.notify_all();
        }
    }

    fn keep(self: &Arc<Keeper>, heartbeat: &Heartbeat) {
        let (mut backoff, mut has_started) = (Backoff::new(pause::PAUSE_MIN), false);
        while self.wait_wanted() {
            let started = Instant::now();
            // A folder or a program on a file system that does not answer.
            heartbeat.within(START_MAX);
            self.starts(std::mem::replace(&mut has_started, true));
            let (change, cause, why) = match self.shared.guards.start(&self.launch) {
                Ok(process) => self.attend(process, heartbeat),
                Err(error) => (Change::NotStarted, "not_started", format!("cannot be started: {error}")),
            };
            let mut state = sync::lock(&self.state);
            state.lifeline = None;
            let unasked = state.core.handshake.is_missing();
            state.core.ends(change, net::Kind::Eof, "the server process ended");
            self.due.notify_all();
            self.publish(&state);
            if state.core.life == Life::Closed {
                return;
            }
            let lived = started.elapsed();
            self.record_death(&mut state, cause, &why, lived);
            let pause = pause::after(&mut backoff, lived, state.core.answered);
            heartbeat.within(pause);
            // Some servers end when nobody opens a session for a while; who opens one gets the next at once.
            let waits = |core: &Core| !(unasked && core.handshake.is_asked()) && core.life != Life::Closed;
            drop(self.changed.wait_while(state, pause, |state| waits(&state.core)));
            heartbeat.rest();
        }
    }

    /// Waits until a child is wanted, which is started then; false when none will be any more.
    fn wait_wanted(&self) -> bool {
        let mut state = sync::lock(&self.state);
        loop {
            let core = &mut state.core;
            if core.life == Life::Closed {
                return false;
            }
            if self.era == Era::Legacy || (core.has_work() && core.speaks != Speaks::No) {
                core.change(Change::Start);
                return true;
            }
            state = self.changed.wait(state);
        }
    }

    /// Serves one child until its end and tells how that was.
    fn attend(self: &Arc<Keeper>, process: Process, heartbeat: &Heartbeat) -> (Change, &'static str, String) {
        let Process { mut guard, lifeline, stdin, stdout, stderr } = process;
        let child = self.begin(lifeline);
        log::info!(channel = self.channel.as_str(), era = self.era.word(), guard_pid = guard.id(); "mcp server started");
        #[cfg(feature = "page")]
        sync::lock(&self.state).last_lines.runs.replace((guard.id(), Instant::now()));
        let pid = guards::pid(&guard);
        let threads = [
            self.spawn("stdio-writer", move |keeper| keeper.write(stdin, child)),
            self.spawn("stdio-reader", move |keeper| keeper.read(stdout, child)),
            self.spawn("stdio-stderr", move |keeper| keeper.log_stderr(stderr, child)),
            pid.and_then(|pid| self.spawn("stdio-clock", move |keeper| keeper.keep_time(child, pid))),
        ];
        if let Some(error) = threads.into_iter().find_map(Result::err) {
            log::error!("cannot serve the mcp server: {error}");
            self.end_child(&mut sync::lock(&self.state), net::Kind::Eof, "the server cannot be served");
        }
        // A child may live as long as it likes.
        heartbeat.rest();
        let status = self.shared.guards.wait(&mut guard);
        heartbeat.within(LAST_OUTPUT_WAIT + LAST_WORDS_WAIT);
        let cause = status.as_ref().map_or("unknown", |status| death::cause(*status));
        let why = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        // Its last answers may still stand in the pipe.
        let running = |state: &mut State| state.core.is_running();
        let state = self.changed.wait_while(sync::lock(&self.state), LAST_OUTPUT_WAIT, running);
        // So may its last words, which the log tells with its end.
        drop(self.changed.wait_while(state, LAST_WORDS_WAIT, |state| state.stderr_open));
        (Change::Ended, cause, format!("ended with {why}"))
    }

    /// A fresh child runs; the number by which its threads know it.
    fn begin(&self, lifeline: File) -> u64 {
        if let Some(newer) = &self.newer {
            sync::lock(&newer.state).core.change(Change::Renewed);
        }
        let mut state = sync::lock(&self.state);
        // A name alone: without random bytes it has none.
        state.generation = crypto::random_id().unwrap_or_default();
        state.stderr_open = true;
        state.lifeline = Some(lifeline);
        state.silence = Silence::new(self.shared.silence);
        state.core.started();
        if state.core.owes(u64::MAX) {
            state.silence.owed(Instant::now());
        }
        if self.era == Era::Legacy {
            self.shared.readiness.child_up(&self.channel);
        }
        state.core.stamp.child
    }
}
