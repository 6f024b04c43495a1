//! Runs of whole tunnels.

use std::fmt::Write;
use std::time::Duration;

use super::checks;
use super::random::Random;
use super::scheduler;
use super::seeds::{self, Run};
use super::tunnel::{Past, Plan, Tunnel};
use super::weather::{Forecast, Weather};

/// One run of a tunnel that this seed has planned.
fn tunnel(seed: u64) -> Run {
    tunnel_of(seed, |plan| plan)
}

/// The same, with something of the plan as a test wants it.
fn tunnel_of(seed: u64, change: impl Fn(Plan) -> Plan) -> Run {
    let mut random = Random::new(seed ^ 0x7475_6e6e_656c);
    let plan = change(Plan::of(&mut random));
    let done = scheduler::run(seed, || Tunnel::start(plan.clone(), &mut random).live(&mut random));
    match done {
        Ok(done) => Run {
            faults: checks::faults(&done.result),
            time: done.time,
            commands: done.result.plane.asks().len(),
            history: text(&done.result),
        },
        Err(why) => Run {
            faults: vec![format!("{why} ({plan:?})")],
            time: Duration::ZERO,
            commands: 0,
            history: String::new(),
        },
    }
}

fn text(past: &Past) -> String {
    let mut text = format!("{:?}\n", past.plan);
    for ask in past.plane.asks().values() {
        let _ = writeln!(text, "{ask:?}");
    }
    for (at, event) in past.history.all() {
        let _ = writeln!(text, "{at:?} {event:?}");
    }
    text
}

#[test]
fn tunnels_of_many_seeds_keep_their_promises() {
    seeds::each("tunnels_of_many_seeds_keep_their_promises", 200, tunnel);
}

/// The last moment of a poller that waits for room is not taken from the answers of calls that are cut.
#[test]
fn a_drain_without_time_tells_those_that_it_cuts() {
    let plan = |plan| Plan {
        channels: 1,
        capacity: 1,
        workers: 3,
        commands: 30,
        pause: Duration::from_millis(100),
        drain: Duration::ZERO,
        rest: Duration::ZERO,
        weather: Forecast::steady(Weather::Fine),
        ..plan
    };
    seeds::each("a_drain_without_time_tells_those_that_it_cuts", 40, |seed| tunnel_of(seed, plan));
}

/// Where several channels have more to do than workers, and nothing but calls, shares show.
#[test]
fn busy_channels_keep_to_their_shares() {
    let plan = |plan: Plan| Plan {
        channels: 2 + usize::from(plan.channels > 1),
        capacity: 200,
        workers: 4,
        commands: 120,
        pause: Duration::from_millis(200),
        rest: Duration::from_secs(300),
        weather: Forecast::steady(Weather::Fine),
        limits: Vec::new(),
        calls_alone: true,
        ..plan
    };
    seeds::each("busy_channels_keep_to_their_shares", 40, |seed| tunnel_of(seed, plan));
}

/// A plane that takes nothing for minutes makes a heap of answers, which has its bounds.
#[test]
fn a_heap_of_answers_is_bounded_and_goes_when_it_may() {
    let plan = |plan| Plan {
        channels: 1,
        capacity: 100,
        workers: 1,
        bytes_max: 8_000,
        call_max: Duration::from_secs(600),
        commands: 120,
        pause: Duration::from_millis(500),
        rest: Duration::from_secs(300),
        weather: Forecast::until(Duration::from_secs(240), Weather::RefusesPosts, Weather::Fine),
        limits: Vec::new(),
        ..plan
    };
    seeds::each("a_heap_of_answers_is_bounded_and_goes_when_it_may", 40, |seed| tunnel_of(seed, plan));
}

#[test]
fn a_run_is_the_same_for_its_seed() {
    for seed in 1..6 {
        let (one, other) = (tunnel(seed), tunnel(seed));
        assert!(one.history == other.history, "seed {seed}");
    }
}
