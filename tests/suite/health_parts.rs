//! `/health`: what each part says of itself.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::era_requests::modern;
use crate::health_page::{inside, names, part, wait_part};
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::stdio::{self, call};

/// NEW-082, NEW-089: polls, from the first to those that fail.
#[test]
fn polls_are_shown() {
    let plane = Plane::start();
    let gate = Gate::new();
    plane.next_poll(Reply::status(503).behind(&gate));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b);
    let found = wait_part(&mut rig.client, "control-plane", |one| one["state"] == "polling");
    assert_eq!((&found["status"], &found["details"]["consecutive_failures"]), (&json!("unknown"), &json!(0)));
    let details = &found["details"];
    assert_eq!((&details["configured_wait_seconds"], &details["deadline_seconds"]), (&json!(30), &json!(35)));
    assert!(details.get("last_success").is_none() && details["last_attempt"].is_string());
    gate.open();
    let found = wait_part(&mut rig.client, "control-plane", |one| one["details"]["last_success"].is_string());
    assert_eq!(found["status"], "ok");
    assert!(found["details"]["last_error"].is_string() && found.get("reason_code").is_none());
    rig.plane.stop();
    let found = wait_part(&mut rig.client, "control-plane", |one| one["state"] == "backoff");
    assert_eq!((&found["status"], &found["reason_code"]), (&json!("degraded"), &json!("network_error")));
    assert_eq!(found["details"]["failure_category"], "network_error");
    assert!(found["details"]["next_retry"].is_string());
}

/// NEW-083, NEW-084, NEW-085, NEW-089: what became of commands and their answers.
#[test]
fn commands_and_answers_are_counted() {
    let mut rig = Rig::start();
    let idle = part(&mut rig.client, "response-delivery");
    assert_eq!((&idle["status"], &idle["state"]), (&json!("unknown"), &json!("not_observed")));
    rig.assert_alive();
    let found = wait_part(&mut rig.client, "response-delivery", |one| one["details"]["completed"] == 1);
    assert_eq!((&found["status"], &found["state"]), (&json!("ok"), &json!("accepted")));
    let counts = ["in_progress", "attempts", "retries", "accepted", "completed", "terminal_failures"];
    assert_eq!(counts.map(|name| found["details"][name].as_u64().unwrap()), [0, 1, 0, 1, 1, 0]);

    // One that the plane takes at the second attempt, one that it does not know, one that it never takes.
    let [again, unknown, lost] =
        [(); 3].map(|()| Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#));
    rig.plane.answer_for(&again, Reply::status(503));
    rig.plane.queue(&again);
    let found = wait_part(&mut rig.client, "response-delivery", |one| one["details"]["completed"] == 2);
    assert_eq!(counts.map(|name| found["details"][name].as_u64().unwrap()), [0, 3, 1, 2, 2, 0]);
    rig.plane.answer_for(&unknown, Reply::status(404));
    rig.plane.queue(&unknown);
    let found = wait_part(&mut rig.client, "response-delivery", |one| one["details"]["completed"] == 3);
    assert_eq!((&found["status"], &found["state"]), (&json!("ok"), &json!("already_fulfilled_or_unknown")));
    rig.plane.answer_for(&lost, Reply::status(400));
    rig.plane.queue(&lost);
    let found =
        wait_part(&mut rig.client, "response-delivery", |one| one["details"]["terminal_failures"] == 1);
    assert_eq!((&found["status"], &found["state"]), (&json!("degraded"), &json!("failed")));
    assert_eq!(
        (&found["reason_code"], &found["details"]["http_status"]),
        (&json!("http_error"), &json!(400))
    );

    // One that it cannot read ends too, and says nothing of others.
    let unread = Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let body = r#"{"error":{"code":"invalid_json_payload","message":"no","type":"invalid_request_error"}}"#;
    rig.plane.answer_for(&unread, Reply::json(400, body));
    rig.plane.queue(&unread);
    let found =
        wait_part(&mut rig.client, "response-delivery", |one| one["details"]["terminal_failures"] == 2);
    assert_eq!((&found["state"], &found["details"]["in_progress"]), (&json!("failed"), &json!(0)));

    let queue = part(&mut rig.client, "queue");
    assert_eq!((&queue["status"], &queue["state"]), (&json!("ok"), &json!("available")));
    let details = &queue["details"];
    let counts = ["depth", "utilization", "enqueued", "dequeued", "backpressure_seconds"];
    assert_eq!(counts.map(|name| details[name].as_f64().unwrap()), [0.0, 0.0, 5.0, 5.0, 0.0]);
    assert!(details["last_enqueue"].is_string() && details["last_dequeue"].is_string());
    let workers = wait_part(&mut rig.client, "dispatcher", |one| one["details"]["completed"] == 5);
    assert_eq!((&workers["status"], &workers["state"]), (&json!("ok"), &json!("accepting")));
    let counts = ["active", "pool_limit", "oldest_active_age_seconds", "failures", "timeouts"];
    assert_eq!(counts.map(|name| workers["details"][name].as_u64().unwrap()), [0, 10, 0, 0, 0]);
}

/// NEW-085: a call that fails makes the workers degraded until one does not.
#[test]
fn a_call_that_failed_is_shown() {
    let mut rig = Rig::start();
    rig.mcp.reply("tools/call", Reply::body(500, "text/plain", "no"));
    assert_eq!(rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).code(), 500);
    let found = wait_part(&mut rig.client, "dispatcher", |one| one["details"]["failures"] == 1);
    assert_eq!(found["status"], "degraded");
    rig.assert_alive();
    wait_part(&mut rig.client, "dispatcher", |one| one["status"] == "ok");
}

/// NEW-072, NEW-085: the end is shown while there is something left to answer.
#[test]
fn the_end_is_shown() {
    let mut rig = Rig::start();
    let gate = Gate::new();
    rig.mcp.reply("held", Reply::result("1", "{}").behind(&gate));
    let held = Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"held"}"#);
    rig.plane.queue(&held);
    let found = wait_part(&mut rig.client, "dispatcher", |one| one["details"]["active"] == 1);
    assert!(found["details"].get("last_completion").is_none() && found["details"]["accepting"] == true);
    rig.client.signal(Signal::SIGTERM);
    rig.client.wait_get("/health", |a| a.json()["runtime"]["lifecycle"] == "draining");
    let workers = part(&mut rig.client, "dispatcher");
    assert_eq!((&workers["state"], &workers["details"]["accepting"]), (&json!("draining"), &json!(false)));
    wait_part(&mut rig.client, "control-plane", |one| one["state"] == "stopped");
    gate.open();
    assert_eq!(rig.plane.wait_answer(&held).code(), 200);
}

/// NEW-080, NEW-086, NEW-087, NEW-088: metadata, endpoints and proxies of a tunnel that has none; an HTTP server shows its probe.
#[test]
fn what_is_not_in_use_says_so() {
    let mut rig = Rig::start();
    let found = wait_part(&mut rig.client, "oauth", |one| one["state"] != "pending");
    assert_eq!((&found["status"], &found["state"]), (&json!("ok"), &json!("not_advertised")));
    assert_eq!(
        (&found["reason_code"], &found["details"]),
        (&json!("metadata_not_advertised"), &json!({"discovery_complete": true}))
    );
    let found = part(&mut rig.client, "proxy");
    assert_eq!((&found["status"], &found["state"]), (&json!("disabled"), &json!("direct")));
    let routes = [("route-1", "control_plane"), ("route-2", "mcp")]
        .map(|(label, kind)| json!({"label": label, "kind": kind, "state": "direct"}));
    assert_eq!(found["details"], json!({"route_count": 2, "routes": routes}));
    let found =
        wait_part(&mut rig.client, "mcp", |one| one["details"]["startup_probe"]["state"] == "succeeded");
    assert_eq!((&found["status"], &found["state"]), (&json!("unknown"), &json!("not_observed")));
    assert_eq!(found["details"]["evidence"], "unsupported_transport");
    assert_eq!(found["details"]["transport"], "http-streamable");
    #[cfg(feature = "harpoon")]
    {
        let found = part(&mut rig.client, "harpoon");
        assert_eq!(found["details"], json!({"target_count": 0, "catalog_state": "settled"}));
    }
}

/// NEW-088: a way through a proxy is as its last check found it; nothing says where it leads.
#[test]
fn ways_through_proxies_are_shown() {
    let proxy = Proxy::start(None, Manner::Open);
    let mut rig = Rig::with(|b| b.flag("mcp.http-proxy", &proxy.url()).flag("proxy.check-interval", "50ms"));
    let found = wait_part(&mut rig.client, "proxy", |one| one["state"] == "healthy");
    let route = &found["details"]["routes"][1];
    assert_eq!(
        (&found["status"], &route["kind"], &route["state"]),
        (&json!("ok"), &json!("mcp"), &json!("healthy"))
    );
    assert!(route["last_check"].is_string() && route["last_success"].is_string());
    assert!(!found.to_string().contains("127.0.0.1"), "{found}");
    drop(proxy);
    let found = wait_part(&mut rig.client, "proxy", |one| one["state"] == "unhealthy");
    assert_eq!((&found["status"], &found["reason_code"]), (&json!("degraded"), &json!("route_check_failed")));
    assert_eq!(found["details"]["routes"][1]["failure_category"], "check_failed");
}

/// A page of tools, as the scripted server shows it.
fn page(names: &[&str], next: &str) -> String {
    let tools: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "description": "hidden-3"})).collect();
    format!(r#""show":{{"tools":{}{next}}}"#, Value::from(tools))
}

/// Members in their order, within the text of a part.
fn assert_order(text: &str, of: &str, order: &str) {
    assert_eq!(names(inside(text, of)).join(" "), order, "{of}");
}

/// NEW-070, NEW-078, NEW-079, NEW-081: what a child has shown in traffic, until it shows it anew; asking asks it nothing.
#[test]
fn what_a_child_has_shown_is_evidence() {
    let mut rig = stdio::Rig::start("plain");
    let found = wait_part(&mut rig.client, "mcp", |one| one["details"]["child_state"] == "running");
    assert_eq!((&found["status"], &found["state"]), (&json!("unknown"), &json!("not_observed")));
    rig.send(&call("initialize", "1", r#""show":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"x":{}},"serverInfo":{"name":"receipt-fixture","version":"1.2.3","secret":"hidden-1"},"instructions":"hidden-2"}"#));
    rig.send(&Command::notification("notifications/initialized"));
    let found = wait_part(&mut rig.client, "mcp", |one| one["state"] == "initialized");
    assert_eq!((&found["status"], &found["details"]["initialize_epoch"]), (&json!("ok"), &json!(1)));

    rig.call("tools/list", &page(&["echo", "add"], r#","nextCursor":"c-1""#));
    let found = wait_part(&mut rig.client, "mcp", |one| one["details"]["tools_list"]["ok"] == true);
    assert_eq!(
        (&found["state"], &found["details"]["tools_list"]["partial"]),
        (&json!("initialized"), &json!(true))
    );
    // A page of another list is passed over.
    rig.call("tools/list", &format!(r#""cursor":"c-2",{}"#, page(&["other"], "")));
    rig.call("tools/list", &format!(r#""cursor":"c-1",{}"#, page(&["echo", "sub"], "")));
    let text = rig.client.wait_get("/health/mcp", |a| a.json()["state"] == "discovered").body;
    let found: Value = serde_json::from_str(&text).unwrap();
    let details = &found["details"];
    assert!(!text.contains("hidden") && !text.contains("c-1"), "{text}");
    assert_order(
        &text,
        "details",
        "channel transport child_state child_generation initialize_epoch evidence initialize tools_list",
    );
    assert_order(
        &text,
        "initialize",
        "ok identity_complete limited observed_at protocol_version server_name server_version capability_names",
    );
    assert_order(&text, "tools_list", "ok observed_at tool_names retained_count complete partial limited");
    assert_eq!(details["initialize"]["server_name"], "receipt-fixture");
    assert_eq!(details["initialize"]["protocol_version"], "2025-11-25");
    assert_eq!(details["initialize"]["capability_names"], json!(["tools"]));
    assert_eq!(details["tools_list"]["tool_names"], json!(["add", "echo", "sub"]));
    assert_eq!(details["tools_list"]["complete"], true);
    assert_eq!(details["child_generation"].as_str().unwrap().len(), 32);
    assert_eq!(rig.journal.of("tools/list").len(), 3);
    assert_eq!(rig.journal.of("initialize").len(), 1);

    rig.send(&Command::notification("tools-change"));
    let found = wait_part(&mut rig.client, "mcp", |one| one["state"] == "initialized");
    assert_eq!(found["details"]["tools_list"]["complete"], false);
    // The next child is opened as the last one was, and has shown no tools.
    rig.kill_server();
    let other = |one: &Value| one["details"]["child_generation"] != details["child_generation"];
    let found = wait_part(&mut rig.client, "mcp", |one| other(one) && one["state"] == "initialized");
    assert_eq!(found["details"]["tools_list"]["ok"], false);
    assert_eq!(found["details"]["tools_list"]["tool_names"], json!([]));
}

/// NEW-079, NEW-081: a server of the newer era shows itself without a handshake.
#[test]
fn a_server_without_a_handshake_is_discovered() {
    let mut rig = stdio::Rig::start("plain");
    let show =
        r#""show":{"supportedVersions":["2026-07-28","soon"],"capabilities":{"prompts":{},"tools":{}}}"#;
    rig.send(&Command::rpc(modern("server/discover", "1", show)));
    let found = wait_part(&mut rig.client, "mcp", |one| one["state"] == "server_discovered");
    let shown = &found["details"]["server_discover"];
    assert_eq!((&shown["supported_versions"], &shown["limited"]), (&json!(["2026-07-28"]), &json!(true)));
    assert_eq!(shown["capability_names"], json!(["prompts", "tools"]));
    let counts = ["initialize_epoch", "server_discover_epoch"];
    assert_eq!(counts.map(|name| found["details"][name].as_u64().unwrap()), [0, 1]);
    rig.send(&Command::rpc(modern("tools/list", "1", r#""show":{"tools":[{"name":"echo"}]}"#)));
    let found = wait_part(&mut rig.client, "mcp", |one| one["state"] == "discovered");
    assert_eq!(found["details"]["initialize"]["ok"], false);
}

/// NEW-081: names beyond the bounds are left out, and that is said.
#[test]
fn names_are_bounded() {
    let mut rig = stdio::Rig::start("plain");
    rig.open();
    let many: Vec<Value> = (0..400).map(|n| json!({"name": format!("tool-{n:03}")})).collect();
    let long = json!({"name": "x".repeat(129)});
    for tools in [json!([long, {"name": "short"}]), Value::from(many)] {
        rig.call("tools/list", &format!(r#""show":{{"tools":{tools}}}"#));
    }
    let found =
        wait_part(&mut rig.client, "mcp", |one| one["details"]["tools_list"]["retained_count"] == 256);
    assert_eq!(
        (&found["details"]["tools_list"]["limited"], &found["state"]),
        (&json!(true), &json!("initialized"))
    );
}
