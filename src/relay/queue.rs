//! Bounded queue of commands between the poller and the workers.
//!
//! It is a deque under one lock. A channel of `std` could neither pass over the commands of a channel that has its
//! share of the workers (`shares` says who may have how much), nor let a cancellation overtake the calls that wait.
//! Commands start in the order of their arrival, as far as their channels may begin.
//!
//! The bound is the only brake of the program: when workers are slow the queue fills, the poller
//! waits in [`Queue::push`], and what is not polled stays with the control plane. Nothing is dropped here: a
//! command that finds no place for its channel goes back to the poller, which has it answered.

mod shares;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::ops::health::{self, Clock, Component, Object, Status, Tally};
use crate::ops::metrics::{Metrics, RequestKind};
use crate::sync::{self, Condition};

use super::command::Command;
use shares::{Limits, Shares};

/// Workers for calls that never end by themselves; each holds a thread and a connection, for a day.
/// They have workers of their own because ten of them would otherwise be all workers there are.
pub const LISTENERS: usize = 4;

/// Subscriptions of one channel when there are several: one channel's must not be all.
const LISTENERS_OF_ONE: usize = LISTENERS - 1;

/// How long a push waits for room before it shows that it still waits.
const PUSH_STEP: Duration = Duration::from_secs(1);

/// How long a worker sleeps at most; a bell wakes it.
const LOOK_MAX: Duration = Duration::from_secs(3600);

/// Which workers may take a command, and which commands a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Calls, and whatever else waits.
    Ordinary,
    /// Only what expects no answer, one of a channel at a time.
    Quick,
    /// Only subscriptions.
    Listen,
    /// What has waited until its caller has to be told that time is over.
    Overdue,
}

/// The queue. Shared behind an `Arc`.
pub struct Queue {
    capacity: usize,
    limits: Limits,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    // One condition for each kind of waiter: with a single one, every push would wake all threads.
    ordinary: Condition,
    quick: Condition,
    listen: Condition,
    room: Condition,
    overdue: Condition,
}

/// What a worker holds while it runs a command.
#[derive(Debug)]
#[must_use = "a place is lost unless it is given back to `done`"]
pub struct Held {
    lane: Lane,
    began: Instant,
    channel: Channel,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Lane, Command)>,
    /// What each channel holds. Subscriptions are counted from the push on, so that those which wait cannot be
    /// more than there are workers to take them.
    shares: Shares,
    /// Ordinary workers that wait for work.
    idle: usize,
    /// Those of them that a bell has woken and that have not come yet.
    called: usize,
    /// When what waits is next looked at for commands whose time is over.
    look: Option<Instant>,
    closed: bool,
    pushed: Tally,
    popped: Tally,
    done: Tally,
    failures: u64,
    timeouts: u64,
    /// Whether the last command that ended did not end well.
    failed: bool,
    /// When the running commands of ordinary workers began.
    running: Vec<Instant>,
    /// Since when there is no room, and how long there was none before.
    full_since: Option<Instant>,
    full: Duration,
}

impl Queue {
    /// A queue for `capacity` commands and `workers` commands that run at once, of `channels` channels. Each
    /// channel beyond the first needs a worker of its own besides.
    pub fn new(capacity: usize, workers: usize, channels: usize, metrics: &Arc<Metrics>) -> Queue {
        let alone = Limits { workers, running: workers, waiting: capacity, listens: LISTENERS };
        // With several channels one place must be left for passing on what another one gets.
        let places = capacity.max(2);
        let (running, waiting) = (workers - workers / 4, places - (places / 4).max(1));
        let several = Limits { running, waiting, listens: LISTENERS_OF_ONE, ..alone };
        let (capacity, limits) = if channels > 1 { (places, several) } else { (capacity, alone) };
        let (state, ordinary, quick, listen, room, overdue) = Default::default();
        let metrics = Arc::clone(metrics);
        Queue { capacity, limits, metrics, state, ordinary, quick, listen, room, overdue }
    }

    /// Waits for room and appends. `Ok` may hold a command that has to be refused, this one or the newest of the
    /// channel that crowds the queue. `Err` gives the command back when the queue was closed, so that its caller can
    /// still be told. Every step of a wait begins with `waiting`, or a long one could not be told from a lost one.
    pub fn push(&self, command: Command, waiting: impl Fn()) -> Result<Option<Command>, Box<Command>> {
        let mut state = sync::lock(&self.state);
        while self.free(&state) == 0 && !state.closed {
            waiting();
            // Whoever asks has to be told in time, here too: a plane may send more than was asked for.
            let left = command.answer_by.map(|end| end.saturating_duration_since(sync::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Some(command));
            }
            state = self.room.wait_for(state, left.map_or(PUSH_STEP, |left| left.min(PUSH_STEP)));
        }
        if state.closed {
            return Err(Box::new(command));
        }
        if let Some(end) = command.answer_by.filter(|end| state.look.is_none_or(|look| *end < look)) {
            state.look = Some(end);
            self.overdue.notify_one();
        }
        let refused = state.append(command, self.limits);
        state.pushed.add(sync::now());
        self.leave(state);
        Ok(refused)
    }

    /// Waits until `wanted` more commands fit, at most until `deadline`; tells how many fit then.
    pub fn wait_free(&self, wanted: usize, deadline: Instant) -> usize {
        let left = deadline.saturating_duration_since(sync::now());
        let full = |state: &mut State| self.free(state) < wanted && !state.closed;
        self.free(&self.room.wait_while(sync::lock(&self.state), left, full))
    }

    /// How many more commands fit. Their bytes are counted with those that run, by whoever polls.
    fn free(&self, state: &State) -> usize {
        self.capacity.saturating_sub(state.waiting.len())
    }

    /// Waits for a command that this worker may take and hands it to `admit` before anybody can take
    /// the next: order of dequeuing is order of admission, which a server on a pipe can see. `admit`
    /// therefore runs under the lock and must not block. `None` when the queue is closed and empty.
    pub fn pop<T>(&self, worker: Lane, admit: impl FnOnce(Command) -> T) -> Option<(Held, T)> {
        let mut state = sync::lock(&self.state);
        state.idle += usize::from(worker == Lane::Ordinary);
        loop {
            if let Some((held, command)) = state.take(worker, self.limits) {
                state.idle -= usize::from(worker == Lane::Ordinary);
                let admitted = admit(command);
                self.leave(state);
                self.room.notify_one();
                return Some((held, admitted));
            }
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            // Not moved on before its time: what it stood for may have been taken, but to notice would cost a wake-up
            // a command.
            if worker == Lane::Overdue && state.look.is_none_or(|look| look <= sync::now()) {
                state.look = state.waiting.iter().filter_map(|(_, command)| command.answer_by).min();
            }
            let look = state.look.filter(|_| worker == Lane::Overdue);
            let left = look.map_or(LOOK_MAX, |look| look.saturating_duration_since(sync::now()));
            state = self.bell(worker).wait_for(state, left);
            if worker == Lane::Ordinary {
                state.called = state.called.saturating_sub(1);
            }
        }
    }

    /// Measures for how long there is no room.
    fn measure(&self, state: &mut State) {
        state.full_since = match (self.free(state), state.full_since) {
            (0, None) => Some(sync::now()),
            (1.., Some(since)) => {
                state.full += sync::since(since);
                None
            }
            (_, same) => same,
        };
    }

    /// The queue and its workers as `/health` shows them; `state` is theirs, and `accepting` while there is none.
    pub fn components(&self, clock: Clock, state: Option<&'static str>) -> [Component; 2] {
        let now = sync::lock(&self.state);
        let (depth, capacity) = (now.waiting.len(), self.capacity);
        let word = if now.full_since.is_some() { "backpressured" } else { "available" };
        let share = u64::try_from(depth * 1000 / capacity.max(1)).unwrap_or_default();
        let full = now.full + now.full_since.map_or(Duration::ZERO, sync::since);
        let details = Object::default()
            .with("depth", depth)
            .with("capacity", capacity)
            .with("utilization", health::seconds(Duration::from_millis(share)))
            .with("last_enqueue", clock.time(now.pushed.last))
            .with("last_dequeue", clock.time(now.popped.last))
            .with("enqueued", now.pushed.count)
            .with("dequeued", now.popped.count)
            .with("backpressure_seconds", health::seconds(full));
        let queue = Component { details, ..Component::new("queue", Status::Ok, word) };
        let details = Object::default()
            .with("active", now.running.len())
            .with("pool_limit", self.limits.workers)
            .with("last_start", clock.time(now.popped.last))
            .with("last_completion", clock.time(now.done.last))
            .with("oldest_active_age_seconds", clock.age(now.running.iter().min().copied()))
            .with("completed", now.done.count)
            .with("failures", now.failures)
            .with("timeouts", now.timeouts)
            .with("accepting", state.is_none());
        let status = if now.failed { Status::Degraded } else { Status::Ok };
        let word = state.unwrap_or("accepting");
        [queue, Component { details, ..Component::new("dispatcher", status, word) }]
    }

    /// A worker has finished what it popped, with an answer of this status; there is none once the caller has stopped
    /// waiting.
    pub fn done(&self, held: Held, status: Option<u16>) {
        let mut state = sync::lock(&self.state);
        state.done.add(sync::now());
        state.failed = status.is_none_or(|status| status >= 400);
        let is_late = status.is_none_or(|status| matches!(status, 408 | 504));
        state.timeouts += u64::from(is_late);
        state.failures += u64::from(state.failed && !is_late);
        match held.lane {
            Lane::Ordinary => {
                let at = state.running.iter().position(|began| *began == held.began);
                at.map(|at| state.running.swap_remove(at));
                state.shares.runs(&held.channel, false);
            }
            Lane::Quick => state.shares.quick(&held.channel, false),
            Lane::Listen => state.shares.listens(&held.channel, false),
            Lane::Overdue => {}
        }
        self.leave(state);
    }

    /// How many commands wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        sync::lock(&self.state).waiting.len()
    }

    /// Takes nothing more in; workers end when what waits is done. Whoever waits for anything is woken:
    /// none of the bells rings again after this.
    pub fn close(&self) {
        sync::lock(&self.state).closed = true;
        for bell in [&self.ordinary, &self.quick, &self.listen, &self.room, &self.overdue] {
            bell.notify_all();
        }
    }

    /// Closes the queue and removes what still waits: in one step, or a push could come between.
    pub fn take_rest(&self) -> Vec<Command> {
        let rest = {
            let mut state = sync::lock(&self.state);
            state.closed = true;
            state.waiting.drain(..).map(|(_, command)| command).collect()
        };
        // The bells ring when the queue is empty: workers that waited for their turn leave now.
        self.close();
        rest
    }

    fn bell(&self, worker: Lane) -> &Condition {
        match worker {
            Lane::Ordinary => &self.ordinary,
            Lane::Quick => &self.quick,
            Lane::Listen => &self.listen,
            Lane::Overdue => &self.overdue,
        }
    }

    /// Ends a change, and wakes workers for what they could take: an ordinary one when more may begin than have been
    /// woken for it, and one of each other kind. The lock is free by then, or whoever wakes would wait for it. One bell
    /// too many does no harm, since a worker that finds its work gone waits again; one too few would leave a command
    /// behind until something else happens.
    fn leave(&self, mut state: sync::Guard<'_, State>) {
        self.measure(&mut state);
        let waits = |wanted: Lane| state.waiting.iter().any(|(lane, _)| *lane == wanted);
        let (quick, listen) = (waits(Lane::Quick), waits(Lane::Listen));
        let ordinary = state.idle > state.called && state.startable(self.limits, state.called);
        state.called += usize::from(ordinary);
        self.metrics.queue_length.set([], state.waiting.len());
        self.metrics.busy_workers.set([], state.shares.running());
        drop(state);
        for (bell, rings) in [(&self.ordinary, ordinary), (&self.quick, quick), (&self.listen, listen)] {
            if rings {
                bell.notify_one();
            }
        }
    }
}

impl State {
    /// Takes a command in; tells which one has to be refused when too many wait. A fifth subscription is refused even
    /// if a place would become free while it waits, because its caller is told sooner than the fourth would end.
    fn append(&mut self, command: Command, limits: Limits) -> Option<Command> {
        let channel = command.channel.clone();
        if command.kind() == RequestKind::Call && command.is_subscription() {
            let (own, all) = self.shares.subscriptions(&channel);
            if all >= LISTENERS || own >= limits.listens {
                return Some(command);
            }
            self.shares.listens(&channel, true);
            self.waiting.push_back((Lane::Listen, command));
            return None;
        }
        let is_quick = command.kind() == RequestKind::Notification;
        self.waiting.push_back((if is_quick { Lane::Quick } else { Lane::Ordinary }, command));
        self.shares.waits(&channel, true);
        let crowding = self.shares.crowding(limits, sync::now())?;
        let is_of = |(lane, command): &(Lane, Command)| *lane != Lane::Listen && command.channel == crowding;
        let newest = self.waiting.iter().rposition(is_of)?;
        self.shares.waits(&crowding, false);
        self.waiting.remove(newest).map(|(_, command)| command)
    }

    /// Whether ordinary workers could begin more commands than so many.
    fn startable(&self, limits: Limits, called: usize) -> bool {
        let mut division = self.shares.division(limits);
        let may_begin = |(lane, command): &&(Lane, Command)| {
            let may = *lane != Lane::Listen && self.shares.may_begin(&command.channel, division);
            division.running += usize::from(may);
            may
        };
        self.waiting.iter().filter(may_begin).nth(called).is_some()
    }

    /// Removes the first command that this kind of worker may take.
    fn take(&mut self, worker: Lane, limits: Limits) -> Option<(Held, Command)> {
        let (division, now) = (self.shares.division(limits), sync::now());
        let at = self.waiting.iter().enumerate().position(|(index, (lane, command))| {
            // The commands of a channel that may not begin are passed over, not waited for: its slow server
            // must not hold up the commands of others behind it.
            let may_begin = || self.shares.may_begin(&command.channel, division);
            match (worker, lane) {
                (Lane::Ordinary, Lane::Ordinary | Lane::Quick) => may_begin(),
                // Overtakes only what no ordinary worker could start now; otherwise order is kept, or
                // `notifications/initialized` could reach a server before its `initialize`.
                (Lane::Quick, Lane::Quick) => {
                    self.shares.may_be_quick(&command.channel)
                        && (index == 0 || self.idle == 0 || !may_begin())
                }
                (Lane::Listen, Lane::Listen) => true,
                (Lane::Overdue, _) => command.answer_by.is_some_and(|end| end <= now),
                _ => false,
            }
        })?;
        let (lane, command) = self.waiting.remove(at)?;
        self.popped.add(now);
        // A subscription has been counted as running since it was pushed.
        if lane != Lane::Listen {
            self.shares.waits(&command.channel, false);
        }
        match worker {
            Lane::Ordinary => {
                self.running.push(now);
                self.shares.runs(&command.channel, true);
            }
            Lane::Quick => self.shares.quick(&command.channel, true),
            Lane::Overdue if lane == Lane::Listen => self.shares.listens(&command.channel, false),
            Lane::Overdue | Lane::Listen => {}
        }
        Some((Held { lane: worker, began: now, channel: command.channel.clone() }, command))
    }
}
