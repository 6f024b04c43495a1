//! The poller over a control plane that follows a script: no sockets, no pauses.

use std::collections::{BTreeMap, VecDeque};

use super::super::refusal::StatusError;
use super::super::retry::RETRY_AFTER_MAX;
use super::*;
use crate::config::Channel;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::relay::calls::Calls;
use crate::relay::command;
use crate::relay::failure::{Class, Failure};
use crate::relay::judgement::Judgement;
use crate::relay::message::Message;
use crate::relay::payload::Payload;
use crate::relay::port::{Answer, Call, Governor, Outbox, Target};
use crate::relay::queue::Queue;

/// Replies to polls, in their order; at their end the process stops.
struct Script {
    polls: Mutex<VecDeque<Result<Polled, Refusal>>>,
    stop: Arc<Stop>,
}

impl Transport for Script {
    fn poll(&self, _: &Ask, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal> {
        on_head();
        sync::lock(&self.polls).pop_front().unwrap_or_else(|| {
            self.stop.enter(Phase::Draining);
            Err(Error::new(Kind::Shutdown, "the script has ended").into())
        })
    }

    fn post(&self, _: &Command, _: &Answer, _: Instant) -> Result<u16, Refusal> {
        unreachable!("a poller posts nothing")
    }

    fn stop_polls(&self) {}

    fn stop_notes(&self) {}

    fn stop_answers(&self) {}

    fn exchange_time(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn round_trip(&self) -> Option<Duration> {
        None
    }

    fn has_connected(&self) -> bool {
        true
    }

    fn key_may_change(&self) -> bool {
        false
    }
}

/// Answers as they are handed over: request ids and statuses.
#[derive(Default)]
struct Answers(Mutex<Vec<(String, u16)>>);

impl Outbox for Answers {
    fn notify(&self, _: &Command, _: &Answer, _: Instant) -> bool {
        false
    }

    fn deliver(&self, command: Arc<Command>, answer: Answer, _: Option<&Heartbeat>) {
        sync::lock(&self.0).push((command.request_id.clone(), answer.status));
    }
}

/// A server that nobody calls here.
struct Idle {
    is_served: bool,
}

impl Target for Idle {
    fn is_served(&self) -> bool {
        self.is_served
    }

    fn admit(&self, _: Arc<Command>) -> Box<dyn Call> {
        unreachable!("there are no workers")
    }

    fn wind_down(&self) {}

    fn stop(&self) {}
}

fn wait() -> PollWait {
    PollWait::example(Duration::from_secs(1), Duration::from_secs(1), false)
}

/// A policy that refuses everything.
struct Refusing;

impl Governor for Refusing {
    fn judge(&self, _: &Command) -> Judgement {
        Judgement { refusal: Some(Failure::new(Class::PolicyDenied, "all")), ..Judgement::default() }
    }

    fn offers(&self, _: &Channel, _: &str) -> bool {
        false
    }

    fn filter(&self, _: &Command, payload: Payload) -> Result<Payload, Failure> {
        Ok(payload)
    }

    fn hears(&self, _: &Command, _: &Payload) {}
}

fn relay(target: Idle, governor: Option<Arc<dyn Governor>>, answers: &Arc<Answers>) -> Relay {
    let (channel, target): (_, Arc<dyn Target>) = (Channel::main(), Arc::new(target));
    let metrics = Arc::new(Metrics::new("t", 10, 1, std::slice::from_ref(&channel)));
    Relay {
        queue: Queue::new(10, 1, 1, &metrics),
        targets: BTreeMap::from([(channel, target)]),
        allowed: Vec::new(),
        outbox: Arc::<Answers>::clone(answers),
        governor,
        recorder: None,
        call_max: Duration::from_secs(1),
        forwards_trace: false,
        tells_timing: false,
        listeners: Mutex::default(),
        calls: Calls::new(Arc::clone(&metrics)),
        metrics,
        readiness: Arc::new(Readiness::new(Duration::from_secs(60), &[])),
    }
}

/// A poller of these polls, with what it polls.
fn poller(polls: Vec<Result<Body, Refusal>>, relay: &Arc<Relay>) -> (Poller, Arc<Script>) {
    let stop = Arc::new(Stop::default());
    let polled = |body| Polled { received: Instant::now(), body, tunnel_request_id: None };
    let polls = Mutex::new(polls.into_iter().map(|poll| poll.map(polled)).collect());
    let script = Arc::new(Script { polls, stop: Arc::clone(&stop) });
    let poller = Poller::new(Parts {
        plane: Arc::<Script>::clone(&script),
        relay: Arc::clone(relay),
        stop,
        flight: InFlight::default(),
        capacity: 10,
        bytes_max: 1 << 20,
        wait: wait(),
    });
    (poller, script)
}

/// Polls until the script ends; returns what waits in the queue, what was answered, and the verdict on the plane.
fn run(polls: Vec<Result<Body, Refusal>>) -> (usize, Vec<(String, u16)>, bool) {
    let answers = Arc::new(Answers::default());
    let relay = Arc::new(relay(Idle { is_served: true }, None, &answers));
    poller(polls, &relay).0.run(&Heartbeats::default().add("poller"));
    let answers = sync::lock(&answers.0).clone();
    (relay.queue.waiting(), answers, relay.readiness.plane_reached())
}

fn commands(method: &str, count: usize) -> Body {
    let command = |n| {
        format!(
            r#"{{"command_type":"jsonrpc","request_id":"r{n}","shard_token":"t",
                "jsonrpc":{{"jsonrpc":"2.0","id":{n},"method":"{method}"}}}}"#
        )
    };
    let list: Vec<String> = (1..=count).map(command).collect();
    Body::Whole(format!(r#"{{"commands":[{}]}}"#, list.join(",")).into_bytes())
}

/// A channel may come to be served while a command waits; by then nobody judges it any more.
#[test]
fn commands_are_judged_before_their_channel_is_served() {
    let relay = relay(Idle { is_served: false }, Some(Arc::new(Refusing)), &Arc::default());
    let mut command = Command::example(InFlight::default().enter(0));
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    command.body = command::Body::Message(Arc::new(Message::parse(text.into()).unwrap()));
    relay.prepare(&mut command, None);
    assert!(command.judgement.refusal.is_some());
}

#[test]
fn what_a_poll_brings_is_queued() {
    let polls = vec![Ok(Body::None), Ok(commands("tools/list", 2)), Ok(Body::Whole(b"{}".to_vec()))];
    assert_eq!(run(polls), (2, Vec::new(), true));
}

#[test]
fn the_poller_answers_what_finds_no_place() {
    let (waiting, answers, _) = run(vec![Ok(commands("subscriptions/listen", 5))]);
    assert_eq!((waiting, answers), (4, vec![("r5".to_owned(), 503)]));
}

#[test]
fn polls_that_are_too_large_are_made_smaller_without_a_pause() {
    let large = || Err(Error::new(Kind::TooLarge, "too large").into());
    assert_eq!(run(vec![large(), large(), Ok(commands("tools/list", 1))]), (1, Vec::new(), true));
}

/// What polls are made with may have been what made the last one fail.
#[test]
fn a_renewal_ends_the_wait_after_a_failure() {
    let answers = Arc::new(Answers::default());
    let relay = Arc::new(relay(Idle { is_served: true }, None, &answers));
    let away = StatusError { status: 503, retry_after: Some(RETRY_AFTER_MAX), ..StatusError::default() };
    let polls = vec![Err(Refusal::Status(Box::new(away))), Ok(commands("tools/list", 1))];
    let ((poller, script), began) = (poller(polls, &relay), Instant::now());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| poller.run(&Heartbeats::default().add("poller")));
        while sync::lock(&script.polls).len() == 2 {
            std::thread::yield_now();
        }
        poller.hurry();
        running.join().unwrap();
    });
    assert_eq!(relay.queue.waiting(), 1);
    assert!(began.elapsed() < RETRY_AFTER_MAX, "{:?}", began.elapsed());
}
