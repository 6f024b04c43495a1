//! Policy of the body of a template that writes.

use super::fields::Fields;
use super::pattern::Use;
use super::rule::Rule;
use crate::config::yaml::{Fault, Node};

/// Most content types.
const CONTENT_TYPES_MAX: usize = 16;
/// Longest content type.
const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Largest body.
const BODY_BYTES_MAX: usize = 102_400;

/// What a caller's body must be.
#[derive(Debug)]
pub struct BodyPolicy {
    /// What it may be called, to the letter.
    pub content_types: Vec<String>,
    /// Most bytes.
    pub max_bytes: usize,
    /// Whether there must be one.
    pub required: bool,
    /// Whether it must be one JSON text.
    pub json: bool,
    /// What else it must be.
    pub rule: Rule,
}

impl BodyPolicy {
    pub(super) fn read(path: String, node: Node) -> Result<BodyPolicy, Fault> {
        let mut fields = Fields::of(path, node, "content_types max_bytes required validation")?;
        let content_types = fields.texts("content_types", 1..=CONTENT_TYPES_MAX, media_type)?;
        if content_types.is_empty() {
            return Err(fields.fault("requires content_types"));
        }
        let max_bytes = fields.number("max_bytes", 1..=BODY_BYTES_MAX)?;
        let max_bytes = max_bytes.ok_or_else(|| fields.fault("requires max_bytes"))?;
        let required = fields.truth("required")?;
        let required = required.ok_or_else(|| fields.fault("requires required: true or false"))?;
        let (path, node) = fields.required("validation")?;
        let mut validation = Fields::of(path, node, "json pattern enum")?;
        let within = |text: &str| match text.len() <= max_bytes {
            true => Ok(()),
            false => Err("must not be longer than max_bytes".to_owned()),
        };
        let json = validation.truth("json")?.unwrap_or_default();
        let rule = Rule::read(&mut validation, Use::Body, max_bytes, within)?;
        let policy = BodyPolicy { content_types, max_bytes, required, json, rule };
        if !policy.json && policy.rule.is_empty() {
            return Err(validation.fault("requires one of json: true, pattern and enum"));
        }
        if !policy.json && policy.content_types.iter().any(|kind| is_json(kind)) {
            return Err(validation.fault("requires json: true, since a content type is JSON"));
        }
        Ok(policy)
    }
}

/// Checks that a content type has one spelling: in lower case, without wildcards, one blank before a parameter.
fn media_type(text: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$&^_.+-".contains(c);
    let is_token = |text: &str| !text.is_empty() && text.chars().all(legal);
    let mut parts = text.split("; ");
    let names_kind = parts.next().and_then(|kind| kind.split_once('/'));
    let names_kind = names_kind.is_some_and(|(main, sub)| is_token(main) && is_token(sub));
    let are_parameters =
        parts.all(|part| part.split_once('=').is_some_and(|(name, value)| is_token(name) && is_token(value)));
    match names_kind && are_parameters && text.len() <= CONTENT_TYPE_BYTES_MAX {
        true => Ok(()),
        false => Err("must be a media type in lower case, such as application/json".into()),
    }
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}
