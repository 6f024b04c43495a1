//! List of the answers that are to be posted: fresh ones, and those that are tried again later.
//!
//! A wait for the plane lies here and holds no courier. Fresh answers go first; every eighth turn belongs to one
//! whose time has come, so that steady load starves none. The list is bounded by number and by bytes: beyond
//! either, whoever brings an answer waits, and with them the queue and the poller. Nothing is dropped for want
//! of room, and nothing here fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ops::heartbeat::Heartbeat;
use crate::relay::backoff::Backoff;
use crate::relay::command::Command;
use crate::relay::inflight::Ticket;
use crate::relay::port::Answer;
use crate::sync::{self, Condition};

use super::retry::{self, WAIT_MIN};

/// Most answers that wait for another attempt. Each keeps a command and its head, some kilobytes.
const POSTPONED_MAX: usize = 4096;

/// Fresh answers that may be taken one after another while another one's time has come.
const FRESH_IN_A_ROW: u32 = 7;

/// One answer on its way, with what its attempts have met.
#[derive(Debug)]
pub(super) struct PendingAnswer {
    /// What it answers.
    pub(super) command: Arc<Command>,
    /// What is posted, the same bytes each time.
    pub(super) answer: Answer,
    /// Tells one answer from another.
    pub(super) number: u64,
    /// After this it is not posted any more.
    pub(super) until: Instant,
    /// Waits between its attempts.
    pub(super) backoff: Backoff,
    /// How often it met 500, and how many answers had been accepted when it first did.
    pub(super) faults: Option<(u32, u64)>,
    /// Since when the key is refused.
    pub(super) unauthorized: Option<Instant>,
    /// Its bytes among those in flight, from the first wait on.
    held: Option<Ticket>,
}

/// What becomes of an answer that is brought.
#[derive(Debug)]
pub(super) enum Added {
    /// It waits for a courier.
    Waits,
    /// Whoever has brought it posts it, and then says that it was `posted`.
    Yours(Box<PendingAnswer>),
    /// The list is closed.
    Closed(Box<PendingAnswer>),
}

/// The list. Shared by those who bring answers and the couriers.
#[derive(Debug)]
pub(super) struct AnswerList {
    fresh_max: usize,
    posting_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    /// Rings for couriers.
    work: Condition,
    /// Rings for those who bring answers.
    room: Condition,
}

#[derive(Debug, Default)]
struct State {
    fresh: VecDeque<PendingAnswer>,
    /// By the time of the next attempt; the number keeps equal times apart.
    postponed: BTreeMap<(Instant, u64), PendingAnswer>,
    postponed_bytes: usize,
    /// Answers brought so far.
    brought: u64,
    /// Those among them that are being posted by whoever brought them.
    posting: usize,
    fresh_in_a_row: u32,
    /// One courier waits for the time of the first; the others wait for a bell.
    lookout: bool,
    /// When everything has to be posted, once the process stops.
    end: Option<Instant>,
    closed: bool,
}

impl AnswerList {
    /// A list with room for `fresh_max` fresh answers, and `bytes_max` bytes of postponed ones. Of those who bring
    /// answers `posting_max` may post at once.
    pub(super) fn new(fresh_max: usize, posting_max: usize, bytes_max: usize) -> AnswerList {
        let (state, work, room) = Default::default();
        AnswerList { fresh_max, posting_max, bytes_max, state, work, room }
    }

    /// Takes an answer that may be posted until then, or has it posted by whoever brings it, if that `posts`. Waits for
    /// room otherwise.
    pub(super) fn add(&self, command: Arc<Command>, answer: Answer, until: Instant, posts: bool) -> Added {
        let mut state = sync::lock(&self.state);
        let posts = posts && state.posting < self.posting_max && !self.is_held_up(&state);
        while !posts && !state.closed && self.is_full(&state) {
            state = self.room.wait(state);
        }
        state.brought += 1;
        let pending = PendingAnswer {
            command,
            answer,
            number: state.brought,
            until: state.end.map_or(until, |end| end.min(until)),
            backoff: Backoff::new(WAIT_MIN),
            faults: None,
            unauthorized: None,
            held: None,
        };
        if state.closed {
            return Added::Closed(Box::new(pending));
        }
        if posts {
            state.posting += 1;
            return Added::Yours(Box::new(pending));
        }
        state.fresh.push_back(pending);
        drop(state);
        self.work.notify_one();
        Added::Waits
    }

    /// Whoever brought an answer has posted it.
    pub(super) fn posted(&self) {
        sync::lock(&self.state).posting -= 1;
    }

    /// How many answers were taken so far.
    pub(super) fn brought(&self) -> u64 {
        sync::lock(&self.state).brought
    }

    /// Waits for the next answer to be posted; nothing once the list is closed.
    pub(super) fn take(&self, heartbeat: &Heartbeat) -> Option<PendingAnswer> {
        let mut state = sync::lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            let now = sync::now();
            if let Some(pending) = state.next(now) {
                self.room.notify_one();
                // Whoever was woken for a fresh answer, or for the time of an older one, may have taken the other.
                let is_left = !state.fresh.is_empty() || !state.postponed.is_empty();
                if is_left && !state.lookout {
                    self.work.notify_one();
                }
                return Some(pending);
            }
            let first = state.postponed.first_key_value().map(|((due, _), _)| *due);
            state = match first.filter(|_| !state.lookout) {
                Some(due) => {
                    state.lookout = true;
                    heartbeat.until(due);
                    let left = due.saturating_duration_since(now);
                    let mut state = self.work.wait_for(state, left);
                    heartbeat.rest();
                    state.lookout = false;
                    state
                }
                None => self.work.wait(state),
            };
        }
    }

    /// Puts an answer back until `due`; gives it back when it would be too late then.
    pub(super) fn postpone(
        &self,
        mut pending: PendingAnswer,
        asked: Option<Duration>,
    ) -> Result<(), Box<PendingAnswer>> {
        let mut state = sync::lock(&self.state);
        let now = sync::now();
        pending.until = state.end.map_or(pending.until, |end| end.min(pending.until));
        let left = pending.until.saturating_duration_since(now);
        // A plane that asks for more than what a stop leaves is asked once more before the end.
        let asked = asked.filter(|asked| state.end.is_none() || *asked < left).unwrap_or_default();
        // The nearer the end, the shorter the wait: the last attempt comes shortly before it.
        let wait = retry::wait(&mut pending.backoff, false, None).min(left / 2).max(WAIT_MIN).max(asked);
        if state.closed || wait >= left {
            return Err(Box::new(pending));
        }
        let bytes = pending.bytes();
        pending.held.get_or_insert_with(|| pending.command.ticket.more(bytes));
        state.postponed_bytes = state.postponed_bytes.saturating_add(bytes);
        let key = (now + wait, pending.number);
        let is_first = state.postponed.first_key_value().is_none_or(|(first, _)| key < *first);
        state.postponed.insert(key, pending);
        if is_first {
            // Whoever waits for the time of another one has to wait for this one now.
            self.work.notify_all();
        }
        Ok(())
    }

    /// Everything has to be posted by then: waits end in time for it, and nobody waits for room any more. What
    /// is still to come is bounded by what was polled before.
    pub(super) fn end_by(&self, end: Instant) {
        let mut state = sync::lock(&self.state);
        let now = sync::now();
        state.end = Some(end);
        let soon = now + WAIT_MIN.min(end.saturating_duration_since(now) / 2);
        let waiting = std::mem::take(&mut state.postponed);
        state.postponed =
            waiting.into_iter().map(|((due, n), pending)| ((due.min(soon), n), pending)).collect();
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Ends the list and hands out what is left.
    pub(super) fn close(&self) -> Vec<PendingAnswer> {
        let mut state = sync::lock(&self.state);
        state.closed = true;
        self.work.notify_all();
        self.room.notify_all();
        let (fresh, postponed) = (std::mem::take(&mut state.fresh), std::mem::take(&mut state.postponed));
        fresh.into_iter().chain(postponed.into_values()).collect()
    }

    /// How many answers wait for another attempt.
    pub(super) fn postponed(&self) -> usize {
        sync::lock(&self.state).postponed.len()
    }

    fn is_full(&self, state: &State) -> bool {
        state.end.is_none() && (state.fresh.len() >= self.fresh_max || self.is_held_up(state))
    }

    /// Whether no more answers may wait for another attempt.
    fn is_held_up(&self, state: &State) -> bool {
        state.postponed.len() >= POSTPONED_MAX || state.postponed_bytes >= self.bytes_max
    }
}

impl State {
    /// The answer whose turn it is.
    fn next(&mut self, now: Instant) -> Option<PendingAnswer> {
        let is_due = self.postponed.first_key_value().is_some_and(|((due, _), _)| *due <= now);
        if is_due && (self.fresh.is_empty() || self.fresh_in_a_row >= FRESH_IN_A_ROW) {
            self.fresh_in_a_row = 0;
            let pending = self.postponed.pop_first()?.1;
            self.postponed_bytes = self.postponed_bytes.saturating_sub(pending.bytes());
            return Some(pending);
        }
        self.fresh_in_a_row += u32::from(is_due);
        self.fresh.pop_front()
    }
}

impl PendingAnswer {
    fn bytes(&self) -> usize {
        self.answer.payload.as_ref().map_or(0, |payload| payload.bytes())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::ops::heartbeat::Heartbeats;
    use crate::relay::headers::ReplyHeaders;
    use crate::relay::inflight::InFlight;
    use crate::relay::payload::Payload;
    use crate::relay::port::AnswerKind;

    const LONG: Duration = Duration::from_secs(60);

    fn add(list: &AnswerList, flight: &InFlight, until: Instant) -> Result<(), Added> {
        bring(list, flight, until, false)
    }

    fn bring(list: &AnswerList, flight: &InFlight, until: Instant, posts: bool) -> Result<(), Added> {
        let command = Command::example(flight.enter(0));
        let (kind, headers) = (AnswerKind::Response, ReplyHeaders::default());
        let payload = Some(Payload::own("0123456789".into()));
        let answer = Answer { kind, status: 200, headers, payload, timing: None };
        match list.add(Arc::new(command), answer, until, posts) {
            Added::Waits => Ok(()),
            other => Err(other),
        }
    }

    fn take(list: &AnswerList) -> PendingAnswer {
        list.take(&Heartbeats::default().add("courier")).unwrap()
    }

    #[test]
    fn fresh_answers_go_first_and_starve_none() {
        let (list, flight, until) = (AnswerList::new(99, 1, 99), InFlight::default(), Instant::now() + LONG);
        (0..2).for_each(|_| add(&list, &flight, until).unwrap());
        let (first, second) = (take(&list), take(&list));
        assert_eq!([first.number, second.number], [1, 2]);
        list.postpone(first, None).unwrap();
        list.postpone(second, Some(LONG / 2)).unwrap();
        std::thread::sleep(WAIT_MIN + Duration::from_millis(5));
        (0..9).for_each(|_| add(&list, &flight, until).unwrap());
        let taken: Vec<u64> = (0..10).map(|_| take(&list).number).collect();
        assert_eq!(taken, [3, 4, 5, 6, 7, 8, 9, 1, 10, 11]);
        assert_eq!(list.postponed(), 1, "the plane asked for more time");
    }

    #[test]
    fn whoever_takes_an_older_answer_wakes_another_for_the_fresh_one() {
        let (list, flight, until) =
            (Arc::new(AnswerList::new(99, 1, 99)), InFlight::default(), Instant::now() + LONG);
        add(&list, &flight, until).unwrap();
        list.postpone(take(&list), None).unwrap();
        std::thread::sleep(WAIT_MIN + Duration::from_millis(5));
        (0..=FRESH_IN_A_ROW).for_each(|_| add(&list, &flight, until).unwrap());
        (0..FRESH_IN_A_ROW).for_each(|_| drop(take(&list)));
        // A courier that began to wait before any of this.
        let (waits, waiting) = std::sync::mpsc::channel();
        let courier = {
            let list = Arc::clone(&list);
            std::thread::spawn(move || {
                let (state, began) = (sync::lock(&list.state), Instant::now());
                waits.send(()).unwrap();
                drop(list.work.wait_for(state, LONG / 6));
                began.elapsed() < LONG / 6
            })
        };
        waiting.recv().unwrap();
        assert_eq!(take(&list).number, 1);
        assert!(courier.join().unwrap());
    }

    #[test]
    fn what_waits_is_in_flight_and_holds_up_who_brings_more() {
        let (list, flight, now) = (Arc::new(AnswerList::new(9, 1, 10)), InFlight::default(), Instant::now());
        add(&list, &flight, now + LONG).unwrap();
        list.postpone(take(&list), None).unwrap();
        assert!(!flight.wait_below(10, now) && flight.wait_below(11, now));
        let waiting = {
            let (list, flight) = (Arc::clone(&list), flight.clone());
            std::thread::spawn(move || add(&list, &flight, now + LONG).is_ok())
        };
        while flight.now() < 2 {
            std::thread::yield_now();
        }
        assert_eq!(take(&list).number, 1, "its time has come, and nothing fresh came in between");
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn so_many_post_what_they_bring_and_the_rest_is_left_to_couriers() {
        let (list, flight, until) = (AnswerList::new(9, 2, 99), InFlight::default(), Instant::now() + LONG);
        let bring = || bring(&list, &flight, until, true);
        let Err(Added::Yours(first)) = bring() else { panic!("the first is posted by whoever brings it") };
        assert!(matches!(bring(), Err(Added::Yours(_))) && bring().is_ok() && bring().is_ok());
        list.posted();
        assert!(matches!(bring(), Err(Added::Yours(_))) && bring().is_ok());
        let left: Vec<u64> = (0..3).map(|_| take(&list).number).collect();
        assert_eq!((first.number, left), (1, vec![3, 4, 6]));
        list.posted();
        list.close();
        assert!(matches!(bring(), Err(Added::Closed(_))));
    }

    #[test]
    fn no_wait_outlasts_its_deadline() {
        let (list, flight, now) = (AnswerList::new(9, 1, 99), InFlight::default(), Instant::now());
        add(&list, &flight, now + 2 * WAIT_MIN).unwrap();
        let mut pending = take(&list);
        for _ in 0..9 {
            let _ = retry::wait(&mut pending.backoff, false, None);
        }
        list.postpone(pending, None).unwrap();
        assert_eq!(take(&list).number, 1);
        assert!(Instant::now() < now + 2 * WAIT_MIN, "half of what is left, not the longest wait");
        add(&list, &flight, now + LONG).unwrap();
        assert!(list.postpone(take(&list), Some(2 * LONG)).is_err(), "too late");
    }

    #[test]
    fn an_end_shortens_every_wait_and_a_closed_list_takes_nothing() {
        let (list, flight, now) = (AnswerList::new(1, 1, 99), InFlight::default(), Instant::now());
        add(&list, &flight, now + LONG).unwrap();
        list.postpone(take(&list), Some(LONG / 2)).unwrap();
        list.end_by(Instant::now() + Duration::from_secs(20));
        assert_eq!(take(&list).number, 1);
        // Beyond the bound as well: who waits here would hold up the end.
        (0..2).for_each(|_| add(&list, &flight, now + LONG).unwrap());
        assert_eq!(list.close().len(), 2);
        assert!(add(&list, &flight, now + LONG).is_err());
        assert!(list.take(&Heartbeats::default().add("courier")).is_none());
        assert_eq!(flight.now(), 0);
    }
}
