//! What a caller is told: the tools with their schemas, and which endpoints there are.
//!
//! Without templates both are what the reference has always shown. With them `call_target` has several forms, and an
//! endpoint's entry says how it is called. Neither tells where anything leads.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::arguments::Arguments;
use super::mcp_server::{Called, extended, tool_result};
use super::registry::{Endpoint, Endpoints};
use super::tools::Tools;

/// What `tools/list` shows, in the order of the reference. Bounds are filled in where their names stand: a model
/// that is told the true bounds does not run into them.
const SCHEMAS: &str = include_str!("tools.json");

/// What is different where there are templates.
const TEMPLATE_SCHEMAS: &str = include_str!("templates.json");

impl Tools {
    /// All tools as `tools/list` shows them. The texts are ours, so they are JSON (a test holds that).
    pub(super) fn list(&self) -> Value {
        let filled = |text: &str| -> Value {
            let filled = text
                .replace("\"MAX_RESPONSE_BYTES\"", &self.max_response_bytes.to_string())
                .replace("\"MAX_REDIRECTS\"", &self.max_redirects.to_string());
            serde_json::from_str(&filled).unwrap_or_default()
        };
        let mut tools = filled(SCHEMAS);
        let endpoints = self.registry.now();
        if endpoints.has_templates() {
            add_templates(&mut tools, filled(TEMPLATE_SCHEMAS), &endpoints);
        }
        tools
    }

    pub(super) fn list_targets(&self, arguments: &Map<String, Value>) -> Result<Called, String> {
        let arguments = Arguments::of(arguments, "categories sources tags")?;
        // Models write filters as people do, with capitals and spaces.
        let filter = |name: &str| -> Result<Vec<String>, String> {
            let given = arguments.texts(name)?.into_iter().map(|text| text.trim().to_lowercase());
            Ok(given.filter(|text| !text.is_empty()).collect())
        };
        let (categories, sources, tags) = (filter("categories")?, filter("sources")?, filter("tags")?);
        let any = |wanted: &[String], own: &str| wanted.is_empty() || wanted.iter().any(|one| one == own);
        let fits = |endpoint: &&Arc<Endpoint>| {
            any(&categories, endpoint.category)
                && any(&sources, endpoint.category)
                && tags.iter().all(|tag| endpoint.has_tag(tag))
        };
        let endpoints = self.registry.now();
        let targets: Vec<Value> = endpoints.all().iter().filter(fits).map(|one| listed(one)).collect();
        let all = json!({"targets": targets});
        Ok(Called::Result(tool_result(&all.to_string(), Some(all))))
    }
}

/// Gives `call_target` its further forms: one for all templates whose label is enough, and one each for the others.
fn add_templates(tools: &mut Value, mut texts: Value, endpoints: &Endpoints) {
    let mut take = |name: &str| texts.get_mut(name).map(Value::take).unwrap_or_default();
    if let Some(members) = tools.pointer_mut("/0/outputSchema/properties/targets/items/properties") {
        *members = extended(members.take(), take("target"));
    }
    let Some(call) = tools.get_mut(2) else { return };
    let mut exact = call.get_mut("inputSchema").map(Value::take).unwrap_or_default();
    if let Some(members) = exact.as_object_mut() {
        members.remove("$schema");
    }
    let bound = endpoints.all().iter().filter_map(|endpoint| endpoint.invocation.as_ref());
    let bound = bound.filter(|invocation| invocation.is_bound).map(|one| one.input_schema.clone());
    let forms: Vec<Value> = [exact, take("call")].into_iter().chain(bound).collect();
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    let input = json!({"$schema": dialect, "title": "call_target input", "type": "object", "oneOf": forms});
    *call = extended(call.take(), json!({"inputSchema": input, "description": take("description")}));
    // A template's result says nothing of truncation.
    if let Some(required) = call.pointer_mut("/outputSchema/required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "truncated");
    }
}

/// One endpoint as `list_targets` shows it; what is empty is left out.
fn listed(endpoint: &Endpoint) -> Value {
    let (target, category) = (&endpoint.target, endpoint.category);
    let methods: Vec<&str> = target.methods.iter().map(Method::as_str).collect();
    let mut entry = json!({
        "label": target.label, "description": target.description, "category": category, "source": category,
        "tags": endpoint.tags, "allowed_methods": methods,
    });
    if let Some(members) = entry.as_object_mut() {
        members.retain(|_, one| *one != json!("") && *one != json!([]));
    }
    extended(entry, endpoint.invocation.as_ref().map_or(Value::Null, |invocation| invocation.listed.clone()))
}
