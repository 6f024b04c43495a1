//! The poller: one long poll at a time, its commands into the queue.
//!
//! It asks for no more than fits and queues whatever comes, so nothing that the plane handed out is
//! lost: a command is in the queue, or answered as not started. A poll that fails is logged with what to
//! do about it and repeated after a wait; only a stop ends the loop.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::net::{Error, Kind};
use crate::ops::heartbeat::Heartbeat;
use crate::ops::metrics::{DropReason, PollError};
use crate::relay::command::Command;
use crate::relay::inflight::InFlight;
use crate::relay::stop::{Phase, Stop};
use crate::relay::worker::Relay;
use crate::sync::{self, Condition};

use super::hints;
use super::oversized::{Body, Oversized};
use super::pace::{LIMIT_MAX, Pace};
use super::poll_body;
use super::poll_wait::PollWait;
use super::refusal::Refusal;
use super::transport::{Ask, Polled, Transport};
use super::wire::{self, Dropped};

/// Dropped commands of one poll that are logged one by one.
const DROPS_LOGGED_MAX: usize = 10;

/// How long a poll waits for more room before it asks for less than it could. Under load workers finish
/// in bursts; without the wait most polls would carry one command and cost a round trip each.
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// How long a full queue is waited for before the loop looks whether the process stops.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// How long a poll whose headers have arrived may take to end once the process stops. The plane counts
/// its commands as handed out already; cutting it would leave their callers without an answer.
const LAST_BODY_WAIT: Duration = Duration::from_secs(2);

/// How long a silent poll of a busy tunnel may take to be answered once the process stops: commands that the
/// plane has written are on their way. Two round trips, within these bounds; below the least, the pace of a
/// busy host says more than that of the network.
const GRACE_MIN: Duration = Duration::from_millis(20);
const GRACE_MAX: Duration = Duration::from_secs(1);

/// A tunnel is busy for so long after a poll that brought commands.
const BUSY: Duration = Duration::from_secs(10);

/// What a poller is made of.
pub struct Parts {
    /// Where commands come from.
    pub plane: Arc<dyn Transport>,
    /// Where they go.
    pub relay: Arc<Relay>,
    /// How far the process has come towards its end.
    pub stop: Arc<Stop>,
    /// The commands in flight: waiting, running or being answered.
    pub flight: InFlight,
    /// How many commands the queue takes.
    pub capacity: usize,
    /// No poll is made while the commands in flight have as many bytes.
    pub bytes_max: usize,
    /// The times of polls.
    pub wait: PollWait,
}

/// The poller. [`Poller::run`] is its thread; [`Poller::stop`] is called from another one.
pub struct Poller {
    parts: Parts,
    open: Mutex<Open>,
    changed: Condition,
}

/// What is known of the open poll, for whoever is to cut it.
#[derive(Debug, Default)]
struct Open {
    state: OpenState,
    /// No poll is begun any more.
    ended: bool,
    /// When a poll last brought commands.
    busy: Option<Instant>,
    /// What polls are made with was renewed since the last one was sent.
    renewed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum OpenState {
    /// There is none.
    #[default]
    None,
    /// It was sent.
    Silent,
    /// Its headers have arrived: the plane counts its commands as handed out, so that it must not be cut.
    Read,
}

impl Poller {
    /// Prepares a poller.
    pub fn new(parts: Parts) -> Poller {
        Poller { parts, open: Mutex::default(), changed: Condition::default() }
    }

    /// Polls until the process stops. A poll that brought nothing is followed by the next at once: the
    /// plane holds each for as long as it was asked to, so this does not spin. Failures wait.
    pub fn run(&self, heartbeat: &Heartbeat) {
        log::info!("poller started");
        let mut pace = Pace::new(self.parts.wait.clone());
        let mut paused = false;
        while !self.parts.stop.reached(Phase::Draining) {
            heartbeat.within(FULL_WAIT);
            if !self.has_memory(&mut paused) {
                continue;
            }
            let Some(limit) = self.room(pace.limit_max) else { continue };
            let (began, ask) = (sync::now(), pace.next(limit));
            heartbeat.until(began + ask.time);
            if !self.set_open(OpenState::Silent) {
                break;
            }
            let accepted = self.poll(&ask).and_then(|polled| self.accept(&polled, limit, heartbeat));
            self.set_open(OpenState::None);
            match accepted {
                Ok(commands) => {
                    if commands > 0 {
                        sync::lock(&self.open).busy = Some(sync::now());
                    }
                    let pause = pace.succeeded(commands, sync::since(began));
                    self.parts.stop.sleep(pause, Phase::Draining);
                }
                // Fewer at once may fit, and nothing else would change before the next poll.
                Err(Refusal::Transport(error)) if error.kind == Kind::TooLarge && limit > 1 => {
                    pace.limit_max = limit / 2;
                    self.parts.relay.readiness.poll_ended();
                    log::warn!(limit = pace.limit_max, error = error.to_string().as_str(); "poll too large; asking for fewer commands");
                }
                Err(refusal) => self.back_off(&mut pace, &ask, &refusal, heartbeat),
            }
        }
        log::info!("poller stopped");
    }

    /// Ends polling: a silent poll is cut, at once or after what a busy tunnel's replies take; one that is being
    /// read gets a moment.
    pub fn stop(&self) {
        let mut open = sync::lock(&self.open);
        open.ended = true;
        self.changed.notify_all();
        let grace = match open.busy {
            Some(at) if sync::since(at) < BUSY => {
                self.parts.plane.round_trip().map_or(GRACE_MAX, |trip| (2 * trip).clamp(GRACE_MIN, GRACE_MAX))
            }
            _ => Duration::ZERO,
        };
        let wait =
            |open, time, state| self.changed.wait_while(open, time, |open: &mut Open| open.state == state);
        let end = sync::now() + LAST_BODY_WAIT;
        let open = wait(open, grace, OpenState::Silent);
        let open = wait(open, end.saturating_duration_since(sync::now()), OpenState::Read);
        // Still under the lock: no poll can begin to be read between the check and the cut.
        self.parts.plane.stop_polls();
        drop(open);
    }

    /// Polls at once when the last one failed: what polls are made with was renewed.
    pub fn hurry(&self) {
        sync::lock(&self.open).renewed = true;
        self.changed.notify_all();
    }

    /// Whether another batch may be held. Only a plane that takes no answers, or callers with very large
    /// payloads, get here; memory would otherwise have no bound but the number of commands.
    fn has_memory(&self, paused: &mut bool) -> bool {
        let fits = self.parts.flight.wait_below(self.parts.bytes_max, sync::now() + FULL_WAIT);
        if !fits && !*paused {
            log::warn!(bytes_max = self.parts.bytes_max; "polling pauses: the commands in flight are too large together");
        }
        *paused = !fits;
        fits
    }

    /// How many commands to ask for; nothing while the queue is full. What is not asked for stays with the
    /// plane, where another replica can take it.
    fn room(&self, limit_max: usize) -> Option<usize> {
        let wanted = LIMIT_MAX.min(self.parts.capacity);
        let free = self.parts.relay.queue.wait_free(wanted, sync::now() + ROOM_WAIT);
        if free == 0 {
            self.parts.relay.queue.wait_free(1, sync::now() + FULL_WAIT);
            return None;
        }
        // Never more than fits now. What the plane sends beyond it is taken all the same, but blocks.
        Some(free.min(limit_max))
    }

    /// One poll, counted and reported to readiness from its start to its end.
    fn poll(&self, ask: &Ask) -> Result<Polled, Refusal> {
        log::debug!(limit = ask.limit; "poll cycle started");
        self.parts.relay.metrics.poll_cycles.add([], 1);
        // A poll that is being held proves that the plane is there, a connection attempt does not: before
        // the first connection a silent packet filter looks the same.
        self.parts.relay.readiness.poll_started([ask.wait, ask.time], self.parts.plane.has_connected());
        let started = sync::now();
        let result = self.parts.plane.poll(ask, &mut || {
            self.set_open(OpenState::Read);
        });
        let error = result.as_ref().err().map(|refusal| self.class(refusal));
        self.parts.relay.metrics.poll_ended(sync::since(started), error);
        result
    }

    /// The class of a failure in metrics, three words as in the reference.
    fn class(&self, refusal: &Refusal) -> PollError {
        match refusal {
            _ if self.parts.stop.reached(Phase::Draining) => PollError::Canceled,
            Refusal::Transport(error) if error.kind == Kind::Timeout => PollError::Timeout,
            _ => PollError::Other,
        }
    }

    /// Decodes a poll and queues its commands; all of them, also when there are more than asked for: then
    /// this blocks until the workers have made room, and no poll is made meanwhile.
    fn accept(&self, polled: &Polled, limit: usize, heartbeat: &Heartbeat) -> Result<usize, Refusal> {
        let _batch = self.parts.flight.enter_batch();
        let body = match &polled.body {
            Body::None => &[],
            Body::Whole(body) => body.as_slice(),
            Body::Oversized(found) => return self.refuse_oversized(found, polled.received, heartbeat),
        };
        let raw = if body.is_empty() { Ok(Vec::new()) } else { poll_body::commands(body) };
        let raw = raw.map_err(|error| {
            let message = format!("the poll's body is not a list of commands: {error}");
            Refusal::unreadable(message, body, polled.tunnel_request_id.clone())
        })?;
        // Not before the body was understood: a portal's page with status 200 is no control plane.
        self.parts.relay.readiness.poll_succeeded();
        if raw.len() > limit {
            log::error!(limit = limit, total = raw.len(); "control-plane returned more commands than requested limit");
        }
        let (mut decoded, mut queued, mut failed) = (0, 0, 0);
        for raw in raw {
            match wire::command(raw, polled.received, &self.parts.flight) {
                Ok(command) => {
                    decoded += 1;
                    if let Some(age) = wire::age(command.created_at) {
                        self.parts.relay.metrics.age.add([], age.as_micros());
                    }
                    queued += usize::from(self.queue(command, heartbeat));
                }
                // Nobody can be told: without id and token there is no way to post.
                Err(dropped) => {
                    self.drop(&dropped);
                    // The first few tell what is wrong; a thousand more would only fill the log.
                    if failed < DROPS_LOGGED_MAX {
                        let id = dropped.request_id.unwrap_or_default();
                        log::warn!(request_id = id.as_str(); "{}", dropped.why);
                    }
                    failed += 1;
                }
            }
        }
        self.parts.relay.metrics.polled.add([], decoded);
        log::debug!(commands_polled = decoded, commands_enqueued = queued; "poll cycle complete");
        Ok(decoded)
    }

    /// Counts a command that nobody can be answered about, and has it taken down.
    fn drop(&self, dropped: &Dropped) {
        let (relay, why) = (&self.parts.relay, dropped.reason.word());
        relay.metrics.drops.add([why], 1);
        if let Some(recorder) = &relay.recorder {
            recorder.dropped(dropped.request_id.as_deref(), why);
        }
    }

    /// Queues a command; false when the queue was closed under us, because a stop ran out of time.
    fn queue(&self, mut command: Command, heartbeat: &Heartbeat) -> bool {
        self.parts.relay.prepare(&mut command, self.parts.plane.round_trip());
        let (id, channel) = (command.request_id.as_str(), command.channel.as_str());
        log::debug!(request_id = id, channel = channel; "control-plane command received");
        let pushed = match self.parts.relay.has_worker(&command) {
            true => self.parts.relay.queue.push(command, || heartbeat.within(FULL_WAIT)),
            false => Ok(Some(command)),
        };
        match pushed {
            Ok(refused) => {
                self.parts.relay.metrics.enqueued.add([], 1);
                if let Some(command) = refused {
                    // Held up by couriers alone, who have heartbeats of their own.
                    heartbeat.rest();
                    self.parts.relay.refuse(command);
                    heartbeat.within(FULL_WAIT);
                }
                true
            }
            Err(command) => {
                self.parts.relay.metrics.drops.add([DropReason::Canceled.word()], 1);
                self.parts.relay.give_up(*command);
                false
            }
        }
    }

    /// Has a command answered that is too large to be taken: the plane would hand it out for ever.
    fn refuse_oversized(
        &self,
        found: &Oversized,
        at: Instant,
        heartbeat: &Heartbeat,
    ) -> Result<usize, Refusal> {
        match wire::oversized(found, at, &self.parts.flight) {
            Ok(command) => {
                self.parts.relay.readiness.poll_succeeded();
                self.parts.relay.metrics.polled.add([], 1);
                log::warn!(request_id = command.request_id.as_str(); "control-plane command refused: larger than a poll may be");
                self.queue(command, heartbeat);
                Ok(1)
            }
            Err(dropped) => {
                self.drop(&dropped);
                let id = dropped.request_id.as_deref().unwrap_or("unknown");
                let text = format!(
                    "a command larger than a poll may be cannot be answered: {} (request_id {id})",
                    dropped.why
                );
                Err(Refusal::Transport(Error::new(Kind::TooLarge, text).sent(true)))
            }
        }
    }

    /// Says what went wrong and what to do about it, then waits. The texts are the plane's; the log
    /// bounds and escapes them.
    fn back_off(&self, pace: &mut Pace, ask: &Ask, refusal: &Refusal, heartbeat: &Heartbeat) {
        // A poll that was cut by the stop has not failed.
        if self.parts.stop.reached(Phase::Draining) {
            return;
        }
        let said = refusal.status();
        let status = said.map(|said| said.status).unwrap_or_default();
        let code = said.and_then(|said| said.code.as_deref());
        let wait = pace.failed(ask, refusal);
        let error = refusal.to_string();
        let (summary, mitigation) = match refusal {
            Refusal::Transport(error) if error.kind == Kind::Timeout => ("poll timed out; backing off", ""),
            Refusal::Transport(error) => ("poll failed; backing off", hints::of_connection(error)),
            Refusal::Status(said) => ("poll failed; backing off", hints::of(said)),
        };
        let told = if mitigation.is_empty() { error.clone() } else { format!("{error}. {mitigation}") };
        self.parts.relay.readiness.poll_failed(refusal.fault(&told), refusal.is_of_the_plane(), wait);
        if let Some(left_out) = pace.repeats.line(&error, sync::now()) {
            log::warn!(
                error = error.as_str(),
                retry_in_ms = wait.as_millis(),
                status_code = status,
                error_code = code.unwrap_or_default(),
                error_message = said.map(|said| said.message.as_str()).unwrap_or_default(),
                mitigation = mitigation,
                repeated = left_out,
                tunnel_request_id = said.and_then(|said| said.tunnel_request_id.as_deref()).unwrap_or_default();
                "{summary}"
            );
        }
        // Interruptible: a stop must not wait for a backoff of a minute.
        heartbeat.within(wait);
        let open = sync::lock(&self.open);
        drop(self.changed.wait_while(open, wait, |open| !open.ended && !open.renewed));
    }

    /// Notes how far the open poll is; false when none may be begun any more.
    fn set_open(&self, state: OpenState) -> bool {
        let mut open = sync::lock(&self.open);
        open.state = state;
        open.renewed &= state != OpenState::Silent;
        self.changed.notify_all();
        !open.ended
    }
}
