//! Scheduler of a simulation: threads that run one at a time, over a clock that leaps.
//!
//! A thread of a simulation holds the turn until it waits, ends, or takes a lock at which the seed has it step back.
//! The next one is chosen by the seed among those that could go on. When there is none, time leaps to the earliest end
//! of a wait; when no wait has an end, that is a deadlock and the run has failed. A wait on a condition may also end
//! without a reason, as `std` allows. So a run is the same for the same seed, and costs what its threads compute.
//!
//! Threads that belong to no simulation get `std`'s own locks, waits and clock here.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::random::Random;

/// Turns of one run. A run that needs more goes round in a circle.
const TURNS_MAX: u64 = 20_000_000;

/// How long threads may go on, in simulated time, when the body of the run has returned.
const END_MAX: Duration = Duration::from_secs(2 * 3600);

/// Most simulated time that one turn costs by itself, in microseconds.
const TURN_MICROS: u64 = 5;

/// What nobody waits on but the body of a run, for the end of all others.
const ENDS: usize = 1;

/// What a sleep waits on.
const SLEEP: usize = 2;

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Place of a thread in its simulation.
#[derive(Clone)]
pub(super) struct Seat {
    world: Arc<World>,
    number: usize,
}

struct World {
    start: Instant,
    /// One lock in so many is a place to step back; none when zero.
    nervous: u64,
    state: Mutex<State>,
}

struct State {
    random: Random,
    now: Duration,
    tasks: Vec<Task>,
    current: usize,
    /// How many wait for a lock.
    locked: usize,
    turns: u64,
    failure: Option<String>,
}

struct Task {
    name: String,
    thread: Option<Thread>,
    is: Is,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Ready,
    Waits { on: usize, until: Option<Duration> },
    Locked { on: usize },
    Ended,
}

/// What unwinds the threads of a run that has failed.
struct Abandoned;

/// A run that went through.
pub(crate) struct Done<R> {
    /// What its body returned.
    pub(crate) result: R,
    /// How much time it had.
    pub(crate) time: Duration,
    /// How many turns its threads had.
    pub(crate) turns: u64,
}

/// Runs a body, and all threads that it starts, as a simulation of this seed. It ends when all threads have.
pub(crate) fn run<R>(seed: u64, body: impl FnOnce() -> R) -> Result<Done<R>, String> {
    let mut random = Random::new(seed);
    let nervous = [0, 40, 8, 2][random.index(4)];
    let first = Task { name: "body".to_owned(), thread: Some(thread::current()), is: Is::Ready };
    let state = State {
        random,
        now: Duration::ZERO,
        tasks: vec![first],
        current: 0,
        locked: 0,
        turns: 0,
        failure: None,
    };
    let world = Arc::new(World { start: Instant::now(), nervous, state: Mutex::new(state) });
    let seat = Seat { world: Arc::clone(&world), number: 0 };
    SEAT.set(Some(seat.clone()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let result = body();
        seat.wait_for_all();
        result
    }));
    SEAT.set(None);
    let result = result.inspect_err(|panic| world.fail(&words(&**panic)));
    let state = world.state();
    match (result, &state.failure) {
        (Ok(result), None) => Ok(Done { result, time: state.now, turns: state.turns }),
        (_, failure) => Err(failure.clone().unwrap_or_default()),
    }
}

/// The present moment of the simulation that this thread belongs to.
pub(crate) fn now() -> Option<Instant> {
    with_seat(|seat| seat.world.start + seat.world.state().now)
}

/// Time since the simulation began.
pub(crate) fn elapsed() -> Duration {
    with_seat(|seat| seat.world.state().now).unwrap_or_default()
}

/// A number from 0 to 1 by the seed of the simulation that this thread belongs to.
pub(crate) fn fraction() -> Option<f64> {
    with_seat(|seat| seat.world.state().random.fraction())
}

/// Lets simulated time pass.
pub(crate) fn sleep(time: Duration) {
    with_seat(|seat| {
        let until = seat.world.state().now + time;
        seat.pass(Is::Waits { on: SLEEP, until: Some(until) });
    });
}

/// The body of a thread that is about to be started, as one of the simulation that this thread belongs to.
pub(crate) fn enrol<T, B: FnOnce() -> T>(name: &str, body: B) -> impl FnOnce() -> T + use<T, B> {
    let seat = with_seat(|seat| {
        let mut state = seat.world.state();
        state.tasks.push(Task { name: name.to_owned(), thread: None, is: Is::Ready });
        Seat { world: Arc::clone(&seat.world), number: state.tasks.len() - 1 }
    });
    move || {
        let Some(seat) = seat else { return body() };
        SEAT.set(Some(seat.clone()));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut state = seat.world.state();
            state.tasks[seat.number].thread = Some(thread::current());
            seat.await_turn(state);
            body()
        }));
        SEAT.set(None);
        if let Err(panic) = &result {
            seat.world.fail(&words(&**panic));
        }
        seat.end();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Does something with the place of this thread, if it belongs to a simulation.
pub(super) fn with_seat<R>(work: impl FnOnce(&Seat) -> R) -> Option<R> {
    SEAT.try_with(|seat| seat.borrow().as_ref().map(work)).ok().flatten()
}

/// What a panic says.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run. The first reason counts.
    fn fail(&self, why: &str) {
        let mut state = self.state();
        state.failure.get_or_insert_with(|| why.to_owned());
        state.tasks.iter().filter_map(|task| task.thread.as_ref()).for_each(Thread::unpark);
    }
}

impl Seat {
    /// Lets others go first, where the seed has it so.
    pub(super) fn step_back(&self) {
        let mut state = self.world.state();
        if self.world.nervous > 0 && state.random.one_in(self.world.nervous) {
            state.tasks[self.number].is = Is::Ready;
            self.turn(state);
        }
    }

    /// Waits until somebody lets go of this lock.
    pub(super) fn wait_for_lock(&self, on: usize) {
        self.pass(Is::Locked { on });
    }

    /// Waits for a notification.
    pub(super) fn wait(&self, on: usize, until: Option<Duration>) {
        self.pass(Is::Waits { on, until });
    }

    /// Wakes up to so many that wait on something.
    pub(super) fn notify(&self, on: usize, most: usize) {
        self.world.state().notify(on, most);
    }

    /// Has those go on that wait for a lock.
    pub(super) fn unlocked(&self, on: usize) {
        self.world.state().unlocked(on);
    }

    /// Whether the run has failed, so that all its threads unwind.
    pub(super) fn has_failed(&self) -> bool {
        self.world.state().failure.is_some()
    }

    /// Hands the turn on, and returns when it has come back.
    fn pass(&self, is: Is) {
        let mut state = self.world.state();
        state.tasks[self.number].is = is;
        state.locked += usize::from(matches!(is, Is::Locked { .. }));
        self.turn(state);
    }

    fn turn<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        state.choose();
        self.await_turn(state);
    }

    fn await_turn<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        state.call(self.number);
        while state.current != self.number && state.failure.is_none() {
            drop(state);
            thread::park();
            state = self.world.state();
        }
        let has_failed = state.failure.is_some();
        drop(state);
        if has_failed {
            self.world.fail("");
            if !thread::panicking() {
                resume_unwind(Box::new(Abandoned));
            }
        }
    }

    /// Leaves the simulation.
    fn end(&self) {
        let mut state = self.world.state();
        state.tasks[self.number].is = Is::Ended;
        if state.tasks.iter().skip(1).all(|task| task.is == Is::Ended) {
            state.notify(ENDS, 1);
        }
        if state.failure.is_none() {
            state.choose();
            state.call(self.number);
        }
        let has_failed = state.failure.is_some();
        drop(state);
        if has_failed {
            self.world.fail("");
        }
    }

    /// Waits until every other thread has ended.
    fn wait_for_all(&self) {
        let end = self.world.state().now + END_MAX;
        loop {
            let state = self.world.state();
            let left: Vec<_> = state.tasks.iter().skip(1).filter(|task| task.is != Is::Ended).collect();
            if left.is_empty() {
                return;
            }
            assert!(
                state.now < end,
                "threads go on: {:?}",
                left.iter().map(|task| &task.name).collect::<Vec<_>>()
            );
            drop(left);
            drop(state);
            self.pass(Is::Waits { on: ENDS, until: Some(end) });
        }
    }
}

impl State {
    /// Chooses whose turn it is.
    fn choose(&mut self) {
        self.turns += 1;
        self.now += Duration::from_micros(self.random.below(TURN_MICROS));
        if self.turns > TURNS_MAX {
            return self.stuck("goes round in a circle");
        }
        if self.random.one_in(100) {
            self.wake_without_a_reason();
        }
        loop {
            let (mut ready, mut next) = (0, None::<Duration>);
            for task in &mut self.tasks {
                if let Is::Waits { until: Some(until), .. } = task.is {
                    if until <= self.now {
                        task.is = Is::Ready;
                    } else {
                        next = Some(next.map_or(until, |next| next.min(until)));
                    }
                }
                ready += u64::from(task.is == Is::Ready);
            }
            if ready > 0 {
                let nth = usize::try_from(self.random.below(ready)).unwrap();
                let of_ready = self.tasks.iter().enumerate().filter(|(_, task)| task.is == Is::Ready);
                self.current = of_ready.map(|(at, _)| at).nth(nth).unwrap();
                return;
            }
            match next {
                Some(next) => self.now = next,
                None => return self.stuck("deadlock: everybody waits, and no wait has an end"),
            }
        }
    }

    /// Has the thread go on whose turn it is, if it is another one.
    fn call(&self, own: usize) {
        if let Some(thread) = self.tasks[self.current].thread.as_ref().filter(|_| self.current != own) {
            thread.unpark();
        }
    }

    fn stuck(&mut self, what: &str) {
        let waiting = self.tasks.iter().filter(|task| task.is != Is::Ended);
        let waiting: Vec<_> = waiting.map(|task| format!("{} {:?}", task.name, task.is)).collect();
        self.failure.get_or_insert(format!("{what} at {:?}: {}", self.now, waiting.join(", ")));
    }

    fn wake_without_a_reason(&mut self) {
        let nth = self.random.index(self.tasks.len());
        let task = &mut self.tasks[nth];
        if matches!(task.is, Is::Waits { on, .. } if on > SLEEP) {
            task.is = Is::Ready;
        }
    }

    fn notify(&mut self, on: usize, most: usize) {
        for _ in 0..most {
            let waits = |task: &Task| matches!(task.is, Is::Waits { on: known, .. } if known == on);
            let waiting = self.tasks.iter().filter(|task| waits(task)).count();
            if waiting == 0 {
                return;
            }
            let nth = self.random.index(waiting);
            if let Some(task) = self.tasks.iter_mut().filter(|task| waits(task)).nth(nth) {
                task.is = Is::Ready;
            }
        }
    }

    fn unlocked(&mut self, on: usize) {
        if self.locked == 0 {
            return;
        }
        for task in self.tasks.iter_mut().filter(|task| task.is == Is::Locked { on }) {
            task.is = Is::Ready;
            self.locked -= 1;
        }
    }
}
