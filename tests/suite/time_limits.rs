//! Time: `response_timeout` ends a call with 504 before it passes, `connection-max-ttl` with 502.

use std::time::{Duration, Instant};

use crate::era_requests::modern;
use crate::support::client::{Builder, Client};
use crate::support::command::{Command, envelope};
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, Posted};
use crate::support::reply::{Part, Reply, notification};
use crate::support::rig::Rig;

/// Clocks of two processes and the kernel's timers agree this well.
const SLACK: Duration = Duration::from_millis(20);
const CANCELLED: &str = "notifications/cancelled";

fn ttl(builder: Builder) -> Builder {
    builder.flag("mcp.connection-max-ttl", "600ms")
}

/// A stream that reports progress until the client leaves, or for twice the bound of any wait.
fn chatty() -> Reply {
    let progress =
        notification("notifications/progress", &serde_json::json!({"progressToken": 1, "progress": 1}));
    (0..400)
        .fold(Reply::sse(), |reply, _| reply.event(&progress).then(Part::Pause(Duration::from_millis(100))))
}

/// All the ways in which a server can fail to come to an end.
fn endless() -> [(&'static str, Reply); 4] {
    [
        ("mute", Reply::silence()),
        ("headers", Reply::sse().hang()),
        ("body", Reply::json(200, "{\"jsonrpc\":").declaring(99).hang()),
        ("chatty", chatty()),
    ]
}

fn assert_timed_out(answer: &Posted) {
    assert_eq!(answer.code(), 502, "{}", answer.request.text());
    assert!(answer.cause().starts_with("timeout/"), "{}", answer.cause());
}

/// The one answer to a command whose time is over, as DESIGN has it.
pub fn assert_expired(answer: &Posted, id: &str) {
    let expected = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"the server did not answer in time","data":{{"error_type":"timeout","origin":"tunnel-client"}}}}}}"#
    );
    assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 504), "{}", answer.request.text());
    assert_eq!(answer.payload_text(), expected);
}

/// The end of a command whose time is over: it is told in time, or where the host gives no time for that, there is a
/// line in the log and no answer.
pub fn assert_told(plane: &Plane, client: &Client, command: &Command, id: &str) -> Option<Posted> {
    let answer = plane.wait_answer_unless(command, || client.is_silent(command));
    answer.iter().for_each(|answer| assert_expired(answer, id));
    assert!(plane.posts_of(command).iter().filter(|post| post.kind() != "jsonrpc_notify").count() <= 1);
    answer
}

/// CP-151, MCP-097: a deadline of zero reaches nobody.
#[test]
fn a_deadline_of_zero_reaches_nobody() {
    let rig = Rig::start();
    let command = Command::method("late", "1").timeout("0s");
    rig.plane.queue(&command);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("late").len(), 0);
    assert_eq!(rig.plane.posts_of(&command).len(), 0);
}

/// CP-152: an unreadable deadline is none.
#[test]
fn unreadable_deadlines_are_none() {
    let plain = || Command::method("m", "1");
    let texts = ["30", "4.5s", "-1s", " 1s", "1s ", "1m30s", "30d", "99999999999999999999s", "1S", "", "s"];
    let mut commands: Vec<Command> = texts.iter().map(|t| plain().timeout(t).off_contract()).collect();
    commands
        .extend(["null", "5", "0", "{}"].map(|raw| plain().member("response_timeout", raw).off_contract()));
    let rig = Rig::start();
    rig.plane.queue_all(&commands);
    for command in &commands {
        let answer = rig.plane.wait_answer(command);
        assert_eq!(answer.code(), 200, "{}", command.text());
    }
}

/// NEW-036, NEW-037, CP-153, MCP-096: before the deadline a call is answered with 504, once, under its own id, and its
/// connection is closed. Of a second, 200 ms are set aside for that.
#[test]
fn a_deadline_is_answered_in_time() {
    let rig = Rig::start();
    let start = Instant::now();
    let ids = ["1", "\"a\\u00e4 \\\"b\"", "12345678901234567890", "1.50"];
    let mut commands = Vec::new();
    for ((method, reply), id) in endless().into_iter().zip(ids) {
        rig.mcp.reply(method, reply);
        let command = Command::method(method, id).timeout("1s");
        rig.plane.queue(&command);
        commands.push((command, id));
    }
    for (command, id) in &commands {
        let told = assert_told(&rig.plane, &rig.client, command, id);
        assert!(told.is_none_or(|answer| answer.request.at - start + SLACK >= Duration::from_millis(800)));
    }
    rig.mcp.server.wait_abandoned(commands.len());
    rig.assert_alive();
    for (command, _) in &commands {
        let posts = rig.plane.posts_of(command);
        assert_eq!(posts.iter().filter(|p| p.kind() != "jsonrpc_notify").count(), 1);
        assert_eq!(posts.last().unwrap().code(), 504);
    }
    let told = "MCP execution deadline reached; delivering terminal timeout response";
    rig.client.wait_log(|line| line.contains(told));
}

/// NEW-036: what is no call has a deadline too, and is answered in its own shape.
#[test]
fn the_deadline_of_what_is_no_call_is_answered_in_time() {
    let rig = Rig::start();
    let commands = [
        (Command::notification("notifications/x"), "notify_ack"),
        (Command::termination("s1"), "session_termination_response"),
    ];
    rig.mcp.reply("notifications/x", Reply::silence());
    rig.mcp.reply("DELETE", Reply::silence());
    for (command, kind) in commands {
        let command = command.timeout("600ms");
        let answer = rig.send(&command);
        assert_eq!((answer.kind(), answer.code()), (kind, 504));
        assert_eq!(rig.plane.posts_of(&command).len(), 1);
    }
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 0);
}

/// CP-154, MCP-098: what came before the deadline is posted, and nothing after the answer that says so.
#[test]
fn notifications_do_not_move_a_deadline() {
    let rig = Rig::start();
    rig.mcp.reply("chatty", chatty());
    let command = Command::method("chatty", "1").timeout("700ms");
    rig.plane.queue(&command);
    assert_told(&rig.plane, &rig.client, &command, "1");
    let before = rig.plane.posts_of(&command);
    assert!(before.len() > 1);
    rig.mcp.server.wait_abandoned(1);
    rig.assert_alive();
    assert_eq!(rig.plane.posts_of(&command).len(), before.len());
}

/// CP-155: the deadline ends a hanging post; the server is not disturbed by it.
#[test]
fn a_deadline_ends_a_hanging_post() {
    let rig = Rig::start();
    let command = Command::method("m", "1").timeout("700ms");
    rig.plane.answer_for(&command, Reply::silence());
    rig.plane.queue(&command);
    rig.plane.server.wait_abandoned(1);
    rig.assert_alive();
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    assert_eq!(rig.mcp.server.abandoned().len(), 0);
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 0);
}

/// CP-155: no attempt follows once the deadline has passed during the wait for it.
#[test]
fn a_deadline_ends_the_wait_for_another_attempt() {
    let rig = Rig::start();
    let command = Command::method("m", "1").timeout("700ms");
    let refusal = Reply::status(503).header("Retry-After", "1");
    rig.plane.answer_for(&command, refusal);
    rig.plane.queue(&command);
    rig.plane.wait_answer(&command);
    // Nothing can announce that no attempt comes.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    rig.assert_alive();
}

/// CP-156: the deadline counts from the poll's headers, so a slow body consumes it.
#[test]
fn a_slow_poll_body_consumes_the_deadline() {
    let plane = Plane::start();
    let command = Command::method("late", "1").timeout("500ms");
    let body = envelope(std::slice::from_ref(&command));
    let (head, tail) = body.split_at(body.len() / 2);
    plane.next_poll(Reply::json(200, head).then(Part::Pause(Duration::from_millis(900))).bytes(tail));
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    rig.plane.wait_polls(2);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("late").len(), 0);
    assert_eq!(rig.plane.posts_of(&command).len(), 0);
}

/// CP-157, NEW-036: the time in the queue counts; what expires there is answered from there, and never reaches the
/// server.
#[test]
fn waiting_consumes_the_deadline() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let gate = Gate::new();
    rig.mcp.reply("held", Reply::result("1", "{}").behind(&gate));
    let held = Command::method("held", "1");
    let late = ["900ms", "300ms", "600ms"].map(|time| Command::method("late", "2").timeout(time));
    rig.plane.queue(&held);
    rig.plane.queue_all(&late);
    gate.wait_arrivals(1);
    let told = late.each_ref().map(|command| assert_told(&rig.plane, &rig.client, command, "2"));
    let in_order = [&told[1], &told[2], &told[0]].map(|told| told.as_ref().map(|answer| answer.request.at));
    assert!(in_order.into_iter().flatten().is_sorted());
    gate.open();
    assert_eq!(rig.plane.wait_answer(&held).code(), 200);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("late").len(), 0);
    assert!(late.iter().all(|command| rig.plane.posts_of(command).len() == 1));
}

/// CP-160, MCP-099, MCP-100, MCP-101, REV-038: the TTL bounds the whole call and ends in one answer.
#[test]
fn the_ttl_ends_every_call_with_an_answer() {
    let rig = Rig::with(ttl);
    let start = Instant::now();
    let mut commands = Vec::new();
    for (method, reply) in endless() {
        rig.mcp.reply(method, reply);
        commands.push(Command::method(method, "1"));
    }
    rig.plane.queue_all(&commands);
    for command in &commands {
        let answer = rig.plane.wait_answer(command);
        assert_timed_out(&answer);
        assert!(answer.request.at - start + SLACK >= Duration::from_millis(600));
    }
    rig.mcp.server.wait_abandoned(commands.len());
    rig.assert_alive();
    for command in &commands {
        let posts = rig.plane.posts_of(command);
        let terminal = posts.iter().filter(|p| p.kind() == "jsonrpc_response");
        assert_eq!(terminal.count(), 1);
        assert_eq!(posts.last().unwrap().kind(), "jsonrpc_response");
    }
}

/// MCP-099: the time that the plane takes for a notification counts.
#[test]
fn the_ttl_counts_the_posting_of_notifications() {
    let rig = Rig::with(ttl);
    let progress = notification("notifications/progress", &serde_json::json!({"progressToken": 1}));
    rig.mcp.reply("m", Reply::sse().event(progress).hang());
    let command = Command::method("m", "1");
    rig.plane.answer_for(&command, Reply::silence());
    rig.plane.queue(&command);
    // The exchange with the plane alone may take longer than a test waits.
    assert_timed_out(&rig.plane.wait_answer(&command));
}

/// MCP-101: the TTL bounds notifications and session ends as well.
#[test]
fn the_ttl_bounds_what_is_no_call() {
    let rig = Rig::with(ttl);
    let commands = [
        (Command::notification("notifications/x"), "notify_ack"),
        (Command::termination("s1"), "session_termination_response"),
    ];
    rig.mcp.reply("notifications/x", Reply::silence());
    rig.mcp.reply("DELETE", Reply::silence());
    for (command, kind) in &commands {
        let answer = rig.send(command);
        assert_eq!((answer.kind(), answer.code()), (*kind, 502));
    }
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 0);
}

/// MCP-102: ten calls run at once by default, not more.
#[test]
fn ten_calls_run_at_once() {
    let rig = Rig::start();
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| Reply::result("1", "{}").behind(&held))
    });
    let commands: Vec<Command> = (0..14).map(|_| Command::method("held", "1")).collect();
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(10);
    // Nothing can announce that an eleventh does not come.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gate.arrivals(), 10);
    gate.open();
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
}

/// REV-035: a legacy server is told once, under the call's id and with its headers.
#[test]
fn a_legacy_server_is_told_that_a_call_is_given_up() {
    let rig = Rig::with(ttl);
    let ids = ["7", "\"a \\\"b\"", "12345678901234567890"];
    for (number, id) in ids.iter().enumerate() {
        rig.mcp.reply("slow", Reply::silence());
        let command = Command::method("slow", id)
            .header("Mcp-Session-Id", &["s-1"])
            .header("Authorization", &["Bearer caller"]);
        // Both kinds of deadline are announced.
        let command = if number == 0 { command.timeout("400ms") } else { command };
        rig.plane.queue(&command);
        let told = rig.mcp.wait_calls(CANCELLED, number + 1).remove(number);
        let params = crate::support::reply::raw_member(&told.body, "params").unwrap();
        let named = crate::support::reply::raw_member(params.as_bytes(), "requestId");
        assert_eq!(named.as_deref(), Some(*id));
        assert_eq!(told.header("mcp-session-id"), Some("s-1"));
        assert_eq!(told.header("authorization"), Some("Bearer caller"));
        match number {
            0 => drop(assert_told(&rig.plane, &rig.client, &command, id)),
            _ => assert_timed_out(&rig.plane.wait_answer(&command)),
        }
    }
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), ids.len());
}

/// REV-035: a server that does not take the cancellation either holds no answer up.
#[test]
fn telling_the_server_is_bounded() {
    let rig = Rig::with(ttl);
    rig.mcp.reply("slow", Reply::silence());
    let gate = Gate::new();
    rig.mcp.reply(CANCELLED, Reply::status(202).behind(&gate));
    assert_timed_out(&rig.send(&Command::method("slow", "1")));
    rig.mcp.reply("slow", Reply::silence());
    rig.mcp.reply(CANCELLED, Reply::status(202).behind(&gate));
    let late = Command::method("slow", "2").timeout("500ms");
    assert_expired(&rig.send(&late), "2");
    gate.wait_arrivals(2);
    gate.open();
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 2);
}

/// REV-035: `initialize` is never cancelled.
#[test]
fn initialize_is_never_cancelled() {
    let rig = Rig::with(ttl);
    let initialize = || Command::method("initialize", "1");
    rig.mcp.hook(|request| (request.rpc_method() == "initialize").then(Reply::silence));
    assert_timed_out(&rig.send(&initialize()));
    rig.plane.queue(&initialize().timeout("400ms"));
    rig.mcp.server.wait_abandoned(2);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 0);
}

/// REV-036: a modern server sees its connection close and nothing else.
#[test]
fn a_modern_server_only_sees_the_connection_close() {
    let rig = Rig::with(ttl);
    rig.mcp.reply("tools/call", Reply::silence());
    let call = || Command::rpc(modern("tools/call", "1", r#""name":"slow""#));
    assert_timed_out(&rig.send(&call()));
    rig.mcp.hook(|request| (request.rpc_method() == "tools/call").then(|| Reply::sse().hang()));
    assert_expired(&rig.send_expiring(|| call().timeout("400ms")), "1");
    rig.mcp.server.wait_abandoned(2);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of(CANCELLED).len(), 0);
}
