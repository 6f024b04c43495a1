//! Arguments of a call of a template, read strictly.
//!
//! Members that occur twice, and texts with half a surrogate pair, were refused with the message around them. What is
//! within `parameters` and `headers` is text or refused, so that nothing is deeper than that.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::harpoon::arguments::{Arguments, TIMEOUT_DEFAULT_MS, TIMEOUT_MS};

/// Most bytes of all arguments as JSON: a body in which each byte is escaped, and everything else.
const ARGUMENTS_BYTES_MAX: usize = 32_768 + 614_400;

/// What the caller gave, each of its kind.
pub(super) struct Given<'a> {
    pub(super) parameters: Option<&'a Map<String, Value>>,
    pub(super) operation: Option<&'a str>,
    pub(super) body: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) headers: Option<&'a Map<String, Value>>,
    pub(super) timeout: Duration,
    pub(super) response_bytes_max: usize,
}

impl<'a> Given<'a> {
    /// Nothing where they are not what every template takes.
    pub(super) fn read(given: &'a Map<String, Value>, response_bytes_max: usize) -> Option<Given<'a>> {
        const NAMES: &str =
            "label parameters operation body content_type headers timeout_ms max_response_bytes";
        let size: usize = given.iter().map(|(name, value)| name.len() + value.to_string().len() + 4).sum();
        let arguments = Arguments::of(given, NAMES).ok().filter(|_| size <= ARGUMENTS_BYTES_MAX)?;
        arguments.text("label").ok()?;
        let timeout = arguments.number("timeout_ms", TIMEOUT_MS, TIMEOUT_DEFAULT_MS).ok()?;
        let bytes = 1..=response_bytes_max;
        Some(Given {
            parameters: arguments.object("parameters").ok()?,
            operation: arguments.text("operation").ok()?,
            body: arguments.text("body").ok()?,
            content_type: arguments.text("content_type").ok()?,
            headers: arguments.object("headers").ok()?,
            timeout: Duration::from_millis(u64::try_from(timeout).ok()?),
            response_bytes_max: arguments.number("max_response_bytes", bytes, response_bytes_max).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reads(given: Value) -> bool {
        Given::read(given.as_object().unwrap(), 1000).is_some()
    }

    /// NEW-100: kinds, bounds, nulls and unknown members.
    #[test]
    fn arguments_are_read_strictly() {
        assert!(reads(
            json!({"label": "a", "parameters": {"p": "x"}, "timeout_ms": 100, "max_response_bytes": 1000})
        ));
        assert!(reads(
            json!({"label": "a", "operation": "o", "body": "", "content_type": "t", "headers": {"a": "b"}})
        ));
        for given in [
            json!({"label": 1}),
            json!({"label": "a", "Label": "a"}),
            json!({"label": "a", "follow_redirects": false}),
            json!({"label": "a", "parameters": null}),
            json!({"label": "a", "parameters": []}),
            json!({"label": "a", "headers": "x"}),
            json!({"label": "a", "body": {"a": 1}}),
            json!({"label": "a", "operation": true}),
            json!({"label": "a", "content_type": 5}),
            json!({"label": "a", "timeout_ms": 99}),
            json!({"label": "a", "timeout_ms": 120_001}),
            json!({"label": "a", "timeout_ms": "100"}),
            json!({"label": "a", "timeout_ms": 100.5}),
            json!({"label": "a", "max_response_bytes": 0}),
            json!({"label": "a", "max_response_bytes": 1001}),
            json!({"label": "a", "body": "x".repeat(ARGUMENTS_BYTES_MAX)}),
        ] {
            assert!(!reads(given.clone()), "{:.60}", given.to_string());
        }
    }
}
