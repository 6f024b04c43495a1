//! Reads the arguments of a tool as its schema has them.
//!
//! The schemas that `tools/list` shows are held here by hand, one method a kind of argument: what is shown
//! and what is checked are next to each other in `tools/*.json` and in this room's tools. Each refusal is a
//! sentence that names the argument and what it must be, so that a model can mend its call. Of what was sent
//! it repeats names only, cut and quoted.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::mcp_server::shown;

/// Most headers of one call. Real ones have a handful; the HTTP crate's map ends the process at 32 768.
const HEADERS_MAX: usize = 100;

/// How long a caller may let a call take.
pub(super) const TIMEOUT_MS: RangeInclusive<usize> = 100..=120_000;
/// How long it takes when nothing is said.
pub(super) const TIMEOUT_DEFAULT_MS: usize = 30_000;

/// What the caller gave.
pub(super) struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    /// Arguments with no other names than these.
    pub(super) fn of(given: &'a Map<String, Value>, names: &str) -> Result<Arguments<'a>, String> {
        match given.keys().find(|name| !names.split(' ').any(|known| known == *name)) {
            None => Ok(Arguments(given)),
            Some(odd) => Err(invalid(&format!("there is no argument {:?}", shown(odd)))),
        }
    }

    /// The label of an endpoint, which is required.
    pub(super) fn label(&self) -> Result<&'a str, String> {
        let label = self.text("label")?.ok_or_else(|| invalid("label is required"))?;
        // No label outside this form was ever registered; the check is for the sentence.
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let fits = (1..=64).contains(&label.len()) && label.chars().all(inner);
        if !fits || label.starts_with(['_', '-']) {
            return Err(invalid("label must match ^[a-z0-9][a-z0-9_-]{0,63}$"));
        }
        Ok(label)
    }

    /// The verb, which is required. In capitals: verbs tell letter cases apart.
    pub(super) fn method(&self) -> Result<Method, String> {
        match self.text("method")? {
            None => Err(invalid("method is required")),
            Some("GET") => Ok(Method::GET),
            Some("POST") => Ok(Method::POST),
            Some("PUT") => Ok(Method::PUT),
            Some(_) => Err(invalid("method must be GET, POST or PUT")),
        }
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.read(name, "a text", Value::as_str)
    }

    /// A truth value.
    pub(super) fn truth(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A whole number within bounds, however it is written: `5.0` is one as well.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, String> {
        let kind = format!("a whole number from {} to {}", range.start(), range.end());
        let whole = |value: &Value| value.to_string().trim_end_matches(".0").parse::<usize>().ok();
        let read = self.read(name, &kind, |value| whole(value).filter(|number| range.contains(number)))?;
        Ok(read.unwrap_or(default))
    }

    /// A list of texts; none are an empty list.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let all = |value: &'a Value| value.as_array()?.iter().map(Value::as_str).collect();
        Ok(self.read(name, "a list of texts", all)?.unwrap_or_default())
    }

    /// An object, whose members should be texts.
    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, String> {
        self.read(name, "an object of texts", Value::as_object)
    }

    /// Names and values of headers, each legal by itself: nothing that is accepted here can end a line, begin
    /// another, or be read as two.
    pub(super) fn headers(&self) -> Result<HeaderMap, String> {
        // What the parsers of the HTTP crate accept as a name and as a value is what RFC 9110 does: tokens, and
        // text without line ends, NUL and other control characters.
        let given = self.object("headers")?;
        let mut headers = HeaderMap::new();
        for (name, value) in given.into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| invalid("headers must be an object of texts"))?;
            let broken = |what: &str| invalid(&format!("headers holds {:?}, {what}", shown(name)));
            let token: HeaderName = name.parse().map_err(|_| broken("which is no header name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| broken("whose value has characters that no header may have"))?;
            // Two spellings of one name: servers differ in which they take, and a filter could see the other.
            if headers.insert(token, value).is_some() {
                return Err(broken("twice"));
            }
            if headers.len() > HEADERS_MAX {
                return Err(invalid(&format!("headers holds more than {HEADERS_MAX}")));
            }
        }
        Ok(headers)
    }

    /// The value of a name, when it is given and of its kind. An explicit null is not the same as nothing: the
    /// schema does not allow it.
    fn read<T>(
        &self,
        name: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| invalid(&format!("{name} must be {kind}")))
    }
}

/// Every refusal begins as the reference's do, for whoever matches on them.
fn invalid(what: &str) -> String {
    format!("validating \"arguments\": {what}")
}
