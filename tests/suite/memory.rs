//! What is held at once has a bound in bytes: who exceeds it waits, and nothing is lost.

use crate::support::BOUND;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;
use crate::support::stdio::{self, call};

/// `mcp.body-budget-bytes` where a test does not set it, and the least that may be set.
const BUDGET_BYTES: u64 = 128 << 20;
const LEAST_BUDGET_BYTES: u64 = 64 << 20;

/// More large answers than the byte budget holds wait for each other and all arrive.
#[test]
fn large_answers_take_turns() {
    let rig = Rig::with(|builder| builder.flag("mcp.body-budget-bytes", &LEAST_BUDGET_BYTES.to_string()));
    rig.mcp.hook(|request| {
        let json = r#"{"jsonrpc":"2.0","id":1,"result":""#;
        let large = || {
            let reply = Reply::json(200, json).chunked();
            reply.then(Part::Fill(60 << 20)).bytes("\"}")
        };
        (request.rpc_method() == "large").then(large)
    });
    // The budget holds one of them; the plane takes the first when it has come whole, and has the others wait until then.
    let commands = [(); 4].map(|()| Command::method("large", "1"));
    let gate = Gate::new();
    for command in &commands {
        rig.plane.answer_for(command, Reply::json(200, "{}").behind(&gate));
    }
    rig.plane.queue_all(&commands);
    rig.plane.wait_any_post_within(3 * BOUND);
    gate.open();
    for command in &commands {
        // A busy machine takes its time with so many bytes.
        rig.plane.wait_answer_within(command, 3 * BOUND);
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    rig.assert_alive();
    rig.client.assert_within(LEAST_BUDGET_BYTES);
}

/// Whatever a stream puts into an event, in every member that there is, two of them stay within the budget beside two large
/// commands.
#[test]
fn streams_fill_no_more_than_the_budget() {
    let rig = Rig::start();
    let gate = Gate::new();
    let behind = gate.clone();
    rig.mcp.hook(move |request| {
        // Not parsed: that would take longer than all the rest.
        let head = String::from_utf8_lossy(request.body.get(..50).unwrap_or_default()).into_owned();
        if head.contains("held") {
            return Some(Reply::result("1", "{}").behind(&behind));
        }
        head.contains("flood").then(|| {
            let fields = ["id: ", "\nevent: ", "\ndata: ", "\ndata: "];
            let add = |reply: Reply, field| reply.bytes(field).then(Part::Fill(63 << 20));
            fields.into_iter().fold(Reply::sse(), add).hang()
        })
    });
    let text = "x".repeat(10 << 20);
    let held = [(); 2].map(|()| {
        Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"held","params":{{"text":"{text}"}}}}"#))
    });
    rig.plane.queue_all(&held);
    gate.wait_arrivals(2);
    let floods = [1, 2].map(|id| Command::method("flood", &id.to_string()));
    rig.plane.queue_all(&floods);
    for flood in &floods {
        let refused = rig.plane.wait_answer_within(flood, 3 * BOUND);
        assert_eq!(refused.failure()["transport_error_kind"], "response_body_too_large");
    }
    gate.open();
    for command in &held {
        assert_eq!(rig.plane.wait_answer_within(command, 3 * BOUND).code(), 200);
    }
    rig.client.assert_within(BUDGET_BYTES);
}

/// Children that stop in the middle of their longest line hold no more than the budget, and nobody else up.
#[test]
fn unfinished_lines_fill_no_more_than_the_budget() {
    let rig = stdio::Rig::bound(|builder, journal| {
        ["main", "a", "b", "c", "d", "e", "f"].iter().fold(builder, |builder, channel| {
            builder.flag("mcp.command", &format!("channel={channel},command={}", journal.command("plain")))
        })
    });
    let stuck = ["a", "b", "c", "d", "e", "f"].map(|channel| call("half-line", "1", "").channel(channel));
    rig.plane.queue_all(&stuck);
    rig.journal.wait("(half a line)", 2);
    rig.assert_alive();
    rig.client.assert_within(BUDGET_BYTES);
}

/// While the commands in flight are too large together, no more are fetched; answers make room.
#[test]
fn large_commands_take_turns() {
    let rig = Rig::with(|builder| builder.flag("mcp.body-budget-bytes", &LEAST_BUDGET_BYTES.to_string()));
    let gate = Gate::new();
    let behind = gate.clone();
    rig.mcp.hook(move |request| {
        // Not parsed: that would take longer than all the rest.
        let head = String::from_utf8_lossy(request.body.get(..50).unwrap_or_default()).into_owned();
        head.contains("large").then(|| Reply::result("1", "{}").behind(&behind))
    });
    let text = "x".repeat(33 << 20);
    let large = [(); 2].map(|()| {
        Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"large","params":{{"text":"{text}"}}}}"#))
    });
    for (number, command) in large.iter().enumerate() {
        rig.plane.queue(command);
        gate.wait_arrivals_within(number + 1, 3 * BOUND);
    }
    rig.client.wait_log(|line| line.contains("polling pauses"));
    let small = Command::method("small", "3");
    let polls = rig.plane.polls().len();
    rig.plane.queue(&small);
    assert_eq!((rig.plane.polls().len(), gate.arrivals()), (polls, 2));
    gate.open();
    for command in &large {
        assert_eq!(rig.plane.wait_answer_within(command, 3 * BOUND).code(), 200);
    }
    assert_eq!(rig.plane.wait_answer(&small).code(), 200);
    rig.client.assert_within(LEAST_BUDGET_BYTES);
}

/// Notifications that a child does not read are in flight until it does, although nobody waits for them.
#[test]
fn notifications_that_nobody_reads_count() {
    let budget = LEAST_BUDGET_BYTES.to_string();
    let rig = stdio::Rig::with("slow", |builder| builder.flag("mcp.body-budget-bytes", &budget));
    let text = "x".repeat(33 << 20);
    for _ in 0..2 {
        let large =
            Command::rpc(format!(r#"{{"jsonrpc":"2.0","method":"large","params":{{"text":"{text}"}}}}"#));
        rig.plane.queue(&large);
        rig.plane.wait_answer_within(&large, 3 * BOUND);
    }
    rig.client.wait_log(|line| line.contains("polling pauses"));
    rig.client.assert_within(LEAST_BUDGET_BYTES);
    let polls = rig.plane.polls().len();
    rig.journal.open_gate();
    rig.plane.wait_polls(polls + 1);
}

/// A subscription holds its message for a day. One that is large would keep room from everybody else for as long, so
/// it is refused; polls go on.
#[test]
fn large_subscriptions_are_refused() {
    let rig = Rig::with(|builder| builder.flag("mcp.body-budget-bytes", &LEAST_BUDGET_BYTES.to_string()));
    rig.mcp.hook(|request| (request.rpc_method() == "subscriptions/listen").then(|| Reply::sse().hang()));
    let text = "x".repeat(33 << 20);
    let large = [1, 2].map(|id| {
        Command::rpc(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"text":"{text}"}}}}"#
        ))
    });
    for command in &large {
        rig.plane.queue(command);
        assert_eq!(rig.plane.wait_answer_within(command, 3 * BOUND).code(), 413);
    }
    rig.assert_alive();
    assert!(rig.mcp.calls_of("subscriptions/listen").is_empty());
    assert!(!rig.client.log().contains("polling pauses"));
}
