//! What callers are told of templates, labels that are bound to a policy, and the start.

use serde_json::{Value, json};

use super::templates::{FORMS, Forms, yaml};
use super::{Harbour, tool};
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::short::Home;

const RULED: &str = "
- label: ruled
  template:
    version: 1
    origin: ORIGIN
    method: GET
    path_template: /ruled/{id}
    parameters:
      id: {type: string, required: true, enum: [b, a], max_length: 8}
    header_rules:
      - {name: X-Caller, forward_as: X-Hidden-Name, description: Who calls, validation: {pattern: '[a-z]+', max_length: 9}}
      - name: Authorization
        description: The caller's own token
        credential: true
        validation: {pattern: 'Bearer [a-z0-9]+', min_length: 8, max_length: 64}
";

fn tools(rig: &Rig) -> Value {
    let list = Command::rpc(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).channel("harpoon");
    rig.send(&list).payload()["result"]["tools"].clone()
}

/// NEW-104, NEW-106: the entry of a template, with all that a caller needs and nothing that leads anywhere.
#[test]
fn templates_are_listed_with_their_invocation() {
    let forms = Forms::start(FORMS, |_| Reply::body(200, "text/plain", "ok"));
    let order = forms.listed("order");
    assert_eq!(order["template_version"], 1);
    assert_eq!(order["allowed_methods"], json!(["GET"]));
    assert_eq!(order["description"], "One order");
    let id = &order["parameters_schema"]["properties"]["id"];
    assert_eq!(
        (&id["pattern"], &id["not"]),
        (&json!("^(?:[a-z]{1,8})$"), &json!({"pattern": "^(?:[aA][dD][mM][iI][nN])$"}))
    );
    let invocation = &order["invocation"];
    assert_eq!(invocation["tool_name"], "call_target");
    assert_eq!(invocation["input_schema"]["properties"]["label"], json!({"const": "order"}));
    assert!(invocation["input_schema"]["properties"].get("operation").is_none());
    // The example is a call that works.
    let example = invocation["examples"][0].clone();
    assert_eq!(example, json!({"label": "order", "parameters": {"id": "abc", "kind": "closed"}}));
    assert_eq!(forms.result(&example)["status_code"], 200);
    let change = forms.listed("change");
    let schema = &change["invocation"]["input_schema"];
    assert_eq!(schema["properties"]["body"]["x-maxBytes"], 102_400);
    assert_eq!(schema["properties"]["content_type"]["enum"], json!(["application/json"]));
    assert_eq!(schema["dependentRequired"], json!({"body": ["content_type"], "content_type": ["body"]}));
    assert_eq!(change["invocation"]["examples"], json!([]));
    let all = format!("{order} {change} {}", tools(&forms.rig));
    assert!(
        !all.to_lowercase().contains("hidden") && !all.contains("localhost") && !all.contains("127.0.0.1"),
        "{all}"
    );
}

/// NEW-105: one form a kind of call, and no change where there are no templates.
#[test]
fn call_target_has_a_form_for_each_kind() {
    let forms = Forms::start(&format!("{FORMS}{RULED}"), |_| Reply::status(200));
    let listed = tools(&forms.rig);
    let call = &listed[2];
    assert_eq!(call["inputSchema"]["type"], "object");
    let forms_of = call["inputSchema"]["oneOf"].as_array().unwrap();
    assert_eq!(forms_of.len(), 3);
    assert_eq!(forms_of[0]["required"], json!(["label", "method"]));
    assert_eq!(forms_of[1]["required"], json!(["label", "parameters"]));
    assert!(forms_of[1]["properties"].get("method").is_none());
    let ruled = forms.listed("ruled");
    assert_eq!(forms_of[2], ruled["invocation"]["input_schema"]);
    let annotations = &call["annotations"];
    assert_eq!(
        (&annotations["readOnlyHint"], &annotations["idempotentHint"]),
        (&json!(false), &json!(false))
    );
    assert!(!call["outputSchema"]["required"].as_array().unwrap().contains(&json!("truncated")));
    let members = &listed[0]["outputSchema"]["properties"]["targets"]["items"]["properties"];
    assert!(members.get("invocation").is_some());
    let plain = Harbour::start("- {label: a, url: ORIGIN/a}", |_| Reply::status(200));
    let listed = tools(&plain.rig);
    assert_eq!(listed[2]["inputSchema"]["required"], json!(["label", "method"]));
    assert!(listed[2]["inputSchema"].get("oneOf").is_none());
    assert!(listed[2]["outputSchema"]["required"].as_array().unwrap().contains(&json!("truncated")));
    // Without templates a call without a method is told so, as ever.
    let refusal =
        super::Called(plain.rig.send(&tool("call_target", &json!({"label": "a", "parameters": {}}))))
            .refusal();
    assert!(refusal.contains("there is no argument \"parameters\""), "{refusal}");
}

/// NEW-096, NEW-098, NEW-107: a target with rules is called by its bound label alone, and its headers go on renamed.
#[test]
fn rules_bind_the_label() {
    let forms = Forms::start(RULED, |_| Reply::status(204));
    let name = forms.listed("ruled")["invocation"]["input_schema"]["properties"]["label"]["const"].clone();
    let bound = name.as_str().unwrap();
    assert!(bound.starts_with("hr1:") && bound.ends_with(":ruled") && bound.len() == 4 + 64 + 6, "{bound}");
    let call = |label: &str| {
        let headers = json!({"x-caller": "me", "authorization": "Bearer abc1"});
        json!({"label": label, "parameters": {"id": "a"}, "headers": headers})
    };
    assert_eq!(forms.result(&call(bound))["status_code"], 204);
    let request = &forms.server.requests()[0];
    assert_eq!((request.header("x-hidden-name"), request.header("x-caller")), (Some("me"), None));
    assert_eq!(request.all("authorization"), ["Bearer abc1"]);
    let stale = format!("hr1:{}:ruled", "0".repeat(64));
    for label in ["ruled", &stale, &bound.to_uppercase(), &format!("x{bound}"), "hr1::ruled"] {
        assert_eq!(forms.fault(&call(label)), "label unknown: unknown template target", "{label}");
    }
    let mut wrong = call(bound);
    wrong["headers"]["authorization"] = json!("Basic abc1");
    assert_eq!(forms.fault(&wrong), "label ruled: caller header does not match its pattern");
    assert_eq!(forms.server.requests().len(), 1);
}

/// NEW-024: while callers' headers have rules, nothing of the control plane is in raw dumps: neither what callers send
/// nor what is answered.
#[test]
fn rules_end_the_dumps_of_the_plane() {
    let mut forms =
        Forms::with(RULED, |builder| builder.argument("--log.http-raw-unsafe"), |_| Reply::status(204));
    let name = forms.listed("ruled")["invocation"]["input_schema"]["properties"]["label"]["const"].clone();
    let headers = json!({"authorization": "Bearer dumped1"});
    let given = json!({"label": name, "parameters": {"id": "a"}, "headers": headers});
    assert_eq!(forms.result(&given)["status_code"], 204);
    assert!(forms.rig.client.stop().success());
    let log = forms.rig.client.log();
    for text in ["/response HTTP/1.1", "jsonrpc_response", r#"{\"status\":\"ok\"}"#, "hr1:", "dumped1"] {
        assert!(!log.contains(text), "{text}: {log}");
    }
}

fn refusal(targets: &str, adjust: impl FnOnce(Builder) -> Builder) -> String {
    let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
    let (code, output) =
        adjust(builder.yaml(&yaml(&targets.replace("ORIGIN", "https://localhost:1")))).finish();
    assert_eq!(code, Some(1), "{output}");
    output
}

/// NEW-091 to NEW-099: a template that is wrong ends the start with file, line and member, and no value.
#[test]
fn a_wrong_template_is_told_with_its_line() {
    let wrong = FORMS.replace("max_length: 8, reserved", "max_length: 999, reserved");
    let output = refusal(&wrong, |builder| builder);
    assert!(output.contains("line 13: harpoon.targets entry \"order\": template.parameters.id.max_length must be a number from 1 to 256"), "{output}");
    let output = refusal(FORMS, |builder| builder.without_env("HIDDEN_TOKEN"));
    assert!(output.contains("\"HIDDEN_TOKEN\" is not set"), "{output}");
    let refused = FORMS.replace("[Accept, X-Request]", "[Accept, X-Real-IP]");
    let output = refusal(&refused, |builder| builder.env("HIDDEN_TOKEN", "hidden-token-1"));
    assert!(output.contains("cannot let callers set header \"x-real-ip\""), "{output}");
    let slow = FORMS.replace("'[a-z]{1,8}'", "'((a{100}){100}){100}'");
    let output = refusal(&slow, |builder| builder);
    assert!(
        output.contains("template.parameters.id.pattern is not closed, not in order, or too large"),
        "{output}"
    );
}

/// NEW-048, NEW-049: a profile with templates is checked without its secrets, which `run` alone resolves, and not
/// where somebody replaced the list.
#[test]
fn secrets_of_templates_are_resolved_by_run_alone() {
    let home = Home::new();
    let text = yaml(&FORMS.replace("ORIGIN", "https://localhost:1"));
    let text = text.replace("env:HIDDEN_TOKEN", "env:SURELY_ABSENT");
    home.write("profile.yaml", &text);
    home.output(&["profiles", "add", "formed", "--from-file", &home.path("profile.yaml")]);
    home.write("wrong.yaml", &text.replace("method: PUT", "method: PATCH"));
    let refused = home.refusal(&["profiles", "add", "wrong", "--from-file", &home.path("wrong.yaml")]);
    assert!(refused.contains("template.method must be GET, POST or PUT"), "{refused}");
    home.write("syntax.yaml", &text.replace("env:SURELY_ABSENT", "env:A-B"));
    let refused = home.refusal(&["profiles", "add", "syntax", "--from-file", &home.path("syntax.yaml")]);
    assert!(refused.contains("environment variable name is invalid"), "{refused}");
    home.write("names.yaml", &text.replace("[Accept, X-Request]", "[Accept, X-Real-IP]"));
    let refused = home.refusal(&["profiles", "add", "names", "--from-file", &home.path("names.yaml")]);
    assert!(refused.contains("cannot let callers set header \"x-real-ip\""), "{refused}");
    let rig = Rig::with(|builder| {
        let builder = builder.yaml(&text).argument("--harpoon.allow-plaintext-http");
        builder.env("HARPOON_TARGETS", "label=a,url=http://127.0.0.1:1/a")
    });
    let listed = rig.send(&tool("list_targets", &json!({})));
    assert!(
        listed.payload_text().contains("\"a\"") && !listed.payload_text().contains("template"),
        "{}",
        listed.payload_text()
    );
}
