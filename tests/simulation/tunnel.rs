//! A tunnel of real parts between a plane and servers of a simulation, from its start to the end of its drain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask::{Ask, CHANNELS};
use super::history::{Event, History};
use super::limits::Limit;
use super::monitor::Monitor;
use super::plane::Plane;
use super::random::Random;
use super::records::Records;
use super::scheduler;
use super::server::Server;
use super::weather::{self, Forecast, Weather};
use crate::config::Channel;
use crate::ops::heartbeat::Heartbeats;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::plane::courier::{self, Couriers};
use crate::plane::poll_wait::PollWait;
use crate::plane::poller::{self, Poller};
use crate::policy::Policy;
use crate::relay::calls::Calls;
use crate::relay::inflight::InFlight;
use crate::relay::port::{Governor, Outbox, Recorder, Target};
use crate::relay::queue::{LISTENERS, Queue};
use crate::relay::stop::{Phase, Stop};
use crate::relay::worker::Relay;
use crate::service::drain::Drain;
use crate::sync;

/// What a poll may take beyond the time for which it is held.
pub(super) const GUARDRAIL: Duration = Duration::from_secs(5);

/// What the seed has chosen of a tunnel.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) channels: usize,
    /// Commands are many and large.
    pub(super) heavy: bool,
    pub(super) capacity: usize,
    pub(super) workers: usize,
    pub(super) bytes_max: usize,
    pub(super) call_max: Duration,
    pub(super) poll_wait: Duration,
    /// How many commands come, and how long the pause between two of them is at most.
    pub(super) commands: u64,
    pub(super) pause: Duration,
    /// How long a drain may take.
    pub(super) drain: Duration,
    /// How long the tunnel goes on when everything was asked for.
    pub(super) rest: Duration,
    pub(super) weather: Forecast<Weather>,
    /// Limits of calls, one after the other; or none at all.
    pub(super) limits: Vec<Limit>,
    /// Callers ask for nothing but calls, and wait for each.
    pub(super) calls_alone: bool,
}

/// The parts of a tunnel that runs.
pub(super) struct Tunnel {
    pub(super) plan: Plan,
    pub(super) plane: Arc<Plane>,
    pub(super) history: Arc<History>,
    pub(super) relay: Arc<Relay>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) heartbeats: Heartbeats,
    pub(super) stop: Arc<Stop>,
    pub(super) flight: InFlight,
    pub(super) post_room: Arc<Couriers>,
    pub(super) poller: Arc<Poller>,
    policy: Option<Arc<Policy>>,
}

/// A tunnel that has ended.
pub(super) struct Past {
    pub(super) plan: Plan,
    pub(super) plane: Arc<Plane>,
    pub(super) history: Arc<History>,
    /// Answers that it has counted as lost.
    pub(super) lost: u64,
}

impl Plan {
    pub(super) fn of(random: &mut Random) -> Plan {
        let seconds = |random: &mut Random, least, more| Duration::from_secs(least + random.below(more));
        let heavy = random.one_in(6);
        let commands = 1 + random.below(if heavy { 400 } else { 120 });
        let pauses = [20, 500, 5_000, if heavy { 1_000 } else { 60_000 }];
        let pause = Duration::from_millis(random.pick(&pauses));
        let weather = weather::of_plane(random, pause * u32::try_from(commands).unwrap() / 4);
        Plan {
            channels: 1 + random.index(CHANNELS.len()),
            heavy,
            capacity: 1 + random.index(if heavy { 300 } else { 20 }),
            workers: 1 + random.index(5),
            bytes_max: 4_000 << random.below(7),
            call_max: seconds(random, 20, 600),
            poll_wait: seconds(random, 5, 31),
            commands,
            pause,
            drain: if random.one_in(4) { Duration::ZERO } else { seconds(random, 0, 30) },
            rest: if random.one_in(2) { seconds(random, 0, 300) } else { Duration::ZERO },
            weather,
            limits: Limit::some(random),
            calls_alone: false,
        }
    }

    /// How long a poll counts as a sign of life.
    pub(super) fn window(&self) -> Duration {
        self.poll_wait + GUARDRAIL + Duration::from_secs(60)
    }
}

impl Tunnel {
    /// Puts a tunnel together and starts its threads.
    pub(super) fn start(plan: Plan, random: &mut Random) -> Tunnel {
        let history = Arc::new(History::default());
        let plane = Plane::new(random.branch(), plan.weather.clone(), &history);
        let channels: Vec<Channel> =
            CHANNELS.iter().take(plan.channels).map(|name| Channel::parse(name).unwrap()).collect();
        let span = plan.pause * u32::try_from(plan.commands).unwrap();
        let targets = channels.iter().map(|channel| -> (Channel, Arc<dyn Target>) {
            let moods = weather::of_server(random, span);
            (channel.clone(), Arc::new(Server::new(random.branch(), moods, &history)))
        });
        let targets: BTreeMap<_, _> = targets.collect();
        let metrics = Arc::new(Metrics::new("t", plan.capacity, plan.workers, &channels));
        let readiness = Arc::new(Readiness::new(plan.window(), &[]));
        let (heartbeats, stop) = (Heartbeats::default(), Arc::new(Stop::default()));
        let parts = courier::Parts {
            plane: Arc::<Plane>::clone(&plane),
            couriers: plan.workers,
            posting: plan.workers,
            patience: plan.call_max,
            bytes_max: plan.bytes_max,
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            stop: Arc::clone(&stop),
        };
        let post_room = Couriers::start(parts, &heartbeats).unwrap();
        let outbox: Arc<dyn Outbox> = Arc::<Couriers>::clone(&post_room);
        let recorder: Arc<dyn Recorder> = Arc::new(Records(Arc::clone(&history)));
        let policy = plan.limits.first().map(|limit| {
            Arc::new(Policy::new(&limit.settings(), channels.clone(), None, Arc::clone(&metrics)))
        });
        let relay = Arc::new(Relay {
            queue: Queue::new(plan.capacity, plan.workers, channels.len(), &metrics),
            targets,
            allowed: Vec::new(),
            governor: policy.clone().map(|policy| -> Arc<dyn Governor> { policy }),
            call_max: plan.call_max,
            outbox,
            recorder: Some(recorder),
            calls: Calls::new(Arc::clone(&metrics)),
            forwards_trace: false,
            tells_timing: false,
            listeners: Mutex::new((0..LISTENERS).map(|_| Arc::new(heartbeats.add("listen"))).collect()),
            metrics,
            readiness: Arc::clone(&readiness),
        });
        relay.start(plan.workers, plan.workers, &heartbeats).unwrap();
        let flight = InFlight::default();
        let poller = Arc::new(Poller::new(poller::Parts {
            plane: Arc::<Plane>::clone(&plane),
            relay: Arc::clone(&relay),
            stop: Arc::clone(&stop),
            flight: flight.clone(),
            capacity: plan.capacity,
            bytes_max: plan.bytes_max,
            wait: PollWait::example(plan.poll_wait, plan.poll_wait, false),
        }));
        let (running, heartbeat) = (Arc::clone(&poller), heartbeats.add("poller"));
        sync::spawn("poller", move || running.run(&heartbeat)).unwrap();
        Tunnel { plan, plane, history, relay, readiness, heartbeats, stop, flight, post_room, poller, policy }
    }

    /// Has callers ask until everything was asked for, or the drain has begun.
    fn callers(&self, mut random: Random) {
        let mut number = 0;
        while number < self.plan.commands && !self.stop.reached(Phase::Draining) {
            // Some come together.
            let burst = if random.one_in(8) { 1 + random.below(30) } else { 1 };
            for _ in 0..burst.min(self.plan.commands - number) {
                number += 1;
                let ask = Ask::random(&mut random, number, self.plan.channels, self.plan.heavy);
                self.plane.ask(if self.plan.calls_alone { ask.patient_call() } else { ask });
            }
            self.stop.sleep(random.time(self.plan.pause), Phase::Draining);
        }
    }

    /// Exchanges the limits, each after some time.
    fn reloads(&self, mut random: Random) {
        let span = self.plan.pause * u32::try_from(self.plan.commands).unwrap();
        for (place, limit) in self.plan.limits.iter().enumerate().skip(1) {
            self.stop.sleep(random.time(span), Phase::Draining);
            self.history.add(Event::Renewed(place));
            self.policy.iter().for_each(|policy| policy.renew(&limit.settings()));
        }
    }

    /// Lives through all that the plan says, and ends.
    pub(super) fn live(self, random: &mut Random) -> Past {
        let tunnel = Arc::new(self);
        let (monitor, branch) = (Monitor::new(&tunnel), random.branch());
        sync::spawn("monitor", move || monitor.run(branch)).unwrap();
        let (reloading, branch) = (Arc::clone(&tunnel), random.branch());
        sync::spawn("reloads", move || reloading.reloads(branch)).unwrap();
        if random.one_in(3) {
            // A drain in the midst of everything.
            let (asking, branch) = (Arc::clone(&tunnel), random.branch());
            sync::spawn("callers", move || asking.callers(branch)).unwrap();
            scheduler::sleep(random.time(tunnel.plan.pause * u32::try_from(tunnel.plan.commands).unwrap()));
        } else {
            tunnel.callers(random.branch());
            scheduler::sleep(tunnel.plan.rest);
        }
        let Tunnel { plan, plane, history, relay, stop, flight, post_room, poller, .. } = &*tunnel;
        history.add(Event::Drains);
        let drain = Drain { plane: &**plane, poller, relay, post_room, stop, flight };
        let untold = drain.run(plan.drain);
        history.add(Event::Drained(untold));
        Past {
            plan: plan.clone(),
            plane: Arc::clone(plane),
            history: Arc::clone(history),
            lost: post_room.lost(),
        }
    }
}
