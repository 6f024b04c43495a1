//! The operator's policy: what it refuses reaches no server, and its caller learns nothing about the rule.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, Posted};
use crate::support::rig::Rig;
use crate::support::stdio;

const RULES: &str = "policy:
  channels:
    main:
      tools: { allow: [search, 'get_*'], deny: ['*_delete'] }
      prompts: { allow: [greet] }
      resources: { allow: ['file:///srv/docs/*'] }
      methods: { deny: [logging/setLevel] }
";

fn request(method: &str, params: &Value) -> Command {
    Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":"c-1","method":"{method}","params":{params}}}"#))
}

fn tool(name: &str) -> Command {
    request("tools/call", &json!({ "name": name, "arguments": { "name": "search" } }))
}

/// The answer to what the policy refuses, whole.
fn assert_refused(answer: &Posted) {
    assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 200), "{}", answer.request.text());
    let data = json!({ "origin": "tunnel-client", "error_type": "policy_denied" });
    let error = json!({ "code": -32602, "message": "refused by the operator's policy", "data": data });
    assert_eq!(answer.payload(), &json!({ "jsonrpc": "2.0", "id": "c-1", "error": error }));
}

/// Requests beside the rules above, each with whether it may pass.
fn requests() -> Vec<(Command, bool)> {
    let named = |method: &str, name: &str| request(method, &json!({ "name": name }));
    let of = |method: &str, uri: &str| request(method, &json!({ "uri": uri }));
    let complete = |reference: Value| request("completion/complete", &json!({ "ref": reference }));
    vec![
        (tool("search"), true),
        (tool("get_all"), true),
        (tool("get_delete"), false),
        (tool("Search"), false),
        (tool("delete"), false),
        (request("tools/call", &json!({ "arguments": {} })), false),
        (request("tools/call", &json!({ "name": ["search"] })), false),
        (request("tools/call", &json!(["search"])), false),
        (named("prompts/get", "greet"), true),
        (named("prompts/get", "insult"), false),
        (of("resources/read", "file:///srv/docs/a"), true),
        (of("resources/read", "file:///etc/passwd"), false),
        (of("resources/read", "file:///srv/docs/../../etc/passwd"), false),
        (of("resources/read", "file:///srv/docs/%2e%2E/x"), false),
        (of("resources/subscribe", "file:///etc/passwd"), false),
        (of("resources/unsubscribe", "file:///etc/passwd"), false),
        (complete(json!({ "type": "ref/prompt", "name": "greet" })), true),
        (complete(json!({ "type": "ref/prompt", "name": "insult" })), false),
        (complete(json!({ "type": "ref/resource", "uri": "file:///srv/docs/{path}" })), true),
        (complete(json!({ "type": "ref/resource", "uri": "file:///{path}" })), false),
        (complete(json!({ "name": "greet" })), false),
        (request("tools/list", &json!({})), true),
        (request("logging/setLevel", &json!({ "level": "debug" })), false),
        (request("vendor/extra", &json!({})), false),
        (request("ping", &json!({})), true),
    ]
}

/// What the policy refuses reaches no server; all else does. Each decision is counted, each refusal logged with
/// its rule.
#[test]
fn what_the_policy_refuses_reaches_no_server() {
    let mut rig = Rig::with(|b| b.yaml(RULES));
    let requests = requests();
    for (command, passes) in &requests {
        let answer = rig.send(command);
        match passes {
            true => assert!(answer.payload().get("result").is_some(), "{}", command.text()),
            false => assert_refused(&answer),
        }
    }
    let passed = requests.iter().filter(|(_, passes)| *passes).count();
    assert_eq!(rig.mcp.calls().len(), passed);
    assert_eq!(rig.send(&Command::notification("notifications/vendor")).code(), 202);
    rig.mcp.wait_calls("notifications/vendor", 1);

    let metrics = rig.client.get("/metrics").body;
    let count = |kind: &str, decision: &str| {
        let labels = format!("{{channel=\"main\",kind=\"{kind}\",decision=\"{decision}\"}} ");
        let name = format!("tunnel_client_policy_decisions_total{labels}");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or_default()
    };
    assert_eq!([count("tool", "allow"), count("tool", "deny")], [2, 6]);
    assert_eq!([count("prompt", "allow"), count("prompt", "deny")], [2, 2]);
    assert_eq!([count("resource", "allow"), count("resource", "deny")], [2, 6]);
    assert_eq!([count("method", "allow"), count("method", "deny")], [2, 3]);

    rig.client.stop();
    let log = rig.client.log();
    let told = log.lines().filter(|line| line.contains("refused by the operator's policy"));
    let told: Vec<Value> = told.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), requests.len() - passed, "one line a refusal");
    let line = told.iter().find(|line| line["name"] == "get_delete").unwrap();
    assert_eq!((&line["level"], &line["component"]), (&json!("WARN"), &json!("policy")));
    assert_eq!(
        (&line["rule"], &line["kind"]),
        (&json!("policy.channels.main.tools.deny: *_delete"), &json!("tool"))
    );
    assert_eq!((&line["decision"], &line["method"]), (&json!("deny"), &json!("tools/call")));
    assert_eq!(line["request_id"], requests[2].0.id);
    assert!(!log.contains("MCP upstream error"), "a refusal is no error of a server");
}

/// A request without an id, or with a null one, is one to many servers all the same: they do what it asks, and answer or
/// not.
#[test]
fn requests_without_an_id_are_judged_too() {
    let rig = Rig::with(|b| b.yaml(RULES));
    for id in ["", "\"id\":null,"] {
        let send = |method: &str, params: Value| {
            rig.send(&Command::rpc(format!(
                r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{params}}}"#
            )))
        };
        send("tools/call", json!({ "name": "delete" }));
        send("tools/call", json!({ "name": ["search"] }));
        send("vendor/delete", json!({}));
        send("logging/setLevel", json!({ "level": "debug" }));
        assert_eq!(rig.mcp.calls().len(), 0, "{id}");
    }
    rig.send(&Command::rpc(
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"search"}}"#,
    ));
    rig.mcp.wait_calls("tools/call", 1);
    rig.client
        .wait_log(|line| line.contains("refused by the operator's policy") && line.contains("vendor/delete"));
}

/// What only watches refuses nothing, and tells what it would.
#[test]
fn what_is_observed_passes_and_is_told() {
    let mut rig = Rig::with(|b| b.yaml(&RULES.replace("policy:", "policy:\n  mode: observe")));
    let requests = requests();
    for (command, _) in &requests {
        assert!(rig.send(command).payload().get("result").is_some(), "{}", command.text());
    }
    let differs = tool("search").header("Mcp-Name", &["delete"]);
    assert!(rig.send(&differs).payload().get("result").is_some());
    assert_eq!(rig.mcp.calls().len(), requests.len() + 1);
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("{channel=\"main\",kind=\"resource\",decision=\"observe\"} 6"), "{metrics}");
    assert!(!metrics.contains("decision=\"deny\""));
    rig.client.wait_log(|line| {
        line.contains("would be refused") && line.contains("policy.channels.main.tools: not in allow")
    });
}

/// A header that names something else than the body: both could be believed by somebody.
#[test]
fn headers_agree_with_the_body() {
    let rig = Rig::with(|b| b.yaml(RULES));
    let good = [("Mcp-Method", "tools/call"), ("Mcp-Name", "search"), ("Mcp-Name", "=?base64?c2VhcmNo?=")];
    for (name, value) in good {
        assert!(
            rig.send(&tool("search").header(name, &[value])).payload().get("result").is_some(),
            "{value}"
        );
    }
    let bad: [(&str, &[&str]); 7] = [
        ("Mcp-Method", &["tools/list"]),
        ("mcp-method", &["Tools/call"]),
        ("Mcp-Method", &["tools/call", "ping"]),
        ("Mcp-Name", &["get_all"]),
        ("Mcp-Name", &["=?base64?Z2V0?="]),
        ("Mcp-Name", &["search", "get_all"]),
        ("Mcp_Name", &["get_all"]),
    ];
    for (name, values) in bad {
        let answer = rig.send(&tool("search").header(name, values));
        assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 400), "{name} {values:?}");
        let error = &answer.payload()["error"];
        assert_eq!(
            (&error["code"], &error["data"]["error_type"]),
            (&json!(-32020), &json!("header_mismatch"))
        );
        assert_eq!(answer.payload()["id"], "c-1");
    }
    assert_eq!(rig.mcp.calls().len(), good.len());
}

/// Rules for every channel hold where a channel has none of its own; without them it is free.
#[test]
fn channels_have_their_own_rules_or_those_of_all() {
    let second = Mcp::start();
    let binding = format!("channel=two,url={}", second.url());
    let send = |rules: &str| {
        let rig = Rig::with(|b| b.flag("mcp.server-url", &binding).yaml(rules));
        let passes = |command: Command| rig.send(&command).payload().get("result").is_some();
        ["main", "two"].map(|channel| ["a", "b"].map(|name| passes(tool(name).channel(channel))))
    };
    let main = "policy: { channels: { main: { tools: { allow: [a] } } } }";
    assert_eq!(send(main), [[true, false], [true, true]]);
    let both = "policy: { channels: { main: { tools: { allow: [a] } }, '*': { tools: { deny: [a] } } } }";
    assert_eq!(send(both), [[true, false], [false, true]]);
    assert_eq!(second.calls_of("tools/call").len(), 3);
}

/// One caller cannot fill the log: what is left out is counted.
#[test]
fn refusals_fill_no_log() {
    let plane = Plane::start();
    plane.ignore_limit();
    let commands: Vec<Command> = (0..300).map(|_| tool("delete")).collect();
    plane.queue_all(&commands);
    let began = Instant::now();
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.yaml(RULES));
    commands.iter().for_each(|command| assert_refused(&rig.plane.wait_answer(command)));
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("{channel=\"main\",kind=\"tool\",decision=\"deny\"} 300"));
    rig.client.stop();
    let log = rig.client.log();
    let told = log.lines().filter(|line| line.contains("refused by the operator's policy")).count();
    assert!((50..=50 * (seconds + 2)).contains(&told), "{told} lines in {seconds} s");
}

/// Messages that name a denied tool in some way, or could be read so.
fn spellings() -> Vec<String> {
    let envelope = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":"c-1",{members}}}"#);
    let params = |params: &str| envelope(&format!(r#""method":"tools/call","params":{params}"#));
    let names = [
        r#""\u0064elete""#,
        r#""\u0073earch\u0000""#,
        r#""search\u0000delete""#,
        r#"" search""#,
        r#""search\n""#,
        r#""\u017fearch""#,
        r#""SEARCH""#,
        r#""search\ud800""#,
        r#""get_\udc00\ud800""#,
        r#""get_\u0085""#,
        r#""sea\u0000rch""#,
        r#""search\u200b""#,
        r#""get_a_delete""#,
        r#"["search"]"#,
        r#"{"name":"search"}"#,
        "null",
        "true",
        "1",
        r#""""#,
    ];
    let names = names.iter().map(|name| params(&format!(r#"{{"name":{name}}}"#)));
    let twice = [
        r#"{"name":"search","name":"delete"}"#,
        r#"{"name":"search","n\u0061me":"delete"}"#,
        r#"{"Name":"delete","name":"search"}"#,
        r#"{"name\u0000":"delete","name":"search"}"#,
        r#"{"name\u0000\ud800":"delete","name":"search"}"#,
        r#"{"params":{"name":"search"}}"#,
        r#"["search"]"#,
        r#""search""#,
        r#"{"arguments":{"name":"search"},"name":"delete"}"#,
    ];
    let twice = twice.iter().map(|text| params(text));
    let call = r#""params":{"name":"delete"}"#;
    let methods =
        ["tools\\/call", "\\u0074ools/call", "TOOLS/CALL", "tools/call ", "tools/call\\u0000", "tools//call"];
    let methods = methods.iter().map(|method| envelope(&format!(r#""method":"{method}",{call}"#)));
    let envelopes = [
        format!(r#""method":"tools/list","method":"tools/call",{call}"#),
        format!(r#""method":"tools/list","METHOD":"tools/call",{call}"#),
        r#""method":"tools/call","params":{"name":"search"},"param\u017f":{"name":"delete"}"#.to_owned(),
        format!(r#""method":"tools/call",{call},"params":{{"name":"search"}}"#),
    ];
    let envelopes = envelopes.iter().map(|members| envelope(members));
    let one = |name: &str| params(&format!(r#"{{"name":"{name}"}}"#));
    let odd = [
        format!("[{},{}]", one("search"), one("delete")),
        format!("[{}]", one("delete")),
        // A call that expects no answer.
        format!(r#"{{"jsonrpc":"2.0","method":"tools/call",{call}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":null,"method":"tools/call",{call}}}"#),
    ];
    names.chain(twice).chain(methods).chain(envelopes).chain(odd).chain(large_spellings()).collect()
}

/// The same, large or deep.
fn large_spellings() -> [String; 3] {
    let (huge, deep) = ("a".repeat(1 << 20), "[".repeat(9_000) + &"]".repeat(9_000));
    let params = [
        format!(r#"{{"name":"get_{huge}"}}"#),
        format!(r#"{{"arguments":{{"x":"{huge}"}},"name":"delete"}}"#),
        format!(r#"{{"arguments":{{"x":{deep}}},"name":"delete"}}"#),
    ];
    params.map(|params| format!(r#"{{"jsonrpc":"2.0","id":"c-1","method":"tools/call","params":{params}}}"#))
}

/// No spelling of a denied name passes, and the service goes on.
#[test]
fn no_spelling_of_a_denied_name_passes() {
    let (http, pipe) = (Rig::with(|b| b.yaml(RULES)), stdio::Rig::with("plain", |b| b.yaml(RULES)));
    pipe.open();
    for text in spellings() {
        let shown: String = text.chars().take(200).collect();
        let command = || Command::rpc(&text).off_contract();
        for answer in [http.send(&command()), pipe.send(&command())] {
            let is_refused = answer.code() == 400 || answer.payload()["error"]["code"] == -32602;
            assert!(is_refused, "{shown}: {}", answer.request.text());
        }
    }
    assert_eq!(http.mcp.calls().len(), 0);
    assert_eq!(http.send(&tool("search")).code(), 200);
    assert_eq!(pipe.send(&tool("search")).code(), 200);
    assert_eq!(pipe.journal.words(), ["(start)", "tools/call"]);
}

/// The same over a pipe.
#[test]
fn what_the_policy_refuses_is_not_written() {
    let rig = stdio::Rig::with("plain", |b| b.yaml(RULES));
    rig.open();
    assert_refused(&rig.send(&tool("delete")));
    assert_refused(&rig.send(&tool("get_delete")));
    assert_eq!(rig.send(&tool("search")).code(), 200);
    assert_eq!(rig.journal.words(), ["(start)", "tools/call"]);
}
