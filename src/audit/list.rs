//! Records between those who end commands and the thread that writes them.
//!
//! Whoever drops a command adds its record under a lock and goes on: nobody waits for a disk. What cannot be written
//! stays here within a bound; what is beyond it is counted, and a line says later how many there were.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::ops::metrics::Metrics;
use crate::relay::record::Fate;
use crate::sync::{self, Condition};

use super::line::{self, Members};

/// Bytes of records that wait while they cannot be written: some ten thousands of the usual size.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of them from which on no command may begin whose record must not be lost: the rest is for those that run.
const CROWDED_BYTES: usize = WAITING_BYTES_MAX / 2;

/// Records that are written at once.
const BATCH_MAX: usize = 1024;

/// How long records may come together before they are written: at 15 000 a second the thread wakes 50 times.
const GATHER_TIME: Duration = Duration::from_millis(20);

/// Time without progress after which a write counts as failed.
const STALL: Duration = Duration::from_secs(5);

/// The mark of a step that has failed.
const FAILED: u64 = u64::MAX;

/// Record of a command that has begun.
pub(super) struct Open {
    /// What was known then, as members of its line.
    pub(super) members: Members,
    /// The arguments of the call, once a worker has it.
    pub(super) arguments: OnceLock<Members>,
    began: Instant,
    pub(super) fate: OnceLock<Fate>,
    /// Whether the answer of that was given up.
    pub(super) untold: AtomicBool,
}

impl Open {
    /// All members, now that it has ended. Nothing was posted of an answer that was given up.
    fn ended(&self) -> String {
        let fate = *self.fate.get().unwrap_or(&Fate::CANCELLED);
        let untold = self.untold.load(Ordering::Relaxed);
        let fate = if untold { Fate { status: None, bytes: 0, ..fate } } else { fate };
        line::ended(&self.members, self.arguments.get(), &fate, self.began.elapsed())
    }
}

/// Record that can be written.
pub(super) struct Ready {
    /// Members of its line.
    pub(super) members: String,
    pub(super) at: SystemTime,
}

/// What has no record.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// Commands that were refused.
    pub(super) refused: u64,
    /// Commands that ran, and events, for whose records there was no room.
    pub(super) lost: u64,
}

/// Work for the thread.
#[derive(Default)]
pub(super) struct Work {
    pub(super) records: Vec<Ready>,
    pub(super) gap: Gap,
    pub(super) reopens: bool,
    pub(super) ends: bool,
}

/// Numbered lines, of which those up to this byte are written.
pub(super) type Lines = (Arc<Vec<u8>>, usize);

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Open>>,
    ready: VecDeque<Ready>,
    ready_bytes: usize,
    in_hand: Lines,
    gap: Gap,
    reopens: bool,
    ends: bool,
    ended: bool,
    fault: Option<String>,
    /// The longest that somebody has waited for the lock, and how many waited for longer than a millisecond, which a
    /// benchmark asks for.
    #[cfg(feature = "dev")]
    waits: (Duration, u64),
}

/// The list. Shared behind an `Arc`.
pub(super) struct List {
    state: Mutex<State>,
    bell: Condition,
    end: Condition,
    start: Instant,
    /// When the step began that is being made, in milliseconds from the start; 0 when there is none.
    since: AtomicU64,
    /// Whether more records wait than may while others begin.
    crowded: AtomicBool,
    metrics: Arc<Metrics>,
}

impl List {
    pub(super) fn new(metrics: Arc<Metrics>) -> List {
        let (state, bell, end, since, crowded) = Default::default();
        List { state, bell, end, start: Instant::now(), since, crowded, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        #[cfg(feature = "dev")]
        return self.timed();
        #[cfg(not(feature = "dev"))]
        sync::lock(&self.state)
    }

    #[cfg(feature = "dev")]
    fn timed(&self) -> MutexGuard<'_, State> {
        if let Ok(state) = self.state.try_lock() {
            return state;
        }
        let began = Instant::now();
        let mut state = sync::lock(&self.state);
        let (waited, (longest, many)) = (began.elapsed(), state.waits);
        state.waits = (longest.max(waited), many + u64::from(waited > Duration::from_millis(1)));
        state
    }

    /// The longest that somebody has waited for the lock so far, and how many waited for longer than a millisecond.
    #[cfg(feature = "dev")]
    pub(super) fn waits(&self) -> (Duration, u64) {
        self.state().waits
    }

    /// Keeps what is known of a command. Gives its number too.
    pub(super) fn open(&self, members: Members, began: Instant) -> (u64, Arc<Open>) {
        let (arguments, fate, untold) = Default::default();
        let open = Arc::new(Open { members, arguments, began, fate, untold });
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, Arc::clone(&open));
        (number, open)
    }

    /// Ends a command, unless that was done before. Its line is made before the lock is taken: nobody waits for it.
    pub(super) fn close(&self, number: u64, open: &Open) {
        let members = open.ended();
        let mut state = self.state();
        if state.open.remove(&number).is_some() {
            self.add(state, members);
        }
    }

    /// Adds a record that stands for no command.
    pub(super) fn event(&self, members: String) {
        self.add(self.state(), members);
    }

    fn add(&self, mut state: MutexGuard<'_, State>, members: String) {
        let (is_first, lost) = (state.ready.is_empty(), state.add(members));
        self.crowded.store(state.ready_bytes > CROWDED_BYTES, Ordering::Relaxed);
        drop(state);
        if lost == 0 && is_first {
            self.bell.notify_one();
        }
        if lost > 0 {
            self.metrics.audit_records.add(["lost"], 1);
        }
        if lost == 1 {
            log::error!("audit records are lost: there is no more room for those that cannot be written");
        }
    }

    /// Counts a command that is refused; true for the first one.
    pub(super) fn refuse(&self) -> bool {
        self.metrics.audit_records.add(["refused"], 1);
        let mut state = self.state();
        state.gap.refused += 1;
        let is_first = state.gap.refused == 1;
        drop(state);
        if is_first {
            // What was at fault may be over already, and no record may come for long.
            self.bell.notify_one();
        }
        is_first
    }

    /// Waits for work, until `end` at most. Who has lines that could not be written gets no more of them.
    pub(super) fn take(&self, end: Instant, in_hand: bool) -> Work {
        let left = end.saturating_duration_since(Instant::now());
        let state = self.bell.wait_while(self.state(), left, |state| {
            let idle = in_hand || state.ready.is_empty() && state.gap == Gap::default();
            idle && !state.reopens && !state.ends
        });
        let gathers = !in_hand && !state.ends;
        drop(state);
        if gathers {
            std::thread::sleep(GATHER_TIME);
        }
        let mut state = self.state();
        let reopens = std::mem::take(&mut state.reopens);
        let mut work = Work { reopens, ends: state.ends, ..Work::default() };
        if !in_hand {
            let count = state.ready.len().min(BATCH_MAX);
            work.records = state.ready.drain(..count).collect();
            state.ready_bytes -= work.records.iter().map(Ready::bytes).sum::<usize>();
            self.crowded.store(state.ready_bytes > CROWDED_BYTES, Ordering::Relaxed);
            if state.ready.is_empty() {
                work.gap = std::mem::take(&mut state.gap);
            }
        }
        work
    }

    /// A step begins that may take long.
    pub(super) fn begin_step(&self, in_hand: &Lines) {
        // The former ones are freed when the lock is open again.
        let _former = std::mem::replace(&mut self.state().in_hand, in_hand.clone());
        // One that is tried again has not succeeded yet.
        if self.since.load(Ordering::Relaxed) != FAILED {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or_default();
            self.since.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// It is over. True when it failed and the one before did not, or the reverse.
    pub(super) fn end_step(&self, in_hand: &Lines, fault: Option<String>) -> bool {
        let mut state = self.state();
        state.in_hand = in_hand.clone();
        let is_news = state.fault.is_some() != fault.is_some();
        self.since.store(if fault.is_some() { FAILED } else { 0 }, Ordering::Relaxed);
        state.fault = fault;
        is_news
    }

    /// Why records cannot be written now. It costs little while they can.
    pub(super) fn fault(&self) -> Option<String> {
        let since = self.since.load(Ordering::Relaxed);
        if since == FAILED {
            return self.state().fault.clone();
        }
        if since != 0 && self.start.elapsed() >= Duration::from_millis(since) + STALL {
            return Some(format!("a write has made no progress for {} s", STALL.as_secs()));
        }
        // A disk that is slower than the calls fails at nothing.
        let is_crowded = self.crowded.load(Ordering::Relaxed);
        is_crowded.then(|| "records come faster than they are written".to_owned())
    }

    /// Asks for what has the file's name now.
    pub(super) fn reopen(&self) {
        self.state().reopens = true;
        self.bell.notify_one();
    }

    /// Ends what has begun, and waits until all is written, for `time` at most. Gives what is not.
    pub(super) fn finish(&self, time: Duration) -> (Lines, Vec<Ready>, Gap) {
        let mut state = self.state();
        for (_, open) in std::mem::take(&mut state.open) {
            state.add(open.ended());
        }
        state.ends = true;
        self.bell.notify_one();
        let mut state = self.end.wait_while(state, time, |state| !state.ended);
        state.ready_bytes = 0;
        let (lines, ready) = (std::mem::take(&mut state.in_hand), state.ready.drain(..).collect());
        (lines, ready, std::mem::take(&mut state.gap))
    }

    /// The thread has ended.
    pub(super) fn ended(&self) {
        self.state().ended = true;
        self.end.notify_all();
    }
}

impl Ready {
    /// Memory that it takes.
    fn bytes(&self) -> usize {
        self.members.capacity() + size_of::<Ready>()
    }
}

impl State {
    /// Adds a record if there is room. Tells how many found none so far, this one among them; 0 when it did.
    fn add(&mut self, members: String) -> u64 {
        if self.ready_bytes > WAITING_BYTES_MAX {
            self.gap.lost += 1;
            return self.gap.lost;
        }
        let record = Ready { members, at: SystemTime::now() };
        self.ready_bytes += record.bytes();
        self.ready.push_back(record);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        List::new(Arc::new(Metrics::new("t", 1, 1, &[])))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(1)
    }

    #[test]
    fn a_record_is_written_once_also_when_its_command_outlives_the_end() {
        let list = list();
        let (first, one) = list.open(Members::of("1"), Instant::now());
        let (second, other) = list.open(Members::of("2"), Instant::now());
        list.close(first, &one);
        list.close(first, &one);
        assert_eq!(list.take(soon(), false).records.len(), 1);
        assert!(list.refuse());
        let (_, left, gap) = list.finish(Duration::ZERO);
        assert!(gap.refused == 1 && gap.lost == 0);
        assert_eq!(left.len(), 1);
        assert!(left[0].members.starts_with("2,\"outcome\":\"cancelled\""), "{}", left[0].members);
        list.close(second, &other);
        assert!(list.take(soon(), false).records.is_empty());
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let list = list();
        let megabyte = "x".repeat(1 << 20);
        for _ in 0..40 {
            let (number, open) = list.open(Members::of(&megabyte), Instant::now());
            list.close(number, &open);
        }
        assert!(list.refuse() && !list.refuse());
        assert!(list.take(soon(), true).records.is_empty(), "who has lines in hand gets no more");
        let work = list.take(soon(), false);
        assert_eq!((work.records.len(), work.gap.lost, work.gap.refused), (32, 8, 2));
        let (number, open) = list.open(Members::of(&megabyte), Instant::now());
        list.close(number, &open);
        assert_eq!(list.take(soon(), false).records.len(), 1);
    }

    /// A disk that is slow, or that had much to take after it was full, loses nothing for which there is room; and before
    /// there is none any more, new commands are refused where they must not run without a record.
    #[test]
    fn room_comes_back_with_every_batch() {
        let list = list();
        let text = "x".repeat(10 << 10);
        let add = |count: usize| {
            for _ in 0..count {
                let (number, open) = list.open(Members::of(&text), Instant::now());
                list.close(number, &open);
            }
        };
        assert_eq!(list.fault(), None);
        add(2 * BATCH_MAX);
        assert!(list.fault().is_some_and(|fault| fault.contains("faster")));
        assert_eq!(list.take(soon(), false).records.len(), BATCH_MAX);
        assert_eq!(list.fault(), None);
        add(BATCH_MAX + BATCH_MAX / 2);
        for left in [BATCH_MAX, BATCH_MAX, BATCH_MAX / 2] {
            let work = list.take(soon(), false);
            assert_eq!((work.records.len(), work.gap.lost), (left, 0));
        }
    }

    #[test]
    fn a_step_that_fails_is_a_fault_until_one_succeeds() {
        let (list, none) = (list(), Lines::default());
        assert_eq!(list.fault(), None);
        list.begin_step(&none);
        assert_eq!(list.fault(), None);
        assert!(list.end_step(&none, Some("full".into())));
        list.begin_step(&none);
        assert_eq!(list.fault().as_deref(), Some("full"), "while it is tried again");
        assert!(!list.end_step(&none, Some("full".into())) && list.end_step(&none, None));
        assert_eq!(list.fault(), None);
        list.since.store(1, Ordering::Relaxed);
        let stalled = List { start: Instant::now() - STALL - Duration::from_millis(2), ..list };
        assert!(stalled.fault().unwrap().contains("no progress"));
    }
}
