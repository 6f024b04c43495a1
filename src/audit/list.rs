//! Records between those who end commands and the thread that writes them.
//!
//! Whoever drops a command adds its record under a lock and goes on: nobody waits for a disk. What cannot be written
//! stays here within a bound; what is beyond it is counted, and a line says later how many there were.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::ops::metrics::Metrics;
use crate::relay::record::Fate;
use crate::sync::{self, Condition};

use super::line::{self, Members};

/// Bytes of records that wait while they cannot be written: some ten thousands of the usual size.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of them from which on no command may begin whose record must not be lost: the rest is for those that run.
const CROWDED_BYTES: usize = WAITING_BYTES_MAX / 2;

/// Bytes of records that are written at once. One that is larger is written alone.
const BATCH_BYTES: usize = 256 * 1024;

/// How long records may come together before they are written: at 15 000 a second the thread wakes 50 times.
const GATHER_TIME: Duration = Duration::from_millis(20);

/// Time without progress after which a write counts as failed.
const STALL: Duration = Duration::from_secs(5);

/// The mark of a step that has failed.
const FAILED: u64 = u64::MAX;

/// Record of a command that runs. One that has ended is used again for another command, with its memory.
pub(super) struct Open {
    list: Arc<List>,
    place: usize,
    pub(super) told: Mutex<Told>,
}

/// What is known of a command so far.
#[derive(Default)]
pub(super) struct Told {
    /// Members of its line.
    pub(super) members: Members,
    /// When it began; nothing once its record is among those that are written.
    pub(super) began: Option<Instant>,
    pub(super) fate: Option<Fate>,
}

impl Open {
    /// Adds the record to those that are written, unless that was done before. Its line is made before the lock of the
    /// list is taken: nobody waits for it. The record is used again when its command has `gone`.
    pub(super) fn close(&self, gone: bool) {
        let mut told = sync::lock(&self.told);
        let (began, fate) = (told.began.take(), told.fate.take().unwrap_or(Fate::CANCELLED));
        let took = began.map(|began| began.elapsed());
        took.inspect(|took| line::ended(&mut told.members, &fate, *took));
        let mut state = self.list.state();
        state.free.extend(gone.then_some(self.place));
        if took.is_some() {
            self.list.add(state, &told.members.out);
        }
        told.members.empty();
    }
}

/// Records that are written at once: their members, and when each has ended and how long it is.
#[derive(Default)]
pub(super) struct Batch {
    text: String,
    parts: Vec<(SystemTime, Range<usize>)>,
}

impl Batch {
    /// The records in their order.
    pub(super) fn records(&self) -> impl Iterator<Item = (SystemTime, &str)> {
        self.parts.iter().filter_map(|(at, part)| Some((*at, self.text.get(part.clone())?)))
    }

    /// Memory that they take.
    fn bytes(&self) -> usize {
        self.text.len() + self.parts.len() * size_of::<(SystemTime, Range<usize>)>()
    }
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
    pub(super) batch: Batch,
    pub(super) gap: Gap,
    pub(super) reopens: bool,
    pub(super) ends: bool,
}

/// Numbered lines, of which those up to this byte are written.
pub(super) type Lines = (Arc<Vec<u8>>, usize);

#[derive(Default)]
struct State {
    /// All there are, and the places of those that no command has.
    open: Vec<Arc<Open>>,
    free: Vec<usize>,
    ready: VecDeque<Batch>,
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

    fn state(&self) -> sync::Guard<'_, State> {
        #[cfg(feature = "dev")]
        return self.timed();
        #[cfg(not(feature = "dev"))]
        sync::lock(&self.state)
    }

    #[cfg(feature = "dev")]
    fn timed(&self) -> sync::Guard<'_, State> {
        // Who need not wait reads no clock, so that a benchmark does not measure its own.
        #[cfg(not(test))]
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

    /// Record for a command.
    pub(super) fn open(self: &Arc<List>) -> Arc<Open> {
        let mut state = self.state();
        let State { open, free, .. } = &mut *state;
        if let Some(open) = free.pop().and_then(|place| open.get(place)) {
            return Arc::clone(open);
        }
        let made = Arc::new(Open { list: Arc::clone(self), place: open.len(), told: Mutex::default() });
        open.push(Arc::clone(&made));
        made
    }

    /// Adds a record that stands for no command.
    pub(super) fn event(&self, members: &str) {
        self.add(self.state(), members);
    }

    fn add(&self, mut state: sync::Guard<'_, State>, members: &str) {
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
        let gathers = !in_hand && !state.ends && state.ready.len() < 2;
        drop(state);
        if gathers {
            std::thread::sleep(GATHER_TIME);
        }
        let mut state = self.state();
        let reopens = std::mem::take(&mut state.reopens);
        let mut work = Work { reopens, ends: state.ends, ..Work::default() };
        if !in_hand {
            work.batch = state.ready.pop_front().unwrap_or_default();
            state.ready_bytes -= work.batch.bytes();
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
    pub(super) fn finish(&self, time: Duration) -> (Lines, VecDeque<Batch>, Gap) {
        let open = self.state().open.clone();
        open.iter().for_each(|open| open.close(false));
        let mut state = self.state();
        state.ends = true;
        self.bell.notify_one();
        let mut state = self.end.wait_while(state, time, |state| !state.ended);
        state.ready_bytes = 0;
        let (lines, ready) = (std::mem::take(&mut state.in_hand), std::mem::take(&mut state.ready));
        (lines, ready, std::mem::take(&mut state.gap))
    }

    /// The thread has ended.
    pub(super) fn ended(&self) {
        self.state().ended = true;
        self.end.notify_all();
    }
}

impl State {
    /// Adds a record if there is room. Tells how many found none so far, this one among them; 0 when it did.
    fn add(&mut self, members: &str) -> u64 {
        if self.ready_bytes > WAITING_BYTES_MAX {
            self.gap.lost += 1;
            return self.gap.lost;
        }
        if self.ready.back().is_none_or(|last| last.text.len() + members.len() > BATCH_BYTES) {
            self.ready.push_back(Batch::default());
        }
        if let Some(last) = self.ready.back_mut() {
            let (before, begin) = (last.bytes(), last.text.len());
            last.text.push_str(members);
            last.parts.push((SystemTime::now(), begin..last.text.len()));
            self.ready_bytes += last.bytes() - before;
        }
        0
    }
}

#[cfg(test)]
mod tests;
