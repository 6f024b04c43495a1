//! Endpoints under the operator's policy, to which labels are tools.

use serde_json::json;

use super::{Harbour, call_command, tool, yaml};
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;

const TARGETS: &str = "- {label: orders, url: ORIGIN/orders}
- {label: salaries, url: ORIGIN/salaries}
- {label: stock, url: ORIGIN/stock}
";

const RULES: &str = "policy:
  channels:
    harpoon:
      tools: { allow: [list_targets, 'o*', stock], deny: [salaries] }
      limits:
        - { tools: [stock], per_minute: 1, burst: 1 }
";

/// A tunnel whose endpoint `orders` leads on to what its own policy refuses.
fn harbour(rules: &str) -> Harbour {
    let script = |request: &_| match crate::support::http::Request::path(request) {
        "/orders" => Reply::status(302).header("Location", "/salaries"),
        _ => Reply::body(200, "text/plain", "here"),
    };
    let server = Server::start(None, std::sync::Arc::new(script));
    let yaml = format!("{}{rules}", yaml(&TARGETS.replace("ORIGIN", &server.origin())));
    let rig = Rig::with(|builder| builder.yaml(&yaml).argument("--harpoon.allow-plaintext-http"));
    Harbour { rig, server }
}

fn is_refused(answer: &Posted) -> bool {
    let error = &answer.payload()["error"];
    (&error["code"], &error["data"]["error_type"]) == (&json!(-32602), &json!("policy_denied"))
}

fn labels(rig: &Rig) -> Vec<String> {
    let listed = rig.send(&tool("list_targets", &json!({})));
    let result = &listed.payload()["result"];
    let targets = result["structuredContent"]["targets"].as_array().unwrap();
    let labels: Vec<String> = targets.iter().map(|one| one["label"].as_str().unwrap().to_owned()).collect();
    let text = result["content"][0]["text"].as_str().unwrap();
    for label in ["orders", "salaries", "stock"] {
        assert_eq!(text.contains(label), labels.iter().any(|one| one == label));
    }
    labels
}

/// However a label is spelt, it is the tool; what is refused is not dialled, and in no list.
#[test]
fn labels_are_judged_as_tools() {
    let harbour = harbour(RULES);
    assert_eq!(harbour.call("stock", json!({})).body(), "here");
    for label in ["salaries", "hr1:00ff:salaries", "another", "Orders", "stock "] {
        assert!(is_refused(&harbour.call(label, json!({})).0), "{label}");
    }
    for arguments in [json!({}), json!({"label": 7}), json!({"label": ["orders"]})] {
        assert!(is_refused(&harbour.rig.send(&tool("call_target", &arguments))), "{arguments}");
    }
    let spelt = r#"{"name":"call_targe\u0074","arguments":{"labe\u006c":"salarie\u0073","method":"GET"}}"#;
    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{spelt}}}"#);
    assert!(is_refused(&harbour.rig.send(&Command::rpc(call).channel("harpoon"))));
    assert!(is_refused(&harbour.rig.send(&tool("get_oauth_target_audience", &json!({"label": "orders"})))));
    assert_eq!(harbour.paths(), ["/stock"]);
    assert_eq!(labels(&harbour.rig), ["orders", "stock"]);
}

/// Where one label is denied and all others may be called, the one that is bound to headers is not another one.
#[test]
fn a_bound_label_is_denied_as_its_own() {
    let harbour = harbour("policy:\n  channels:\n    harpoon:\n      tools: { deny: [salaries] }\n");
    for label in ["salaries", "hr1:00ff:salaries", "hr1::salaries", "hr1:a:b:salaries"] {
        assert!(is_refused(&harbour.call(label, json!({})).0), "{label}");
    }
    assert_eq!(harbour.call("stock", json!({})).body(), "here");
    assert_eq!(harbour.paths(), ["/stock"]);
}

/// An endpoint that may be called does not lead to one that may not.
#[test]
fn a_redirect_leads_to_no_endpoint_that_is_refused() {
    let harbour = harbour(RULES);
    let called = harbour.call("orders", json!({}));
    assert!(called.0.payload_text().contains("redirect blocked"), "{}", called.0.payload_text());
    assert_eq!(harbour.paths(), ["/orders"]);
}

/// The list of tools keeps the one that calls endpoints; limits count by label, whatever is called in between.
#[test]
fn limits_count_calls_of_a_label() {
    let harbour = harbour(RULES);
    let list = Command::method("tools/list", "1").channel("harpoon");
    let listed = harbour.rig.send(&list);
    let tools = listed.payload()["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["list_targets", "call_target"]);
    harbour.call("stock", json!({})).result();
    harbour.call("orders", json!({}));
    let named = call_command("stock", json!({})).header("Mcp-Name", &["call_target"]);
    assert_eq!(harbour.rig.send(&named).code(), 429);
    assert_eq!(harbour.paths(), ["/stock", "/orders"]);
}

#[test]
fn a_policy_that_observes_hides_nothing() {
    let harbour = harbour(&RULES.replace("policy:", "policy:\n  mode: observe"));
    assert_eq!(harbour.call("salaries", json!({})).body(), "here");
    assert_eq!(harbour.call("orders", json!({})).body(), "here");
    assert_eq!(labels(&harbour.rig), ["orders", "salaries", "stock"]);
}
