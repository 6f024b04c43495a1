//! The workers: each takes a command, has it done, gives its MCP slot back, and has the answer posted.
//!
//! Slots are counted, not threads: there are as many workers more than slots as may post at once, so a worker posts
//! its own answer without another thread being woken, and a slow control plane holds no slot. Where all of these post
//! already, couriers take the answer. A worker posts the notifications of its own call while that runs, because their
//! order is the stream's.
//!
//! Every command that is dequeued leaves through `Relay::run` with exactly one answer, also when its caller's time
//! ends before its server has answered. A server that fails costs its own command; a worker outlives
//! everything but the queue.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::net::Kind;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::{Metrics, RequestKind};
use crate::ops::readiness::Readiness;
use crate::sync;

use super::answer;
use super::calls::Calls;
use super::command::{Body, Command, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTION_TTL};
use super::failure::{self, Class, Failure, Source};
use super::fate;
use super::headers::ReplyHeaders;
use super::payload::Payload;
use super::port::{Answer, AnswerKind, Call, Governor, Outbox, Outcome, Recorder, Sink, Target};
use super::queue::{LISTENERS, Lane, Queue};
use super::record::Fate;

/// Silence that counts against a server when a caller's deadline ends it; as long as a probe waits.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// What all workers share. It is complete before the first of them starts and never changes.
pub struct Relay {
    /// Where commands wait.
    pub queue: Queue,
    /// The servers, by channel.
    pub targets: BTreeMap<Channel, Arc<dyn Target>>,
    /// Channels that may be asked for; empty means all. The plane is told the same list, but a list
    /// that only the plane keeps would be no policy of the operator's.
    pub allowed: Vec<Channel>,
    /// Judges commands, where the operator has a policy.
    pub governor: Option<Arc<dyn Governor>>,
    /// How long a call takes at most, subscriptions aside.
    pub call_max: Duration,
    /// Where answers go.
    pub outbox: Arc<dyn Outbox>,
    /// Takes down what is asked and what becomes of it, where the operator wants that.
    pub recorder: Option<Arc<dyn Recorder>>,
    /// The last calls.
    pub calls: Calls,
    /// Whether trace contexts go on to servers outside this process.
    pub forwards_trace: bool,
    /// Whether answers tell how long their servers took.
    pub tells_timing: bool,
    /// Heartbeats of the workers for subscriptions that do not run yet.
    pub listeners: Mutex<Vec<Arc<Heartbeat>>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The verdict behind `/readyz`.
    pub readiness: Arc<Readiness>,
}

/// What a command ends with when its server is not asked.
enum Verdict {
    /// Nobody serves its channel.
    Unsupported,
    /// It is refused.
    Fail(Failure),
}

/// What a worker is left with when a command has ended.
struct Ended {
    /// The status of the answer; there is none when nobody waits for one any more.
    status: Option<u16>,
    /// What has still to be posted.
    answer: Option<(Arc<Command>, Answer)>,
}

/// A call that its server has admitted, or why there is none.
type Work = Result<Box<dyn Call>, Verdict>;

impl Relay {
    /// Starts the ordinary workers for `count` calls and `posts` posts at once, the quick ones, and the one that answers
    /// what waits for too long; those for subscriptions start with the first of these. Each channel has one quick
    /// worker, and beyond the first one ordinary worker besides: see `queue::shares`. They end with the queue; nobody
    /// waits for them, because what they have in hand is counted as in flight.
    pub fn start(self: &Arc<Relay>, count: usize, posts: usize, heartbeats: &Heartbeats) -> io::Result<()> {
        let channels = self.targets.len().max(1);
        let lanes = std::iter::repeat_n((Lane::Ordinary, "worker"), count + posts + channels - 1)
            .chain(std::iter::repeat_n((Lane::Quick, "quick"), channels))
            .chain([(Lane::Overdue, "deadlines")]);
        for (number, (lane, name)) in lanes.enumerate() {
            let (relay, heartbeat) = (Arc::clone(self), heartbeats.add(name));
            sync::spawn(format!("{name}-{number}"), move || relay.serve(lane, &heartbeat))?;
        }
        Ok(())
    }

    /// Whether somebody takes a command of this kind. Workers for subscriptions start here, one with each of the first
    /// few: most tunnels have none, and on a small host four idle threads count. None of them ends before the queue.
    pub fn has_worker(self: &Arc<Relay>, command: &Command) -> bool {
        let next = command.is_subscription().then(|| sync::lock(&self.listeners).pop());
        let Some(heartbeat) = next.flatten() else { return true };
        let (relay, pulse) = (Arc::clone(self), Arc::clone(&heartbeat));
        let Err(error) = sync::spawn("listen", move || relay.serve(Lane::Listen, &pulse)) else {
            return true;
        };
        log::error!("no thread for a subscription: {error}");
        sync::lock(&self.listeners).push(heartbeat);
        false
    }

    /// Prepares a command for the queue, behind which nothing looks at its payload any more.
    pub fn prepare(&self, command: &mut Command, round_trip: Option<Duration>) {
        command.set_time_aside(round_trip);
        command.session = self.calls.session(command);
        let trace = command.trace.as_ref();
        let trace = trace.filter(|_| self.forwards_trace && command.channel != Channel::harpoon());
        if let Some(traced) = trace.zip(command.message()).and_then(|(trace, message)| trace.inject(message))
        {
            command.body = Body::Message(Arc::new(traced));
        }
        if self.recorder.as_ref().is_some_and(|recorder| !recorder.admits()) {
            // What has no record does not run.
            let failure = Failure::new(Class::AuditUnavailable, "the audit record cannot be written");
            command.judgement.refusal = Some(failure);
            return;
        }
        // What is judged is what the server would get, also of a channel that may be served by the time it is asked.
        if let (Some(governor), Some(_)) = (&self.governor, command.message()) {
            command.judgement = governor.judge(command);
        }
        command.record = self.recorder.as_ref().map(|recorder| recorder.begin(command));
    }

    /// Answers a command that came too late to be started. Its server was never asked, so the caller may
    /// safely send it again.
    pub fn give_up(&self, command: Command) {
        log::warn!(request_id = command.request_id.as_str(); "command not started before shutdown");
        let failure = Failure::new(Kind::Shutdown, "shutting down");
        self.hand_over(self.finish(Arc::new(command), Outcome::Failed(failure)).answer, None);
    }

    /// Answers a command for which the queue has no place. What else is wrong with it is told first. 503 says what
    /// is true: it would have worked with one subscription less, or a faster server.
    pub fn refuse(&self, command: Command) {
        let command = Arc::new(command);
        let too_much = if command.is_subscription() {
            let cause = format!("{LISTENERS} subscriptions are open already");
            Failure::new(Class::SubscriptionLimit, cause)
        } else {
            let cause = "the channel lags behind, and the other channels need the places that are left";
            Failure::new(Class::ChannelBusy, cause)
        };
        let verdict = self.check(&command).err().unwrap_or(Verdict::Fail(too_much));
        self.hand_over(self.settle(command, verdict).answer, None);
    }

    /// One worker's life. A worker that ends takes nothing with it: what it popped, it has finished.
    fn serve(&self, lane: Lane, heartbeat: &Heartbeat) {
        while let Some((held, (command, work))) = self.queue.pop(lane, |command| self.admit(command)) {
            let Ended { status, answer } = self.run(command, work, heartbeat);
            self.queue.done(held, status);
            // The others are too few for one of them to wait for the plane.
            self.hand_over(answer, (lane == Lane::Ordinary).then_some(heartbeat));
        }
    }

    /// Has an answer posted, by this thread where its heartbeat is given and few enough do, else by a courier.
    fn hand_over(&self, answer: Option<(Arc<Command>, Answer)>, posts: Option<&Heartbeat>) {
        if let Some((command, answer)) = answer {
            self.outbox.deliver(command, answer, posts);
        }
    }

    /// Has the server admit a command, unless it ends without. Runs under the queue's lock and must not block.
    fn admit(&self, command: Command) -> (Arc<Command>, Work) {
        let command = Arc::new(command);
        let work = self.check(&command).map(|target| target.admit(Arc::clone(&command)));
        (command, work)
    }

    /// Finds the server of a command that may be forwarded to it. The first check that fails decides:
    ///
    /// 1. The operator allows the channel, and a server serves it. There is never a fall-back to another server,
    ///    not even for a command that is unusable in other ways.
    /// 2. Discovery is asked of the main channel. The contract has it there only.
    /// 3. The command could be decoded. One that could not was kept until here because somebody waits for its answer.
    /// 4. The operator's policy allows it.
    /// 5. A subscription is small, since it stays for long.
    /// 6. Somebody still waits. A server on a pipe gets its line as soon as the call is admitted.
    fn check(&self, command: &Command) -> Result<&Arc<dyn Target>, Verdict> {
        let is_allowed = self.allowed.is_empty() || self.allowed.contains(&command.channel);
        let target = self.targets.get(&command.channel);
        let target = target.filter(|target| is_allowed && target.is_served());
        let target = target.ok_or(Verdict::Unsupported)?;
        if matches!(command.body, Body::OauthDiscovery) && command.channel != Channel::main() {
            return Err(Verdict::Unsupported);
        }
        if let Body::Unusable { class, cause, .. } = &command.body {
            return Err(Verdict::Fail(Failure::new(*class, cause.as_str())));
        }
        if let Some(refusal) = &command.judgement.refusal {
            return Err(Verdict::Fail(refusal.clone()));
        }
        if command.is_subscription() && command.body.bytes() > SUBSCRIPTION_BYTES_MAX {
            let cause = format!("a subscription has more than {SUBSCRIPTION_BYTES_MAX} bytes");
            return Err(Verdict::Fail(Failure::new(Class::SubscriptionTooLarge, cause)));
        }
        if command.is_overdue() { Err(Verdict::Fail(Failure::expired())) } else { Ok(target) }
    }

    /// Runs a command.
    fn run(&self, command: Arc<Command>, work: Work, heartbeat: &Heartbeat) -> Ended {
        if let (Some(record), Some(message), false) =
            (&command.record, command.message(), command.is_overdue())
        {
            record.taken(message);
        }
        let call = match work {
            // Time since the admission counts: the caller has gone, and a server must not do work for nobody.
            Ok(_) if command.is_overdue() => return self.settle(command, Verdict::Fail(Failure::expired())),
            Ok(admitted) => admitted,
            Err(verdict) => return self.settle(command, verdict),
        };
        let call_max = if command.is_subscription() { SUBSCRIPTION_TTL } else { self.call_max };
        let deadline = command.deadline(call_max);
        self.calls.begin(&command);
        heartbeat.until(deadline.end());
        let mut stream = Stream { relay: self, command: &command, broken: false, afterwards: None };
        let outcome = call.run(deadline, &mut stream);
        let afterwards = stream.afterwards;
        // From here on it can only be held up by couriers, who have heartbeats of their own.
        heartbeat.rest();
        // Only what a server did tells about it, never what was refused here.
        self.observe(&command, &outcome);
        let mut ended = self.finish(command, outcome);
        if let Some(work) = afterwards {
            // With the answer goes the command, so that neither its caller nor a drain waits for what is left.
            self.hand_over(ended.answer.take(), None);
            work();
        }
        ended
    }

    /// Ends a command without its server.
    fn settle(&self, command: Arc<Command>, verdict: Verdict) -> Ended {
        match verdict {
            Verdict::Unsupported => {
                let answer = self.unsupported_channel(&command);
                self.end(command, answer, Fate::new("refused", Some("unsupported_channel")))
            }
            Verdict::Fail(failure) => self.finish(command, Outcome::Failed(failure)),
        }
    }

    /// Tells readiness how the server did. An error of the method is an answer. A refusal, or the bare
    /// acknowledgement of a notification, shows only that somebody is there, perhaps not the server. A
    /// server that only produces 5xx or gibberish is as good as absent. What failed on this side says
    /// nothing about the server: a caller whose headers fit into no request must not make the tunnel unready.
    fn observe(&self, command: &Command, outcome: &Outcome) {
        // Endpoints that are called by name are many, and none of them is what this tunnel is there for. What a server
        // publishes of itself, or does not, tells nothing about its calls.
        if command.channel == Channel::harpoon() || command.kind() == RequestKind::OauthDiscovery {
            return;
        }
        let (channel, readiness) = (&command.channel, &self.readiness);
        match outcome {
            Outcome::Response { .. } => readiness.target_answered(channel),
            Outcome::Done { status, .. } => match *status {
                500.. => readiness.target_failed(channel, &format!("the server answered {status}")),
                _ => readiness.target_reached(channel),
            },
            // A deadline may be shorter than any server could keep; only long silence is the server's.
            Outcome::Failed(failure) if failure.class == Class::Deadline => {
                if sync::since(command.received) >= SILENCE_MIN {
                    readiness.target_failed(channel, &failure.cause);
                }
            }
            Outcome::Failed(failure) => {
                self.metrics.target_failure(channel, failure.source.word());
                match failure.source {
                    Source::ClientInternal => {}
                    Source::TargetHttp if failure.status < 500 => readiness.target_reached(channel),
                    _ => readiness.target_failed(channel, &failure.cause),
                }
            }
        }
    }

    /// Makes the answer to a command from what it ended in.
    fn finish(&self, command: Arc<Command>, outcome: Outcome) -> Ended {
        let outcome = match (&self.governor, outcome) {
            (Some(governor), Outcome::Response { status, headers, payload, timing }) => {
                match governor.filter(&command, payload) {
                    Ok(payload) => Outcome::Response { status, headers, payload, timing },
                    Err(failure) => Outcome::Failed(failure),
                }
            }
            (_, outcome) => outcome,
        };
        let fate = fate::of(&command, &outcome);
        let mut answer = answer::of(&command, outcome);
        answer.timing = answer.timing.filter(|_| self.tells_timing);
        self.end(command, answer, fate)
    }

    /// Ends a command with its one terminal answer, unless nobody waits for that any more: a caller may have given
    /// less time than the way here takes, and past the deadline nothing is posted.
    fn end(&self, command: Arc<Command>, answer: Answer, fate: Fate) -> Ended {
        let expired = command.expired();
        let bytes = answer.payload.as_ref().map_or(0, Payload::bytes);
        let fate = match expired {
            true => Fate::new("expired", fate.failure),
            false => Fate { status: Some(answer.status), bytes, ..fate },
        };
        if let Some(record) = &command.record {
            record.end(fate);
        }
        self.calls.end(&command, fate);
        if expired {
            log::info!(
                request_id = command.request_id.as_str();
                "command response deadline reached; dropping without posting a response"
            );
            return Ended { status: None, answer: None };
        }
        Ended { status: Some(answer.status), answer: Some((command, answer)) }
    }

    /// The refusal of a channel, in the shape that each type of command has for it. Here even a
    /// notification is answered with a JSON-RPC error, as the reference does.
    fn unsupported_channel(&self, command: &Command) -> Answer {
        let channel = command.channel.as_str();
        let (word, kind, payload) = match command.kind() {
            RequestKind::SessionTermination => ("session_termination", AnswerKind::SessionTermination, None),
            RequestKind::OauthDiscovery => {
                let message = format!("unsupported channel \"{channel}\"");
                let payload =
                    failure::discovery_error("invalid_request_error", "unsupported_channel", &message);
                ("oauth_discovery", AnswerKind::OauthDiscovery, Some(payload))
            }
            RequestKind::Call | RequestKind::Notification => {
                let payload = failure::unsupported_channel(command.id(), channel);
                ("jsonrpc", AnswerKind::Response, Some(payload))
            }
        };
        self.metrics.unsupported_channel(&command.channel, word);
        log::error!(request_id = command.request_id.as_str(), channel = channel; "dispatcher received unsupported channel");
        Answer { kind, status: 400, headers: ReplyHeaders::default(), payload, timing: None }
    }
}

/// Posts the notifications of one call. After one was refused the rest are skipped: what follows a
/// gap cannot be understood, and a plane in trouble is not helped by more posts. The answer itself still
/// goes out. Past the deadline nothing goes out, however eagerly the server reports its progress.
struct Stream<'a> {
    relay: &'a Relay,
    command: &'a Command,
    broken: bool,
    afterwards: Option<Box<dyn FnOnce()>>,
}

impl Sink for Stream<'_> {
    fn notify(&mut self, payload: Payload, status: u16, headers: &ReplyHeaders, until: Instant) {
        // Also what its caller never gets.
        if let Some(governor) = &self.relay.governor {
            governor.hears(self.command, &payload);
        }
        if self.broken || self.command.expired() {
            return;
        }
        let (kind, headers, payload) = (AnswerKind::Notification, headers.clone(), Some(payload));
        let answer = Answer { kind, status, headers, payload, timing: None };
        if !self.relay.outbox.notify(self.command, &answer, until) {
            self.broken = true;
            log::error!(
                request_id = self.command.request_id.as_str();
                "failed to forward notification to control plane; continuing to terminal response"
            );
        }
    }

    fn afterwards(&mut self, work: Box<dyn FnOnce()>) {
        self.afterwards = Some(work);
    }
}
