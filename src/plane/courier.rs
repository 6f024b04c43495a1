//! The couriers: they post finished answers until each is taken, so that no MCP slot waits for the plane.
//!
//! A worker that is done makes the first attempt itself, as long as few enough of them post at once. Everything after
//! that is the couriers', and so are the answers of those who have no time to post.
//!
//! A courier never asks a server again: whatever becomes of a post, the work was done once. An answer is posted,
//! with the same bytes, until its own deadline; the plane takes each one once, so repeating harms nobody. What
//! cannot be posted is counted, logged by its id and dropped; the control plane then tells the caller that time
//! has passed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::net::{Error, Kind};
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::{Answered, Metrics};
use crate::ops::readiness::Readiness;
use crate::relay::backoff::Backoff;
use crate::relay::command::Command;
use crate::relay::port::{Answer, Outbox};
use crate::relay::stop::{Phase, Stop};
use crate::sync;

use super::answer_list::{Added, AnswerList, PendingAnswer};
use super::refusal::{Refusal, StatusError};
use super::retry::{self, Repeats, WAIT_MIN};
use super::transport::Transport;
use super::wire;

/// Attempts for one notification, as many as the reference makes. The call waits for it meanwhile.
const NOTE_ATTEMPTS_MAX: u32 = 3;

/// Why an answer is given up that nobody refused.
const STOPS: &str = "the process stops";

/// How often an answer may meet 500 while others are accepted: then the fault is this answer's own.
const FAULTS_MAX: u32 = 5;

/// How long a refused key is tried again when it stands in a file: somebody may be replacing it.
const UNAUTHORIZED_MAX: Duration = Duration::from_secs(60);

/// Most couriers of one process. Each may hold a connection and a large answer.
pub const COURIERS_MAX: usize = 64;

/// What the couriers are made of.
pub struct Parts {
    /// Where answers are posted.
    pub plane: Arc<dyn Transport>,
    /// How many threads do nothing but post.
    pub couriers: usize,
    /// How many workers may post at once besides.
    pub posting: usize,
    /// How long an answer is posted whose caller sets no deadline.
    pub patience: Duration,
    /// Most bytes of answers that wait for another attempt.
    pub bytes_max: usize,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The verdict behind `/readyz`.
    pub readiness: Arc<Readiness>,
    /// How far the process has come towards its end.
    pub stop: Arc<Stop>,
}

/// Takes answers from the workers and has them posted. Answers leave in any order: the plane tells them apart by
/// their request ids, and a large one must not hold up the small ones behind it.
pub struct Couriers {
    parts: Parts,
    list: AnswerList,
    accepted: AtomicU64,
    lost: AtomicU64,
    refusals: Mutex<Repeats>,
}

/// What becomes of an answer that was not accepted.
enum Fate {
    /// The plane has it already, or nobody waits for it.
    Settled,
    /// It may be accepted later.
    Again,
    /// It never will be.
    Lost,
}

impl Couriers {
    /// Starts the threads.
    pub fn start(parts: Parts, heartbeats: &Heartbeats) -> io::Result<Arc<Couriers>> {
        let couriers = Arc::new(Couriers {
            // As many fresh ones as there are couriers: then a worker waits, and with it the queue, and with
            // it the poller.
            list: AnswerList::new(parts.couriers, parts.posting, parts.bytes_max),
            parts,
            accepted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refusals: Mutex::default(),
        });
        for number in 0..couriers.parts.couriers {
            let (couriers, heartbeat) = (Arc::clone(&couriers), heartbeats.add("courier"));
            sync::spawn(format!("courier-{number}"), move || couriers.work(&heartbeat))?;
        }
        Ok(couriers)
    }

    /// From now on no answer is posted after `end`; waits for another attempt end in time for it.
    pub fn end_by(&self, end: Instant) {
        self.list.end_by(end);
    }

    /// Gives up what is not posted yet. What is on its way is given up with its connection.
    pub fn close(&self) {
        self.list.close().into_iter().for_each(|pending| self.lose(&pending, STOPS));
    }

    /// How many answers were given up so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many answers were brought so far.
    pub fn brought(&self) -> u64 {
        self.list.brought()
    }

    /// One courier's life.
    fn work(&self, heartbeat: &Heartbeat) {
        while let Some(pending) = self.list.take(heartbeat) {
            self.post_within(pending, heartbeat);
        }
    }

    /// Posts an answer once, on the thread of this heartbeat.
    fn post_within(&self, pending: PendingAnswer, heartbeat: &Heartbeat) {
        heartbeat.within(self.parts.plane.exchange_time());
        self.post(pending);
        heartbeat.rest();
    }

    /// Posts a terminal answer once. The deadline is looked at before: past it the contract forbids even a
    /// finished answer.
    fn post(&self, mut pending: PendingAnswer) {
        if sync::now() >= pending.until {
            return self.lose(&pending, "response deadline reached");
        }
        let refusal = match self.parts.plane.post(&pending.command, &pending.answer, pending.until) {
            Ok(status) => return self.take(&pending, status),
            Err(refusal) => refusal,
        };
        let (why, is_repeat) = (refusal.to_string(), pending.backoff.has_failed());
        if refusal.is_invalid_json() {
            self.parts.readiness.posts(|posts, now| posts.give_up(now, refusal.fault(&why), is_repeat));
            return self.give_up(&pending.command);
        }
        self.parts.metrics.post_refused(refusal.status().map(|said| said.status));
        let (fate, number) = (self.fate(&mut pending, &refusal), pending.number);
        let refused = || {
            self.parts
                .readiness
                .posts(|posts, now| posts.refuse(now, number, refusal.fault(&why), is_repeat));
        };
        match fate {
            Fate::Settled => self.take(&pending, 409),
            Fate::Lost => {
                refused();
                self.lose(&pending, &why);
            }
            Fate::Again => {
                refused();
                let waiting = self.list.postponed();
                let mut refusals = sync::lock(&self.refusals);
                if let Some(left_out) = refusals.line("", sync::now()) {
                    let id = pending.command.request_id.as_str();
                    log::warn!(
                        request_id = id, error = why.as_str(), answers_waiting = waiting, repeated = left_out;
                        "answer not accepted; it is posted again"
                    );
                }
                drop(refusals);
                if let Err(pending) = self.list.postpone(pending, refusal.retry_after()) {
                    // Why the last attempt failed is known; that the deadline came explains it better.
                    let expired = sync::now() >= pending.until;
                    self.lose(&pending, if expired { "response deadline reached" } else { &why });
                }
            }
        }
    }

    /// Whether an answer that was refused may be accepted later.
    fn fate(&self, pending: &mut PendingAnswer, refusal: &Refusal) -> Fate {
        let error = match refusal {
            Refusal::Transport(error) if may_change(error) => return Fate::Again,
            Refusal::Transport(_) => return Fate::Lost,
            Refusal::Status(error) => error,
        };
        match error.status {
            500 => {
                // A plane that fails for all will recover; one that fails for this answer alone will not.
                let accepted = self.accepted.load(Ordering::Relaxed);
                let (count, before) = pending.faults.get_or_insert((0, accepted));
                *count += 1;
                if *count >= FAULTS_MAX && accepted > *before { Fate::Lost } else { Fate::Again }
            }
            408 | 429 | 501.. => Fate::Again,
            409 if is_settled(error) => Fate::Settled,
            409 => Fate::Again,
            401 if self.awaits_key(*pending.unauthorized.get_or_insert_with(sync::now)) => Fate::Again,
            _ => Fate::Lost,
        }
    }

    /// Whether another key may come in the place of one that has been refused since then.
    fn awaits_key(&self, since: Instant) -> bool {
        self.parts.plane.key_may_change() && sync::since(since) < UNAUTHORIZED_MAX
    }

    /// The plane has the answer.
    fn take(&self, pending: &PendingAnswer, status: u16) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let (command, already) = (&pending.command, matches!(status, 404 | 409));
        self.parts.readiness.posts(|posts, now| posts.accept(now, already, pending.backoff.has_failed()));
        if already {
            // Not an error of ours, but worth a line: somebody may be answering twice.
            log::warn!(request_id = command.request_id.as_str(); "response already fulfilled or unknown request");
        }
        self.parts.metrics.answered(&Answered {
            channel: &command.channel,
            kind: command.kind(),
            method: command.message().and_then(|message| message.method()),
            status: pending.answer.status,
            poll_to_response: sync::since(command.received),
            enqueue_to_response: wire::age(command.created_at),
        });
    }

    /// The plane cannot read a post: a server put half a character into it, for example. It tells the caller so, and
    /// would tell it again; so this is neither repeated nor lost.
    fn give_up(&self, command: &Command) {
        self.parts.metrics.posts_unreadable.add([], 1);
        log::error!(
            request_id = command.request_id.as_str(), error_code = "invalid_json_payload";
            "the control plane could not read a post of this command; it is not repeated"
        );
    }

    /// Nobody will get this answer.
    fn lose(&self, pending: &PendingAnswer, why: &str) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        if let Some(record) = &pending.command.record {
            record.untold();
        }
        self.parts.readiness.posts(|posts, now| posts.lose(now, why == STOPS));
        self.parts.metrics.answers_lost.add([], 1);
        self.parts.metrics.calls_unanswered.add([], 1);
        log::error!(
            request_id = pending.command.request_id.as_str(), error = why;
            "failed to post response to control plane"
        );
    }
}

impl Outbox for Couriers {
    /// Runs on the worker's thread: the next event of the stream is not read before this one is posted.
    fn notify(&self, command: &Command, answer: &Answer, until: Instant) -> bool {
        let end = command.silent_after.map_or(until, |silent| silent.min(until));
        let (mut backoff, began) = (Backoff::new(WAIT_MIN), sync::now());
        for attempt in 1.. {
            if sync::now() >= end {
                return false;
            }
            let Err(refusal) = self.parts.plane.post(command, answer, end) else { return true };
            if refusal.is_invalid_json() {
                // What follows it can be understood without.
                self.give_up(command);
                return true;
            }
            let wait = retry::wait(&mut backoff, false, refusal.retry_after());
            let goes_on = match refusal.status() {
                Some(said) if said.status == 401 => self.awaits_key(began),
                _ => attempt < NOTE_ATTEMPTS_MAX && may_repeat_note(&refusal),
            };
            // A wait that the deadline would end is not begun.
            if !goes_on || sync::now() + wait >= end || self.parts.stop.sleep(wait, Phase::Cutting) {
                return false;
            }
        }
        false
    }

    fn deliver(&self, command: Arc<Command>, answer: Answer, posts: Option<&Heartbeat>) {
        let until = command.silent_after.unwrap_or_else(|| sync::now() + self.parts.patience);
        match (self.list.add(command, answer, until, posts.is_some()), posts) {
            (Added::Waits, _) => {}
            (Added::Yours(pending), Some(heartbeat)) => {
                self.post_within(*pending, heartbeat);
                self.list.posted();
            }
            (Added::Yours(pending) | Added::Closed(pending), _) => self.lose(&pending, STOPS),
        }
    }
}

/// Whether a notification may be sent again: only when it surely was not taken, since nothing tells
/// two equal ones apart.
fn may_repeat_note(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Status(error) => error.status == 429,
        Refusal::Transport(error) => !error.request_sent && may_change(error),
    }
}

/// Whether the same bytes could fare better next time: not when they make no legal request, nor when the
/// connections were shut for good.
fn may_change(error: &Error) -> bool {
    !matches!(error.kind, Kind::Shutdown | Kind::InvalidRequest)
}

/// Whether a conflict says that the answer is there, or that nobody waits for one.
fn is_settled(error: &StatusError) -> bool {
    let said = [error.code.as_deref().unwrap_or_default(), &error.message].join(" ").to_lowercase();
    ["already", "fulfilled", "not_found", "not found", "unknown request"]
        .iter()
        .any(|word| said.contains(word))
}
