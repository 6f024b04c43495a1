//! One request of an administrator, and what it says when it fails.
//!
//! The same head, proxies and certificates as a running client's, within 30 s. Redirects are failures: the
//! key goes to the configured origin and nowhere else. Nothing is sent twice.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use ureq::http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::config::{Admin, Environment, Error, Flags};
use crate::crypto;
use crate::net::{Budget, Client, Net, Request};
use crate::ops::redact::Redactor;
use crate::plane::client::head;
use crate::plane::hints::hint;
use crate::plane::refusal::{Description, ERROR_BYTES_MAX, describe, request_id};

use crate::cli::terminal::{Progress, foreign, json};

/// The largest reply: thousands of tunnels.
/// Above it the answer is a failure and not a part, since a list that ends early looks complete.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Why a command failed. With `--json` its members are written in this order.
#[derive(Serialize)]
pub(super) struct Fault {
    message: String,
    #[serde(flatten)]
    exchange: Box<Exchange>,
}

/// The request that failed, and what was answered; empty before there was one.
#[derive(Serialize, Default, Clone)]
#[rustfmt::skip]
struct Exchange {
    #[serde(skip_serializing_if = "Option::is_none")] method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")] path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")] status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")] request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")] code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")] class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")] mitigation: Option<&'static str>,
}

/// How a failure is wrapped in JSON.
#[derive(Serialize)]
pub(super) struct Envelope<'a> {
    error: &'a Fault,
}

/// The control plane, ready to be asked.
pub(super) struct Session {
    client: Client,
    head: HeaderMap,
    base: String,
    time: Duration,
    budget: Arc<Budget>,
    redactor: Redactor,
}

/// A reply of success, read to its end.
pub(super) struct Answer {
    body: Vec<u8>,
    /// What to say if it is not what it should be; holds the plane's own id of the exchange.
    asked: Exchange,
}

/// What was found, as it is written with `--json`.
#[derive(Serialize)]
#[rustfmt::skip]
struct Found<T> {
    #[serde(flatten)] found: T,
    #[serde(skip_serializing_if = "Option::is_none")] request_id: Option<String>,
}

impl Session {
    /// Takes settings and key; nothing is dialled yet.
    pub(super) fn open(flags: &Flags, runtime_key_will_do: bool) -> Result<Session, Fault> {
        let failed = |error: &dyn fmt::Display| Fault::new(format!("configure tunnel-client: {error}"));
        // As for a running client, so that the plane's own logs can tell one run of a command from another.
        let instance_id = crypto::random_id().map_err(|error| failed(&error))?;
        let admin = Admin::load(flags, &Environment::of_process()?, runtime_key_will_do)?;
        for warning in &admin.warnings {
            crate::service::complain(warning);
        }
        let plane = &admin.control_plane;
        let net = Net::new(&admin.network).map_err(|error| failed(&error))?;
        let client = net.control_plane(plane, 1).map_err(|error| failed(&error))?;
        // No channels are declared: who manages tunnels serves none.
        let head = head(plane, &instance_id).map_err(|error| failed(&error))?;
        let base = format!("{}{}/v1/tunnels", plane.origin, plane.url_path);
        let redactor = Redactor::new(vec![plane.api_key.clone()]);
        Ok(Session {
            client,
            head,
            base,
            time: plane.poll_timeout,
            budget: Budget::new(REPLY_BYTES_MAX),
            redactor,
        })
    }

    /// Sends one request to the tunnels, or to what stands behind them in the path.
    pub(super) fn ask(
        &self,
        method: Method,
        rest: &str,
        form: Option<Map<String, Value>>,
    ) -> Result<Answer, Fault> {
        let uri: Uri =
            format!("{}{rest}", self.base).parse().map_err(|_| Fault::new("the URL is not legal"))?;
        // From here on every failure says which request it was, answered or not.
        let asked = Exchange::of(&method, uri.path());
        let deadline = Instant::now() + self.time;
        let mut headers = self.head.clone();
        let body = form.map(|form| Value::Object(form).to_string());
        let parts = body.as_ref().map(|body| [body.as_bytes()]);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let progress = Progress::new();
        progress.show(&format!("asking {} ...", self.client.route().destination));
        let parts = parts.as_ref().map(|parts| parts.as_slice());
        // A stale connection is no reason to ask again: a tunnel could be made twice.
        let request = Request { method, uri: &uri, headers, body: parts, deadline, replay_when_stale: false };
        let reply = self.client.send(request).map_err(|error| asked.because(error))?;
        let (status, request_id) = (reply.status, request_id(&reply).map(|id| foreign(&id)));
        let asked = Exchange { status_code: Some(status), request_id, ..asked };
        if (200..300).contains(&status) {
            let body = reply.read_all(REPLY_BYTES_MAX, &self.budget, deadline);
            let body = body.map_err(|error| asked.because(error))?.data;
            return Ok(Answer { body, asked });
        }
        // A refusal that cannot be read to its end is still a refusal; its status says the most.
        let body = reply.read_all(ERROR_BYTES_MAX, &self.budget, deadline).map(|body| body.data);
        Err(asked.described(status, describe(&body.unwrap_or_default()), &self.redactor))
    }
}

impl Answer {
    /// What the reply holds, in the form that was asked for.
    pub(super) fn show<T: DeserializeOwned + Serialize>(
        self,
        flags: &Flags,
        text: impl FnOnce(&T) -> String,
    ) -> Result<String, Fault> {
        let found = serde_json::from_slice::<T>(&self.body);
        // The parser names a place and a kind, and quotes no more than a text.
        let found = found.map_err(|error| {
            self.asked
                .because(format!("the reply is not what was asked for: {}", foreign(&error.to_string())))
        })?;
        Ok(self.write(flags, found, text))
    }

    /// The same of something that is known already.
    pub(super) fn write<T: Serialize>(
        self,
        flags: &Flags,
        found: T,
        text: impl FnOnce(&T) -> String,
    ) -> String {
        let request_id = self.asked.request_id;
        if flags.is_on("json") { json(&Found { found, request_id }) } else { text(&found) }
    }
}

impl Fault {
    /// A failure before anything was sent.
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Exchange::default().because(message.into())
    }

    /// As it is written with `--json`.
    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { error: self }
    }
}

impl Exchange {
    /// One that begins. The query is left out: it is long, and known to whoever asked.
    fn of(method: &Method, path: &str) -> Exchange {
        let (method, path) = (Some(method.to_string()), Some(path.to_owned()));
        Exchange { method, path, ..Exchange::default() }
    }

    /// A failure of this exchange, as far as it had come.
    fn because(&self, why: impl fmt::Display) -> Fault {
        Fault { message: why.to_string(), exchange: Box::new(self.clone()) }
    }

    /// What the plane, or whoever answered in its place, said.
    fn described(&self, status: u16, said: Description, redactor: &Redactor) -> Fault {
        // A refused key is sometimes repeated.
        let shown = |text: &str| foreign(&redactor.clean(text));
        let message = match said.message.as_str() {
            _ if (300..400).contains(&status) => "a redirect, which is not followed".into(),
            "" => "no reason was given".into(),
            message => shown(message),
        };
        // By the code alone: the sentences for statuses speak of the key that polls, which is not this one.
        let mitigation = said.code.as_deref().map(|code| hint(Some(code), 0)).filter(|text| !text.is_empty());
        let (code, class) = (said.code.map(|code| shown(&code)), said.class.map(|class| shown(&class)));
        Exchange { code, class, mitigation, ..self.clone() }.because(message)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::new(error.report())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(method), Some(path)) = (&self.exchange.method, &self.exchange.path) {
            write!(f, "request {method} {path} failed: ")?;
        }
        if let Some(status) = self.exchange.status_code {
            let code = self.exchange.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
            write!(f, "{status}{code}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(mitigation) = self.exchange.mitigation {
            write!(f, " mitigation: {mitigation}")?;
        }
        if let Some(id) = &self.exchange.request_id {
            write!(f, " (x-request-id: {id})")?;
        }
        Ok(())
    }
}

/// A value of a query: everything but letters, digits and marks without a meaning is percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_no_separators() {
        assert_eq!(encoded("a&b=c d/é~"), "a%26b%3Dc%20d%2F%C3%A9~");
    }
}
