//! Connections that are dead or come to life too late: what they take along, and what they must not.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::BOUND;
use crate::support::command::{Command, envelope};
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// DESIGN, Connections: after a poll that timed out, neither the next one nor an answer uses a connection that has
/// rested since before it.
#[test]
fn after_a_silent_poll_nothing_old_is_used() {
    let gate = Gate::new();
    let rig = Rig::quick(|b| b);
    rig.assert_alive();
    rig.plane.next_poll(Reply::status(204).behind(&gate));
    gate.wait_arrivals(1);
    let (before, polls) = (rig.plane.server.requests().len(), rig.plane.polls().len());
    rig.plane.wait_polls(polls + 1);
    rig.assert_alive();
    let requests = rig.plane.server.requests();
    let (old, new) = requests.split_at(before);
    for request in new {
        assert!(old.iter().all(|old| old.connection != request.connection), "{}", request.target);
    }
    gate.open();
}

/// DESIGN, Connections: a batch that came while the process was stopped is taken, although its poll's time is over.
#[test]
fn what_came_while_the_process_was_stopped_is_answered() {
    let (plane, gate) = (Plane::start(), Gate::new());
    // More than fits into a socket: the rest of it comes when the process reads again.
    let text = "x".repeat(256 * 1024);
    let payload = format!(r#"{{"jsonrpc":"2.0","id":"1","method":"ping","params":{{"text":"{text}"}}}}"#);
    let commands: Vec<Command> = (0..10).map(|_| Command::rpc(&payload)).collect();
    plane.next_poll(Reply::json(200, envelope(&commands)).behind(&gate));
    let rig = Rig::over(plane, Mcp::start(), |b| {
        b.flag("control-plane.poll-timeout", "1s").flag("control-plane.poll-deadline-guardrail", "1s")
    });
    gate.wait_arrivals(1);
    rig.client.signal(Signal::SIGSTOP);
    gate.open();
    // Time is the subject: longer than the poll may take.
    std::thread::sleep(Duration::from_millis(3500));
    rig.client.signal(Signal::SIGCONT);
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
}

/// DESIGN, Connections: what the other side has closed is closed here, without waiting for a next request.
#[test]
fn closed_connections_do_not_stay() {
    let rig = Rig::start();
    rig.assert_alive();
    rig.mcp.server.cut_connections();
    let port = rig.mcp.server.port();
    let end = Instant::now() + BOUND;
    while half_closed(port) > 0 {
        assert!(Instant::now() < end, "a connection to the server stays in CLOSE_WAIT");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How many connections to a port wait for this side to close them.
fn half_closed(port: u16) -> usize {
    /// The kernel's word for it.
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_half_closed = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == CLOSE_WAIT
    };
    table.lines().skip(1).filter(is_half_closed).count()
}
