//! Keeps one child running: starts it, waits for its end, starts it again. `pipes` carries lines to
//! it and back; the state behind all that is [`Core`].
//!
//! The keeper's own thread starts the child and outlives it. A child that dies costs its calls, which
//! fail at once; what was not written yet waits for the next child.

mod death;
mod pause;
mod pipes;
mod silence;
mod stderr;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::net;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::ChildEvent;
use crate::relay::failure::Failure;
use crate::relay::inflight::Ticket;
use crate::relay::message::Message;
use crate::relay::revision::Era;
use crate::sync;

use super::Shared;
use super::core::{Admission, Conversation, Core};
use super::guards::{self, SWEEP_MAX};
use super::launch::{Launch, Process};
use pause::Pause;
use silence::Silence;
use stderr::LastWords;

/// How long a start may take on a slow disk.
const START_MAX: Duration = Duration::from_secs(60);

/// A child of the newer era that leaves its first message unanswered for so long does not speak it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// For how long after that it is kept, should it only be slow to start.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How long the last output of a child that has ended is awaited; something else may hold its pipe.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How long a child may take to end after its input was closed.
const EOF_WAIT: Duration = Duration::from_secs(2);

/// How long it and its group may take after that, before and after TERM; the guard keeps these times. Then
/// the guard itself is killed.
const KILL_WAIT: Duration = Duration::from_millis(4_500);

/// All together with a sweep, and time to spare for a slow machine. Any number of children end side by side.
pub(super) const END_MAX: Duration = Duration::from_secs(12);

/// One child of a channel, and everything that knows of it.
pub(super) struct Keeper {
    channel: Channel,
    era: Era,
    launch: Launch,
    state: Mutex<State>,
    /// Something to write, or a change of the state.
    changed: Condvar,
    /// The child has ended, or its guard was told to.
    clock: Condvar,
    shared: Shared,
    /// The child of the other era; a new start of this one is a new chance for that one.
    peer: Option<Arc<Keeper>>,
}

struct State {
    core: Core,
    /// Counts the children, so that threads of an old one do no harm to the next.
    generation: u64,
    lifeline: Option<OwnedFd>,
    /// When that was closed.
    cut: Option<Instant>,
    running: bool,
    /// Nobody will be served any more; nothing is written.
    closing: bool,
    /// When the child's input was closed.
    input_closed: Option<Instant>,
    deaths: u32,
    /// The server does not speak this era; it is not started again.
    refused: bool,
    /// It has answered in this era at some time, so a death or silence means nothing but itself.
    speaks: bool,
    /// Until when a child that was found silent may still prove that it speaks.
    silent_until: Option<Instant>,
    /// How long it has said nothing while calls wait.
    silence: Silence,
    /// It was said which variables it does not get.
    withheld_said: bool,
    last_words: LastWords,
}

impl Keeper {
    pub(super) fn new(
        channel: Channel,
        core: Core,
        launch: Launch,
        shared: Shared,
        peer: Option<Arc<Keeper>>,
    ) -> Arc<Keeper> {
        let era = core.era;
        let state = State {
            core,
            generation: 0,
            lifeline: None,
            cut: None,
            running: false,
            closing: false,
            input_closed: None,
            deaths: 0,
            refused: false,
            speaks: false,
            silent_until: None,
            silence: Silence::new(shared.silence),
            withheld_said: false,
            last_words: LastWords::default(),
        };
        let (changed, clock) = (Condvar::new(), Condvar::new());
        Arc::new(Keeper { channel, era, launch, state: Mutex::new(state), changed, clock, shared, peer })
    }

    /// Starts the thread that keeps the child. A modern child is started with its first message.
    pub(super) fn start(self: &Arc<Keeper>, heartbeats: &Heartbeats) -> io::Result<()> {
        let (keeper, heartbeat) = (Arc::clone(self), heartbeats.add("keeper"));
        self.spawn("keeper", move || keeper.keep(&heartbeat))
    }

    /// Takes a message for the child.
    /// `held` is what it occupies beyond its command's time.
    pub(super) fn admit(
        &self,
        message: &Arc<Message>,
        conversation: Conversation,
        held: Ticket,
    ) -> Admission {
        let mut state = self.state();
        if state.closing {
            return Admission::Refused(Failure::new(net::Kind::ConnectionClosed, "shutting down"));
        }
        let admission = state.core.admit(message, conversation);
        if matches!(admission, Admission::Call(..)) && state.core.owes(u64::MAX) {
            state.silence.owed(Instant::now());
        }
        // Nobody waits for it, so its command ends before a child that does not read has read it.
        if matches!(admission, Admission::Taken) {
            state.core.hold(message, held);
        }
        self.publish(&state);
        admission
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message, conversation: Conversation) -> bool {
        self.state().core.is_named_by(cancellation, conversation)
    }

    /// Ends before the process does who would stay, of this tunnel's servers.
    pub(super) fn leave(&self) {
        self.shared.guards.leave();
    }

    /// Whether this server was found not to speak this era.
    pub(super) fn is_refused(&self) -> bool {
        self.state().refused
    }

    /// Forgets that verdict: the server may have been replaced.
    pub(super) fn forgive(&self) {
        self.state().refused = false;
    }

    /// A caller waits no longer, after it has waited for `waited`.
    pub(super) fn give_up(&self, number: u64, waited: Duration) {
        let mut state = self.state();
        let silent = self.era == Era::Modern && state.running && !state.speaks && waited >= SILENCE_MAX;
        if silent {
            // It is left running for a while: one that was only slow to start is served once it answers.
            state.refused = true;
            state.silent_until = Some(Instant::now() + SILENT_FOR);
        }
        if state.core.give_up(number) {
            log::warn!(channel = self.channel.as_str(); "the server did not answer its handshake; replacing it");
            // What comes from now on waits for the next one.
            state.core.died(net::Kind::Eof, "the server is being replaced");
            self.cut(&mut state);
        }
        self.publish(&state);
    }

    /// Why what was taken is not written to the child, and whether that is because it is still starting.
    pub(super) fn why_unwritten(&self) -> (bool, &'static str) {
        let state = self.state();
        match (state.running, state.core.is_opening()) {
            (false, _) => (false, "the server is not running"),
            (true, true) => (true, "the server is still starting"),
            (true, false) => (false, "the server does not read its input"),
        }
    }

    /// The last lines of its standard error.
    #[cfg(feature = "page")]
    pub(super) fn last_words(&self) -> Vec<String> {
        self.state().last_words.all()
    }

    /// Fails every call and closes the child's input, which asks it to end. Does not wait.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.closing = true;
        state.core.closed("shutting down");
        self.input_closes(&mut state);
        self.changed.notify_all();
    }

    /// The child is asked to end by the end of its input; how long it may take is counted from now.
    fn input_closes(&self, state: &mut State) {
        state.input_closed.get_or_insert_with(Instant::now);
        self.clock.notify_all();
    }

    /// Waits for the end of a stopped child, which its guard kills in the end, or else of its guard: up to
    /// [`EOF_WAIT`], [`KILL_WAIT`] and the time of a sweep after the stop.
    pub(super) fn close(&self) {
        let state = self.state();
        let waited = state.input_closed.map_or(Duration::ZERO, |at| at.elapsed());
        let left = (EOF_WAIT + KILL_WAIT + SWEEP_MAX).saturating_sub(waited);
        drop(self.wait_while(state, left, |state| state.running));
    }

    /// Has the guard end its server, at once.
    fn cut(&self, state: &mut State) {
        state.lifeline = None;
        state.cut.get_or_insert_with(Instant::now);
        self.clock.notify_all();
    }

    /// What waits is counted, and whoever waits for a change looks again.
    fn publish(&self, state: &State) {
        self.shared.metrics.child_pending(&self.channel, era_word(self.era), state.core.pending());
        self.changed.notify_all();
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Duration,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout_while(state, time, |state| condition(state)) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    fn keep(self: &Arc<Keeper>, heartbeat: &Heartbeat) {
        let mut pauses = Pause::new();
        while self.wait_wanted() {
            let started = Instant::now();
            // A folder or a program on a file system that does not answer.
            heartbeat.within(START_MAX);
            self.shared.metrics.child_event(&self.channel, ChildEvent::Start);
            let (cause, why) = match self.shared.guards.start(&self.launch) {
                Ok(process) => self.attend(process, heartbeat),
                Err(error) => ("not_started", format!("cannot be started: {error}")),
            };
            let mut state = self.state();
            if state.closing {
                return;
            }
            let lived = started.elapsed();
            self.record_death(&mut state, cause, &why, lived);
            let pause = pauses.after(lived, state.core.answered);
            heartbeat.within(pause);
            drop(self.wait_while(state, pause, |state| !state.closing));
            heartbeat.rest();
        }
    }

    /// Waits until a child is wanted; false when none will be any more.
    fn wait_wanted(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.closing {
                return false;
            }
            let wanted = self.era == Era::Legacy || (state.core.has_work() && !state.refused);
            if wanted {
                return true;
            }
            state = sync::wait(&self.changed, state);
        }
    }

    /// Serves one child until its end and tells how that was.
    fn attend(self: &Arc<Keeper>, process: Process, heartbeat: &Heartbeat) -> (&'static str, String) {
        let Process { mut guard, lifeline, stdin, stdout, stderr } = process;
        if let Some(peer) = &self.peer {
            peer.forgive();
        }
        let generation = self.begin(lifeline);
        log::info!(channel = self.channel.as_str(), era = era_word(self.era), guard_pid = guard.id(); "mcp server started");
        let (writer, reader, pump, clock) =
            (Arc::clone(self), Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let pid = guards::pid(&guard);
        let threads = [
            self.spawn("stdio-writer", move || writer.write(stdin, generation)),
            self.spawn("stdio-reader", move || reader.read(stdout, generation)),
            self.spawn("stdio-stderr", move || pump.pump(stderr)),
            pid.and_then(|pid| self.spawn("stdio-clock", move || clock.keep_time(generation, pid))),
        ];
        if let Some(error) = threads.into_iter().find_map(Result::err) {
            log::error!("cannot serve the mcp server: {error}");
            self.cut(&mut self.state());
        }
        // A child may live as long as it likes.
        heartbeat.rest();
        let status = self.shared.guards.wait(&mut guard);
        heartbeat.within(LAST_WORDS_WAIT);
        let cause = status.as_ref().map_or("unknown", |status| death::cause(*status));
        let why = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        // Its last answers may still stand in the pipe.
        let mut state = self.wait_while(self.state(), LAST_WORDS_WAIT, |state| state.core.is_running());
        state.running = false;
        state.silent_until = None;
        state.core.died(net::Kind::Eof, "the server process ended");
        self.cut(&mut state);
        self.publish(&state);
        (cause, format!("ended with {why}"))
    }

    /// A fresh child runs; the number by which its threads know it.
    fn begin(&self, lifeline: OwnedFd) -> u64 {
        let mut state = self.state();
        state.generation += 1;
        state.running = true;
        (state.lifeline, state.cut) = (Some(lifeline), None);
        state.input_closed = state.input_closed.filter(|_| state.closing);
        state.silence.reset();
        state.core.started();
        if state.core.owes(u64::MAX) {
            state.silence.owed(Instant::now());
        }
        if self.era == Era::Legacy {
            self.shared.readiness.child_up(&self.channel);
        }
        state.generation
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        sync::spawn(name, body).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

fn era_word(era: Era) -> &'static str {
    match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    }
}
