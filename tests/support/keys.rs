//! API keys that a control plane knows.

use std::sync::Mutex;

use super::http::Request;
use super::reply::Reply;

/// Keys that are valid; all are, until a test names some.
#[derive(Default)]
pub struct Keys(Mutex<Option<Vec<String>>>);

impl Keys {
    /// From now on these are valid, and no others.
    pub fn accept(&self, keys: &[&str]) {
        *self.0.lock().unwrap() = Some(keys.iter().map(|key| format!("Bearer {key}")).collect());
    }

    /// Whether the key of a request is valid.
    pub fn know(&self, request: &Request) -> bool {
        let shown = request.header("authorization").unwrap_or_default();
        self.0.lock().unwrap().as_ref().is_none_or(|keys| keys.iter().any(|key| key == shown))
    }
}

/// What a request gets whose key is not.
pub fn refusal() -> Reply {
    Reply::json(401, r#"{"error":{"message":"the key is not known"}}"#)
}
