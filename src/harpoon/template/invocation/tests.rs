//! What callers are told, and what the digests depend on.

use super::*;
use crate::config::{self, Secret};

const WRITE: &str = "\
version: 1
origin: https://hidden-host:8443
method: POST
path_template: /hidden-path/{id}
query: {hiddenquery: '{kind}'}
parameters:
  id: {type: string, required: true, pattern: '[a-z]+|x', max_length: 5, reserved_values: [a.b, C-], description: Which}
  kind: {type: string, required: true, enum: [small, Big], max_length: 5}
headers: {X-Hidden-Fixed: hidden-value}
header_rules:
  - {name: x-who, forward_as: X-Hidden-Name, description: Who, validation: {pattern: '[a-z]+', min_length: 1, max_length: 5}}
body_policy: {content_types: [text/plain, text/csv], max_bytes: 20, required: true, validation: {enum: [b, a]}}
";

fn keyed(text: &str, key: &str) -> Invocation {
    let template = config::template(text).unwrap();
    let key = Secret::new(key.into());
    Invocation::new("orders", &template, &["x-hidden-fixed"], ("tunnel_x", &key), 1000)
}

fn invocation(text: &str) -> Invocation {
    keyed(text, "k")
}

/// NEW-104: the schemas and the example.
#[test]
fn callers_are_told_what_they_may_send() {
    let told = invocation(&WRITE.replace("pattern: '[a-z]+|x'", "pattern: '[a-z]+|x', examples: [x, y]"));
    let id = &told.listed["parameters_schema"]["properties"]["id"];
    assert_eq!(id["pattern"], "^(?:[a-z]+|x)$");
    assert_eq!(id["not"], json!({"pattern": "^(?:[aA]\\.[bB]|[cC]-)$"}));
    assert_eq!(
        (&id["minLength"], &id["maxLength"], &id["description"]),
        (&json!(1), &json!(5), &json!("Which"))
    );
    assert_eq!(told.listed["parameters_schema"]["required"], json!(["id", "kind"]));
    assert_eq!(told.listed["parameters_schema"]["additionalProperties"], false);
    let input = &told.input_schema;
    assert_eq!(input["properties"]["label"], json!({"const": told.name}));
    let operation = told.operation.clone().unwrap();
    assert_eq!(input["properties"]["operation"], json!({"const": operation}));
    assert!(operation.starts_with("op1:") && operation.len() == 68);
    let body = json!({"type": "string", "x-maxBytes": 20, "enum": ["b", "a"]});
    assert_eq!(input["properties"]["body"], body);
    assert_eq!(
        input["properties"]["content_type"],
        json!({"type": "string", "enum": ["text/plain", "text/csv"]})
    );
    assert_eq!(input["dependentRequired"], json!({"body": ["content_type"], "content_type": ["body"]}));
    assert_eq!(input["required"], json!(["label", "parameters", "operation", "body", "content_type"]));
    let who = &input["properties"]["headers"]["properties"]["x-who"];
    assert_eq!(
        who,
        &json!({"type": "string", "description": "Who", "minLength": 1, "maxLength": 5, "pattern": "^(?:[a-z]+)$"})
    );
    let example = json!({
        "label": told.name, "parameters": {"id": "x", "kind": "Big"}, "operation": operation, "body": "a", "content_type": "text/plain",
    });
    assert_eq!(told.listed["invocation"]["examples"], json!([example]));
    // None where a value is missing, or a header is required.
    assert_eq!(invocation(WRITE).listed["invocation"]["examples"], json!([]));
    let strict = WRITE
        .replace("pattern: '[a-z]+|x'", "enum: [x]")
        .replace("description: Who,", "description: Who, required: true,");
    assert_eq!(invocation(&strict).listed["invocation"]["examples"], json!([]));
}

/// NEW-106: neither where it leads nor what is added.
#[test]
fn nothing_hidden_is_told() {
    let told = invocation(WRITE);
    let all = format!("{} {}", told.listed, told.name).to_ascii_lowercase();
    assert!(!all.contains("hidden"), "{all}");
}

/// NEW-100, NEW-107: a write is bound to what its caller was told, a bound label to all of the policy.
#[test]
fn digests_follow_the_policy() {
    let told = invocation(WRITE);
    assert!(told.name.starts_with("hr1:") && told.name.ends_with(":orders") && told.name.len() == 4 + 64 + 7);
    let same = invocation(WRITE);
    assert_eq!((&same.name, &same.operation), (&told.name, &told.operation));
    for (part, other) in
        [("hidden-path", "hidden-other"), ("X-Hidden-Name", "X-Hidden-Else"), ("8443", "8444")]
    {
        let changed = invocation(&WRITE.replace(part, other));
        assert_eq!(changed.operation, told.operation, "{part}");
        assert_ne!(changed.name, told.name, "{part}");
    }
    for (part, other) in [("max_bytes: 20", "max_bytes: 21"), ("POST", "PUT"), ("'[a-z]+|x'", "'[a-z]+|y'")] {
        let changed = invocation(&WRITE.replace(part, other));
        assert_ne!(changed.operation, told.operation, "{part}");
        assert_ne!(changed.name, told.name, "{part}");
    }
    let elsewhere = keyed(WRITE, "other");
    assert_eq!(elsewhere.operation, told.operation);
    assert_ne!(elsewhere.name, told.name);
}

/// NEW-107: HMAC-SHA256 as the reference frames it, computed with another program.
#[test]
fn bound_labels_are_keyed_by_the_tunnel() {
    let label = bound_label(("tunnel_x", &Secret::new("k".into())), "orders", "digest");
    assert_eq!(label, "hr1:dea9efb5d36ffe9d1073c5478e05dabe5fa8bc589a3ffbe76a33e9d0fac19932:orders");
}
