//! Servers of a simulation: they answer, notify, hang and die as their mood says, and end when they are told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask;
use super::history::{Event, History, Number};
use super::random::Random;
use super::scheduler;
use super::weather::{Forecast, Mood};
use crate::net::Kind;
use crate::relay::command::{Body, Command, Deadline};
use crate::relay::failure::{Class, Failure};
use crate::relay::headers::ReplyHeaders;
use crate::relay::payload::Payload;
use crate::relay::port::{Call, Outcome, Sink, Target};
use crate::sync::{self, Condition};

/// Longest time of a prompt server.
const PROMPT: Duration = Duration::from_millis(50);

/// Server of one channel.
pub(super) struct Server(Arc<Inner>);

struct Inner {
    history: Arc<History>,
    moods: Forecast<Mood>,
    state: Mutex<State>,
    changed: Condition,
}

struct State {
    random: Random,
    winds_down: bool,
    stopped: bool,
}

/// A call that it has admitted.
struct Running {
    server: Arc<Inner>,
    command: Arc<Command>,
}

/// What it does with a call.
#[derive(Clone, Copy)]
enum Act {
    /// Answers after so many notifications.
    Answer(u64),
    Hang,
    Fail(Kind),
    Status(u16),
}

impl Server {
    pub(super) fn new(random: Random, moods: Forecast<Mood>, history: &Arc<History>) -> Server {
        let state = Mutex::new(State { random, winds_down: false, stopped: false });
        Server(Arc::new(Inner { history: Arc::clone(history), moods, state, changed: Condition::default() }))
    }
}

impl Target for Server {
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        self.0.history.add(Event::Admitted(ask::number(&command.request_id)));
        Box::new(Running { server: Arc::clone(&self.0), command })
    }

    fn wind_down(&self) {
        sync::lock(&self.0.state).winds_down = true;
        self.0.changed.notify_all();
    }

    fn stop(&self) {
        sync::lock(&self.0.state).stopped = true;
        self.0.changed.notify_all();
    }
}

impl Call for Running {
    fn run(self: Box<Self>, deadline: Deadline, sink: &mut dyn Sink) -> Outcome {
        let number = ask::number(&self.command.request_id);
        self.server.history.add(Event::Started(number));
        let outcome = self.work(number, deadline, sink);
        if self.server.draw(|random| random.one_in(10)) {
            let history = Arc::clone(&self.server.history);
            sink.afterwards(Box::new(move || {
                scheduler::sleep(2 * PROMPT);
                history.add(Event::Finished(number));
            }));
        } else {
            self.server.history.add(Event::Finished(number));
        }
        outcome
    }
}

impl Inner {
    fn draw<R>(&self, draw: impl FnOnce(&mut Random) -> R) -> R {
        draw(&mut sync::lock(&self.state).random)
    }

    /// What it does with the next call, and how long each step takes.
    fn act(&self) -> (Act, Duration) {
        let mood = self.moods.at(scheduler::elapsed()).0;
        self.draw(|random| {
            let any = [Mood::Prompt, Mood::Slow, Mood::Hangs, Mood::Dies];
            let mood = if mood == Mood::Mixed { random.pick(&any) } else { mood };
            let notes = if random.one_in(3) { random.below(6) } else { 0 };
            match mood {
                Mood::Slow => (Act::Answer(notes), random.time(Duration::from_secs(20))),
                Mood::Hangs => (Act::Hang, Duration::ZERO),
                Mood::Dies if random.one_in(2) => (Act::Status(503), random.time(PROMPT)),
                Mood::Dies => (Act::Fail(random.pick(&[Kind::Eof, Kind::Refused])), random.time(PROMPT)),
                Mood::Prompt | Mood::Mixed => (Act::Answer(notes), random.time(PROMPT)),
            }
        })
    }

    /// Lets time pass within the deadline; why it has to end, if it has.
    fn pass(&self, time: Duration, deadline: Deadline, subscribed: bool) -> Result<(), Failure> {
        let left = deadline.end().saturating_duration_since(sync::now());
        let ends = |state: &State| state.stopped || (subscribed && state.winds_down);
        let state = sync::lock(&self.state);
        let state = self.changed.wait_while(state, time.min(left), |state| !ends(state));
        match () {
            () if state.stopped => Err(Failure::new(Kind::Shutdown, "stopped")),
            () if deadline.is_expired() => Err(Failure::expired()),
            () if time >= left && !ends(&state) => Err(Failure::timeout()),
            () => Ok(()),
        }
    }
}

impl Running {
    fn work(&self, number: Number, deadline: Deadline, sink: &mut dyn Sink) -> Outcome {
        let headers = ReplyHeaders::default();
        let (mut act, step) = self.server.act();
        if !matches!(&self.command.body, Body::Message(message) if message.id().is_some()) {
            return match self.server.pass(step, deadline, false) {
                Ok(()) => Outcome::Done { status: 202, headers },
                Err(failure) => Outcome::Failed(failure),
            };
        }
        let subscribed = self.command.is_subscription();
        if subscribed {
            act = Act::Answer(2);
        }
        let notes = if let Act::Answer(notes) = act { notes } else { 0 };
        for place in 0..notes {
            if let Err(failure) = self.server.pass(step, deadline, false) {
                return Outcome::Failed(failure);
            }
            let text = Payload::own(ask::note(number, place));
            sink.notify(text, 200, &headers, deadline.end());
        }
        let last = if matches!(act, Act::Hang) || subscribed { Duration::MAX } else { step };
        if let Err(failure) = self.server.pass(last, deadline, subscribed) {
            return Outcome::Failed(failure);
        }
        match act {
            Act::Fail(kind) => Outcome::Failed(Failure::new(kind, "dead")),
            Act::Status(status) => Outcome::Failed(Failure::status(status, Class::InvalidError, headers)),
            Act::Answer(_) | Act::Hang => {
                let padding = self.server.draw(|random| random.index(2_000));
                let payload = Payload::own(ask::result(number, padding));
                Outcome::Response { status: 200, headers, payload, timing: None }
            }
        }
    }
}
