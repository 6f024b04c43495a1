//! What is held at once has a bound in bytes: who exceeds it waits, and nothing is lost.

use std::sync::Arc;

use crate::support::BOUND;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::reply::{Part, Reply, result_for};
use crate::support::rig::Rig;

/// More large answers than the byte budget holds wait for each other and all arrive.
#[test]
fn large_answers_take_turns() {
    let rig = Rig::start();
    rig.mcp.hook(|request| {
        let json = r#"{"jsonrpc":"2.0","id":1,"result":""#;
        let large = || {
            let reply = Reply::json(200, json).chunked();
            reply.then(Part::Fill(60 << 20)).bytes("\"}")
        };
        (request.rpc_method() == "large").then(large)
    });
    // The budget holds two of them.
    let commands = [(); 3].map(|()| Command::method("large", "1"));
    rig.plane.queue_all(&commands);
    for command in &commands {
        // A busy machine takes its time with so many bytes.
        rig.plane.wait_answer_within(command, 3 * BOUND);
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    rig.assert_alive();
}

/// While the commands in flight are too large together, no more are fetched; answers make room.
#[test]
fn large_commands_take_turns() {
    let rig = Rig::with(|builder| builder.flag("mcp.body-budget-bytes", "67108864"));
    let gate = Arc::new(Gate::new());
    let behind = Arc::clone(&gate);
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "large").then(|| result_for(&request.body, "{}").behind(&behind))
    });
    let text = "x".repeat(33 << 20);
    let large = [1, 2].map(|id| {
        Command::rpc(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"large","params":{{"text":"{text}"}}}}"#
        ))
    });
    for (number, command) in large.iter().enumerate() {
        rig.plane.queue(command);
        rig.mcp.wait_calls("large", number + 1);
    }
    rig.client.wait_log(|line| line.contains("polling pauses"));
    let small = Command::method("small", "3");
    let polls = rig.plane.polls().len();
    rig.plane.queue(&small);
    assert_eq!((rig.plane.polls().len(), rig.mcp.calls_of("small").len()), (polls, 0));
    gate.open();
    for command in &large {
        assert_eq!(rig.plane.wait_answer_within(command, 3 * BOUND).code(), 200);
    }
    assert_eq!(rig.plane.wait_answer(&small).code(), 200);
}

/// A subscription holds its message for a day. One that is large would keep room from everybody else for as long, so
/// it is refused; polls go on.
#[test]
fn large_subscriptions_are_refused() {
    let rig = Rig::with(|builder| builder.flag("mcp.body-budget-bytes", "67108864"));
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
