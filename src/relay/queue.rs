//! The bounded queue between the poller and the workers.
//!
//! A plain channel cannot serve three kinds of worker: what expects no answer must overtake the
//! calls that it may cancel, subscriptions have workers of their own, and no channel may take them
//! all. So this is a deque under one lock. Commands start in the order of their arrival.
//!
//! The bound is the only brake of the program: when workers are slow the queue fills, the poller
//! waits in [`Queue::push`], and what is not polled stays with the control plane. Nothing is ever
//! dropped here. It fails in one way, by being closed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::ops::metrics::RequestKind;

use super::command::Command;

/// Workers for calls that never end by themselves; each holds a thread and a connection, for a day.
/// They have workers of their own because ten of them would otherwise be all workers there are.
pub const LISTENERS: usize = 4;

/// Subscriptions of one channel when there are several: one channel's must not be all.
const LISTENERS_OF_ONE: usize = LISTENERS - 1;

/// How long a push waits for room before it shows that it still waits.
const PUSH_STEP: Duration = Duration::from_secs(1);

/// Which workers may take a command, and which commands a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Calls, and whatever else waits.
    Ordinary,
    /// Only what expects no answer.
    Quick,
    /// Only subscriptions.
    Listen,
    /// One subscription too many, or one command too many for a channel that lags behind; any worker
    /// may say so.
    Refused,
}

/// The queue. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    limits: Limits,
    /// The same while the late channel is served.
    limits_late: Limits,
    late: Arc<AtomicBool>,
    state: Mutex<State>,
    // One bell for each kind of waiter: with a single one, every push would wake all threads.
    ordinary: Condvar,
    quick: Condvar,
    listen: Condvar,
    room: Condvar,
}

/// What one channel may take of everything.
#[derive(Debug, Clone, Copy)]
struct Limits {
    busy: usize,
    waiting: usize,
    listens: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Lane, Command)>,
    /// Ordinary workers busy, by channel.
    busy: HashMap<Channel, usize>,
    /// Ordinary workers that wait for work.
    idle: usize,
    /// Subscriptions waiting or running. Counted from the push on, so that those which wait cannot be
    /// more than there are workers to take them.
    listens: HashMap<Channel, usize>,
    closed: bool,
}

impl Queue {
    /// A queue for `capacity` commands and `workers` ordinary workers that serve `channels` channels.
    pub fn new(capacity: usize, workers: usize, channels: usize) -> Queue {
        // With several channels a worker and some places always remain for the others: a server that
        // hangs holds what it has until its calls time out.
        let shared = |all: usize, reserve: usize| all.saturating_sub(reserve).max(1);
        let waiting = shared(capacity, (capacity / 4).max(1));
        let several = Limits { busy: shared(workers, 1), waiting, listens: LISTENERS_OF_ONE };
        let alone = Limits { busy: workers, waiting: capacity, listens: LISTENERS };
        // A channel that comes late leads to where the first one does, so it hangs with it: it gets a worker of
        // its own now and then. A burst of the first still waits with the plane and is not refused.
        let joined = Limits { busy: several.busy, ..alone };
        Queue {
            capacity,
            limits: if channels > 1 { several } else { alone },
            limits_late: [alone, joined].get(channels).copied().unwrap_or(several),
            late: Arc::default(),
            state: Mutex::new(State::default()),
            ordinary: Condvar::new(),
            quick: Condvar::new(),
            listen: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Counts one channel more whenever `late` is set: it may come to be served, or not.
    pub fn with_late(self, late: Arc<AtomicBool>) -> Queue {
        Queue { late, ..self }
    }

    fn limits(&self) -> Limits {
        if self.late.load(Ordering::Relaxed) { self.limits_late } else { self.limits }
    }

    /// Waits for room and appends; gives the command back when the queue was closed, so that its caller can
    /// still be told. Every step of a wait begins with `waiting`, or a long one could not be told from a lost one.
    pub fn push(&self, command: Command, waiting: impl Fn()) -> Result<(), Box<Command>> {
        let mut state = self.state();
        while self.free(&state) == 0 && !state.closed {
            waiting();
            let waited = self.room.wait_timeout(state, PUSH_STEP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            return Err(Box::new(command));
        }
        let lane = state.lane_of(&command, self.limits());
        if lane == Lane::Listen {
            *state.listens.entry(command.channel.clone()).or_default() += 1;
        }
        state.waiting.push_back((lane, command));
        self.wake(&state);
        Ok(())
    }

    /// Waits until `wanted` more commands fit, at most until `deadline`; tells how many fit then.
    pub fn wait_free(&self, wanted: usize, deadline: Instant) -> usize {
        let left = deadline.saturating_duration_since(Instant::now());
        let full = |state: &mut State| self.free(state) < wanted && !state.closed;
        let waited = self.room.wait_timeout_while(self.state(), left, full);
        self.free(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many more commands fit. Their bytes are counted with those that run, by whoever polls.
    fn free(&self, state: &State) -> usize {
        self.capacity.saturating_sub(state.waiting.len())
    }

    /// Waits for a command that this worker may take and hands it to `admit` before anybody can take
    /// the next: order of dequeuing is order of admission, which a server on a pipe can see. `admit`
    /// therefore runs under the lock and must not block. `None` when the queue is closed and empty.
    pub fn pop<T>(&self, worker: Lane, admit: impl FnOnce(Lane, Command) -> T) -> Option<T> {
        let mut state = self.state();
        state.idle += usize::from(worker == Lane::Ordinary);
        loop {
            if let Some((lane, command)) = state.take(worker, self.limits().busy) {
                if worker == Lane::Ordinary {
                    state.idle = state.idle.saturating_sub(1);
                    *state.busy.entry(command.channel.clone()).or_default() += 1;
                }
                let admitted = admit(lane, command);
                self.wake(&state);
                self.room.notify_one();
                return Some(admitted);
            }
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            state = self.bell(worker).wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker has finished what it popped. Each [`Queue::pop`] needs one, or its place is lost.
    pub fn done(&self, worker: Lane, channel: &Channel) {
        let mut state = self.state();
        match worker {
            Lane::Ordinary => {
                if let Some(busy) = state.busy.get_mut(channel) {
                    *busy = busy.saturating_sub(1);
                }
            }
            Lane::Listen => {
                if let Some(listens) = state.listens.get_mut(channel) {
                    *listens = listens.saturating_sub(1);
                }
            }
            // The quick worker counts nowhere: what it runs is short, and it takes nobody's place.
            Lane::Quick | Lane::Refused => {}
        }
        self.wake(&state);
    }

    /// How many commands wait, and how many ordinary workers are busy.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.busy.values().sum())
    }

    /// Takes nothing more in; workers end when what waits is done. Whoever waits for anything is woken:
    /// none of the bells rings again after this.
    pub fn close(&self) {
        self.state().closed = true;
        for bell in [&self.ordinary, &self.quick, &self.listen, &self.room] {
            bell.notify_all();
        }
    }

    /// Closes the queue and removes what still waits: in one step, or a push could come between.
    pub fn take_rest(&self) -> Vec<Command> {
        let rest = {
            let mut state = self.state();
            state.closed = true;
            state.waiting.drain(..).map(|(_, command)| command).collect()
        };
        // The bells ring when the queue is empty: workers that waited for their turn leave now.
        self.close();
        rest
    }

    fn bell(&self, worker: Lane) -> &Condvar {
        match worker {
            Lane::Ordinary | Lane::Refused => &self.ordinary,
            Lane::Quick => &self.quick,
            Lane::Listen => &self.listen,
        }
    }

    /// Wakes one worker of each kind that could take something now; each that takes something wakes
    /// the next. A woken worker that finds its work gone waits again, so one bell too many does no
    /// harm; one too few would leave a command behind until something else happens.
    fn wake(&self, state: &State) {
        let waits = |wanted: &[Lane]| state.waiting.iter().any(|(lane, _)| wanted.contains(lane));
        if state.idle > 0 && !state.waiting.is_empty() {
            self.ordinary.notify_one();
        }
        if waits(&[Lane::Quick, Lane::Refused]) {
            self.quick.notify_one();
        }
        if waits(&[Lane::Listen]) {
            self.listen.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Release builds abort on panic; in tests a poisoned queue is still a queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decided once, when a command comes in: a fifth subscription is refused even if a place becomes
    /// free while it waits, because its caller is told sooner than the fourth would end.
    fn lane_of(&self, command: &Command, limits: Limits) -> Lane {
        let own =
            |(lane, waiting): &&(Lane, Command)| *lane != Lane::Refused && waiting.channel == command.channel;
        if self.waiting.len() >= limits.waiting && self.waiting.iter().filter(own).count() >= limits.waiting {
            return Lane::Refused;
        }
        match command.kind() {
            RequestKind::Notification => Lane::Quick,
            RequestKind::Call if command.is_subscription() => {
                let own = self.listens.get(&command.channel).copied().unwrap_or_default();
                let all: usize = self.listens.values().sum();
                if all < LISTENERS && own < limits.listens { Lane::Listen } else { Lane::Refused }
            }
            _ => Lane::Ordinary,
        }
    }

    /// Removes the first command that this kind of worker may take.
    fn take(&mut self, worker: Lane, busy_max: usize) -> Option<(Lane, Command)> {
        let at = self.waiting.iter().enumerate().position(|(index, (lane, command))| {
            let busy = self.busy.get(&command.channel).copied().unwrap_or_default();
            let full = busy >= busy_max;
            match worker {
                // A full channel's commands are passed over, not waited for: its slow server must not
                // hold up the commands of others behind it.
                Lane::Ordinary => *lane != Lane::Listen && !full,
                // Overtakes only what no ordinary worker could start now; otherwise order is kept, or
                // `notifications/initialized` could reach a server before its `initialize`.
                Lane::Quick => {
                    matches!(lane, Lane::Quick | Lane::Refused) && (index == 0 || self.idle == 0 || full)
                }
                Lane::Listen => *lane == Lane::Listen,
                Lane::Refused => false,
            }
        })?;
        self.waiting.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::{HeaderMap, HeaderValue};

    use super::super::command::Body;
    use super::super::inflight::InFlight;
    use super::super::message::Message;
    use super::*;

    fn push(queue: &Queue, id: &str, channel: &str, message: &str) -> Result<(), Box<Command>> {
        let command = Command {
            request_id: id.into(),
            shard_token: HeaderValue::from_static("t"),
            channel: Channel::parse(channel).unwrap(),
            headers: HeaderMap::new(),
            body: Body::Message(Message::parse(message.into()).unwrap().into()),
            received: Instant::now(),
            created_at: None,
            silent_after: None,
            ticket: InFlight::default().enter(0),
        };
        queue.push(command, || ())
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    const CANCEL: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    const LISTEN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}"#;

    fn pop(queue: &Queue, worker: Lane) -> String {
        queue.pop(worker, |_, command| command.request_id.clone()).unwrap()
    }

    #[test]
    fn commands_leave_in_the_order_of_arrival() {
        let queue = Queue::new(10, 2, 1);
        ["a", "b"].iter().for_each(|id| push(&queue, id, "main", CALL).unwrap());
        assert_eq!(queue.wait_free(1, Instant::now()), 8);
        assert_eq!([pop(&queue, Lane::Ordinary), pop(&queue, Lane::Ordinary)], ["a", "b"]);
    }

    #[test]
    fn a_cancellation_overtakes_waiting_calls_while_all_workers_are_busy() {
        let queue = Queue::new(10, 1, 1);
        ["a", "b"].iter().for_each(|id| push(&queue, id, "main", CALL).unwrap());
        push(&queue, "c", "main", CANCEL).unwrap();
        assert_eq!(pop(&queue, Lane::Ordinary), "a");
        assert_eq!(pop(&queue, Lane::Quick), "c");
    }

    #[test]
    fn one_worker_always_remains_for_the_other_channels() {
        let queue = Queue::new(10, 2, 2);
        ["a", "b"].iter().for_each(|id| push(&queue, id, "x", CALL).unwrap());
        push(&queue, "c", "y", CALL).unwrap();
        assert_eq!([pop(&queue, Lane::Ordinary), pop(&queue, Lane::Ordinary)], ["a", "c"]);
        queue.done(Lane::Ordinary, &Channel::parse("x").unwrap());
        assert_eq!(pop(&queue, Lane::Ordinary), "b");
    }

    #[test]
    fn the_fifth_subscription_is_refused_until_one_ends() {
        let queue = Queue::new(10, 1, 1);
        ["a", "b", "c", "d", "e"].iter().for_each(|id| push(&queue, id, "main", LISTEN).unwrap());
        let refused = queue.pop(Lane::Quick, |lane, command| (lane, command.request_id));
        assert_eq!(refused, Some((Lane::Refused, "e".into())));
        assert_eq!(pop(&queue, Lane::Listen), "a");
        queue.done(Lane::Listen, &Channel::main());
        push(&queue, "f", "main", LISTEN).unwrap();
        assert_eq!(["b", "c", "d", "f"].map(|_| pop(&queue, Lane::Listen)), ["b", "c", "d", "f"]);
    }

    #[test]
    fn a_late_channel_costs_the_first_no_place() {
        let queue = Queue::new(4, 2, 1).with_late(Arc::new(true.into()));
        (0..4).for_each(|_| push(&queue, "a", "main", CALL).unwrap());
        assert!(queue.state().waiting.iter().all(|(lane, _)| *lane == Lane::Ordinary));
    }

    #[test]
    fn the_rest_is_taken_and_nothing_comes_after_it() {
        let queue = Queue::new(10, 1, 1);
        push(&queue, "a", "main", CALL).unwrap();
        let rest: Vec<String> = queue.take_rest().into_iter().map(|command| command.request_id).collect();
        assert_eq!(rest, ["a"]);
        assert!(push(&queue, "b", "main", CALL).is_err());
        assert!(queue.pop(Lane::Quick, |_, _| ()).is_none());
    }

    #[test]
    fn a_closed_queue_refuses_and_drains() {
        let queue = Queue::new(1, 1, 1);
        push(&queue, "a", "main", CALL).unwrap();
        assert_eq!(queue.wait_free(1, Instant::now() + Duration::from_millis(5)), 0);
        queue.close();
        assert_eq!(push(&queue, "b", "main", CALL).unwrap_err().request_id, "b");
        assert_eq!(pop(&queue, Lane::Ordinary), "a");
        assert!(queue.pop(Lane::Ordinary, |_, _| ()).is_none());
    }
}
