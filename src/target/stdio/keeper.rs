//! Keeps one child running: starts it, waits for its end, starts it again. `pipes` carries lines to
//! it and back; the state behind all that is [`Core`].
//!
//! The keeper's own thread starts the child and outlives it. A child that dies costs its calls, which
//! fail at once; what was not written yet waits for the next child.

mod pipes;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::net::Budget;
use crate::ops::metrics::{ChildEvent, Metrics};
use crate::ops::pulse::{Pulse, Pulses};
use crate::ops::readiness::Readiness;
use crate::relay::failure::Failure;
use crate::relay::message::{Era, Message};

use super::core::{Admission, Conversation, Core};
use super::launch::{Launch, Process};

/// Waits between a death and the next start.
const RESTART_MIN: Duration = Duration::from_millis(200);
const RESTART_MAX: Duration = Duration::from_secs(30);

/// How long a start may take on a slow disk.
const START_MAX: Duration = Duration::from_secs(60);

/// A child that lived this long was healthy; its death is a first one again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Deaths without one answer after which readiness says so.
const DEATHS_MAX: u32 = 10;

/// A child of the newer era that leaves its first message unanswered for so long does not speak it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// For how long after that it is kept, should it only be slow to start.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How long the last output of a child that has ended is awaited; something else may hold its pipe.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How long a child may take to end after its input was closed.
const EOF_WAIT: Duration = Duration::from_secs(2);

/// How long it and its group may take after that, before and after TERM; the guard keeps these times.
const KILL_WAIT: Duration = Duration::from_secs(4);

/// Both together, twice: a channel may have a child of each era, and they end one after the other at worst.
pub(super) const END_MAX: Duration = Duration::from_secs(12);

/// Stack of the threads of a child; the reader validates JSON without recursion.
const STACK_BYTES: usize = 256 * 1024;

/// One child of a channel, and everything that knows of it.
pub(super) struct Keeper {
    channel: Channel,
    era: Era,
    launch: Launch,
    state: Mutex<State>,
    /// Something to write, or a change of the state.
    changed: Condvar,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    /// The child of the other era; a new start of this one is a new chance for that one.
    peer: Option<Arc<Keeper>>,
}

struct State {
    core: Core,
    /// Counts the children, so that threads of an old one do no harm to the next.
    generation: u64,
    lifeline: Option<OwnedFd>,
    running: bool,
    /// Input is closed; nothing is written any more.
    closing: bool,
    deaths: u32,
    /// The server does not speak this era; it is not started again.
    refused: bool,
    /// It has answered in this era at some time, so a death or silence means nothing but itself.
    speaks: bool,
    /// Until when a child that was found silent may still prove that it speaks.
    silent_until: Option<Instant>,
    stderr: VecDeque<String>,
}

impl Keeper {
    pub(super) fn new(
        channel: Channel,
        core: Core,
        launch: Launch,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
        peer: Option<Arc<Keeper>>,
    ) -> Arc<Keeper> {
        let era = core.era;
        let state = State {
            core,
            generation: 0,
            lifeline: None,
            running: false,
            closing: false,
            deaths: 0,
            refused: false,
            speaks: false,
            silent_until: None,
            stderr: VecDeque::new(),
        };
        let state = Mutex::new(state);
        let changed = Condvar::new();
        Arc::new(Keeper { channel, era, launch, state, changed, budget, metrics, readiness, peer })
    }

    /// Starts the thread that keeps the child. A modern child is started with its first message.
    pub(super) fn start(self: &Arc<Keeper>, pulses: &Pulses) -> io::Result<()> {
        let (keeper, pulse) = (Arc::clone(self), pulses.add("keeper"));
        self.spawn("keeper", move || keeper.keep(&pulse))
    }

    /// Takes a message for the child.
    pub(super) fn admit(&self, message: &Arc<Message>, conversation: Conversation) -> Admission {
        let mut state = self.state();
        if state.closing {
            return Admission::Refused(Failure::closed("connection_closed", "shutting down"));
        }
        let admission = state.core.admit(message, conversation);
        self.metrics.child_pending(&self.channel, era_word(self.era), state.core.pending());
        self.changed.notify_all();
        admission
    }

    /// Whether a cancellation names calls of this child.
    pub(super) fn is_named_by(&self, cancellation: &Message, conversation: Conversation) -> bool {
        self.state().core.is_named_by(cancellation, conversation)
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
            state.core.died("eof", "the server is being replaced");
            state.lifeline = None;
        }
        self.metrics.child_pending(&self.channel, era_word(self.era), state.core.pending());
        self.changed.notify_all();
    }

    /// The last lines of its standard error.
    pub(super) fn last_words(&self) -> Vec<String> {
        self.state().stderr.iter().cloned().collect()
    }

    /// Fails every call and closes the child's input, which asks it to end. Does not wait.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.closing = true;
        state.core.closed("shutting down");
        self.changed.notify_all();
    }

    /// Waits for the end of a stopped child, which its guard kills in the end. Takes up to
    /// [`EOF_WAIT`] and [`KILL_WAIT`].
    pub(super) fn close(&self) {
        // The writer does this too, unless its child reads nothing.
        self.ask_louder();
        drop(self.wait_end(self.state(), KILL_WAIT));
    }

    /// Gives a child whose input has ended its time, then has its group told and killed. The writers do
    /// this for their own, so that any number of children end side by side.
    fn ask_louder(&self) {
        self.wait_end(self.state(), EOF_WAIT).lifeline = None;
    }

    fn wait_end<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.wait_while(state, time, |state| state.running)
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

    fn keep(self: &Arc<Keeper>, pulse: &Pulse) {
        let mut pause = RESTART_MIN;
        while self.wait_wanted() {
            let started = Instant::now();
            // A folder or a program on a file system that does not answer.
            pulse.within(START_MAX);
            self.metrics.child_event(&self.channel, ChildEvent::Start);
            let (cause, why) = match self.launch.start() {
                Ok(process) => self.attend(process, pulse),
                Err(error) => ("not_started", format!("cannot be started: {error}")),
            };
            let mut state = self.state();
            if state.closing {
                return;
            }
            self.record_death(&mut state, cause, &why);
            if started.elapsed() >= HEALTHY {
                pause = RESTART_MIN;
            }
            pulse.within(pause);
            drop(self.wait_while(state, pause, |state| !state.closing));
            pause = (pause * 2).min(RESTART_MAX);
            pulse.rest();
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
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Serves one child until its end and tells how that was.
    fn attend(self: &Arc<Keeper>, process: Process, pulse: &Pulse) -> (&'static str, String) {
        let Process { mut guard, lifeline, stdin, stdout, stderr } = process;
        if let Some(peer) = &self.peer {
            peer.forgive();
        }
        let generation = {
            let mut state = self.state();
            state.generation += 1;
            state.running = true;
            state.lifeline = Some(lifeline);
            state.core.started();
            if self.era == Era::Legacy {
                self.readiness.child_up(&self.channel);
            }
            state.generation
        };
        log::info!(channel = self.channel.as_str(), era = era_word(self.era), guard_pid = guard.id(); "mcp server started");
        let (writer, reader, pump) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let threads = [
            self.spawn("stdio-writer", move || writer.write(stdin, generation)),
            self.spawn("stdio-reader", move || reader.read(stdout, generation)),
            self.spawn("stdio-stderr", move || pump.pump(stderr)),
        ];
        if let Some(error) = threads.into_iter().find_map(Result::err) {
            log::error!("cannot serve the mcp server: {error}");
            self.state().lifeline = None;
        }
        // A child may live as long as it likes.
        pulse.rest();
        let status = guard.wait();
        pulse.within(LAST_WORDS_WAIT);
        let cause = status.as_ref().map_or("unknown", |status| cause(*status));
        let why = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        // Its last answers may still stand in the pipe.
        let mut state = self.wait_while(self.state(), LAST_WORDS_WAIT, |state| state.core.is_running());
        state.running = false;
        state.silent_until = None;
        state.lifeline = None;
        state.core.died("eof", "the server process ended");
        self.metrics.child_pending(&self.channel, era_word(self.era), state.core.pending());
        self.changed.notify_all();
        (cause, format!("ended with {why}"))
    }

    fn record_death(&self, state: &mut State, cause: &'static str, why: &str) {
        let answered = state.core.answered;
        state.deaths = if answered { 1 } else { state.deaths.saturating_add(1) };
        // That no process could be made says nothing about the server.
        if self.era == Era::Modern && !state.speaks && cause != "not_started" {
            state.refused = true;
            state.core.closed("the server does not speak this revision");
        }
        self.metrics.child_death(&self.channel, cause);
        let last = state.stderr.back().map_or("", String::as_str);
        log::warn!(channel = self.channel.as_str(), deaths = state.deaths, last_words = last; "mcp server {why}");
        if self.era == Era::Legacy {
            let many = if state.deaths >= DEATHS_MAX { " again and again, without one answer" } else { "" };
            self.readiness.child_down(&self.channel, &format!("{why}{many}"));
        }
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a child ended, by the status that its guard hands on.
fn cause(status: std::process::ExitStatus) -> &'static str {
    match status.code() {
        Some(0) => "exit_0",
        Some(126 | 127) => "not_executed",
        Some(129..) => "signal",
        Some(_) => "exit",
        None => "guard_killed",
    }
}

fn era_word(era: Era) -> &'static str {
    match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    }
}

#[cfg(test)]
mod tests {
    use super::super::rewrite::Numbers;
    use super::*;

    #[test]
    fn readiness_tells_of_many_deaths_without_one_answer() {
        let channel = Channel::main();
        let channels = [channel.clone()];
        let metrics = Arc::new(Metrics::new("t", 1, 1, &channels));
        let readiness = Arc::new(Readiness::new(Duration::from_secs(60), &[]));
        readiness.poll_succeeded();
        let launch = Launch { argv: Vec::new(), environment: Vec::new(), working_dir: None };
        let core = Core::new(Era::Legacy, Numbers::known());
        let keeper =
            Keeper::new(channel, core, launch, Budget::new(1), metrics, Arc::clone(&readiness), None);
        let why = || {
            keeper.record_death(&mut keeper.state(), "exit", "ended with exit status: 1");
            readiness.verdict().1
        };
        for _ in 1..DEATHS_MAX {
            assert!(!why().contains("again and again"));
        }
        assert!(why().contains("ended with exit status: 1 again and again, without one answer"));
    }
}
