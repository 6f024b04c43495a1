//! The workers: each takes a command, has it done, and hands the answer to the couriers.
//!
//! A worker never posts a terminal answer itself, so a slow control plane does not hold an MCP slot.
//! It posts the notifications of its own call, because their order is the stream's.
//!
//! Every command that is dequeued leaves through `Relay::run` with exactly one answer, or in silence
//! once its caller has stopped waiting. A server that fails costs its own command; a worker outlives
//! everything but the queue.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::crypto;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::{Metrics, RequestKind};
use crate::ops::readiness::Readiness;
use crate::sync;

use super::command::{Body, Command, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTION_TTL};
use super::failure::{self, Class, Failure, Source};
use super::headers::ReplyHeaders;
use super::payload::Payload;
use super::port::{Answer, AnswerKind, Call, Outbox, Outcome, Sink, Target};
use super::queue::{LISTENERS, Lane, Queue};

/// Silence that counts against a server when a caller's deadline ends it; as long as a probe waits.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// What all workers share. It is complete before the first of them starts and never changes.
pub struct Relay {
    /// Where commands wait.
    pub queue: Queue,
    /// The servers, by channel.
    pub targets: HashMap<Channel, Arc<dyn Target>>,
    /// Channels that may be asked for; empty means all. The plane is told the same list, but a list
    /// that only the plane keeps would be no policy of the operator's.
    pub allowed: Vec<Channel>,
    /// Where answers go.
    pub outbox: Arc<dyn Outbox>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The verdict behind `/readyz`.
    pub readiness: Arc<Readiness>,
}

/// What becomes of a command that was dequeued.
enum Work {
    /// Nobody waits any more.
    Expired,
    /// Its target has taken it, for so long at most.
    Call(Box<dyn Call>, Duration),
    /// Nobody serves its channel.
    Unsupported,
    /// Its answer is known; no server is asked.
    Answer(Answer),
    /// It is refused here.
    Fail(Failure),
}

impl Relay {
    /// Starts the ordinary workers for `count` calls at once, the quick ones and those for subscriptions. Each
    /// channel has one quick worker, and beyond the first one ordinary worker besides: see `queue::shares`.
    /// They end with the queue; nobody waits for them, because what they have in hand is counted as in flight.
    pub fn start(self: &Arc<Relay>, count: usize, heartbeats: &Heartbeats) -> io::Result<()> {
        let channels = self.targets.len().max(1);
        let lanes = std::iter::repeat_n((Lane::Ordinary, "worker"), count + channels - 1)
            .chain(std::iter::repeat_n((Lane::Quick, "quick"), channels))
            .chain(std::iter::repeat_n((Lane::Listen, "listen"), LISTENERS));
        for (number, (lane, name)) in lanes.enumerate() {
            let (relay, heartbeat) = (Arc::clone(self), heartbeats.add(name));
            sync::spawn(format!("{name}-{number}"), move || relay.serve(lane, &heartbeat))?;
        }
        Ok(())
    }

    /// Answers everything that still waits: nobody will come for it any more. Their callers learn at once
    /// what they would otherwise learn by waiting.
    pub fn give_up_waiting(&self) {
        for command in self.queue.take_rest() {
            self.give_up(command);
        }
    }

    /// Answers a command that came too late to be started. Its server was never asked, so the caller may
    /// safely send it again.
    pub fn give_up(&self, command: Command) {
        log::warn!(request_id = command.request_id.as_str(); "command not started before shutdown");
        let stopping = Failure::new(Class::Internal, "shutting down");
        self.finish(&Arc::new(command), Outcome::Failed(stopping));
    }

    /// One worker's life. A worker that ends takes nothing with it: what it popped, it has finished.
    fn serve(&self, lane: Lane, heartbeat: &Heartbeat) {
        while let Some((held, (command, work))) =
            self.queue.pop(lane, |lane, command| self.admit(lane, command))
        {
            self.publish_load();
            self.run(command, work, heartbeat);
            self.queue.done(held);
            self.publish_load();
        }
    }

    /// Gauges are set when they change, not when somebody asks: asking must not take the queue's lock.
    fn publish_load(&self) {
        let (waiting, busy) = self.queue.load();
        self.metrics.queue_length.set([], waiting);
        self.metrics.busy_workers.set([], busy);
    }

    /// Decides what becomes of a command. Runs under the queue's lock and must not block.
    ///
    /// Whether the channel is served comes first: there is never a fall-back to another server, not
    /// even for a command that is unusable in other ways.
    fn admit(&self, lane: Lane, command: Command) -> (Arc<Command>, Work) {
        let command = Arc::new(command);
        let target = self.targets.get(&command.channel);
        let target = target.filter(|target| self.is_allowed(&command.channel) && target.is_served());
        let work = match (target, &command.body) {
            (None, _) => Work::Unsupported,
            // The contract has discovery on the main channel only.
            (_, Body::OauthDiscovery) if command.channel != Channel::main() => Work::Unsupported,
            (Some(target), Body::OauthDiscovery) if !target.has_discovery() => Work::Answer(no_discovery()),
            // These were not dropped on arrival because somebody waits for them.
            (_, Body::Unusable { class, cause, .. }) => Work::Fail(Failure::new(*class, cause.as_str())),
            _ if lane == Lane::Refused => Work::Fail(too_much(&command)),
            _ if command.is_subscription() && command.body.bytes() > SUBSCRIPTION_BYTES_MAX => {
                Work::Fail(too_large())
            }
            // A server on a pipe gets its line as soon as the call is admitted.
            _ if command.expired() => Work::Expired,
            (Some(target), _) => {
                let call_max = if command.is_subscription() { SUBSCRIPTION_TTL } else { target.call_max() };
                Work::Call(target.admit(Arc::clone(&command)), call_max)
            }
        };
        (command, work)
    }

    /// Whether the operator lets this channel be asked for.
    fn is_allowed(&self, channel: &Channel) -> bool {
        self.allowed.is_empty() || self.allowed.contains(channel)
    }

    fn run(&self, command: Arc<Command>, work: Work, heartbeat: &Heartbeat) {
        // Time in the queue counts: the caller has gone, and a server must not do work for nobody.
        if command.expired() {
            log::info!(request_id = command.request_id.as_str(); "dropping command whose response deadline has passed");
            return;
        }
        match work {
            Work::Expired => {}
            Work::Unsupported => {
                let answer = self.unsupported_channel(&command);
                self.outbox.deliver(command, answer);
            }
            Work::Answer(answer) => self.outbox.deliver(command, answer),
            Work::Fail(failure) => self.finish(&command, Outcome::Failed(failure)),
            Work::Call(call, call_max) => {
                heartbeat.until(command.deadline(call_max).end());
                let mut sink = Stream { relay: self, command: &command, broken: false };
                let outcome = call.run(&mut sink);
                // From here on it can only be held up by couriers, who have heartbeats of their own.
                heartbeat.rest();
                // Only what a server did tells about it, never what was refused here.
                self.observe(&command, &outcome);
                self.finish(&command, outcome);
            }
        }
    }

    /// Tells readiness how the server did. An error of the method is an answer. A refusal, or the bare
    /// acknowledgement of a notification, shows only that somebody is there, perhaps not the server. A
    /// server that only produces 5xx or gibberish is as good as absent. What failed on this side says
    /// nothing about the server: a caller whose headers fit into no request must not make the tunnel unready.
    fn observe(&self, command: &Command, outcome: &Outcome) {
        // Endpoints that are called by name are many, and none of them is what this tunnel is there for.
        if command.channel == Channel::harpoon() {
            return;
        }
        let (channel, readiness) = (&command.channel, &self.readiness);
        // What a server publishes of itself, or does not, tells nothing about its calls.
        if command.kind() == RequestKind::OauthDiscovery {
            return;
        }
        match outcome {
            Outcome::Response { .. } => readiness.target_answered(channel),
            Outcome::Acknowledged { status, .. } | Outcome::Terminated { status, .. } => match *status {
                500.. => readiness.target_failed(channel, &format!("the server answered {status}")),
                _ => readiness.target_reached(channel),
            },
            Outcome::Failed(failure) => {
                self.metrics.target_failure(channel, failure.source.word());
                match failure.source {
                    Source::ClientInternal => {}
                    Source::TargetHttp if failure.status < 500 => readiness.target_reached(channel),
                    _ => readiness.target_failed(channel, &failure.cause),
                }
            }
            // A deadline may be shorter than any server could keep; only long silence is the server's.
            Outcome::Expired if command.received.elapsed() >= SILENCE_MIN => {
                readiness.target_failed(channel, "response deadline reached");
            }
            Outcome::Expired => {}
        }
    }

    /// Hands over the one terminal answer of a command, or lets it end in silence.
    fn finish(&self, command: &Arc<Command>, outcome: Outcome) {
        match answer(command, outcome) {
            Some(answer) => self.outbox.deliver(Arc::clone(command), answer),
            None => log::info!(
                request_id = command.request_id.as_str();
                "command response deadline reached; dropping without posting a response"
            ),
        }
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
        Answer { kind, status: 400, headers: ReplyHeaders::default(), payload }
    }
}

/// What is posted for an outcome; nothing once the caller has stopped waiting. A failure takes the
/// shape of the answer that the command would have had: nobody waits for the id of a notification.
fn answer(command: &Command, outcome: Outcome) -> Option<Answer> {
    let (kind, status, headers, payload) = match outcome {
        Outcome::Expired => return None,
        Outcome::Response { status, headers, payload } => {
            let is_document = command.kind() == RequestKind::OauthDiscovery;
            let kind = if is_document { AnswerKind::OauthDiscovery } else { AnswerKind::Response };
            (kind, status, headers, Some(payload))
        }
        Outcome::Acknowledged { status, headers } => (AnswerKind::Acknowledgement, status, headers, None),
        Outcome::Terminated { status, headers } => (AnswerKind::SessionTermination, status, headers, None),
        Outcome::Failed(failure) => {
            log_failure(command, &failure);
            let status = failure.status;
            match command.kind() {
                RequestKind::Notification => (AnswerKind::Acknowledgement, status, failure.headers, None),
                RequestKind::SessionTermination => {
                    (AnswerKind::SessionTermination, status, failure.headers, None)
                }
                RequestKind::OauthDiscovery => {
                    let message = "OAuth discovery failed";
                    let payload = failure::discovery_error("server_error", "oauth_discovery_failed", message);
                    (AnswerKind::OauthDiscovery, status, ReplyHeaders::default(), Some(payload))
                }
                RequestKind::Call => {
                    let payload = failure.payload(command.id());
                    (AnswerKind::Response, status, failure.headers.with_json_content(), Some(payload))
                }
            }
        }
    };
    // What no HTTP client may see as the status of an answer is the server's mistake.
    let status = if (200..600).contains(&status) { status } else { 502 };
    Some(Answer { kind, status, headers, payload })
}

/// One line a failure, with what the wire does not say. No URL and no payload: the cause was made for
/// this line, and the ids are what an operator needs to find the call on the other sides.
fn log_failure(command: &Command, failure: &Failure) {
    log::warn!(
        request_id = command.request_id.as_str(),
        cmd_request_id = command.header("x-request-id").unwrap_or_default(),
        rpc_request_id = command.id().unwrap_or_default(),
        session_id = command.header("mcp-session-id").map(crypto::fingerprint).unwrap_or_default().as_str(),
        channel = command.channel.as_str(),
        failure_source = failure.source.word(),
        transport_error_kind = failure.class.word(),
        upstream_response_received = failure.answered,
        upstream_status = failure.upstream_status.unwrap_or_default(),
        error = failure.cause.as_str();
        "dispatcher received MCP upstream error; posted error response to control plane"
    );
}

/// 503 says what is true: it would have worked with one subscription less, or a faster server.
fn too_much(command: &Command) -> Failure {
    if command.is_subscription() {
        let cause = format!("{LISTENERS} subscriptions are open already");
        return Failure::new(Class::SubscriptionLimit, cause);
    }
    let cause = "the channel lags behind, and the other channels need the places that are left";
    Failure::new(Class::ChannelBusy, cause)
}

/// It would never work, however few subscriptions there are.
fn too_large() -> Failure {
    let cause = format!("a subscription has more than {SUBSCRIPTION_BYTES_MAX} bytes");
    Failure::new(Class::SubscriptionTooLarge, cause)
}

/// Discovery is answered, not ignored: the product would otherwise wait for its time-out on every
/// connection that is set up.
fn no_discovery() -> Answer {
    let message = "OAuth discovery needs a server over HTTP; the one of this channel is reached over stdio";
    let payload = Some(failure::discovery_error("server_error", "oauth_discovery_unavailable", message));
    Answer { kind: AnswerKind::OauthDiscovery, status: 502, headers: ReplyHeaders::default(), payload }
}

/// Posts the notifications of one call. After one was refused the rest are skipped: what follows a
/// gap cannot be understood, and a plane in trouble is not helped by more posts. The answer itself still
/// goes out. Past the deadline nothing goes out, however eagerly the server reports its progress.
struct Stream<'a> {
    relay: &'a Relay,
    command: &'a Command,
    broken: bool,
}

impl Sink for Stream<'_> {
    fn notify(&mut self, payload: Payload, status: u16, headers: &ReplyHeaders, until: Instant) {
        if self.broken || self.command.expired() {
            return;
        }
        let (kind, headers, payload) = (AnswerKind::Notification, headers.clone(), Some(payload));
        let answer = Answer { kind, status, headers, payload };
        if !self.relay.outbox.notify(self.command, &answer, until) {
            self.broken = true;
            log::error!(
                request_id = self.command.request_id.as_str();
                "failed to forward notification to control plane; continuing to terminal response"
            );
        }
    }
}
