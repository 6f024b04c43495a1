//! The poll loop: what it asks for, how it holds back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::support::mcp::{Mcp, answer};
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;

fn refused(adjust: impl FnOnce(Builder) -> Builder) {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let (code, log) = adjust(Builder::run(&plane.server.origin(), &mcp.url())).finish();
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(plane.server.requests().len(), 0, "{log}");
}

/// CP-028, NEW-025: the default poll asks for 20 commands within 30 seconds.
#[test]
fn the_default_poll_asks_for_20_in_30_seconds() {
    let rig = Rig::start();
    assert_eq!(rig.plane.wait_polls(1)[0].query(), "limit=20&timeout_ms=30000");
}

/// NEW-025: the first poll may be shorter, whatever becomes of it; its successors are ordinary.
#[test]
fn the_first_poll_may_be_shorter() {
    for first in [Reply::status(204), Reply::status(500)] {
        let plane = Plane::start();
        plane.next_poll(first.off_contract());
        plane.next_poll(Reply::status(204));
        let rig = Rig::over(plane, Mcp::start(), |b| {
            b.env("CONTROL_PLANE_INITIAL_POLL_TIMEOUT", "1500ms").flag("control-plane.poll-timeout", "20s")
        });
        let polls = rig.plane.wait_polls(3);
        let asked: Vec<&str> = polls.iter().map(|poll| poll.parameter("timeout_ms").unwrap()).collect();
        assert_eq!(asked[..3], ["1500", "20000", "20000"]);
    }
}

/// NEW-026, NEW-028: behind a proxy that cuts a held poll the next one is shorter; without a proxy it is not. The
/// cut poll is not sent again, though its connection had been used before.
#[test]
fn polls_end_before_a_proxy_cuts_them() {
    let cut = Reply::status(200).first(Part::Pause(Duration::from_secs(6))).first(Part::Close);
    let start = |proxied: bool| {
        let proxy = Proxy::start(None, Manner::Open);
        let plane = Plane::start();
        plane.next_poll(Reply::status(204));
        plane.next_poll(cut.clone());
        let rig = Rig::over(plane, Mcp::start(), |b| {
            let b = b
                .flag("control-plane.poll-timeout", "20s")
                .flag("control-plane.poll-deadline-guardrail", "1s");
            match proxied {
                true => b
                    .flag("control-plane.http-proxy", &proxy.url())
                    .argument("--control-plane.allow-plaintext-http"),
                false => b,
            }
        });
        (rig, proxy)
    };
    for ((rig, _proxy), wanted) in [(start(true), "5000"), (start(false), "20000")] {
        let polls = rig.plane.wait_polls(3);
        let asked: Vec<&str> = polls.iter().map(|poll| poll.parameter("timeout_ms").unwrap()).collect();
        assert_eq!(asked[..3], ["20000", "20000", wanted]);
        let before = |one: &Request| one.connection == polls[1].connection && one.at < polls[1].at;
        assert!(rig.plane.server.requests().iter().any(before), "a new connection tells nothing");
        let told = "control-plane proxy closed long poll; lowering future poll timeout";
        assert_eq!(rig.client.log().contains(told), wanted == "5000");
        rig.assert_alive();
    }
}

/// CP-029, CP-032: the limit never exceeds 25, and the timeout is at least a millisecond.
#[test]
fn limit_and_timeout_stay_in_their_range() {
    let rig = Rig::with(|b| {
        b.flag("control-plane.max-inflight", "100").flag("control-plane.poll-timeout", "500us")
    });
    assert_eq!(rig.plane.wait_polls(1)[0].query(), "limit=25&timeout_ms=1");
    rig.assert_alive();
    for poll in rig.plane.polls() {
        let limit: usize = poll.parameter("limit").unwrap().parse().unwrap();
        assert!((1..=25).contains(&limit));
    }
}

/// CP-031: configured poll channels are asked for in sorted order, none without configuration.
#[test]
fn poll_channels_are_sorted() {
    let rig = Rig::with(|b| {
        b.flag("mcp.server-url", "channel=beta,url=http://127.0.0.1:1/")
            .flag("control-plane.poll-channel", "main")
            .flag("control-plane.poll-channel", "beta")
    });
    let query = rig.plane.wait_polls(1)[0].query().to_owned();
    assert_eq!(query, "channel=beta&channel=main&limit=20&timeout_ms=30000");
    assert!(!Rig::start().plane.wait_polls(1)[0].query().contains("channel"));
}

/// CP-033, CP-034: unusable poll channels and timeouts end the start.
#[test]
fn unusable_poll_settings_stop_the_start() {
    for channel in ["Main", "a/b", "unknown", " "] {
        refused(|b| b.flag("control-plane.poll-channel", channel));
    }
    refused(|b| b.flag("control-plane.poll-channel", "main").flag("control-plane.poll-channel", "main"));
    refused(|b| b.flag("control-plane.poll-timeout", "599s"));
    refused(|b| b.flag("control-plane.poll-deadline-guardrail", "60s"));
    refused(|b| b.flag("control-plane.poll-timeout", "0s"));
    refused(|b| b.flag("control-plane.max-inflight", "10001"));
}

/// CP-035, CP-042: while commands run another poll is open, but never two.
#[test]
fn one_poll_is_open_at_a_time() {
    let rig = Rig::start();
    let gate = Gate::new();
    let mut commands = Vec::new();
    for number in 0..8 {
        let method = format!("held/{number}");
        rig.mcp.reply(&method, Reply::result(&number.to_string(), "{}").behind(&gate));
        commands.push(Command::method(&method, &number.to_string()));
        rig.plane.queue(commands.last().unwrap());
        gate.wait_arrivals(number + 1);
    }
    gate.open();
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    assert_eq!(rig.plane.polls_open_max(), 1);
}

/// CP-036, CP-037: an empty poll of any form is followed by the next at once.
#[test]
fn empty_polls_cost_no_backoff() {
    let plane = Plane::start();
    let bodies = ["{}", "null", r#"{"commands":null}"#, r#"{"commands":[]}"#];
    for number in 0..40 {
        plane.next_poll(match bodies.get(number % 5) {
            Some(body) => Reply::json(200, *body).off_contract(),
            None => Reply::status(204),
        });
    }
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    let polls = rig.plane.wait_polls(41);
    let taken = polls[40].at - polls[0].at;
    // With the least backoff of 200 ms each, 40 polls take 8 seconds.
    assert!(taken < Duration::from_secs(6), "{taken:?}");
}

/// CP-030, CP-038, CP-039, CP-040, MCP-102: full workers and a full queue end polling for a while.
#[test]
fn back_pressure_bounds_what_is_resident() {
    let plane = Plane::start();
    let commands: Vec<Command> = (0..20).map(|n| Command::method("held", &n.to_string())).collect();
    plane.queue_all(&commands);
    let gate = Gate::new();
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let mcp = Mcp::start();
    let (held, count) = (gate.clone(), Arc::clone(&running));
    mcp.hook(move |request| {
        let now = count.0.fetch_add(1, Ordering::SeqCst) + 1;
        count.1.fetch_max(now, Ordering::SeqCst);
        held.pass();
        count.0.fetch_sub(1, Ordering::SeqCst);
        Some(answer(request))
    });
    let rig = Rig::over(plane, mcp, |b| {
        b.flag("mcp.max-concurrent-requests", "2").flag("control-plane.max-inflight", "3")
    });
    gate.wait_arrivals(2);
    // Nothing can announce that polling has stopped, so it is watched for a while.
    std::thread::sleep(Duration::from_millis(400));
    let asked: usize = rig
        .plane
        .polls()
        .iter()
        .map(|p| p.parameter("limit").unwrap().parse::<usize>().unwrap())
        .inspect(|limit| assert!((1..=3).contains(limit)))
        .sum();
    assert!((4..=6).contains(&asked), "{asked} are resident");
    gate.open();
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    assert!(running.1.load(Ordering::SeqCst) <= 2);
}

/// CP-041: more commands than asked for are all executed and answered.
#[test]
fn an_overfull_poll_loses_nothing() {
    let plane = Plane::start();
    plane.ignore_limit();
    let commands: Vec<Command> = (0..40).map(|n| Command::method("m", &n.to_string())).collect();
    plane.queue_all(&commands);
    let rig = Rig::over(plane, Mcp::start(), |b| b.flag("control-plane.max-inflight", "5"));
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
        assert_eq!(rig.plane.posts_of(command).len(), 1);
    }
}

/// CP-041, CP-092: 500 commands at once are answered, each with its own id and token.
#[test]
fn five_hundred_commands_are_answered_once_each() {
    let rig = Rig::start();
    let commands: Vec<Command> =
        (0..500).map(|n| Command::method("m", &n.to_string()).header("X-N", &["1"])).collect();
    rig.plane.queue_all(&commands);
    let start = Instant::now();
    for (number, command) in commands.iter().enumerate() {
        let answer = rig.plane.wait_answer(command);
        assert_eq!(answer.request.header("x-tunnel-shard-token"), Some(command.token.as_str()));
        assert_eq!(answer.payload()["id"], number);
    }
    assert_eq!(rig.plane.posts().len(), 500, "after {:?}", start.elapsed());
}
