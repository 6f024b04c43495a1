//! What the control plane, or the way to it, said instead of yes.
//!
//! The plane's own words are kept, bounded, for the log: they are often the only clue that an operator
//! gets. A proxy or portal in between may have written them instead. Whatever cannot be read is left
//! out; an error never becomes another error here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, Uri, header};

use crate::net::{Budget, Error, Kind, Reply};
use crate::ops::readiness::Fault;
use crate::relay::tree;
use crate::text;

use super::retry;
use super::routing::{Placement, REJECTED};

/// How much of an error's body is read, and how much of it is kept when it is not JSON.
pub(crate) const ERROR_BYTES_MAX: usize = 64 * 1024;
const ERROR_TEXT_CHARS_MAX: usize = 1024;

/// Longest host name that DNS knows.
const HOST_BYTES_MAX: usize = 253;

/// What a page for people is called.
const PAGE_TYPE: &[u8] = b"text/html";

/// An exchange that failed.
pub enum Refusal {
    /// No reply, or none that could be read.
    Transport(Error),
    /// A reply with another status than success.
    Status(Box<StatusError>),
}

/// A reply that reports an error.
#[derive(Default)]
pub struct StatusError {
    /// Its status.
    pub status: u16,
    /// The plane's error code.
    pub code: Option<String>,
    /// The plane's message, the title of a page, or the start of whatever the body was.
    pub message: String,
    /// The body is a page for people. The control plane has none.
    pub is_page: bool,
    /// Where a redirect leads: a host, or the same one. The control plane makes none.
    pub redirect: Option<String>,
    /// How long the plane asks us to stay away.
    pub retry_after: Option<Duration>,
    /// The plane's own id of the exchange.
    pub tunnel_request_id: Option<String>,
    /// What is said about where to poll.
    pub(super) placement: Placement,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Transport(error)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Transport(error) => error.fmt(f),
            Refusal::Status(error) => error.fmt(f),
        }
    }
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the control plane answered {}", self.status)?;
        match (&self.placement, &self.redirect) {
            (Placement::Rejected(_), _) => write!(f, ": {REJECTED}"),
            (Placement::Invalid(why), _) => write!(f, ": {why}"),
            (_, Some(host)) => write!(f, ", a redirect to {host}"),
            _ if self.is_page => f.write_str(" with a web page"),
            _ => Ok(()),
        }
    }
}

impl Refusal {
    /// Whether the plane could not read what it was sent. It cannot the next time either.
    pub(super) fn is_invalid_json(&self) -> bool {
        let code = self.status().filter(|said| said.status == 400).and_then(|said| said.code.as_deref());
        code == Some("invalid_json_payload")
    }

    /// What the plane said, when it said anything.
    pub(super) fn status(&self) -> Option<&StatusError> {
        match self {
            Refusal::Status(error) => Some(error),
            Refusal::Transport(_) => None,
        }
    }

    /// Its class, in a word of the reference.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Refusal::Status(_) => "http_error",
            Refusal::Transport(error) => match error.kind {
                Kind::Timeout => "timeout",
                Kind::Shutdown => "canceled",
                Kind::InvalidRequest => "request_error",
                _ => "network_error",
            },
        }
    }

    /// As readiness takes it, with `why` for a person.
    pub(super) fn fault<'a>(&self, why: &'a str) -> Fault<'a> {
        Fault { why, category: self.category(), status: self.status().map(|said| said.status) }
    }

    /// Whether the control plane itself answered, as far as that can be told: pages and redirects come from
    /// whatever stands in its place.
    pub(super) fn is_of_the_plane(&self) -> bool {
        self.status().is_some_and(|said| !said.is_page && said.redirect.is_none())
    }

    /// How long the plane asks us to stay away, whatever the status: an overloaded plane may say so with
    /// any of them.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.status()?.retry_after
    }

    /// Reads what an error reply says; whatever cannot be read is left out. The body is read within the
    /// deadline of its request: an error that trickles in must not delay the next attempt for ever.
    pub(super) fn of(reply: Reply, budget: &Arc<Budget>, deadline: Instant) -> Refusal {
        Refusal::read(reply, budget, deadline, false)
    }

    /// The same for a poll, which the plane may send elsewhere. Of such a reply, and of what only looks like one,
    /// no word is kept.
    pub(super) fn of_poll(reply: Reply, budget: &Arc<Budget>, deadline: Instant) -> Refusal {
        Refusal::read(reply, budget, deadline, true)
    }

    fn read(reply: Reply, budget: &Arc<Budget>, deadline: Instant, is_poll: bool) -> Refusal {
        let headers = reply.headers.clone();
        let status = reply.status;
        let tunnel_request_id = request_id(&reply);
        let retry_after = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, SystemTime::now()));
        let redirect = (300..400).contains(&status).then(|| redirect_host(&headers)).flatten();
        let says_page = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().get(..PAGE_TYPE.len()).is_some_and(|t| t.eq_ignore_ascii_case(PAGE_TYPE))
        });
        let body = reply.read_all(ERROR_BYTES_MAX, budget, deadline).map(|body| body.data);
        let placement = match &body {
            Err(error) if error.kind != Kind::TooLarge => Placement::Cut,
            body if is_poll => Placement::read(status, &headers, body.as_deref().ok()),
            _ => Placement::Unsaid,
        };
        let is_secret = matches!(placement, Placement::Rejected(_) | Placement::Invalid(_));
        let body = body.ok().filter(|_| !is_secret).unwrap_or_default();
        let is_page = says_page || looks_like_page(&body);
        let Description { code, message, .. } = if is_page {
            Description { message: title(&body), ..Description::default() }
        } else {
            describe(&body)
        };
        let error = StatusError {
            status,
            code,
            message,
            is_page,
            redirect,
            retry_after,
            tunnel_request_id,
            placement,
        };
        Refusal::Status(Box::new(error))
    }

    /// A reply for tests with a status, a code, and the wait that it asks for.
    #[cfg(test)]
    pub(crate) fn example(status: u16, code: Option<&str>, retry_after: Option<Duration>) -> Refusal {
        let code = code.map(str::to_owned);
        Refusal::Status(Box::new(StatusError { status, code, retry_after, ..StatusError::default() }))
    }

    /// A success whose body is not what it should be. It backs off like any other failure: a portal that
    /// answers 200 to everything must not be asked in a loop.
    pub(super) fn unreadable(message: String, body: &[u8], tunnel_request_id: Option<String>) -> Refusal {
        let is_page = looks_like_page(body);
        let message = if is_page { title(body) } else { message };
        let error =
            StatusError { status: 200, message, is_page, tunnel_request_id, ..StatusError::default() };
        Refusal::Status(Box::new(error))
    }
}

/// Whether a body begins like HTML or XML.
fn looks_like_page(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// The title of a page, which often says whose it is. Its source tells an operator nothing more.
fn title(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let folded = text.to_ascii_lowercase();
    let within = |tag: &str| folded.split_once(tag).map(|(before, _)| before.len() + tag.len());
    let span = within("<title>").zip(folded.find("</title>")).and_then(|(start, end)| text.get(start..end));
    span.unwrap_or_default().trim().chars().take(ERROR_TEXT_CHARS_MAX).collect()
}

/// The host that a redirect names. What is no host name is not shown.
fn redirect_host(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok();
    let uri = location.and_then(|location| location.parse::<Uri>().ok());
    Some(match uri {
        Some(uri) => uri.host().map_or("the same host", |host| text::head(host, HOST_BYTES_MAX)).to_owned(),
        None => "no legal URL".to_owned(),
    })
}

/// The plane's own id of an exchange.
pub(crate) fn request_id(reply: &Reply) -> Option<String> {
    reply.headers.get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// What an error body says.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Description {
    /// The plane's error code.
    pub(crate) code: Option<String>,
    /// The plane's class of errors.
    pub(crate) class: Option<String>,
    /// The plane's message, or the start of whatever the body was.
    pub(crate) message: String,
}

/// Reads an error body in the shapes that the control plane uses: an `error` object, its members at the top,
/// or a `detail` of any kind.
pub(crate) fn describe(body: &[u8]) -> Description {
    let Ok(serde_json::Value::Object(top)) = tree::read(body) else {
        let message = String::from_utf8_lossy(body).chars().take(ERROR_TEXT_CHARS_MAX).collect();
        return Description { message, ..Description::default() };
    };
    let members = top.get("error").and_then(|error| error.as_object()).unwrap_or(&top);
    let text = |name: &str| members.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let detail =
        || top.get("detail").map(|detail| detail.as_str().map_or_else(|| detail.to_string(), str::to_owned));
    let message = text("message").or_else(detail).unwrap_or_default();
    let message = message.chars().take(ERROR_TEXT_CHARS_MAX).collect();
    Description { code: text("code"), class: text("type"), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_all_shapes() {
        let of = |body: &str| {
            let Description { code, message, .. } = describe(body.as_bytes());
            (code, message)
        };
        assert_eq!(of(r#"{"error":{"message":"m","code":"c"}}"#), (Some("c".into()), "m".into()));
        assert_eq!(of(r#"{"message":"m","code":"c"}"#), (Some("c".into()), "m".into()));
        assert_eq!(of(r#"{"detail":"d"}"#), (None, "d".into()));
        assert_eq!(of(r#"{"detail":[1]}"#), (None, "[1]".into()));
        assert_eq!(of("<html>"), (None, "<html>".into()));
        assert_eq!(of(&"x".repeat(5000)).1.len(), ERROR_TEXT_CHARS_MAX);
    }

    #[test]
    fn a_page_is_known_by_its_title() {
        assert_eq!(title("\u{130}<TITLE> Hotel \u{e4} </Title>".as_bytes()), "Hotel \u{e4}");
        for page in ["<html>", "<title>", "</title><title>", ""] {
            assert_eq!(title(page.as_bytes()), "");
        }
    }
}
