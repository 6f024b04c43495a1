//! Time limits of calls over stdio: the call ends, the pipe lives on.

use crate::support::command::Command;
use crate::support::stdio::{Rig, call, initialize};
use crate::time_limits::assert_told;

/// A held call whose answer nobody waits for any more.
fn given_up(rig: &Rig) -> Command {
    let command = call("late", "\"x\"", r#""n":1"#).timeout("400ms");
    rig.begin(&command, "late");
    rig.journal.wait("notifications/cancelled", 1);
    command
}

/// NEW-036, MCP-125, CP-158, REV-037: a deadline is answered before it passes and said to the server under its own
/// id; the process and its other calls live on.
#[test]
fn a_passed_deadline_costs_one_call() {
    let rig = Rig::start("plain");
    rig.open();
    let other = call("late", "\"x\"", r#""n":2"#);
    rig.begin(&other, "late");
    let command = call("never", "\"x\"", "").timeout("400ms");
    rig.begin(&command, "never");
    let told = rig.journal.wait("notifications/cancelled", 1).remove(0).json();
    assert_eq!(told["params"]["requestId"], rig.journal.of("never")[0].json()["id"]);
    assert_told(&rig.plane, &rig.client, &command, "\"x\"");
    rig.assert_alive();
    rig.send(&Command::notification("release"));
    assert_eq!(rig.plane.wait_answer(&other).payload()["result"]["n"], 2);
    assert_eq!(rig.journal.of("(start)").len(), 1);
}

/// MCP-126, REV-037: an answer that comes too late reaches nobody, however often its id was used since. NEW-061,
/// MCP-127, CP-159: the id can be used again at once, under a private id of its own.
#[test]
fn a_late_answer_reaches_nobody() {
    let rig = Rig::start("plain");
    rig.open();
    // The server of this test answers a cancelled call, so its answer is late by nature.
    let late = given_up(&rig);
    let again = call("late", "\"x\"", r#""n":2"#);
    rig.begin(&again, "late");
    let written = rig.journal.of("late");
    assert_ne!(written[0].json()["id"], written[1].json()["id"]);
    rig.assert_alive();
    rig.send(&Command::notification("release"));
    let answer = rig.plane.wait_answer(&again);
    assert_eq!((&answer.payload()["result"]["n"], &answer.payload()["id"]), (&2.into(), &"x".into()));
    rig.assert_alive();
    assert_told(&rig.plane, &rig.client, &late, "\"x\"");
    assert_eq!(rig.plane.posts_of(&again).len(), 1);
}

/// MCP-128 as DESIGN has it: while an answer is outstanding that nobody waits for, others are served in full.
#[test]
fn an_outstanding_answer_costs_no_notification() {
    let rig = Rig::start("plain");
    rig.open();
    let command = call("never", "1", "").timeout("400ms");
    rig.begin(&command, "never");
    rig.journal.wait("notifications/cancelled", 1);
    let notifies = call("notify", "1", "");
    rig.send(&notifies);
    assert_eq!(rig.plane.posts_of(&notifies).len(), 2);
    let asked = rig.call("ask", "");
    assert_eq!(asked.payload()["result"]["7"]["error"]["code"], -32601);
}

/// MCP-129: a call that expires before its turn is never written.
#[test]
fn an_expired_call_is_never_written() {
    let rig = Rig::start("slow");
    let command = call("echo", "1", r#""n":"expired""#).timeout("400ms");
    rig.plane.queue(&command);
    rig.journal.wait("(start)", 1);
    assert_told(&rig.plane, &rig.client, &command, "1");
    rig.journal.open_gate();
    rig.assert_alive();
    assert_eq!(rig.journal.of("echo").len(), 1);
    assert_eq!(rig.journal.of("(start)").len(), 1);
}

/// MCP-129: one that expires while the only worker is busy is not written either.
#[test]
fn a_call_that_expires_in_the_queue_is_never_written() {
    let rig = Rig::with("plain", |b| {
        b.flag("mcp.max-concurrent-requests", "1").flag("mcp.connection-max-ttl", "1500ms")
    });
    rig.open();
    let first = call("never", "1", "");
    rig.begin(&first, "never");
    let second = call("echo", "2", r#""n":"expired""#).timeout("400ms");
    rig.plane.queue(&second);
    assert_told(&rig.plane, &rig.client, &second, "2");
    rig.plane.wait_answer(&first);
    rig.assert_alive();
    assert_eq!(rig.journal.of("echo").len(), 1);
}

/// Our own limit on a call is said to the plane as a time-out, and to the server as a cancellation.
#[test]
fn our_own_limit_is_answered() {
    let rig = Rig::with("plain", |b| b.flag("mcp.connection-max-ttl", "600ms"));
    rig.open();
    let answer = rig.call("never", "");
    assert_eq!((answer.code(), answer.cause().as_str()), (502, "timeout/timeout"));
    let told = rig.journal.wait("notifications/cancelled", 1).remove(0).json();
    assert_eq!(told["params"]["requestId"], rig.journal.of("never")[0].json()["id"]);
    rig.assert_alive();
}

/// MCP-136: an `initialize` that misses its deadline costs the process: nobody knows what state it is in.
#[test]
fn a_mute_handshake_restarts_the_server() {
    let rig = Rig::start("mute");
    let command = initialize("1").timeout("400ms");
    rig.begin(&command, "initialize");
    let first = rig.server_pid();
    let starts = rig.journal.wait("(start)", 2);
    assert!(starts[1].pid != first);
    assert_told(&rig.plane, &rig.client, &command, "1");
    // What is mute is not fed: the next process gets nothing that nobody asks for.
    assert!(rig.journal.notes().iter().all(|note| note.pid == first || note.word() != "initialize"));
}

/// Commands that come while a server starts slowly are served in their order when it reads.
#[test]
fn a_slow_start_loses_nothing() {
    let rig = Rig::start("slow");
    let calls = ["1", "2", "3", "4", "5", "6"].map(|n| call("echo", "1", &format!("\"n\":{n}")));
    rig.plane.queue_all(&calls);
    // The poll after the one that took them.
    rig.plane.wait_polls(2);
    rig.journal.open_gate();
    for (number, command) in calls.iter().enumerate() {
        assert_eq!(rig.plane.wait_answer(command).payload()["result"]["n"], number + 1);
    }
    let order: Vec<_> = rig.journal.of("echo").iter().map(|n| n.json()["params"]["n"].clone()).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6]);
}
