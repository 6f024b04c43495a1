//! The MCP server itself: both families of revisions, every kind of message.

use serde_json::{Value, json};

use super::{Harbour, call_command, tool};
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::plane::Posted;
use crate::support::reply::Reply;

const TARGET: &str = "- {label: a, url: ORIGIN/a}";

fn harbour() -> Harbour {
    Harbour::start(TARGET, |_| Reply::status(204))
}

fn request(method: &str, params: &Value) -> Command {
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
    Command::rpc(message).channel("harpoon")
}

fn modern(method: &str, more: Value) -> Command {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut params = json!({"_meta": meta});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request(method, &params)
}

fn error(answer: &Posted) -> (u64, i64) {
    (answer.code(), answer.payload()["error"]["code"].as_i64().unwrap_or_default())
}

/// REV-052, REV-055: the revisions with a handshake, without one having taken place.
#[test]
fn bare_requests_are_answered_in_the_words_of_old() {
    let harbour = harbour();
    let ask = |method: &str, params: Value| harbour.rig.send(&request(method, &params));
    let list = ask("tools/list", json!({}));
    let tools = list.payload()["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["list_targets", "get_oauth_target_audience", "call_target"]);
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        assert_eq!(tool["inputSchema"]["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    let input = &tools[2]["inputSchema"]["properties"];
    assert_eq!(input["max_response_bytes"]["maximum"], 102_400);
    assert_eq!(
        input["max_redirects"],
        json!({"type": "integer", "minimum": 0, "maximum": 5, "default": 5,
        "description": input["max_redirects"]["description"]})
    );
    assert_eq!(tools[2]["annotations"]["openWorldHint"], true);
    assert_eq!(ask("ping", json!({})).payload()["result"], json!({}));
    let listed = ask("tools/call", json!({"name": "list_targets"}));
    for answer in [&list, &listed] {
        assert_eq!(answer.header("Content-Type"), ["application/json"]);
        for name in ["resultType", "ttlMs", "cacheScope", "_meta"] {
            assert!(answer.payload()["result"].get(name).is_none(), "{name}");
        }
    }
    for method in ["resources/list", "nonsense", "subscriptions/listen"] {
        assert_eq!(error(&ask(method, json!({}))), (200, -32601), "{method}");
    }
    assert_eq!(error(&ask("server/discover", json!({}))), (400, -32602));
    for params in [json!({"cursor": "x"}), json!({"name": 1}), json!({"name": "x"})] {
        let method = if params.get("cursor").is_some() { "tools/list" } else { "tools/call" };
        assert_eq!(error(&ask(method, params)), (200, -32602));
    }
    let params = json!({"name": "list_targets", "arguments": []});
    assert_eq!(error(&ask("tools/call", params)), (200, -32602));
}

/// REV-053: each date is echoed, every other one gets the newest with a handshake.
#[test]
fn the_handshake_settles_on_a_revision_with_one() {
    let harbour = harbour();
    let ask = |params: Value| harbour.rig.send(&request("initialize", &params));
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let answer = ask(json!({"protocolVersion": version}));
        let result = &answer.payload()["result"];
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "harpoon");
        assert_eq!(result["serverInfo"]["title"], "Harpoon (Constrained HTTP Client)");
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        assert!(result["instructions"].is_string() && answer.header("Mcp-Session-Id").is_empty());
    }
    for version in ["2026-07-28", "2099-01-01", ""] {
        let answer = ask(json!({"protocolVersion": version}));
        assert_eq!(answer.payload()["result"]["protocolVersion"], "2025-11-25", "{version}");
    }
    for params in [json!({}), json!({"protocolVersion": 1})] {
        assert_eq!(error(&ask(params)), (200, -32602));
    }
}

/// REV-052, REV-055: each request by itself.
#[test]
fn requests_that_state_their_revision_get_its_words() {
    let harbour = harbour();
    let ask = |method: &str, more: Value| harbour.rig.send(&modern(method, more));
    let discovered = ask("server/discover", json!({}));
    let result = &discovered.payload()["result"];
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(result["capabilities"], json!({"tools": {}}));
    let list = ask("tools/list", json!({}));
    let called = ask("tools/call", json!({"name": "list_targets", "arguments": {}}));
    for answer in [&discovered, &list, &called] {
        let result = &answer.payload()["result"];
        assert_eq!((answer.code(), &result["resultType"]), (200, &json!("complete")));
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "harpoon");
    }
    for answer in [&discovered, &list] {
        let result = &answer.payload()["result"];
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")));
    }
    assert!(called.payload()["result"].get("ttlMs").is_none());
    for method in ["ping", "initialize", "subscriptions/listen", "nonsense"] {
        assert_eq!(error(&ask(method, json!({}))), (404, -32601), "{method}");
    }
    assert_eq!(error(&ask("tools/call", json!({"name": "x"}))), (200, -32602));
}

/// REV-054: what a request without a handshake must bring.
#[test]
fn incomplete_claims_are_refused() {
    let harbour = harbour();
    let ask = |meta: Value| harbour.rig.send(&request("tools/list", &json!({"_meta": meta})));
    let (claim, capabilities) =
        ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities");
    assert_eq!(error(&ask(json!({claim: "2026-07-28"}))), (400, -32602));
    assert_eq!(error(&ask(json!({claim: 7, capabilities: {}}))), (400, -32602));
    let answer = ask(json!({claim: "2099-01-01", capabilities: {}}));
    assert_eq!(error(&answer), (400, -32022));
    let data = json!({"supported": ["2026-07-28"], "requested": "2099-01-01"});
    assert_eq!(answer.payload()["error"]["data"], data);
    let bare = request("tools/list", &json!({})).header("MCP-Protocol-Version", &["2026-07-28"]);
    assert_eq!(error(&harbour.rig.send(&bare)), (400, -32602));
}

/// Arguments that do not fit are told to the model where its revision wants that.
#[test]
fn bad_arguments_reach_whoever_can_mend_them() {
    let harbour = harbour();
    let call = || tool("call_target", &json!({"label": "a"}));
    let told = "validating \"arguments\": method is required";
    for version in ["2025-11-25", "2025-06-18"] {
        let answer = harbour.rig.send(&call().header("MCP-Protocol-Version", &[version]));
        let payload = answer.payload();
        let text = match version {
            "2025-11-25" => &payload["result"]["content"][0]["text"],
            _ => &payload["error"]["message"],
        };
        assert_eq!(text, told, "{version}");
    }
    let named = modern("tools/call", json!({"name": "call_target", "arguments": {"label": "a"}}));
    assert_eq!(harbour.rig.send(&named).payload()["result"]["content"][0]["text"], told);
}

/// Notifications and responses are taken; there is no session to end, and no discovery.
#[test]
fn other_messages_are_acknowledged() {
    let harbour = harbour();
    for method in ["notifications/initialized", "notifications/cancelled", "notifications/nonsense"] {
        let answer = harbour.rig.send(&Command::notification(method).channel("harpoon"));
        assert_eq!((answer.kind(), answer.code()), ("notify_ack", 200));
    }
    let response = Command::rpc(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).channel("harpoon");
    assert_eq!(harbour.rig.send(&response).kind(), "notify_ack");
    let end = harbour.rig.send(&Command::termination("s").channel("harpoon"));
    assert_eq!((end.kind(), end.code()), ("session_termination_response", 405));
    let discovery = harbour.rig.send(&Command::of_type("oauth_discovery").channel("harpoon"));
    assert_eq!(discovery.code(), 400);
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"x":{deep}}}}}"#);
    assert_eq!(
        error(&harbour.rig.send(&Command::rpc(deep).channel("harpoon").off_contract())),
        (400, -32700)
    );
}

/// Ids come back as they were written, and equal ids of two callers do not meet.
#[test]
fn calls_run_side_by_side_under_equal_ids() {
    let gate = Gate::new();
    let held = gate.clone();
    let harbour = Harbour::start(TARGET, move |request| {
        let body = request.text();
        if body == "slow" {
            Reply::body(200, "text/plain", body).behind(&held)
        } else {
            Reply::body(200, "text/plain", body)
        }
    });
    let call = |body: &str| call_command("a", json!({"method": "POST", "body": body}));
    let slow: Vec<Command> = (0..3).map(|_| call("slow")).collect();
    slow.iter().for_each(|command| harbour.rig.plane.queue(command));
    gate.wait_arrivals(3);
    let answer = super::Called(harbour.rig.send(&call("quick")));
    assert_eq!(answer.body(), "quick");
    gate.open();
    for command in &slow {
        assert_eq!(super::Called(harbour.rig.plane.wait_answer(command)).body(), "slow");
    }
    let spelt = Command::rpc(r#"{"jsonrpc":"2.0","id":1.50,"method":"ping"}"#).channel("harpoon");
    assert!(harbour.rig.send(&spelt).payload_text().contains("\"id\":1.50,"));
}
