//! Asks a server both questions of a probe, whatever it answers to either: what `doctor` compares.
//!
//! A session that is opened is ended. It cannot fail: a question without an answer has none.

use std::time::Instant;

use serde_json::Value;
use ureq::http::HeaderMap;

use super::super::questions;
use super::probe::{self, PROBE_TIME};
use super::target::HttpTarget;

/// What a server answers to one question.
#[derive(Debug, Default)]
pub struct Said {
    /// HTTP status; 0 when there was no answer in time.
    pub status: u16,
    /// The message; null when the answer is none.
    pub message: Value,
}

/// What it answers to `server/discover`, and what to `initialize`. Each may take two seconds.
pub fn ask(target: &HttpTarget) -> [Said; 2] {
    let asked = |headers: &HeaderMap, question: &Value| {
        let answer = probe::ask(target, headers, question, Instant::now() + PROBE_TIME).ok()?;
        if let Some(version) = answer.message.pointer("/result/protocolVersion").and_then(Value::as_str) {
            probe::clean_up(target, version, answer.session.as_ref());
        }
        Some(Said { status: answer.status, message: answer.message })
    };
    let discover = asked(&probe::discover_headers(), &questions::discover());
    let initialize = asked(&HeaderMap::new(), &questions::initialize());
    [discover, initialize].map(Option::unwrap_or_default)
}
