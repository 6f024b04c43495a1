//! Replies to a request: their bodies, and the messages in them.
//!
//! Correlation is by the exchange first and by the id second: whatever answers our POST is about our
//! request, or it is a failure. Bodies are read within bounds and under the byte budget, and they are kept
//! as text. Failures name the class of what was wrong; none quotes a byte of the body.

use std::sync::Arc;
use std::time::Instant;

use ureq::http::header;

use crate::net::{Budget, Kind, Reply, Reservation};
use crate::relay::failure::{Class, Failure};
use crate::relay::headers::{self, ReplyHeaders};
use crate::relay::json;
use crate::relay::message::{self, Malformed, Message};
use crate::relay::payload::Payload;

/// Largest JSON body of a reply; the plane takes no larger post.
const JSON_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much of an error's body is looked at for a JSON-RPC error, the bound of the reference.
const ERROR_BYTES_MAX: usize = 102_400;

/// Content of a reply, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One JSON body.
    Json,
    /// A stream of events.
    Events,
    /// Anything else.
    Other,
}

/// Content of a reply. The case of its media type does not matter, nor do parameters.
pub fn content(reply: &Reply) -> Content {
    let value = reply.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        Content::Json
    } else if media.eq_ignore_ascii_case("text/event-stream") {
        Content::Events
    } else {
        Content::Other
    }
}

/// Message of the server, as seen from the request that waits for its answer.
#[derive(Debug)]
pub enum Incoming {
    /// The answer, under the request's own id.
    Answer(Payload),
    /// A notification.
    Notification(Payload),
    /// A request of the server: its method, and its id as it is written.
    Request {
        /// The method.
        method: String,
        /// The id.
        id: String,
    },
    /// An answer to something else.
    Stranger,
}

/// Reads the messages in one text: one object, or an array of them from servers of 2025-03-26. One
/// malformed message spoils its text: what else stands there cannot be trusted.
pub fn incoming(text: String, held: Option<Reservation>, id: &str) -> Result<Vec<Incoming>, Malformed> {
    let held = held.map(Arc::new);
    match Message::parse(text) {
        Ok(message) => Ok(vec![classify(message, held, id)]),
        Err((Malformed::NotAnObject, text)) => batch(&text, held.as_ref(), id),
        Err((malformed, _)) => Err(malformed),
    }
}

/// The messages of an array, in their order. They are copied out of it; what it occupies of the budget
/// stays charged until the last of them has been posted.
fn batch(text: &str, held: Option<&Arc<Reservation>>, id: &str) -> Result<Vec<Incoming>, Malformed> {
    let whole = json::value(text).map_err(Malformed::Json)?;
    let spans = json::elements(text, whole).map_err(Malformed::Json)?.ok_or(Malformed::NotAnObject)?;
    let messages = spans.into_iter().map(|span| {
        let message = Message::parse(span.of(text).to_owned()).map_err(|(malformed, _)| malformed)?;
        Ok(classify(message, held.cloned(), id))
    });
    messages.collect()
}

/// What one message means to the request with this id.
fn classify(message: Message, held: Option<Arc<Reservation>>, id: &str) -> Incoming {
    match (message.kind(), message.id().map(str::to_owned)) {
        (message::Kind::Notification, _) => {
            Incoming::Notification(Payload::received(message.into_text(), None, held))
        }
        (message::Kind::Request, Some(own)) => {
            Incoming::Request { method: message.method().unwrap_or_default().to_owned(), id: own }
        }
        (message::Kind::Response, Some(_)) if message.answers(id) => {
            Incoming::Answer(renamed(message, held, id))
        }
        // Within one exchange an error without an id can only mean this request; servers that refuse
        // a request before reading its id write it so.
        (message::Kind::Response, None) if message.is_error() => Incoming::Answer(renamed(message, held, id)),
        _ => Incoming::Stranger,
    }
}

/// The message under the request's own spelling of its id: callers compare ids as they wrote them, and
/// servers are known to write `1` for `1.0`.
fn renamed(message: Message, held: Option<Arc<Reservation>>, id: &str) -> Payload {
    let replaced = message.renamed(id);
    Payload::received(message.into_text(), replaced, held)
}

/// Reads a JSON body to its end. A body that ends early is never a short one: `net` sees to that.
pub fn json_body(
    reply: Reply,
    budget: &Arc<Budget>,
    deadline: Instant,
) -> Result<(String, Option<Reservation>), Failure> {
    let body = reply.read_all(JSON_BYTES_MAX, budget, deadline).map_err(|error| match error.kind {
        Kind::TooLarge => Failure::new(Class::BodyTooLarge, error.to_string()),
        _ => Failure::transport(&error),
    })?;
    let text = String::from_utf8(body.data)
        .map_err(|_| Failure::new(Class::MalformedJson, "the server's JSON is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(Failure::new(Class::NoBody, "the server's reply has no body"));
    }
    Ok((text, body.held))
}

/// A failure for a text that is no message. The offset of the fault helps whoever owns the server; its
/// bytes would help nobody else.
pub fn malformed(malformed: Malformed) -> Failure {
    let class = match malformed {
        Malformed::Json(_) => Class::MalformedJson,
        _ => Class::InvalidAnswer,
    };
    Failure::new(class, format!("the server's message: {malformed}"))
}

/// An error status: the JSON-RPC error in its body, or a failure that names what the body was.
///
/// Only a plain error that can be told to belong to this request is passed on: with the status of a
/// gateway the body may be anybody's. The content type does not matter, servers get it wrong here.
pub fn error_body(
    reply: Reply,
    budget: &Arc<Budget>,
    deadline: Instant,
    id: &str,
) -> Result<(ReplyHeaders, Payload), Failure> {
    let (status, allowed) = (reply.status, ReplyHeaders::allowed(&reply.headers));
    let events = content(&reply) == Content::Events;
    let failure = |class| Failure::status(status, class, allowed.clone());
    if headers::is_encoded(&reply.headers) {
        return Err(failure(Class::BodyUnreadable));
    }
    let body = reply.read_all(ERROR_BYTES_MAX, budget, deadline).map_err(|error| match error.kind {
        Kind::TooLarge => failure(Class::BodyTooLarge),
        Kind::Timeout | Kind::Shutdown => Failure::transport(&error),
        _ => failure(Class::BodyUnreadable),
    })?;
    if body.data.is_empty() {
        return Err(failure(Class::NoBody));
    }
    let text = String::from_utf8(body.data).map_err(|_| failure(Class::MalformedJson))?;
    let message = Message::parse(text).map_err(|(malformed, _)| match malformed {
        Malformed::Json(_) => failure(Class::MalformedJson),
        _ => failure(Class::InvalidError),
    })?;
    if !message.is_plain_error() {
        return Err(failure(Class::InvalidError));
    }
    match classify(message, None, id) {
        Incoming::Answer(payload) if events => Ok((allowed, payload)),
        Incoming::Answer(payload) => Ok((allowed.with_json_content(), payload)),
        _ => Err(failure(Class::InvalidError)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#;

    fn seen(text: &str) -> Vec<String> {
        let shown = |payload: Payload| String::from_utf8(payload.parts().concat()).unwrap();
        let messages =
            incoming(text.to_owned(), None, "1").unwrap().into_iter().map(|message| match message {
                Incoming::Answer(payload) => format!("answer {}", shown(payload)),
                Incoming::Notification(payload) => format!("notification {}", shown(payload)),
                Incoming::Request { method, id } => format!("request {method} {id}"),
                Incoming::Stranger => "stranger".to_owned(),
            });
        messages.collect()
    }

    #[test]
    fn messages_are_told_apart_by_kind_and_id() {
        assert_eq!(seen(ANSWER), [r#"answer {"jsonrpc":"2.0","id":1,"result":{}}"#]);
        let note = r#"{"jsonrpc":"2.0","method":"n"}"#;
        assert_eq!(seen(note), [format!("notification {note}")]);
        assert_eq!(seen(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#), [r#"request ping "a""#]);
        assert_eq!(seen(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#), ["stranger"]);
        assert_eq!(seen(r#"{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"m"}}"#), ["stranger"]);
    }

    #[test]
    fn only_an_error_may_lack_its_id() {
        let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#;
        assert_eq!(seen(error), [format!("answer {}", error.replace("null", "1"))]);
        assert_eq!(seen(r#"{"jsonrpc":"2.0","id":null,"result":{}}"#), ["stranger"]);
    }

    #[test]
    fn arrays_are_read_in_order_and_as_a_whole() {
        let batch = format!(r#"[{{"jsonrpc":"2.0","method":"n"}},{ANSWER}]"#);
        let kinds: Vec<String> = seen(&batch).iter().map(|text| text.chars().take(6).collect()).collect();
        assert_eq!(kinds, ["notifi", "answer"]);
        assert!(seen("[]").is_empty());
        let bad = format!(r#"[{ANSWER},{{"jsonrpc":"1.0"}}]"#);
        assert_eq!(incoming(bad, None, "1").unwrap_err(), Malformed::Version);
        assert_eq!(incoming("7".into(), None, "1").unwrap_err(), Malformed::NotAnObject);
    }

    #[test]
    fn the_answer_of_an_array_stays_charged_until_it_goes() {
        let budget = Budget::new(100);
        let held = budget.reserve(60, Instant::now());
        let messages = incoming(format!("[{ANSWER}]"), held, "1").unwrap();
        assert!(budget.reserve(60, Instant::now()).is_none());
        drop(messages);
        assert!(budget.reserve(60, Instant::now()).is_some());
    }

    #[test]
    fn malformed_texts_are_classed_without_being_quoted() {
        let failure = |text: &str| malformed(incoming(text.into(), None, "1").unwrap_err());
        assert_eq!(failure("secret").class, Class::MalformedJson);
        assert_eq!(failure(r#"{"secret":1}"#).class, Class::InvalidAnswer);
        assert!(!failure(r#"{"secret":1}"#).cause.contains("secret"));
    }
}
