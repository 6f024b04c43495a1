//! `tunnel-client profiles schema`: what a profile may hold, for editors.
//!
//! A JSON Schema (2020-12) made from the table of settings. The sections that are structures stand in `schema/trees.json`.
//! It is for people who write: what a value means is checked by `doctor` and at the start.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::config::Flags;
use crate::config::settings::{Key, Kind, Least, ROWS, Row, Shape, Status, TREES};
use crate::service::{Failure, print};

/// Name of the schema, which nothing is fetched from.
const ID: &str = "urn:tunnel-client:profile";

/// `profiles schema`.
pub(super) fn command(_: &Flags) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(&schema());
    Ok(print(&(text.map_err(|error| Failure(error.to_string()))? + "\n")))
}

fn schema() -> Value {
    let mut root = Map::new();
    for row in ROWS.iter().chain(TREES).filter(|row| !row.yaml.is_empty() && row.status != Status::Never) {
        match row.yaml.split_once('.') {
            None => drop(root.insert(row.yaml.to_owned(), value(row))),
            Some((section, key)) => {
                let section = root.entry(section.to_owned()).or_insert_with(|| object(Map::new()));
                if let Some(properties) = section.get_mut("properties").and_then(Value::as_object_mut) {
                    properties.insert(key.to_owned(), value(row));
                }
            }
        }
    }
    let version =
        json!({ "description": "Form of the file; 2 allows templates of endpoints", "enum": [1, 2, null] });
    root.insert("config_version".to_owned(), version);
    let mut whole = object(root);
    // A constant text; a test reads it.
    let trees: Value = serde_json::from_str(include_str!("schema/trees.json")).unwrap_or_default();
    if let Some(members) = whole.as_object_mut() {
        members.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        members.insert("$id".to_owned(), json!(ID));
        members.insert("title".to_owned(), json!(format!("Profile of tunnel-client {}", crate::VERSION)));
        members.insert("$defs".to_owned(), trees);
    }
    whole
}

/// Map with these members and no others. Nothing stands for none.
fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// Value of a setting.
fn value(row: &Row) -> Value {
    let mut value = match row.kind {
        Kind::Boolean => reference("switch"),
        Kind::Integer { min, max } => json!({ "type": ["integer", "null"], "minimum": min, "maximum": max }),
        Kind::Duration(Least::AboveZero | Least::Zero) => reference("duration"),
        Kind::Headers => reference("map"),
        Kind::List(_) => json!({ "type": ["array", "null"], "items": { "$ref": "#/$defs/text" } }),
        Kind::Tree => reference(row.yaml),
        Kind::Entries { keys, .. } => json!({ "type": ["array", "null"], "items": entry(keys) }),
        // Words that stand for each other: `info|warn`.
        Kind::Text if row.placeholder.contains('|') => {
            let words = row.placeholder.split('|').map(Value::from).chain([Value::Null]);
            json!({ "anyOf": [{ "enum": words.collect::<Vec<_>>() }, { "type": "string" }] })
        }
        Kind::Text | Kind::Path | Kind::Proxy | Kind::Secret => {
            json!({ "type": ["string", "number", "boolean", "null"] })
        }
    };
    if let Some(members) = value.as_object_mut() {
        let default =
            if row.default.is_empty() { String::new() } else { format!("; default {}", row.default) };
        members.insert("description".to_owned(), json!(format!("{}{default}", row.help())));
    }
    value
}

/// Entry of a list.
fn entry(keys: &[Key]) -> Value {
    let shape = |key: &Key| match key.shape {
        Shape::Text | Shape::Value | Shape::Place => reference("text"),
        Shape::Command => json!({ "anyOf": [{ "$ref": "#/$defs/text" }, { "$ref": "#/$defs/texts" }] }),
        Shape::Tree => reference("template"),
        Shape::List => reference("texts"),
        Shape::Restriction => json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/text" } }),
        Shape::Map => reference("map"),
    };
    let properties = keys.iter().map(|key| (key.name.to_owned(), shape(key))).collect();
    let mut entry = object(properties);
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if let Some(members) = entry.as_object_mut() {
        members.insert("type".to_owned(), json!("object"));
        members.insert("required".to_owned(), json!(required));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = schema();
        let defs = schema["$defs"].as_object().unwrap();
        let text = schema.to_string();
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(defs.contains_key(name), "{name}");
        }
        for row in ROWS.iter().filter(|row| !row.yaml.is_empty() && row.status == Status::Live) {
            let path = row.yaml.split('.').fold("/properties".to_owned(), |path, key| match path.as_str() {
                "/properties" => format!("{path}/{key}"),
                _ => format!("{path}/properties/{key}"),
            });
            assert!(schema.pointer(&path).is_some(), "{}", row.yaml);
        }
    }
}
