//! The control plane's published contract, as far as a machine can hold it: what requests and replies must be.
//!
//! `tests/contract/control-plane.json` is its structure. What it does not know yet is taken out before it is asked:
//! `trace_context`, `resp_timing`, and the command `oauth_discovery` with its answer; a 409 to a poll may be anything.

use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::http::Request;

/// Query parameter of polls that is served without being published.
const UNPUBLISHED_PARAMETER: &str = "channel";
/// Command that is served without being published, and what answers it.
const UNPUBLISHED_COMMAND: &str = "oauth_discovery";
const UNPUBLISHED_ANSWER: &str = "oauth_discovery_response";

/// What a control plane is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Metadata,
    Poll,
    Response,
}

impl Operation {
    /// The operation of a request, whatever stands before the published path.
    pub fn of(request: &Request) -> Option<Operation> {
        let (_, rest) = request.path().split_once("/v1/tunnels/")?;
        match (request.method.as_str(), rest.split_once('/').map(|(_, rest)| rest)) {
            ("GET", None) => Some(Operation::Metadata),
            ("GET", Some("poll")) => Some(Operation::Poll),
            ("POST", Some("response")) => Some(Operation::Response),
            _ => None,
        }
    }

    fn contract(self) -> &'static Value {
        let (method, end) = match self {
            Operation::Metadata => ("GET", "{tunnel_id}"),
            Operation::Poll => ("GET", "/poll"),
            Operation::Response => ("POST", "/response"),
        };
        let mut all = contract()["operations"].as_array().unwrap().iter();
        all.find(|one| one["method"] == method && one["path"].as_str().unwrap().ends_with(end)).unwrap()
    }

    /// Whether the contract demands a body with this status.
    pub fn demands_body(self, status: u16) -> bool {
        self.contract()["replies"][status.to_string()].is_object()
    }

    /// Checks a request.
    pub fn request(self, request: &Request) -> Result<(), String> {
        let contract = self.contract();
        let bearer = request.header("authorization").is_some_and(|value| value.starts_with("Bearer "));
        if !bearer {
            return Err("it carries no bearer".into());
        }
        let parameters = contract["parameters"].as_array().unwrap();
        for parameter in parameters {
            self.parameter(request, parameter)?;
        }
        for pair in request.query().split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            let is_known = parameters.iter().any(|one| one["in"] == "query" && one["name"] == name);
            if !is_known && name != UNPUBLISHED_PARAMETER {
                return Err(format!("it has the parameter {name}"));
            }
        }
        match contract["body"].is_null() {
            true if request.body.is_empty() => Ok(()),
            true => Err("it has a body".into()),
            false => answer(&contract["body"], &request.body),
        }
    }

    fn parameter(self, request: &Request, parameter: &Value) -> Result<(), String> {
        let name = parameter["name"].as_str().unwrap();
        let values = match parameter["in"].as_str() {
            Some("header") => request.all(name),
            Some("query") => request.parameter(name).into_iter().collect(),
            // The path was matched by whoever asks.
            _ => return Ok(()),
        };
        match values.as_slice() {
            [] if parameter["required"] == true => Err(format!("{name} is missing")),
            [] => Ok(()),
            [value] => {
                let number = value.parse::<u64>().ok().filter(|_| parameter["in"] == "query");
                let value = number.map_or_else(|| Value::from(*value), Value::from);
                check(&parameter["schema"], &value, name)
            }
            _ => Err(format!("{name} stands there more than once")),
        }
    }

    /// Checks a reply.
    pub fn reply(self, status: u16, content_type: Option<&str>, body: &[u8]) -> Result<(), String> {
        if self == Operation::Poll && status == 409 {
            return Ok(());
        }
        let schema = self.contract()["replies"].get(status.to_string());
        match schema.ok_or(format!("status {status} is not published"))? {
            Value::Null if body.is_empty() => Ok(()),
            Value::Null => Err(format!("a reply of status {status} has no body")),
            schema => {
                if content_type.is_none_or(|kind| !kind.starts_with("application/json")) {
                    return Err(format!("its content type is {content_type:?}"));
                }
                let mut value = json(body)?;
                if let Some(commands) = value.get_mut("commands").and_then(Value::as_array_mut) {
                    commands.retain(|one| one["command_type"] != UNPUBLISHED_COMMAND);
                    commands.iter_mut().filter_map(Value::as_object_mut).for_each(|one| {
                        one.remove("trace_context");
                    });
                }
                check(schema, &value, "")
            }
        }
    }
}

/// Checks the body of an answer.
fn answer(schema: &Value, body: &[u8]) -> Result<(), String> {
    let mut value = json(body)?;
    if let Some(members) = value.as_object_mut() {
        members.remove("resp_timing");
        if members.get("resp_type").is_some_and(|kind| kind == UNPUBLISHED_ANSWER) {
            members.remove("resp_type");
        }
    }
    check(schema, &value, "")?;
    match value.pointer("/resp_json/error/data/tunnel_failure") {
        Some(failure) => check(&contract()["schemas"]["TunnelFailure"], failure, "tunnel_failure"),
        None => Ok(()),
    }
}

fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("its body is no JSON: {error}"))
}

fn contract() -> &'static Value {
    static CONTRACT: OnceLock<Value> = OnceLock::new();
    CONTRACT.get_or_init(|| serde_json::from_str(include_str!("../contract/control-plane.json")).unwrap())
}

/// Checks a value; `at` is where it stands. Panics at a keyword that is not known here.
fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let keywords = schema.as_object().unwrap();
    for (keyword, demand) in keywords {
        let holds = match keyword.as_str() {
            "$ref" => return check(&contract()["schemas"][demand.as_str().unwrap()], value, at),
            "type" => is_of_type(value, demand.as_str().unwrap()),
            "const" => value == demand,
            "enum" => demand.as_array().unwrap().contains(value),
            "pattern" => {
                value.as_str().is_none_or(|text| Regex::new(demand.as_str().unwrap()).unwrap().is_match(text))
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= demand.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= demand.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| length(text) >= demand.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| length(text) <= demand.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|members| {
                demand.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "properties" | "additionalProperties" | "items" => true,
            "anyOf" => demand.as_array().unwrap().iter().any(|one| check(one, value, at).is_ok()),
            "allOf" => {
                demand.as_array().unwrap().iter().try_for_each(|one| check(one, value, at))?;
                true
            }
            "oneOf" => {
                let chosen = chosen(keywords, value, at)?;
                let mut all = demand.as_array().unwrap().iter();
                chosen || all.by_ref().filter(|one| check(one, value, at).is_ok()).count() == 1
            }
            // They belong to `oneOf` and `if`.
            "discriminator" | "then" => true,
            "if" => {
                if check(demand, value, at).is_ok() {
                    check(&schema["then"], value, at)?;
                }
                true
            }
            other => panic!("unknown keyword of the contract: {other}"),
        };
        if !holds {
            let shown: String = value.to_string().chars().take(200).collect();
            return Err(format!("{at}: {keyword} {demand} is not met by {shown}"));
        }
    }
    members(schema, value, at)
}

/// Whether a discriminator names the one schema that holds; false where there is none to decide.
fn chosen(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<bool, String> {
    let Some(discriminator) = schema.get("discriminator") else { return Ok(false) };
    let name = discriminator["propertyName"].as_str().unwrap();
    let Some(kind) = value[name].as_str() else { return Ok(false) };
    let known = discriminator["mapping"].get(kind).and_then(Value::as_str);
    let known = known.ok_or(format!("{at}: {name} {kind} is not published"))?;
    check(&contract()["schemas"][known], value, at)?;
    Ok(true)
}

/// Checks what a value holds.
fn members(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(elements) = value.as_array().filter(|_| schema.get("items").is_some()) {
        for (number, element) in elements.iter().enumerate() {
            check(&schema["items"], element, &format!("{at}[{number}]"))?;
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(known), _) => check(known, member, &at)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{at} is not published")),
            (None, Some(others @ Value::Object(_))) => check(others, member, &at)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("unknown type of the contract: {other}"),
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap()
}
