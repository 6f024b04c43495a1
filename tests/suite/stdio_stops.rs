//! The end of stdio servers: asked first, then told, then killed, and never left behind.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::era_requests::modern;
use crate::support::command::Command;
use crate::support::stdio::{Journal, Rig, call};

/// A rig whose server has served both eras and left a grandchild behind in each process.
fn family(mode: &str) -> Rig {
    let rig = Rig::with(mode, |b| b.flag("process.drain-timeout", "300ms"));
    rig.open();
    assert_eq!(rig.call("grandchild", "").code(), 200);
    assert_eq!(rig.send(&Command::rpc(modern("grandchild", "1", ""))).code(), 200);
    rig.journal.wait("(start)", 4);
    // Two servers, two guards, two grandchildren.
    assert_eq!(rig.journal.processes().len(), 6);
    rig
}

/// The events of each process that has served, in order.
fn ends(rig: &Rig) -> Vec<Vec<String>> {
    let notes = rig.journal.notes();
    let served = |pid: i32| notes.iter().any(|note| note.pid == pid && note.word() == "grandchild");
    let pids = rig.journal.of("(start)").into_iter().map(|start| start.pid).filter(|pid| served(*pid));
    let events = |pid: i32| {
        let own = notes.iter().filter(|note| note.pid == pid && note.text.starts_with('('));
        own.map(|note| note.text.clone()).skip(1).collect()
    };
    pids.map(events).collect()
}

/// MCP-137 as DESIGN has it, REV-049: the end of the input comes first, and a good server needs no more.
#[test]
fn a_good_server_ends_with_its_input() {
    let mut rig = Rig::with("plain", |b| b.flag("process.drain-timeout", "300ms"));
    rig.open();
    rig.send(&Command::rpc(modern("echo", "1", "")));
    assert_eq!(rig.client.stop().code(), Some(0));
    rig.journal.wait_gone();
    assert_eq!(rig.journal.of("(eof)").len(), 2);
    assert_eq!(rig.journal.of("(term)").len(), 0);
}

/// MCP-137, REV-049: a server that ignores the end of its input gets TERM after it; its children go too.
#[test]
fn term_follows_the_end_of_the_input() {
    let mut rig = family("ignores-eof");
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.journal.processes(), [0; 0], "gone when the client is");
    let ends = ends(&rig);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|events| events == &["(eof)", "(term)"]), "{ends:?}");
}

/// MCP-138 as DESIGN has it, REV-049: one that ignores both is killed, and the client still ends with 0.
#[test]
fn a_stubborn_server_is_killed() {
    let mut rig = family("stubborn");
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.journal.processes(), [0; 0], "gone when the client is");
    let ends = ends(&rig);
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|events| events == &["(eof)", "(term)"]), "{ends:?}");
}

/// Any number of stubborn servers end side by side: one after the other would take longer than a test waits.
#[test]
fn stubborn_servers_end_together() {
    let channels = ["two", "three"];
    let mut rig = Rig::with("stubborn", |builder| {
        let builder = builder.flag("process.drain-timeout", "300ms");
        channels.iter().fold(builder, |builder, channel| {
            let command = Journal::new(builder.path("journal")).command("stubborn");
            builder.flag("mcp.command", &format!("channel={channel},command={command}"))
        })
    });
    for channel in ["main", "two", "three"] {
        assert_eq!(rig.send(&call("echo", "1", "").channel(channel)).code(), 200);
        assert_eq!(rig.send(&Command::rpc(modern("echo", "1", "")).channel(channel)).code(), 200);
    }
    assert_eq!(rig.journal.processes().len(), 12);
    assert_eq!(rig.client.stop().code(), Some(0));
    rig.journal.wait_gone();
}

/// Signals that a terminal or a service manager sends to every process end no guard: it ends with its server.
#[test]
fn guards_outlast_signals() {
    let mut rig = Rig::with("stubborn", |b| b.flag("process.drain-timeout", "300ms"));
    rig.open();
    let server = rig.server_pid();
    let guard = rig.journal.processes().into_iter().find(|pid| *pid != server).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        kill(Pid::from_raw(guard), signal).unwrap();
    }
    rig.assert_alive();
    assert_eq!(rig.journal.of("(start)").len(), 1);
    assert!(rig.journal.processes().contains(&guard));
    rig.client.signal(Signal::SIGKILL);
    rig.client.wait_exit();
    rig.journal.wait_gone();
}

/// A second signal ends the client at once; what it started is killed all the same.
#[test]
fn a_second_signal_leaves_nobody() {
    let mut rig = Rig::with("stubborn", |b| b.flag("process.drain-timeout", "120s"));
    rig.open();
    assert_eq!(rig.call("grandchild", "").code(), 200);
    let held = call("never", "1", "");
    rig.begin(&held, "never");
    rig.client.signal(Signal::SIGTERM);
    rig.client.wait_log(|line| line.contains("stopping"));
    // Sooner it would be one with the first.
    std::thread::sleep(Duration::from_millis(200));
    rig.client.signal(Signal::SIGINT);
    rig.client.wait_exit();
    rig.journal.wait_gone();
}

/// No process outlives a client that was killed, grandchildren included, however stubborn.
#[test]
fn a_killed_client_leaves_nobody() {
    for mode in ["plain", "stubborn"] {
        let mut rig = family(mode);
        rig.client.signal(Signal::SIGKILL);
        rig.client.wait_exit();
        rig.journal.wait_gone();
    }
}

/// Nor does one that has left its group, or is a session of its own.
#[test]
fn nobody_escapes_a_killed_client() {
    for method in ["escape", "detached"] {
        let mut rig = Rig::start("stubborn");
        rig.open();
        assert_eq!(rig.call(method, "").code(), 200);
        rig.journal.wait("(start)", if method == "escape" { 1 } else { 2 });
        rig.client.signal(Signal::SIGKILL);
        rig.client.wait_exit();
        rig.journal.wait_gone();
    }
}

/// REV-045: a subscription, which never ends by itself, ends with the signal and is answered; nobody waits for it.
#[test]
fn subscriptions_do_not_hold_up_the_end() {
    let mut rig = Rig::with("plain", |b| b.flag("process.drain-timeout", "120s"));
    let listen = Command::rpc(modern("subscriptions/listen", "1", r#""notifications":{}"#));
    rig.begin(&listen, "subscriptions/listen");
    rig.plane.wait_posts(&listen, 1, |_| true);
    assert_eq!(rig.client.stop().code(), Some(0));
    let posts = rig.plane.posts_of(&listen);
    assert_eq!((posts.len(), posts[1].code()), (2, 502));
    assert_eq!(rig.journal.of("notifications/cancelled").len(), 1, "the server is told");
}

/// CP-162: a call in flight is answered when the drain ends, once.
#[test]
fn calls_in_flight_are_answered_at_the_end() {
    let mut rig = Rig::with("plain", |b| b.flag("process.drain-timeout", "500ms"));
    rig.open();
    let held = call("late", "1", "");
    rig.begin(&held, "late");
    assert_eq!(rig.client.stop().code(), Some(0));
    let posts = rig.plane.posts_of(&held);
    assert_eq!((posts.len(), posts[0].code()), (1, 502));
    rig.journal.wait_gone();
}

/// An end that comes while the server is down, or has not begun to read, is not held up.
#[test]
fn an_end_without_a_server_is_quick() {
    for mode in ["down", "slow", "mute"] {
        let mut rig = Rig::with(mode, |b| b.flag("process.drain-timeout", "300ms"));
        rig.journal.wait("(start)", 1);
        rig.plane.queue(&call("echo", "1", ""));
        rig.plane.wait_polls(2);
        assert_eq!(rig.client.stop().code(), Some(0), "{mode}");
        rig.journal.wait_gone();
    }
}

/// The present guard: the process that has not noted a start.
fn guard(rig: &Rig) -> Pid {
    let starts = rig.journal.of("(start)");
    let is_guard = |pid: &i32| starts.iter().all(|note| note.pid != *pid);
    Pid::from_raw(rig.journal.processes().into_iter().find(is_guard).unwrap())
}

/// A server that kills its guard is ended while the tunnel runs, with whatever it started, and replaced.
#[test]
fn nobody_outlives_a_killed_guard() {
    let mut rig = Rig::start("stubborn");
    rig.open();
    assert_eq!(rig.call("detached", "").code(), 200);
    let old = rig.journal.wait("(start)", 2);
    // As the server could: it runs as the same user.
    kill(guard(&rig), Signal::SIGKILL).unwrap();
    let fresh = rig.journal.wait("(start)", 3)[2].pid;
    rig.assert_alive();
    let left = rig.journal.processes();
    assert!(old.iter().all(|note| !left.contains(&note.pid)), "{left:?}");
    assert!(left.len() == 2 && left.contains(&fresh), "the new server and its guard: {left:?}");
    assert_eq!(rig.client.stop().code(), Some(0));
    rig.journal.wait_gone();
}

/// Nor does one that stops its guard and ignores the end of its input and TERM outlive the tunnel.
#[test]
fn nobody_outlives_a_stopped_guard() {
    let mut rig = Rig::with("stubborn", |b| b.flag("process.drain-timeout", "300ms"));
    rig.open();
    kill(guard(&rig), Signal::SIGSTOP).unwrap();
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.journal.processes(), [0; 0], "gone when the client is");
}

/// Nor after a second signal, which ends the tunnel before anybody has waited for its servers.
#[test]
fn a_second_signal_leaves_nobody_behind_a_stopped_guard() {
    let mut rig = Rig::with("stubborn", |b| b.flag("process.drain-timeout", "120s"));
    rig.open();
    rig.begin(&call("never", "1", ""), "never");
    let server = rig.server_pid();
    kill(guard(&rig), Signal::SIGSTOP).unwrap();
    rig.client.signal(Signal::SIGTERM);
    rig.client.wait_log(|line| line.contains("stopping"));
    // Sooner it would be one with the first.
    std::thread::sleep(Duration::from_millis(200));
    rig.client.signal(Signal::SIGINT);
    rig.client.wait_exit();
    assert!(!rig.journal.processes().contains(&server), "gone when the client is");
    rig.journal.wait_gone();
}

/// What a start script began beside the client is no server's, and is not ended with what a server leaves behind.
#[test]
fn children_from_before_the_start_are_left_alone() {
    let mut beside = None;
    let rig = Rig::with("plain", |builder| {
        let journal = Journal::new(builder.path("beside"));
        let script = format!("{} >/dev/null 2>&1 &", journal.command("sleeper"));
        beside = Some(journal);
        builder.after(&script)
    });
    let beside = beside.unwrap();
    let sidecar = beside.wait("(start)", 1)[0].pid;
    rig.open();
    kill(guard(&rig), Signal::SIGKILL).unwrap();
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    assert_eq!(beside.of("(start)")[0].pid, sidecar);
    assert_eq!(beside.processes(), [sidecar]);
    kill(Pid::from_raw(sidecar), Signal::SIGKILL).unwrap();
}
