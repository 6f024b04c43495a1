//! The end: what was taken is finished within a bound, then nothing is left behind.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::era_requests::modern;
use crate::support::command::{Command, envelope};
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;
use crate::time_limits::assert_told;

/// Signals and waits until the client has begun to stop.
fn begin_stop(rig: &Rig, signal: Signal) {
    rig.client.signal(signal);
    rig.client.wait_log(|line| line.contains("stopping"));
}

/// A drain that no test outlives: whoever ends sooner did not wait for it.
fn patient() -> Rig {
    Rig::with(|b| b.flag("process.drain-timeout", "120s"))
}

/// A rig whose server holds every call of method `held` behind the gate.
fn holding(rig: &Rig) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| Reply::result("1", "{}").behind(&held))
    });
    gate
}

/// CP-161: a held poll does not hold up the end, and none follows it.
#[test]
fn an_idle_client_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut rig = patient();
        rig.assert_alive();
        rig.plane.wait_polls(2);
        rig.client.signal(signal);
        // The poll is held for 30 s, which is longer than a test waits.
        assert_eq!(rig.client.wait_exit().code(), Some(0), "{signal}");
        let polls = rig.plane.polls().len();
        assert!(polls <= 3, "{polls} polls");
    }
}

/// CP-161: a signal while the plane is away, or during a backoff, ends the process as well.
#[test]
fn a_signal_ends_a_backoff() {
    let plane = Plane::start();
    plane.next_poll(Reply::status(503).header("Retry-After", "60"));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.flag("process.drain-timeout", "120s"));
    rig.client.wait_log(|line| line.contains("backing off"));
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.plane.polls().len(), 1);
}

/// CP-162: a call in flight is finished and posted once; no poll follows the signal.
#[test]
fn a_call_in_flight_is_finished_and_posted() {
    let mut rig = patient();
    let gate = holding(&rig);
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.plane.wait_polls(2);
    begin_stop(&rig, Signal::SIGTERM);
    let polls = rig.plane.polls().len();
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    let posts = rig.plane.posts_of(&command);
    assert_eq!((posts.len(), posts[0].code()), (1, 200));
    assert_eq!(rig.plane.polls().len(), polls);
}

/// CP-162: queued commands are finished too.
#[test]
fn queued_commands_are_finished() {
    let mut rig =
        Rig::with(|b| b.flag("process.drain-timeout", "120s").flag("mcp.max-concurrent-requests", "1"));
    let gate = holding(&rig);
    let commands = [(); 5].map(|()| Command::method("held", "1"));
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(1);
    begin_stop(&rig, Signal::SIGTERM);
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    for command in &commands {
        let posts = rig.plane.posts_of(command);
        assert_eq!((posts.len(), posts[0].code()), (1, 200));
    }
}

/// CP-162: what does not end within the bound is answered as failed and logged by its id.
#[test]
fn what_never_ends_is_answered_and_named() {
    let mut rig =
        Rig::with(|b| b.flag("process.drain-timeout", "1s").flag("mcp.max-concurrent-requests", "2"));
    rig.mcp.reply("stuck", Reply::silence());
    rig.mcp.reply("stuck", Reply::sse().hang());
    let commands = [(); 4].map(|()| Command::method("stuck", "1"));
    rig.plane.queue_all(&commands);
    rig.mcp.wait_calls("stuck", 2);
    assert_eq!(rig.client.stop().code(), Some(0));
    let log = rig.client.log();
    for command in &commands {
        let posts = rig.plane.posts_of(command);
        assert_eq!(posts.len(), 1, "{}", command.id);
        assert_eq!(posts[0].code(), 502);
        assert_eq!(posts[0].kind(), "jsonrpc_response");
        let id = format!("\"{}\"", command.id);
        let warned = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        let mut named = log.lines().filter(warned).filter(|line| line.contains(&id));
        assert!(named.next().is_some(), "{} is not named", command.id);
    }
    assert_eq!(rig.mcp.calls_of("stuck").len(), 2);
}

/// CP-162: after the bound even a plane that takes no answers cannot hold the process.
#[test]
fn a_mute_plane_does_not_prevent_the_end() {
    let mut rig = Rig::with(|b| b.flag("process.drain-timeout", "500ms"));
    let command = Command::method("m", "1");
    rig.plane.answer_for(&command, Reply::silence());
    rig.plane.queue(&command);
    rig.plane.wait_answer(&command);
    // Nobody was told.
    assert_eq!(rig.client.stop().code(), Some(1));
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
}

/// A drain uses its time: a plane that comes back within it gets every answer.
#[test]
fn a_plane_that_comes_back_gets_its_answers() {
    let mut rig = patient();
    let gate = holding(&rig);
    let commands = [(); 10].map(|()| Command::method("held", "1"));
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(10);
    begin_stop(&rig, Signal::SIGTERM);
    rig.plane.stop();
    gate.open();
    std::thread::sleep(Duration::from_millis(1200));
    rig.plane.restart();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    for command in &commands {
        assert_eq!(rig.plane.posts_of(command)[0].code(), 200);
    }
}

/// Answers that are lost in the drain are counted in the last line, and the exit code tells of them.
#[test]
fn lost_answers_are_counted_at_the_end() {
    let mut rig = patient();
    let gate = holding(&rig);
    let commands = [(); 3].map(|()| Command::method("held", "1"));
    for command in &commands[..2] {
        rig.plane.answer_for(command, Reply::status(403).off_contract());
    }
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(3);
    begin_stop(&rig, Signal::SIGTERM);
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(1));
    let log = rig.client.log();
    // Of the process: a search for metadata of OAuth may still be writing its own.
    let last = log.lines().rfind(|line| line.contains("\"component\":\"process\"")).unwrap();
    assert!(last.contains("tunnel-client stopped") && last.contains("\"answers_lost\":2"), "{last}");
}

/// Two signals at once are one: coreutils `timeout` signals the process and its group.
#[test]
fn two_signals_at_once_are_one() {
    let mut rig = patient();
    let gate = holding(&rig);
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.client.signal(Signal::SIGTERM);
    rig.client.signal(Signal::SIGINT);
    rig.client.wait_log(|line| line.contains("stopping control-plane poller"));
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    assert_eq!(rig.plane.posts_of(&command)[0].code(), 200);
}

/// What the plane has written to a busy tunnel when the signal comes is on its way for a round trip.
#[test]
fn a_busy_tunnel_reads_what_is_on_its_way() {
    let plane = Plane::start();
    // Both replies take a round trip.
    let far = |reply: Reply| reply.first(Part::Pause(Duration::from_millis(250)));
    let first = Command::method("m", "1");
    plane.next_poll(far(Reply::json(200, envelope(std::slice::from_ref(&first)))));
    plane.next_answer(far(Reply::json(200, "{}")));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.flag("process.drain-timeout", "120s"));
    rig.plane.wait_answer(&first);
    // The plane sees the answer before the client sees that it was accepted.
    std::thread::sleep(Duration::from_millis(350));
    let polls = rig.plane.polls().len();
    rig.client.signal(Signal::SIGTERM);
    rig.client.wait_log(|line| line.contains("stopping control-plane poller"));
    // Within two round trips, and later than a poll that is cut at once.
    std::thread::sleep(Duration::from_millis(100));
    let command = Command::method("m", "1");
    rig.plane.queue(&command);
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    assert_eq!(rig.plane.posts_of(&command)[0].code(), 200);
    assert_eq!(rig.plane.polls().len(), polls);
}

/// CP-161: a poll whose headers have arrived is read to its end, and its commands are served.
#[test]
fn a_poll_that_is_being_read_is_finished() {
    let plane = Plane::start();
    let (gate, command) = (Gate::new(), Command::method("m", "1"));
    let body = envelope(std::slice::from_ref(&command));
    let (head, tail) = body.split_at(10);
    plane.next_poll(Reply::json(200, head).wait(&gate).bytes(tail));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.flag("process.drain-timeout", "120s"));
    gate.wait_arrivals(1);
    // The headers are on the wire; nothing tells when the client has read them.
    std::thread::sleep(Duration::from_millis(300));
    begin_stop(&rig, Signal::SIGTERM);
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    let posts = rig.plane.posts_of(&command);
    assert_eq!((posts.len(), posts[0].code()), (1, 200));
}

/// CP-161: a poll that stalls in its body is cut after a moment.
#[test]
fn a_poll_that_stalls_is_cut() {
    let plane = Plane::start();
    plane.next_poll(Reply::json(200, "{\"commands\":").declaring(99).hang().off_contract());
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.flag("process.drain-timeout", "120s"));
    rig.plane.wait_polls(1);
    // As above.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(rig.client.stop().code(), Some(0));
}

/// A second signal ends the process at once, whatever is still in flight.
#[test]
fn a_second_signal_ends_at_once() {
    let mut rig = patient();
    rig.mcp.reply("stuck", Reply::silence());
    rig.plane.queue(&Command::method("stuck", "1"));
    rig.mcp.wait_calls("stuck", 1);
    begin_stop(&rig, Signal::SIGTERM);
    // Sooner it would be one with the first.
    std::thread::sleep(Duration::from_millis(200));
    assert!(rig.client.is_running());
    rig.client.signal(Signal::SIGINT);
    // The drain would go on for longer than a test waits.
    rig.client.wait_exit();
}

/// REV-045: subscriptions, which never end by themselves, end with the signal and are answered.
#[test]
fn subscriptions_end_with_the_signal() {
    let mut rig = patient();
    let text = |id: &str| modern("subscriptions/listen", id, r#""notifications":{}"#);
    let commands = [Command::rpc(text("1")), Command::rpc(text("2"))];
    rig.mcp.reply("subscriptions/listen", Reply::sse().hang());
    rig.mcp.reply("subscriptions/listen", Reply::silence());
    rig.plane.queue_all(&commands);
    rig.mcp.wait_calls("subscriptions/listen", 2);
    assert_eq!(rig.client.stop().code(), Some(0));
    for command in &commands {
        let posts = rig.plane.posts_of(command);
        assert_eq!((posts.len(), posts[0].code()), (1, 502));
    }
}

/// Start files go with the process; a stop answers no more.
#[test]
fn files_are_removed() {
    let mut rig = Rig::with(|b| {
        let pid = b.path("client.pid");
        b.flag("pid.file", &pid)
    });
    let address = rig.client.address();
    let (url, pid) = (rig.client.path("health.url"), rig.client.path("client.pid"));
    let written = std::fs::read_to_string(&pid).unwrap();
    assert_eq!(written.trim(), rig.client.pid().to_string());
    assert_eq!(rig.client.stop().code(), Some(0));
    assert!(!url.exists() && !pid.exists());
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// While it drains, the client is alive but not ready, and it stays reachable for its operator.
#[test]
fn a_draining_client_can_still_be_asked() {
    let mut rig = patient();
    let gate = holding(&rig);
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    begin_stop(&rig, Signal::SIGTERM);
    assert_eq!(rig.client.get("/healthz").status, 200);
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
}

/// CP-161: a start that still waits for its server, or for the plane's first word, can be ended.
#[test]
fn a_start_that_waits_can_be_ended() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    plane.metadata(Reply::silence());
    // To no question of the probe, however often it asks: the start goes on as soon as one is answered.
    for _ in 0..100 {
        mcp.reply("server/discover", Reply::silence());
        mcp.reply("initialize", Reply::silence());
    }
    let mut rig = Rig::over(plane, mcp, |b| {
        b.flag("mcp.startup-wait-timeout", "60s").flag("process.drain-timeout", "120s")
    });
    rig.mcp.server.wait_requests(1, |request| request.method == "POST");
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.plane.polls().len(), 0);
}

/// CP-162: a plane that does not take a notification holds neither the process nor the call's answer.
#[test]
fn a_hanging_notification_does_not_prevent_the_end() {
    let mut rig = Rig::with(|b| b.flag("process.drain-timeout", "500ms"));
    let message = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    rig.mcp.reply("m", Reply::sse().event(message).hang());
    let command = Command::method("m", "1");
    rig.plane.answer_for(&command, Reply::silence());
    rig.plane.queue(&command);
    rig.plane.wait_posts(&command, 1, |_| true);
    assert_eq!(rig.client.stop().code(), Some(0));
    let last = rig.plane.posts_of(&command).pop().unwrap();
    assert_eq!((last.kind(), last.code()), ("jsonrpc_response", 502));
}

/// CP-162: a call that waits to resume its stream is answered too.
#[test]
fn a_wait_for_a_stream_is_cut_and_answered() {
    let mut rig = Rig::with(|b| b.flag("process.drain-timeout", "500ms"));
    let message = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let cut = Reply::sse().bytes("retry: 20000\n\n").event_with_id("e-1", message).close();
    rig.mcp.reply("m", cut);
    let command = Command::method("m", "1");
    rig.plane.queue(&command);
    rig.plane.wait_posts(&command, 1, |_| true);
    assert_eq!(rig.client.stop().code(), Some(0));
    assert_eq!(rig.plane.wait_answer(&command).code(), 502);
}

/// CP-153: a deadline that passes while the client drains is answered before that as ever.
#[test]
fn a_deadline_passes_while_draining() {
    let mut rig = patient();
    rig.mcp.reply("stuck", Reply::silence());
    let command = Command::method("stuck", "1").timeout("1s");
    rig.plane.queue(&command);
    rig.mcp.wait_calls("stuck", 1);
    let code = rig.client.stop().code();
    let told = assert_told(&rig.plane, &rig.client, &command, "1");
    assert_eq!(code, Some(i32::from(told.is_none())));
}

/// CP-161: a plane that has gone away does not hold the end up.
#[test]
fn a_lost_plane_does_not_prevent_the_end() {
    let mut rig = Rig::with(|b| b.flag("process.drain-timeout", "500ms"));
    rig.mcp.reply("stuck", Reply::silence());
    rig.plane.queue(&Command::method("stuck", "1"));
    rig.mcp.wait_calls("stuck", 1);
    rig.plane.stop();
    // It ends, and says that somebody was not told.
    assert_eq!(rig.client.stop().code(), Some(1));
}

/// Signals that tools send by habit end no process without a drain; `SIGQUIT` asks for one like `SIGTERM`.
#[test]
fn no_common_signal_ends_the_client_without_a_drain() {
    let mut rig = patient();
    let gate = holding(&rig);
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGXFSZ] {
        rig.client.signal(signal);
    }
    rig.client.wait_log(|line| line.contains("\"INFO\"") && line.contains("neither the settings nor"));
    begin_stop(&rig, Signal::SIGQUIT);
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    assert_eq!(rig.plane.posts_of(&command)[0].code(), 200);
}
