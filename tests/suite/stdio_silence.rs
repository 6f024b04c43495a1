//! Stdio servers that owe answers and say nothing: told of by readiness, and replaced only when nobody can still be
//! working there.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::stdio::{Rig, call};

/// A server that works on one long call in silence is told of by readiness, and never ended for it.
#[test]
fn a_long_silent_call_is_left_alone() {
    let mut rig = Rig::with("plain", |b| b.flag("mcp.stdio-silence", "200ms"));
    rig.open();
    let held = call("late", "1", r#""n":7"#);
    rig.begin(&held, "late");
    let why = rig.wait_ready(503);
    assert_eq!(
        why.trim(),
        r#"mcp server of channel "main" is silent: said nothing for 0.2 s while calls wait"#
    );
    rig.send(&Command::notification("release"));
    assert_eq!(rig.plane.wait_answer(&held).payload()["result"]["n"], 7);
    rig.wait_ready(200);
    assert_eq!((rig.journal.of("(start)").len(), rig.journal.of("ping").len()), (1, 0));
}

/// One that lets every call pass its deadline, and a ping too, is replaced; one that answers the ping is not.
#[test]
fn a_hung_server_is_replaced() {
    let adjust = |b: Builder| b.flag("mcp.stdio-silence", "300ms").flag("mcp.connection-max-ttl", "600ms");
    let mut rig = Rig::with("plain", adjust);
    rig.open();
    assert_eq!(rig.call("never", "").code(), 502);
    rig.journal.wait("ping", 1);
    rig.wait_ready(200);
    rig.assert_alive();
    assert_eq!(rig.journal.of("(start)").len(), 1);
    kill(Pid::from_raw(rig.server_pid()), Signal::SIGSTOP).unwrap();
    assert_eq!(rig.call("never", "").code(), 502);
    rig.client.wait_log(|line| line.contains("and a ping; replacing it"));
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    rig.wait_ready(200);
}

/// A ping that stays unanswered while the server speaks is no call that waits: the next silence is seen again.
#[test]
fn a_ping_without_an_answer_is_forgotten() {
    let adjust = |b: Builder| b.flag("mcp.stdio-silence", "300ms").flag("mcp.connection-max-ttl", "600ms");
    let mut rig = Rig::with("strict", adjust);
    rig.open();
    for round in 1..=2 {
        assert_eq!(rig.call("never", "").code(), 502);
        rig.journal.wait("ping", round);
        rig.wait_ready(200);
    }
    rig.assert_alive();
    assert_eq!(rig.journal.of("(start)").len(), 1);
}
