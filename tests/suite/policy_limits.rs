//! Limits of the operator's policy: how many calls, and how many at once.

use serde_json::{Value, json};

use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Posted;
use crate::support::reply::result_for;
use crate::support::rig::Rig;

fn rules(limits: &str) -> String {
    format!(
        "policy:\n  channels:\n    main:\n      limits:\n        - {}\n",
        limits.replace('\n', "\n        - ")
    )
}

fn tool(name: &str) -> Command {
    Command::rpc(format!(
        r#"{{"jsonrpc":"2.0","id":"c-1","method":"tools/call","params":{{"name":"{name}"}}}}"#
    ))
}

/// That a limit refused; in how many milliseconds there is room.
fn limited(answer: &Posted) -> u64 {
    assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 429), "{}", answer.request.text());
    let payload = answer.payload();
    let wait = &payload["error"]["data"]["retry_after_ms"];
    let data = json!({ "origin": "tunnel-client", "error_type": "rate_limited", "retry_after_ms": wait });
    let error = json!({ "code": -32000, "message": "the operator's limit is reached", "data": data });
    assert_eq!(*payload, json!({ "jsonrpc": "2.0", "id": "c-1", "error": error }));
    wait.as_u64().unwrap()
}

fn passed(answer: &Posted) {
    assert!(answer.payload().get("result").is_some(), "{}", answer.request.text());
}

/// A burst passes, then nothing does until a token is there; other tools and what no limit counts go on.
#[test]
fn calls_beyond_the_rate_reach_no_server() {
    let mut rig = Rig::with(|b| b.yaml(&rules("{ tools: [search, 'get_*'], per_minute: 1, burst: 3 }")));
    ["search", "get_a", "get_b"].iter().for_each(|name| passed(&rig.send(&tool(name))));
    for name in ["search", "get_c"] {
        let wait = limited(&rig.send(&tool(name)));
        assert!((1..=60_000).contains(&wait), "{wait}");
    }
    passed(&rig.send(&tool("other")));
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("tools/call").len(), 4);

    let metrics = rig.client.get("/metrics").body;
    let denied = r#"tunnel_client_policy_decisions_total{channel="main",kind="tool",decision="deny"} 2"#;
    assert!(metrics.contains(denied), "{metrics}");
    rig.client.stop();
    let log = rig.client.log();
    let told: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("operator's policy"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["name"], &told[0]["rule"]),
        (&json!("search"), &json!("policy.channels.main.limits, entry 1"))
    );
}

/// A limit without tools counts every request but those that cannot be refused.
#[test]
fn a_limit_of_the_channel_counts_all_requests() {
    let rig = Rig::with(|b| b.yaml(&rules("{ per_minute: 1, burst: 2 }")));
    passed(&rig.call(r#"{"jsonrpc":"2.0","id":"c-1","method":"tools/list"}"#));
    passed(&rig.send(&tool("a")));
    limited(&rig.send(&tool("b")));
    limited(&rig.call(r#"{"jsonrpc":"2.0","id":"c-1","method":"resources/list"}"#));
    for _ in 0..3 {
        rig.assert_alive();
        assert_eq!(rig.send(&Command::notification("notifications/x")).kind(), "notify_ack");
    }
}

/// One more call than may run is refused at once, and gets in when another has ended. One that a second limit refuses
/// has taken nothing from the first.
#[test]
fn calls_that_run_at_once_are_counted_until_they_end() {
    let limits = "{ tools: [slow], concurrent: 2 }\n{ tools: [slow], per_minute: 1, burst: 4 }";
    let rig = Rig::with(|b| b.yaml(&rules(limits)));
    let gate = Gate::new();
    let behind = gate.clone();
    rig.mcp.hook(move |request| {
        let is_slow = request.json()["params"]["name"] == "slow";
        is_slow.then(|| result_for(&request.body, "{}").behind(&behind))
    });
    let running = [tool("slow"), tool("slow")];
    rig.plane.queue_all(&running);
    gate.wait_arrivals(2);
    for _ in 0..5 {
        assert_eq!(limited(&rig.send(&tool("slow"))), 1000);
    }
    passed(&rig.send(&tool("quick")));
    gate.open();
    running.iter().for_each(|command| passed(&rig.plane.wait_answer(command)));
    // The third and the fourth token, and no fifth. An answer is posted before its command has given back its place.
    for _ in 0..2 {
        let full = |answer: &Posted| answer.code() == 429 && limited(answer) == 1000;
        let mut answers = std::iter::repeat_with(|| rig.send(&tool("slow")));
        passed(&answers.find(|answer| !full(answer)).unwrap());
    }
    assert!(limited(&rig.send(&tool("slow"))) > 1000);
    assert_eq!(gate.arrivals(), 4);
}

/// What a policy only observes is told and goes on.
#[test]
fn limits_are_observed() {
    let mut rig = Rig::with(|b| {
        b.yaml(&rules("{ per_minute: 1, burst: 1 }").replace("policy:", "policy:\n  mode: observe"))
    });
    ["a", "b", "c"].iter().for_each(|name| passed(&rig.send(&tool(name))));
    rig.client.stop();
    let log = rig.client.log();
    assert_eq!(
        log.lines().filter(|line| line.contains("would be refused by the operator's policy")).count(),
        2
    );
}

/// Rules of every channel count each channel's calls alone.
#[test]
fn channels_have_their_own_buckets() {
    let second = Mcp::start();
    let binding = format!("channel=two,url={}", second.url());
    let limits = rules("{ per_minute: 1, burst: 1 }").replace("main", "'*'");
    let rig = Rig::with(|b| b.yaml(&limits).flag("mcp.server-url", &binding));
    for channel in ["main", "two"] {
        let command = || tool("a").channel(channel);
        passed(&rig.send(&command()));
        limited(&rig.send(&command()));
    }
}
