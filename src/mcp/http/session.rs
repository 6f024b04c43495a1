//! Session of our own with a server over HTTP, for questions that are no caller's.
//!
//! It is opened in the era in which the server answers a probe, and ended when it is dropped. What is asked takes the
//! way that calls take, with the headers of probes: nothing of a caller is sent. Failures are texts without anything
//! that a server wrote.

use std::time::Instant;

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::ops::readiness::Probe;
use crate::relay::failure::METHOD_NOT_FOUND;
use crate::relay::revision::Era;
use crate::relay::tree;

use super::super::questions;
use super::probe::{self, PROBE_TIME};
use super::target::HttpTarget;

/// Largest page of a list that is read.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest error that is looked at.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Session with a server.
pub struct Session<'a> {
    target: &'a HttpTarget,
    era: Era,
    headers: HeaderMap,
}

impl<'a> Session<'a> {
    /// Opens one, by `deadline` after the probe. A server that is too slow for a probe may still open one in time.
    pub fn open(target: &'a HttpTarget, deadline: Instant) -> Result<Session<'a>, String> {
        let found = probe::probe(target, None);
        let era = match found.probe {
            Probe::Ready => found.era.unwrap_or(Era::Legacy),
            Probe::AuthorizationRequired(status) => {
                let help = "a credential of this host for the list can stand in mcp.discovery-extra-headers";
                return Err(format!(
                    "the server answered {status}: it tells its tools only to callers; {help}"
                ));
            }
            Probe::TimedOut(_) => Era::Legacy,
            Probe::Failed(why) | Probe::WaitExpired(why) => return Err(why),
        };
        if era == Era::Modern {
            let mut headers = probe::discover_headers();
            headers.insert(HeaderName::from_static("mcp-method"), HeaderValue::from_static("tools/list"));
            return Ok(Session { target, era, headers });
        }
        let answer = probe::ask(target, &HeaderMap::new(), &questions::initialize(), deadline);
        let answer = answer.map_err(|error| error.to_string())?;
        let version = answer.message.pointer("/result/protocolVersion").and_then(|version| version.as_str());
        let version = version.ok_or("initialize was not answered with a revision")?;
        let headers = probe::confirm(target, version, answer.session.as_ref(), deadline);
        Ok(Session { target, era, headers })
    }

    /// The page of the server's tools behind this cursor, as a message in JSON.
    pub fn tools(&self, cursor: Option<&str>, deadline: Instant) -> Result<String, String> {
        let question = questions::tools(self.era, cursor);
        match probe::exchange(self.target, &self.headers, &question, PAGE_BYTES_MAX, deadline) {
            Ok((200..=299, _, text)) => Ok(text),
            // Since 2026-07-28 a method that a server does not have is 404.
            Ok((400..=499, _, text)) if lacks_method(&text) => Ok(text),
            Ok((status, ..)) => Err(format!("tools/list was answered {}", probe::status_text(status))),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Whether a server says that it does not know the method.
fn lacks_method(text: &str) -> bool {
    let answer = (text.len() <= ERROR_BYTES_MAX).then(|| tree::read(text.as_bytes()).ok()).flatten();
    answer.is_some_and(|answer| questions::error_code(&answer) == Some(METHOD_NOT_FOUND))
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        probe::end(self.target, &self.headers, Instant::now() + PROBE_TIME);
    }
}
