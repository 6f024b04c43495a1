//! Stdio servers that die, hang, or close a pipe: their calls fail at once and the next ones are served.

use std::time::{Duration, Instant};

use crate::support::BOUND;
use crate::support::command::Command;
use crate::support::stdio::{Journal, Rig, call, initialize};
use crate::time_limits::assert_told;

/// What the newest process has received, as methods.
fn newest(rig: &Rig) -> Vec<String> {
    let pid = rig.server_pid();
    rig.journal.notes().iter().filter(|note| note.pid == pid).map(|note| note.word()).collect()
}

/// Asserts that a call has failed, once, because its server went away.
fn assert_lost(rig: &Rig, command: &Command, kind: &str) {
    let answer = rig.plane.wait_answer(command);
    assert_eq!((answer.code(), answer.cause()), (502, format!("transport_closed/{kind}")));
    assert_eq!(rig.plane.posts_of(command).len(), 1);
}

/// MCP-130, MCP-131, CP-166 as DESIGN has it, REV-017: a death fails the calls in flight at once; the next process
/// is told the handshake first, and serves.
#[test]
fn a_killed_server_is_replaced() {
    let mut rig = Rig::start("plain");
    rig.open();
    let calls = ["1", "1", "2"].map(|id| call("late", id, ""));
    rig.plane.queue_all(&calls);
    rig.journal.wait("late", 3);
    let began = Instant::now();
    rig.kill_server();
    for command in &calls {
        assert_lost(&rig, command, "eof");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "at once: {:?}", began.elapsed());
    rig.assert_alive();
    assert_eq!(newest(&rig), ["(start)", "initialize", "notifications/initialized", "echo"]);
    let told = rig.journal.of("initialize");
    assert_eq!(told[1].json()["params"], told[0].json()["params"]);
    rig.wait_ready(200);
    assert!(rig.client.is_running());
    rig.wait_metric("death", 1.0);
}

/// REV-017: the handshake is remembered through many restarts, and no dead process stays in the table.
#[test]
fn every_restart_is_initialized_and_reaped() {
    let rig = Rig::start("strict");
    rig.open();
    for count in 2..=4 {
        rig.kill_server();
        rig.journal.wait("(start)", count);
        rig.assert_alive();
        assert_eq!(newest(&rig), ["(start)", "initialize", "notifications/initialized", "echo"]);
    }
    let parent = rig.client.pid().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let dead = stats.filter(|stat| {
        let mut fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&parent)
    });
    assert_eq!(dead.count(), 0);
}

/// Under load with a server that is killed again and again, every call gets its own answer or its own failure, once.
#[test]
fn kills_under_load_lose_no_answer() {
    let rig = Rig::start("plain");
    rig.open();
    let calls: Vec<Command> =
        (0..300).map(|n| call(["echo", "notify", "twice"][n % 3], "1", &format!("\"n\":{n}"))).collect();
    let mut served = 0;
    for (round, batch) in calls.chunks(100).enumerate() {
        rig.plane.queue_all(batch);
        rig.plane.wait_answer(&batch[20]);
        rig.kill_server();
        for command in batch {
            let answer = rig.plane.wait_answer(command);
            if answer.code() == 200 {
                let n = calls.iter().position(|other| other.id == command.id).unwrap();
                assert_eq!(answer.payload()["result"]["n"], n);
                served += 1;
            } else {
                assert_eq!(answer.failure()["source"], "transport_closed", "{}", answer.request.text());
            }
        }
        rig.journal.wait("(start)", round + 2);
    }
    for command in &calls {
        let ends = rig.plane.posts_of(command).into_iter().filter(|post| post.kind() != "jsonrpc_notify");
        assert_eq!(ends.count(), 1);
    }
    // Only what was being served when its server was killed may be lost.
    assert!(served >= calls.len() - 3 * 11, "{served}");
    rig.assert_alive();
}

/// A server that ends by itself, even in the middle of an answer, is a death like any other.
#[test]
fn servers_that_end_are_replaced() {
    for method in ["exit", "half"] {
        let rig = Rig::start("plain");
        rig.open();
        let command = call(method, "1", "");
        rig.plane.queue(&command);
        assert_lost(&rig, &command, "eof");
        rig.assert_alive();
        assert_eq!(rig.journal.of("(start)").len(), 2);
    }
}

/// One channel's death is no other channel's business.
#[test]
fn a_death_costs_one_channel() {
    let mut second = None;
    let rig = Rig::with("plain", |builder| {
        let journal = Journal::new(builder.path("second"));
        let entry = format!("channel=two,command={}", journal.command("plain"));
        second = Some(journal);
        builder.flag("mcp.command", &entry)
    });
    let second = second.unwrap();
    let other = call("late", "1", r#""n":1"#).channel("two");
    rig.plane.queue(&other);
    second.wait("late", 1);
    rig.plane.queue(&call("exit", "1", ""));
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    assert_eq!(rig.send(&Command::notification("release").channel("two")).code(), 200);
    assert_eq!(rig.plane.wait_answer(&other).payload()["result"]["n"], 1);
    assert_eq!(second.of("(start)").len(), 1);
}

/// A rig whose server has died for the second time: one that is only about to would still be handed a command.
fn down() -> Rig {
    let rig = Rig::start("down");
    rig.client.wait_log(|line| line.contains("\"deaths\":2"));
    rig
}

/// NEW-053, NEW-059: commands that come while the server is down wait for it, and for the handshake that is replayed.
#[test]
fn commands_wait_for_a_restart() {
    let rig = down();
    let calls = ["1", "2", "3"].map(|n| call("echo", "1", &format!("\"n\":{n}")));
    rig.plane.queue_all(&calls);
    rig.plane.wait_polls(2);
    rig.journal.open_gate();
    for (number, command) in calls.iter().enumerate() {
        let answer = rig.plane.wait_answer(command);
        assert_eq!(answer.payload()["result"]["n"], number + 1, "{}", answer.request.text());
    }
    assert_eq!(newest(&rig), ["(start)", "initialize", "notifications/initialized", "echo", "echo", "echo"]);
}

/// So does a handshake, and a call of an older session gets its handshake first.
#[test]
fn handshakes_wait_for_a_restart() {
    let rig = down();
    let first = initialize("\"i\"");
    rig.plane.queue(&first);
    rig.plane.wait_polls(2);
    rig.journal.open_gate();
    assert_eq!(rig.plane.wait_answer(&first).payload()["result"]["serverInfo"]["name"], "scripted");
    rig.assert_alive();
    assert_eq!(newest(&rig), ["(start)", "initialize", "notifications/initialized", "echo"]);
}

/// A server that ends because nobody asks it anything is started again for who does, however long the pause would be.
#[test]
fn who_asks_first_does_not_wait_for_the_pause() {
    let rig = Rig::start("down");
    // The next pause, of 6.4 s, is longer than a command waits.
    rig.client.wait_log(|line| line.contains("\"deaths\":6"));
    rig.journal.open_gate();
    rig.assert_alive();
    assert_eq!(rig.journal.of("(start)").len(), 7);
}

/// They wait at most 5 s, then fail as a connection that was not made; their own deadline may be sooner.
#[test]
fn commands_do_not_wait_forever() {
    let mut rig = Rig::start("down");
    rig.journal.wait("(start)", 1);
    let (patient, hasty) = (call("echo", "1", ""), call("echo", "2", "").timeout("600ms"));
    let began = Instant::now();
    rig.plane.queue_all(&[patient.clone(), hasty.clone()]);
    let answer = rig.plane.wait_answer(&patient);
    assert_eq!((answer.code(), answer.cause().as_str()), (502, "connect/dial"));
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    assert_told(&rig.plane, &rig.client, &hasty, "2");
    assert!(rig.client.is_running());
    assert_eq!(rig.journal.of("echo"), []);
}

/// Readiness follows the child, down and up again.
#[test]
fn readiness_follows_the_child() {
    let mut rig = Rig::bound(|builder, journal| {
        journal.open_gate();
        builder.flag("mcp.command", &journal.command("down"))
    });
    rig.assert_alive();
    rig.wait_ready(200);
    rig.journal.close_gate();
    rig.kill_server();
    let why = rig.wait_ready(503);
    assert!(why.starts_with("mcp "), "{why}");
    assert_eq!(rig.client.get("/healthz").status, 200);
    rig.journal.open_gate();
    rig.wait_ready(200);
    rig.assert_alive();
}

/// A server that closes its input but runs on takes no calls; it is replaced, whatever it still does.
#[test]
fn a_closed_input_is_a_death() {
    let rig = Rig::start("plain");
    rig.open();
    let closing = call("close-stdin", "1", "");
    rig.plane.queue(&closing);
    let old = rig.journal.wait("(stdin closed)", 1)[0].pid;
    let next = call("echo", "1", "");
    rig.plane.queue(&next);
    assert_lost(&rig, &next, "closed_pipe");
    assert_lost(&rig, &closing, "closed_pipe");
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    assert!(!rig.journal.processes().contains(&old));
}

/// A server that closes its output but runs on gives no answers; it is replaced as well.
#[test]
fn a_closed_output_is_a_death() {
    let rig = Rig::start("stubborn");
    rig.open();
    let closing = call("close-stdout", "1", "");
    rig.plane.queue(&closing);
    assert_lost(&rig, &closing, "eof");
    let old = rig.journal.wait("(stdout closed)", 1)[0].pid;
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    assert!(!rig.journal.processes().contains(&old));
}

/// A grandchild that holds the pipes hides no death, and goes with its parent.
#[test]
fn a_grandchild_hides_no_death() {
    let rig = Rig::start("plain");
    rig.open();
    assert_eq!(rig.call("grandchild", "").code(), 200);
    rig.journal.wait("(start)", 2);
    let grandchild = rig.server_pid();
    let command = call("exit", "1", "");
    rig.plane.queue(&command);
    assert_lost(&rig, &command, "eof");
    rig.journal.wait("(start)", 3);
    rig.assert_alive();
    assert!(!rig.journal.processes().contains(&grandchild));
    assert_eq!(rig.journal.processes().len(), 2, "the new server and its guard");
}

/// A grandchild that is a session of its own goes too, and with it whatever waits at the pipes that it holds.
#[test]
fn a_detached_grandchild_goes_with_its_parent() {
    let rig = Rig::start("plain");
    rig.open();
    assert_eq!(rig.call("detached", "").code(), 200);
    let grandchild = rig.journal.wait("(start)", 2)[1].pid;
    let command = call("exit", "1", "");
    rig.plane.queue(&command);
    assert_lost(&rig, &command, "eof");
    rig.journal.wait("(start)", 3);
    rig.assert_alive();
    assert!(!rig.journal.processes().contains(&grandchild));
    assert_eq!(rig.journal.processes().len(), 2, "the new server and its guard");
    let readers = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", rig.client.pid())).unwrap().flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "stdio-reader" || name.trim() == "stdio-stderr").count()
    };
    let end = Instant::now() + BOUND;
    while readers() > 2 {
        assert!(Instant::now() < end, "threads of the old server: {}", readers());
        std::thread::yield_now();
    }
}

/// A server that has left its group and ignores TERM is replaced like any other.
#[test]
fn an_escaped_server_is_replaced() {
    let rig = Rig::start("stubborn");
    rig.open();
    assert_eq!(rig.call("escape", "").code(), 200);
    let old = rig.server_pid();
    let closing = call("close-stdout", "1", "");
    rig.plane.queue(&closing);
    assert_lost(&rig, &closing, "eof");
    rig.journal.wait("(start)", 2);
    rig.assert_alive();
    assert!(!rig.journal.processes().contains(&old));
}

/// A server that stops reading blocks neither other channels nor the end.
#[test]
fn a_server_that_stops_reading_blocks_nobody() {
    let mut second = None;
    let mut rig = Rig::with("plain", |builder| {
        let journal = Journal::new(builder.path("second"));
        let entry = format!("channel=two,command={}", journal.command("plain"));
        second = Some(journal);
        builder.flag("mcp.command", &entry).flag("process.drain-timeout", "500ms")
    });
    rig.open();
    assert_eq!(rig.call("stop-reading", "").code(), 200);
    // More than a pipe holds.
    let text = format!("\"n\":\"{}\"", "z".repeat(200_000));
    let calls = [(); 4].map(|()| call("echo", "1", &text));
    rig.plane.queue_all(&calls);
    for _ in 0..5 {
        let answer = rig.send(&call("echo", "1", "").channel("two"));
        assert_eq!(answer.code(), 200);
    }
    assert_eq!(rig.client.stop().code(), Some(0));
    for command in &calls {
        assert_eq!(rig.plane.wait_answer(command).code(), 502);
    }
    rig.journal.wait_gone();
    second.unwrap().wait_gone();
}

/// The last words of a server are in the log when it dies.
#[test]
fn last_words_are_logged() {
    let rig = Rig::start("plain");
    rig.open();
    rig.call("stderr", r#""text":"these are last words""#);
    rig.client.wait_log(|line| line.contains("these are last words"));
    rig.plane.queue(&call("exit", "1", ""));
    let line = rig.client.wait_log(|line| line.contains("\"WARN\"") && line.contains("these are last words"));
    assert!(line.contains("\"main\""), "{line}");
}

/// Calls that one death cut make no channel that keeps failing: the next process clears them without traffic.
#[test]
fn one_death_is_no_run_of_failures() {
    let mut rig = Rig::start("plain");
    rig.open();
    let calls = ["1", "2", "3", "4"].map(|id| call("late", id, ""));
    rig.plane.queue_all(&calls);
    rig.journal.wait("late", 4);
    rig.kill_server();
    for command in &calls {
        assert_lost(&rig, command, "eof");
    }
    rig.journal.wait("(start)", 2);
    rig.wait_ready(200);
}

/// Calls that come while a server is still starting wait longer than for one that is down.
#[test]
fn calls_wait_for_a_slow_start() {
    let rig = Rig::start("slow");
    let (patient, clock) = (call("echo", "1", "\"n\":1"), call("echo", "2", "").timeout("5500ms"));
    rig.plane.queue_all(&[patient.clone(), clock]);
    // The deadline of the second one tells when the first would have failed.
    rig.client.wait_log(|line| line.contains("response deadline"));
    assert_eq!(rig.plane.posts_of(&patient).len(), 0);
    rig.journal.open_gate();
    assert_eq!(rig.plane.wait_answer(&patient).payload()["result"]["n"], 1);
}
