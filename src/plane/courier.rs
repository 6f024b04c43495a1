//! The couriers: they post finished answers, with retries, so that no worker waits for the plane.
//!
//! A courier never asks a server again: whatever becomes of a post, the work was done once. An answer
//! that cannot be posted is counted, logged by its id and dropped; the control plane then tells the
//! caller that time has passed.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::{Error, Kind};
use crate::ops::metrics::{Answered, Metrics};
use crate::ops::pulse::{Pulse, Pulses};
use crate::relay::command::Command;
use crate::relay::port::{Answer, Outbox};
use crate::relay::stop::{Phase, Stop};

use super::backoff::{Backoff, RETRY_AFTER_MAX};
use super::client::Plane;
use super::refusal::Refusal;
use super::wire;

/// Attempts for one post, as many as the reference makes. More would hold a courier for an answer that
/// nobody waits for any more.
const ATTEMPTS_MAX: u32 = 3;

/// Most couriers of one process. Each may hold a connection and a large answer.
pub const COURIERS_MAX: usize = 64;

/// Stack of a courier; it needs what a worker needs.
const STACK_BYTES: usize = 256 * 1024;

/// Takes answers from the workers and lets the couriers post them. Answers leave in any order: the plane
/// tells them apart by their request ids, and a large one must not hold up the small ones behind it.
pub struct PostRoom {
    plane: Arc<Plane>,
    desk: SyncSender<(Arc<Command>, Answer)>,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
}

impl PostRoom {
    /// Starts `couriers` threads.
    pub fn start(
        plane: Arc<Plane>,
        couriers: usize,
        metrics: Arc<Metrics>,
        stop: Arc<Stop>,
        pulses: &Pulses,
    ) -> io::Result<Arc<PostRoom>> {
        // As many may lie on the desk as there are couriers: then a worker waits, and with it the
        // queue, and with it the poller. Nothing is ever dropped for want of room.
        let (desk, door) = sync_channel(couriers);
        let room = Arc::new(PostRoom { plane, desk, metrics, stop });
        let door = Arc::new(Mutex::new(door));
        for number in 0..couriers {
            let (room, door, pulse) = (Arc::clone(&room), Arc::clone(&door), pulses.add("courier"));
            let builder = thread::Builder::new().name(format!("courier-{number}")).stack_size(STACK_BYTES);
            builder.spawn(move || room.work(&door, &pulse))?;
        }
        Ok(room)
    }

    /// One courier's life.
    fn work(&self, door: &Mutex<Receiver<(Arc<Command>, Answer)>>, pulse: &Pulse) {
        // All attempts, and the waits between them.
        let post_max: Duration = (self.plane.exchange_time() + RETRY_AFTER_MAX) * ATTEMPTS_MAX;
        loop {
            // One courier at a time waits at the door, with the lock; the others wait for the lock.
            let next = door.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((command, answer)) = next else { return };
            pulse.within(post_max);
            self.post(&command, &answer);
            pulse.rest();
        }
    }

    /// Posts a terminal answer until it is taken, refused for good, or too late.
    fn post(&self, command: &Command, answer: &Answer) {
        match self.attempt(command, answer, None, retries_terminal) {
            Ok(status) => {
                // Not an error of ours, but worth a line: somebody may be answering twice.
                if status == 404 {
                    log::warn!(request_id = command.request_id.as_str(); "response already fulfilled or unknown request");
                }
                self.record(command, answer);
            }
            Err(refusal) => {
                self.metrics.answer_lost();
                let why =
                    refusal.map(|refusal| refusal.to_string()).unwrap_or("response deadline reached".into());
                log::error!(
                    request_id = command.request_id.as_str(),
                    error = why.as_str();
                    "failed to post response to control plane"
                );
            }
        }
    }

    /// Up to three attempts with identical bytes; `Err(None)` when the deadline ended them. The deadline
    /// is looked at before each: past it the contract forbids even a finished answer.
    fn attempt(
        &self,
        command: &Command,
        answer: &Answer,
        until: Option<Instant>,
        may_retry: fn(&Refusal) -> bool,
    ) -> Result<u16, Option<Refusal>> {
        // Terminal posts go on until the very end of a stop; those of a call end with the call.
        let phase = if until.is_some() { Phase::Cutting } else { Phase::Ended };
        let end = [until, command.silent_after].into_iter().flatten().min();
        let expired = || end.is_some_and(|end| Instant::now() >= end);
        let mut backoff = Backoff::default();
        let mut attempt = 1;
        loop {
            if expired() {
                return Err(None);
            }
            let refusal = match self.plane.post(command, answer, end) {
                Ok(status) => return Ok(status),
                Err(refusal) => refusal,
            };
            // Why the last one failed is known; that the deadline came meanwhile explains it better.
            if attempt == ATTEMPTS_MAX || !may_retry(&refusal) {
                return Err(if expired() { None } else { Some(refusal) });
            }
            attempt += 1;
            let wait = backoff.next(false, refusal.retry_after());
            // A wait that the deadline would end is not begun: the courier is free for the next answer.
            let in_time = end.is_none_or(|end| Instant::now() + wait < end);
            if !in_time || self.stop.sleep(wait, phase) {
                return Err(Some(refusal));
            }
        }
    }

    /// Counts an answer that has arrived. What was not delivered is in another counter.
    fn record(&self, command: &Command, answer: &Answer) {
        self.metrics.answered(&Answered {
            channel: &command.channel,
            kind: command.kind(),
            method: command.message().and_then(|message| message.method()),
            status: answer.status,
            poll_to_response: command.received.elapsed(),
            enqueue_to_response: wire::age(command.created_at),
        });
    }
}

impl Outbox for PostRoom {
    /// Runs on the worker's thread: the next event of the stream is not read before this one is posted.
    fn notify(&self, command: &Command, answer: &Answer, until: Instant) -> bool {
        self.attempt(command, answer, Some(until), retries_notification).is_ok()
    }

    fn deliver(&self, command: Arc<Command>, answer: Answer) {
        let Err(full) = self.desk.try_send((command, answer)) else { return };
        let (TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) = full;
        log::debug!("all couriers are busy; a worker waits");
        // The couriers hold the other end for as long as this room exists, so this only ever waits.
        if let Err(returned) = self.desk.send(parcel) {
            log::error!(request_id = returned.0.0.request_id.as_str(); "failed to post response to control plane");
        }
    }
}

/// Whether a terminal post may be sent again: the plane takes each answer once, so an unclear
/// outcome is no risk. 500 is final: the contract does not name it among those to be repeated.
fn retries_terminal(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Status(error) => matches!(error.status, 408 | 429 | 502 | 503 | 504),
        Refusal::Transport(error) => may_change(error),
    }
}

/// Whether a notification may be sent again: only when it surely was not taken, since nothing tells
/// two equal ones apart.
fn retries_notification(refusal: &Refusal) -> bool {
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
