//! Whether a call is within the rules of a template, and the request that it then is.
//!
//! Pure: what comes in is a template and what was given, what comes out is a request or one of the texts of the
//! reference, which names what is wrong and repeats no value.

use serde_json::{Map, Value};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::config::{BodyPolicy, HEADERS_BYTES_MAX, HEADERS_MAX, HeaderPolicy, Template};
use crate::relay::json;

use super::given::Given;

/// What is told of a body that is too large, or missing.
const LIMIT: &str = "template body violates its byte limit or required-body policy";

/// What is told of headers that are too large together.
pub(super) const SIZE: &str = "template headers exceed size limit";

/// Decides a call: the URL and the headers, without the operator's. `operation` is what a caller of a write has to repeat.
pub(super) fn decide(
    template: &Template,
    operation: Option<&str>,
    given: &Given,
) -> Result<(Uri, HeaderMap), String> {
    match (operation, given.operation) {
        (None, Some(_)) => return Err("GET templates do not accept a write operation".into()),
        (Some(_), _) if operation != given.operation => {
            return Err("write operation must match the discovered invocation schema".into());
        }
        _ => {}
    }
    let uri = url(template, given.parameters)?;
    check_body(template.body.as_ref(), given)?;
    let mut headers = headers(&template.headers, given.headers)?;
    if let Some(kind) = given.content_type.and_then(|kind| kind.parse().ok()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    Ok((uri, headers))
}

fn url(template: &Template, given: Option<&Map<String, Value>>) -> Result<Uri, String> {
    const KEYS: &str = "template parameter keys must match the declared schema";
    let given = given.ok_or(KEYS)?;
    let parameters = &template.parameters;
    // As many as there are, and each of them: then there is no other.
    if given.len() != parameters.len() || !parameters.iter().all(|one| given.contains_key(&one.name)) {
        return Err(KEYS.into());
    }
    for parameter in parameters {
        let name = &parameter.name;
        let value = given.get(name).and_then(Value::as_str);
        let value = value.ok_or_else(|| format!("parameter {name} must be a string"))?;
        parameter.check(value).map_err(|what| format!("parameter {name}: {what}"))?;
    }
    let url = template.route.url(|name| given.get(name)?.as_str());
    url.ok_or_else(|| "rendered URL exceeds size limit".into())
}

fn check_body(policy: Option<&BodyPolicy>, given: &Given) -> Result<(), String> {
    let text = match (policy, given.body, given.content_type) {
        (None, None, None) => return Ok(()),
        (None, ..) => "template GET requests cannot contain body or content_type arguments",
        (Some(policy), Some(body), Some(kind)) if policy.content_types.iter().any(|known| known == kind) => {
            return check_text(policy, body);
        }
        (Some(_), Some(_), Some(_)) => "template content type is not permitted",
        (Some(policy), None, None) if !policy.required => return Ok(()),
        (Some(_), None, None) => LIMIT,
        _ => "template body and content_type must be supplied together",
    };
    Err(text.into())
}

/// Whether a body is right, whatever it is called.
pub(super) fn check_text(policy: &BodyPolicy, body: &str) -> Result<(), String> {
    if body.len() > policy.max_bytes || (policy.required && body.is_empty()) {
        return Err(LIMIT.into());
    }
    if policy.json && json::value(body).is_err() {
        return Err("template body must be valid JSON".into());
    }
    policy.rule.check(body).map_err(|what| format!("template body {what}"))
}

/// The caller's headers under the names that they are sent as.
fn headers(policy: &HeaderPolicy, given: Option<&Map<String, Value>>) -> Result<HeaderMap, String> {
    const DENIED: &str = "caller header is not permitted by the target";
    const VALUE: &str = "invalid caller header value";
    if given.is_some_and(|given| given.len() > HEADERS_MAX) {
        return Err("too many template headers".into());
    }
    // Before a pattern sees any of them: its time is bounded for values of this length.
    let length = |(name, value): (&String, &Value)| name.len() + value.as_str().map_or(0, str::len);
    if given.into_iter().flatten().map(length).sum::<usize>() > HEADERS_BYTES_MAX {
        return Err(SIZE.into());
    }
    let mut named = HeaderMap::new();
    for (name, value) in given.into_iter().flatten() {
        let name: HeaderName = name.parse().map_err(|_| DENIED)?;
        let value = value.as_str().ok_or(VALUE)?;
        // A blank at an end is judged here and cut by the server; a control character may end a line there.
        let breaks = |c: char| c.is_control() && c != '\t';
        if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) || value.contains(breaks) {
            return Err(VALUE.into());
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| VALUE)?;
        if named.insert(name, value).is_some() {
            return Err("duplicate caller header name".into());
        }
    }
    let mut headers = HeaderMap::new();
    for rule in &policy.rules {
        match named.remove(&rule.name) {
            Some(value) => {
                let text = String::from_utf8_lossy(value.as_bytes());
                let checked = rule.rule.check_length(&text).and_then(|()| rule.rule.check(&text));
                checked.map_err(|what| format!("caller header {what}"))?;
                headers.insert(rule.forward_as.clone(), value);
            }
            None if rule.required => return Err("caller header is required by the target".into()),
            None => {}
        }
    }
    // What no rule took.
    if named.is_empty() { Ok(headers) } else { Err(DENIED.into()) }
}

#[cfg(test)]
mod tests;
