//! Peers that mean harm: what they can hold, flip or reach, and what they cannot.

use std::time::Duration;

use crate::support::command::{Command, envelope};
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::reply::{Reply, notification, result_for};
use crate::support::rig::Rig;

/// DESIGN, queue: a server that hangs takes neither all workers nor all places from the other channels.
#[test]
fn a_hung_channel_leaves_places_for_the_others() {
    let docs = Mcp::start();
    let url = docs.url();
    let rig = Rig::with(|b| b.flag("mcp.server-url", &format!("channel=docs,url={url}")));
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| result_for(&request.body, "{}").behind(&held))
    });
    let calls: Vec<Command> = (0..60).map(|n| Command::method("held", &n.to_string())).collect();
    rig.plane.queue_all(&calls);
    gate.wait_arrivals(8);
    for n in 0..5 {
        let answer = rig.send(&Command::method("ping", &n.to_string()).channel("docs"));
        assert_eq!(answer.code(), 200, "{}", answer.request.text());
    }
    gate.open();
    let codes: Vec<u64> = calls.iter().map(|call| rig.plane.wait_answer(call).code()).collect();
    assert!(codes.iter().all(|code| matches!(code, 200 | 503)), "{codes:?}");
    assert!(codes.iter().filter(|code| **code == 200).count() >= 20, "{codes:?}");
}

/// DESIGN, byte budget: subscriptions that stop in the middle of an event hold nobody's large answers up.
#[test]
fn dribbled_events_do_not_hold_the_budget() {
    let rig = Rig::with(|b| b.flag("mcp.body-budget-bytes", "67108864"));
    let dribble = Reply::sse().bytes(format!("data: {}", "x".repeat(400_000))).hang();
    rig.mcp.reply("subscriptions/listen", dribble.clone());
    rig.mcp.reply("subscriptions/listen", dribble);
    for id in ["1", "2"] {
        rig.plane.queue(&Command::method("subscriptions/listen", id));
    }
    rig.mcp.wait_calls("subscriptions/listen", 2);
    let large = format!("\"{}\"", "y".repeat(300_000));
    rig.mcp.reply("large", Reply::result("3", &large));
    assert_eq!(rig.send(&Command::method("large", "3")).code(), 200);
}

/// A subscription's messages are small; one above a mebibyte ends it.
#[test]
fn a_huge_message_ends_a_subscription() {
    let rig = Rig::start();
    let huge = serde_json::json!({"filler": "z".repeat(2 << 20)});
    let stream = Reply::sse().event(notification("notifications/x", &huge)).hang();
    rig.mcp.reply("subscriptions/listen", stream);
    let answer = rig.send(&Command::method("subscriptions/listen", "1"));
    assert_eq!(answer.cause(), "protocol/response_body_too_large");
}

/// A server that tells us to come back at once is not asked in a loop.
#[test]
fn reconnects_keep_their_distance() {
    let rig = Rig::with(|b| b.flag("mcp.connection-max-ttl", "1s"));
    rig.mcp.hook(|request| {
        let number = request.connection;
        let again = || Reply::sse().bytes(format!("retry: 0\nid: e{number}\ndata:\n\n")).close();
        (request.rpc_method() == "m" || request.method == "GET").then(again)
    });
    let answer = rig.send(&Command::method("m", "1").header("Mcp-Session-Id", &["s"]));
    assert_eq!(answer.code(), 502);
    let gets = rig.mcp.server.requests().iter().filter(|request| request.method == "GET").count();
    assert!((1..=12).contains(&gets), "{gets}");
}

/// A caller's id that fits into no head is left out of the post, not the answer with it.
#[test]
fn a_huge_request_id_costs_no_answer() {
    let rig = Rig::start();
    let id = "i".repeat(20_000);
    let answer = rig.send(&Command::method("ping", "1").header("X-Request-Id", &[&id]));
    assert_eq!(answer.request.header("x-client-request-id"), None);
}

/// A poll that floods is a failure like any other; the next one is served.
#[test]
fn a_flood_of_commands_is_refused_as_a_whole() {
    let rig = Rig::start();
    let flood: Vec<Command> = (0..1025).map(|n| Command::method("flood", &n.to_string())).collect();
    rig.plane.next_poll(Reply::json(200, envelope(&flood)));
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("flood").len(), 0);
}

/// MCP-086: a redirect that brings credentials of its own is not followed.
#[test]
fn a_location_with_credentials_is_refused() {
    let rig = Rig::start();
    let origin = rig.mcp.server.origin().replace("http://", "http://evil:pw@");
    rig.mcp.reply("m", Reply::status(307).header("Location", &format!("{origin}/mcp")));
    assert_eq!(rig.send(&Command::method("m", "1")).code(), 307);
    assert_eq!(rig.mcp.calls_of("m").len(), 1);
}

/// A status that no HTTP client may see is the server's mistake, and posted as such.
#[test]
fn impossible_statuses_become_502() {
    let rig = Rig::start();
    rig.mcp.reply("m", Reply::status(999));
    assert_eq!(rig.send(&Command::method("m", "1")).code(), 502);
}

/// CP-170: session ids can be told apart in the log, and used by nobody who reads it.
#[test]
fn session_ids_are_not_shown() {
    let rig = Rig::start();
    rig.mcp.reply("m", Reply::status(500));
    rig.send(&Command::method("m", "1").header("Mcp-Session-Id", &["session-to-steal"]));
    let line = rig.client.wait_log(|line| line.contains("\"session_id\""));
    assert!(!line.contains("session-to-steal"), "{line}");
}

/// A plane that answers every poll at once with nothing is not asked in a loop.
#[test]
fn a_plane_that_holds_no_poll_is_asked_less_often() {
    let rig = Rig::start();
    for _ in 0..150 {
        rig.plane.next_poll(Reply::status(204));
    }
    // On a busy machine a poll may take as long as one that was held, after which the count begins again.
    let rare = |count: usize| {
        let polls = rig.plane.wait_polls(count);
        let gaps = polls[count - 13..].windows(2).map(|pair| pair[1].at - pair[0].at);
        gaps.sum::<Duration>() >= Duration::from_millis(900)
    };
    assert!((25..150).any(rare), "150 polls without a pause");
}
