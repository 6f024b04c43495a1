//! What a caller is told of a template: JSON Schemas of what it takes, an example, and what binds a call to them.
//!
//! It is made once for the settings. Where the template leads, the names in its query, the operator's headers and the
//! names under which a caller's go on are not in it.
//!
//! A caller that read a policy yesterday and calls today must not be judged by another one unawares. A write
//! therefore repeats a fingerprint of what its caller was told. Where headers of callers have rules, the label
//! itself is bound, also to what they were not told: by a key that is made of the tunnel's own, so
//! that nobody else can make such a label, or learn from it what the policy is.

use serde_json::{Map, Value, json};
use ureq::http::HeaderName;

use super::decide::check_text;
use crate::config::{ControlPlane, HarpoonTarget, Parameter, Rule, Secret, Template};
use crate::crypto;
use crate::harpoon::arguments::{TIMEOUT_DEFAULT_MS, TIMEOUT_MS};
use crate::harpoon::mcp_server::extended;

/// Id and key of a tunnel, which make its labels its own.
type Tunnel<'a> = (&'a str, &'a Secret);

/// How a template is called.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// What it is called by: its label, which is bound to its policy where callers' headers have rules.
    pub(crate) name: String,
    /// Whether it is.
    pub(crate) is_bound: bool,
    /// What a caller of a write repeats, to show that it has seen this policy and no other.
    pub(crate) operation: Option<String>,
    /// Of all arguments.
    pub(crate) input_schema: Value,
    /// What `list_targets` adds to the entry.
    pub(crate) listed: Value,
}

impl Invocation {
    /// Of an endpoint, when it is a template.
    pub(crate) fn of(target: &HarpoonTarget, plane: &ControlPlane, bytes_max: usize) -> Option<Invocation> {
        let template = target.template.as_ref()?;
        let mut fixed: Vec<&str> = target.headers.keys().map(HeaderName::as_str).collect();
        fixed.sort_unstable();
        let tunnel = (plane.tunnel_id.as_str(), &plane.api_key);
        Some(Invocation::new(&target.label, template, &fixed, tunnel, bytes_max))
    }

    /// Of the template with this label. `fixed` are the names of the operator's headers.
    fn new(label: &str, template: &Template, fixed: &[&str], tunnel: Tunnel, bytes_max: usize) -> Invocation {
        let parameters = parameters_schema(&template.parameters);
        let input = |name: &str, operation| input_schema(template, &parameters, bytes_max, name, operation);
        let public = json!({"method": template.method.as_str(), "input": input(label, None)});
        let fingerprint = || format!("op1:{}", crypto::sha256_hex(public.to_string().as_bytes()));
        let operation = template.body.as_ref().map(|_| fingerprint());
        let rules = template.headers.rules.iter();
        let sent_as: Vec<[&str; 2]> =
            rules.map(|rule| [rule.name.as_str(), rule.forward_as.as_str()]).collect();
        let route = template.route.summary();
        let whole = json!({"public": public, "route": route, "sent_as": sent_as, "fixed": fixed});
        // Values of fixed headers are no part of it: a new token is no new policy.
        let digest = crypto::sha256_hex(whole.to_string().as_bytes());
        let is_bound = template.headers.is_bound;
        let name = if is_bound { bound_label(tunnel, label, &digest) } else { label.to_owned() };
        let input_schema = input(&name, operation.as_deref());
        let examples = example(template, &name, operation.as_deref()).map_or_else(Vec::new, |one| vec![one]);
        let listed = json!({
            "template_version": 1,
            "parameters_schema": parameters,
            "invocation": {"tool_name": "call_target", "input_schema": input_schema, "examples": examples},
        });
        Invocation { name, is_bound, operation, input_schema, listed }
    }
}

/// The label of a policy on this tunnel.
fn bound_label((id, api_key): Tunnel, label: &str, policy_digest: &str) -> String {
    // Each with a NUL behind it, which none of them holds: so no two lists are one text.
    let framed = |parts: &[&str]| parts.join("\0") + "\0";
    let of_key = framed(&["tunnel-client/harpoon/header-rules/key/v1", id]);
    let key = crypto::hmac_sha256(api_key.expose().as_bytes(), of_key.as_bytes());
    let call = framed(&["tunnel-client/harpoon/header-rules/invocation/v1", label, policy_digest]);
    format!("hr1:{}:{label}", crypto::hex(&crypto::hmac_sha256(&key, call.as_bytes())))
}

fn parameters_schema(parameters: &[Parameter]) -> Value {
    let schema = |parameter: &Parameter| {
        rule_schema(
            &parameter.rule,
            json!({
                "description": Some(&parameter.description).filter(|text| !text.is_empty()),
                "not": reserved(&parameter.reserved),
                "examples": listed(&parameter.examples),
            }),
        )
    };
    let properties: Map<String, Value> =
        parameters.iter().map(|parameter| (parameter.name.clone(), schema(parameter))).collect();
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

/// All arguments. `name` and `operation` are constants, and depend on all the rest.
fn input_schema(
    template: &Template,
    parameters: &Value,
    bytes_max: usize,
    name: &str,
    operation: Option<&str>,
) -> Value {
    let (body, rules) = (template.body.as_ref(), &template.headers.rules);
    let needed: Vec<&str> =
        rules.iter().filter(|rule| rule.required).map(|rule| rule.name.as_str()).collect();
    let description = |text: &str| json!({"description": Some(text).filter(|text| !text.is_empty())});
    let headers: Map<String, Value> = rules
        .iter()
        .map(|rule| (rule.name.to_string(), rule_schema(&rule.rule, description(&rule.description))))
        .collect();
    let headers = (!rules.is_empty()).then(|| {
        json!({"type": "object", "additionalProperties": false, "required": needed, "properties": headers})
    });
    let mut required = vec!["label", "parameters"];
    required.extend(body.map(|_| "operation"));
    required.extend(["body", "content_type"].into_iter().filter(|_| body.is_some_and(|body| body.required)));
    required.extend((!needed.is_empty()).then_some("headers"));
    let (least, most) = (TIMEOUT_MS.start(), TIMEOUT_MS.end());
    let properties = said(json!({
        "label": {"const": name},
        "parameters": parameters,
        "operation": operation.map(|constant| json!({"const": constant})),
        "body": body.map(|body| {
            let kind = body.json.then_some("application/json");
            rule_schema(&body.rule, json!({"x-maxBytes": body.max_bytes, "contentMediaType": kind}))
        }),
        "content_type": body.map(|body| json!({"type": "string", "enum": body.content_types})),
        "headers": headers,
        "timeout_ms": {"type": "integer", "minimum": least, "maximum": most, "default": TIMEOUT_DEFAULT_MS},
        "max_response_bytes": {"type": "integer", "minimum": 1, "maximum": bytes_max, "default": bytes_max},
    }));
    said(json!({
        "type": "object", "additionalProperties": false, "required": required, "properties": properties,
        "dependentRequired": body.map(|_| json!({"body": ["content_type"], "content_type": ["body"]})),
    }))
}

/// Schema of a text, with these members besides.
fn rule_schema(rule: &Rule, members: Value) -> Value {
    let checks = json!({
        "type": "string", "minLength": rule.min_length, "maxLength": rule.max_length,
        "pattern": rule.pattern.as_ref().map(|pattern| pattern.anchored()),
        "enum": listed(&rule.choices),
    });
    said(extended(checks, members))
}

/// An object without the members that say nothing.
fn said(mut object: Value) -> Value {
    object.as_object_mut().into_iter().for_each(|members| members.retain(|_, value| !value.is_null()));
    object
}

fn listed(texts: &[String]) -> Option<&[String]> {
    Some(texts).filter(|texts| !texts.is_empty())
}

/// A schema of all spellings of these values, which are of unreserved characters.
fn reserved(values: &[String]) -> Option<Value> {
    let spelling = |c: char| match c {
        _ if c.is_ascii_alphabetic() => format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()),
        '.' => "\\.".to_owned(),
        _ => c.to_string(),
    };
    let spelt: Vec<String> = values.iter().map(|value| value.chars().map(spelling).collect()).collect();
    (!values.is_empty()).then(|| json!({"pattern": format!("^(?:{})$", spelt.join("|"))}))
}

/// A call that is right; nothing where that takes a value that only the caller has.
fn example(template: &Template, name: &str, operation: Option<&str>) -> Option<Value> {
    if template.headers.rules.iter().any(|rule| rule.required) {
        return None;
    }
    let value = |parameter: &Parameter| {
        let value = parameter.examples.first().or_else(|| parameter.rule.choices.iter().min());
        Some((parameter.name.clone(), json!(value?)))
    };
    let parameters: Map<String, Value> = template.parameters.iter().map(value).collect::<Option<_>>()?;
    let (mut text, mut kind) = (None, None);
    if let Some(body) = template.body.as_ref().filter(|body| body.required) {
        text = Some(body.rule.choices.iter().filter(|choice| check_text(body, choice).is_ok()).min()?);
        kind = body.content_types.first();
    }
    Some(said(json!({
        "label": name, "parameters": parameters, "operation": operation, "body": text, "content_type": kind,
    })))
}

#[cfg(test)]
mod tests;
