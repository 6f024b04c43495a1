//! Bodies within their bounds, and time within its own.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Harbour, call_command};
use crate::support::gate::Gate;
use crate::support::plane::Posted;
use crate::support::reply::{Part, Reply};
use crate::time_limits::assert_expired;
use nix::sys::signal::Signal;

const TARGET: &str = "- {label: a, url: ORIGIN/a}";
const TOO_LARGE: &str = "label a: response exceeds size limit";

fn text(length: usize) -> Reply {
    Reply::body(200, "text/plain", "x".repeat(length))
}

/// Nothing is cut: a body fits, or there is none.
#[test]
fn a_body_fits_or_is_an_error() {
    let harbour = Harbour::start(TARGET, |request| match request.header("x-chunked") {
        Some(length) => text(length.parse().unwrap()).chunked(),
        None => text(request.header("x-length").unwrap().parse().unwrap()),
    });
    for kind in ["x-chunked", "x-length"] {
        let call = |length: &str, max: usize| {
            harbour.call("a", json!({"headers": {kind: length}, "max_response_bytes": max}))
        };
        assert_eq!(call("100", 100).body().len(), 100);
        assert_eq!(call("0", 1).body(), "");
        assert_eq!(call("101", 100).fault(), TOO_LARGE);
        assert_eq!(call("102400", 102_400).body().len(), 102_400);
        assert_eq!(call("102401", 102_400).fault(), TOO_LARGE);
    }
    let metrics = {
        let mut harbour = harbour;
        harbour.rig.client.get("/metrics").body
    };
    assert!(metrics.contains("outcome=\"response_too_large\"} 4"), "{metrics}");
}

/// The configured bound holds where a call asks for none, and no call can raise it.
#[test]
fn the_configured_bound_holds() {
    let small = |builder: crate::support::client::Builder| builder.flag("harpoon.max-response-bytes", "10");
    let harbour = Harbour::with(TARGET, small, |_| text(11));
    assert_eq!(harbour.call("a", json!({})).fault(), TOO_LARGE);
    assert!(harbour.call("a", json!({"max_response_bytes": 11})).refusal().contains("max_response_bytes"));
}

/// An announced gigabyte is refused before it is read, an endless body at its bound.
#[test]
fn large_bodies_are_not_read() {
    let harbour = Harbour::start(TARGET, |request| match request.header("x-endless") {
        Some(_) => Reply::status(200).then(Part::Fill(1 << 30)).chunked(),
        None => Reply::status(200).declaring(1 << 30).hang(),
    });
    assert_eq!(harbour.call("a", json!({})).fault(), TOO_LARGE);
    assert_eq!(harbour.call("a", json!({"headers": {"x-endless": "1"}})).fault(), TOO_LARGE);
    harbour.server.wait_abandoned(2);
}

/// One time bounds the whole call: a silent endpoint, a body without end, redirects.
#[test]
fn a_call_ends_in_its_time() {
    let targets = format!("{TARGET}\n- {{label: b, url: ORIGIN/b}}");
    let harbour = Harbour::start(&targets, |request| match request.path() {
        "/b" => Reply::status(307).header("Location", "/a"),
        _ if request.header("x-slow").is_some() => {
            let drip = |reply: Reply, _| reply.bytes("x").then(Part::Pause(Duration::from_millis(20)));
            (0..500).fold(Reply::status(200).chunked(), drip)
        }
        _ => Reply::silence(),
    });
    let started = Instant::now();
    for (label, headers, text) in [
        ("a", json!({}), "label a: request failed"),
        ("b", json!({}), "label b: request failed"),
        ("a", json!({"x-slow": "1"}), "label a: response read failed"),
    ] {
        let answer = harbour.call(label, json!({"timeout_ms": 200, "headers": headers}));
        assert_eq!(answer.fault(), text);
    }
    assert!(started.elapsed() < Duration::from_secs(8), "the endless body alone would take 10 s");
    harbour.rig.client.wait_log(|line| line.contains("harpoon response read failed"));
    let metrics = {
        let mut harbour = harbour;
        harbour.rig.client.get("/metrics").body
    };
    assert!(
        metrics.contains("outcome=\"request_error\"} 2")
            && metrics.contains("outcome=\"response_read_error\"} 1")
    );
}

/// NEW-036: a caller hears in time that its call has ended unanswered.
#[test]
fn a_call_does_not_outlive_its_command() {
    let harbour = Harbour::start(TARGET, |_| Reply::silence());
    let command = || call_command("a", json!({"timeout_ms": 120_000})).timeout("400ms");
    let answer = harbour.rig.send_expiring(command);
    assert_expired(&answer, "1");
    harbour.server.wait_abandoned(1);
    harbour.rig.assert_alive();
    let of_command = |post: &Posted| post.json["request_id"] == answer.json["request_id"];
    assert_eq!(harbour.rig.plane.posts().into_iter().filter(of_command).count(), 1);
}

/// A call that runs when the process ends is cut and answered as failed.
#[test]
fn a_call_is_cut_at_the_end_of_the_process() {
    let gate = Gate::new();
    let held = gate.clone();
    let short = |builder: crate::support::client::Builder| builder.flag("process.drain-timeout", "200ms");
    let mut harbour = Harbour::with(TARGET, short, move |_| {
        held.pass();
        Reply::status(204)
    });
    let command = call_command("a", json!({}));
    harbour.rig.plane.queue(&command);
    gate.wait_arrivals(1);
    harbour.rig.client.signal(Signal::SIGTERM);
    let answer = harbour.rig.plane.wait_answer(&command);
    assert_eq!(answer.code(), 502);
    gate.open();
    assert!(harbour.rig.client.wait_exit().success());
}

/// A connection that breaks is an answer of the tool, and the next call works.
#[test]
fn broken_connections_cost_their_own_call() {
    let mut harbour = Harbour::start(TARGET, |request| match request.header("x-how") {
        Some("closed") => Reply::closed(),
        Some("cut") => Reply::status(200).declaring(10).bytes("x").close(),
        Some("gibberish") => Reply::raw("nonsense\r\n\r\n"),
        Some("status") => Reply::raw("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
        _ => text(1),
    });
    for (how, fault) in [
        ("closed", "request failed"),
        ("gibberish", "request failed"),
        ("status", "request failed"),
        ("cut", "response read failed"),
    ] {
        let answer = harbour.call("a", json!({"method": "POST", "headers": {"x-how": how}}));
        assert_eq!(answer.fault(), format!("label a: {fault}"), "{how}");
    }
    assert_eq!(harbour.call("a", json!({})).body(), "x");
    assert_eq!(harbour.rig.client.wait_get("/readyz", |answer| answer.status == 200).status, 200);
}

/// `connection-max-ttl` bounds a call of an endpoint as it bounds those of servers: its caller is told.
#[test]
fn a_call_ends_with_the_bound_of_every_call() {
    let short = |builder: crate::support::client::Builder| builder.flag("mcp.connection-max-ttl", "300ms");
    let harbour = Harbour::with("- {label: a, url: ORIGIN/a}", short, |_| Reply::silence());
    let answer = harbour.rig.send(&call_command("a", json!({"timeout_ms": 120_000})));
    assert_eq!((answer.code(), answer.cause().as_str()), (502, "timeout/timeout"));
}

/// Endpoints that do not answer in their callers' time say nothing about the tunnel.
#[test]
fn slow_endpoints_leave_the_tunnel_ready() {
    let mut harbour = Harbour::start(TARGET, |_| Reply::silence());
    // Long enough to count against a server, and often enough.
    let commands: Vec<_> = (0..6).map(|_| call_command("a", json!({})).timeout("2500ms")).collect();
    commands.iter().for_each(|command| harbour.rig.plane.queue(command));
    harbour.server.wait_abandoned(6);
    for command in &commands {
        let ended =
            |line: &str| line.contains("deadline reached") && line.contains(&format!("\"{}\"", command.id));
        harbour.rig.client.wait_log(ended);
    }
    assert_eq!(harbour.rig.client.get("/readyz").status, 200);
}
