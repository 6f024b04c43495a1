//! One JSON-RPC message: what it is, which revision it belongs to, and where its id stands.
//!
//! A [`Message`] keeps its text exactly; only its spans are known, all of them from one reading: whoever
//! replaces one later looks at nothing but its place. A message with a name that programs could read
//! differently ([`names`]) is malformed: what is checked here and what the server reads must be the same
//! thing. It fails with a [`Malformed`] that quotes nothing of the message, because that goes to the log.
//!
//! The same reader serves both directions. Callers and servers are strangers alike; neither may send
//! what the other side could read in two ways.

use std::fmt;

use super::json::{self, Member, Span};
use super::names::{self, Ambiguous, only};
use super::revision::{CLAIM, Era};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id; expects one answer.
    Request,
    /// Has a method and no id, or a null one.
    Notification,
    /// Has a result or an error.
    Response,
}

/// A validated JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    text: String,
    kind: Kind,
    /// Offset behind the opening brace, where a member can be inserted.
    pub(super) inside: usize,
    method: Option<String>,
    /// The `id` member, null included: where an answer's id is put.
    id_member: Option<Span>,
    /// The same, when it names a request.
    id: Option<Span>,
    pub(super) params: Option<Span>,
    places: Places,
    result: Option<Span>,
    /// The error of a response that has no result.
    error: Option<Span>,
}

/// Where members stand inside `params` that are judged, replaced on a pipe, or tell the era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// `name`; of a completion that of its `ref`.
    pub name: Option<Span>,
    /// `uri`; of a completion that of its `ref`.
    pub uri: Option<Span>,
    /// `ref.type` of a completion.
    pub reference: Option<Span>,
    /// `arguments`.
    pub arguments: Option<Span>,
    /// `_meta.progressToken`: that of a request.
    pub token: Option<Span>,
    /// `progressToken`: that of a progress notification.
    pub progress: Option<Span>,
    /// `requestId`: the request that a cancellation names.
    pub cancelled: Option<Span>,
    /// `_meta["io.modelcontextprotocol/subscriptionId"]`: the subscription that a notification belongs to.
    pub subscription: Option<Span>,
    claim: Option<Span>,
}

/// Why a payload is not a JSON-RPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The text is not JSON.
    Json(json::Fault),
    /// The value is not one object (batches are refused).
    NotAnObject,
    /// `jsonrpc` is not `"2.0"`.
    Version,
    /// A member that counts could be read in two ways.
    Name(Ambiguous),
    /// `id` is neither a string nor a number nor null.
    Id,
    /// Neither a usable method nor a result nor an error.
    Shape,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Json(fault) => fault.fmt(f),
            Malformed::NotAnObject => f.write_str("not a single JSON object"),
            Malformed::Version => f.write_str("jsonrpc is not \"2.0\""),
            Malformed::Name(ambiguous) => ambiguous.fmt(f),
            Malformed::Id => f.write_str("id is neither a string nor a number"),
            Malformed::Shape => f.write_str("neither a request nor a response"),
        }
    }
}

impl std::error::Error for Malformed {}

impl Message {
    /// Reads one message; the text is kept as it is, and given back when it is none: the caller may
    /// want to read it as something else, and a large one is not copied for that.
    pub fn parse(text: String) -> Result<Message, (Malformed, String)> {
        match Message::read(&text) {
            Ok(message) => Ok(Message { text, ..message }),
            Err(malformed) => Err((malformed, text)),
        }
    }

    /// Reads everything but the text itself.
    fn read(text: &str) -> Result<Message, Malformed> {
        let (whole, lists) = json::outline(text, &["params", "_meta"]).map_err(Malformed::Json)?;
        let [members, within, meta] = lists.ok_or(Malformed::NotAnObject)?;
        let found = names::find(&members, names::ENVELOPE).map_err(Malformed::Name)?;
        let [version, id, method, params, result, error] = found;
        let of = |span: Span| span.of(text);
        if version.and_then(|span| json::string(of(span))).as_deref() != Some("2.0") {
            return Err(Malformed::Version);
        }
        let id_member = id;
        // The first byte tells the kind of a valid literal. A null id is none: the reference says so,
        // and nobody could answer under it.
        let id = match id.map(of).and_then(|literal| literal.bytes().next()) {
            None | Some(b'n') => None,
            Some(b'"' | b'-' | b'0'..=b'9') => id,
            Some(_) => return Err(Malformed::Id),
        };
        let outcome = result.or(error);
        let method_name = match method {
            Some(span) => Some(json::string(of(span)).ok_or(Malformed::Shape)?.into_owned()),
            None => None,
        };
        // A method beside a result is neither: a server and this client could take it differently.
        let kind = match (&method_name, id, outcome) {
            (Some(_), Some(_), None) => Kind::Request,
            (Some(_), None, None) => Kind::Notification,
            (None, Some(_), _) | (None, None, Some(_)) => Kind::Response,
            _ => return Err(Malformed::Shape),
        };
        let completes = method_name.as_deref() == Some("completion/complete");
        let places = Places::find(text, [&within, &meta], completes)?;
        Ok(Message {
            text: String::new(),
            kind,
            inside: whole.start + 1,
            method: method_name,
            id_member,
            id,
            params,
            places,
            result,
            error: error.filter(|_| result.is_none()),
        })
    }

    /// The message as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the text back.
    pub fn into_text(self) -> String {
        self.text
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The method, unescaped.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The id as it is written.
    pub fn id(&self) -> Option<&str> {
        self.id.map(|span| span.of(&self.text))
    }

    /// Whether there is a result or an error. Servers are known to answer with neither, and their
    /// answers pass; nobody else may.
    pub fn has_outcome(&self) -> bool {
        self.result.is_some() || self.error.is_some()
    }

    /// Whether this is a response that holds an error and no result.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Whether it is an error as JSON-RPC wants it: an integer code and a message. Asked of error
    /// statuses only, where the alternative is to make an error of our own.
    pub fn is_plain_error(&self) -> bool {
        let read = || {
            let members = json::members(&self.text, self.error?).ok()??;
            let code = only(&members, "code")?.of(&self.text).parse::<i64>();
            let message = json::string(only(&members, "message")?.of(&self.text));
            Some(code.is_ok() && message.is_some())
        };
        read().unwrap_or_default()
    }

    /// The text under another id: the span to replace and what to put there. Nothing, when the id is
    /// spelt like that already. A missing id is inserted right behind the opening brace, with a comma:
    /// a message is never an empty object.
    pub fn renamed(&self, id: &str) -> Option<(Span, String)> {
        match self.id_member {
            Some(span) if span.of(&self.text) == id => None,
            Some(span) => Some((span, id.to_owned())),
            None => Some((Span { start: self.inside, end: self.inside }, format!("\"id\":{id},"))),
        }
    }

    /// Where members of `params` stand.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Where the result of a subscription repeats its id. Looked up when asked, since no other result has it.
    pub fn result_subscription(&self) -> Result<Option<Span>, Malformed> {
        let Some(result) = self.result else { return Ok(None) };
        if !result.of(&self.text).starts_with('{') {
            return Ok(None);
        }
        let [members, meta] = json::listed(&self.text, result, &["_meta"]).map_err(Malformed::Json)?;
        Places::find(&self.text, [&members, &meta], false).map(|places| places.subscription)
    }

    /// Whether it asks for a subscription, the call that never ends by itself.
    pub fn is_subscription(&self) -> bool {
        self.method() == Some("subscriptions/listen")
    }

    /// The URIs, as they are written, of the resources whose changes a subscription wants to hear of. Looked up when
    /// asked, like the other one.
    pub fn subscribed(&self) -> Result<Vec<&str>, Malformed> {
        let params = listed(&self.text, self.params)?;
        let [wanted] = names::find(&params, names::SUBSCRIPTION).map_err(Malformed::Name)?;
        let wanted = listed(&self.text, wanted)?;
        let [uris] = names::find(&wanted, names::SUBSCRIBED).map_err(Malformed::Name)?;
        let Some(uris) = uris.filter(|uris| uris.of(&self.text) != "null") else { return Ok(Vec::new()) };
        let uris = json::elements(&self.text, uris).map_err(Malformed::Json)?.ok_or(Malformed::Shape)?;
        Ok(uris.into_iter().map(|uri| uri.of(&self.text)).collect())
    }

    /// The revision that the message states for itself, when it is a string.
    pub fn claim(&self) -> Option<String> {
        let literal = self.places.claim?.of(&self.text);
        json::string(literal).map(|text| text.into_owned())
    }

    /// The value of `params.<name>` when it is a string and named exactly once. Looked up when asked:
    /// most messages are never asked, and `params` may be large.
    pub fn param(&self, name: &str) -> Option<String> {
        let members = json::members(&self.text, self.params?).ok()??;
        json::string(only(&members, name)?.of(&self.text)).map(|text| text.into_owned())
    }

    /// The family of revisions, judged by the body first and the version header second: the body is what
    /// the server acts on. Whatever stays unclear is legacy, as the SDKs have it. The era decides what we
    /// may add on our own: answers to the server's requests, resumptions, cancellations.
    pub fn era(&self, version_header: Option<&str>) -> Era {
        if self.places.claim.is_some() {
            return Era::Modern;
        }
        let by_header = || version_header.map_or(Era::Legacy, Era::of_revision);
        Era::of_method(self.method()).unwrap_or_else(by_header)
    }

    /// Whether a response's id names the same request as `id` does. Types count: `1` is not `"1"`.
    pub fn answers(&self, id: &str) -> bool {
        self.id().is_some_and(|own| same_id(own, id))
    }
}

/// Whether two id literals are the same id: equal text, equal strings after unescaping, or equal
/// numbers. A server that keeps numbers as doubles may spell `1.0` as `1`; the caller puts the
/// request's own spelling back, so nothing is lost by reading generously here.
pub fn same_id(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    match (json::string(left), json::string(right)) {
        (Some(left), Some(right)) => left == right,
        (None, None) => match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => left == right,
            _ => false,
        },
        _ => false,
    }
}

/// The members of what stands there; none where there is no object.
fn listed(text: &str, span: Option<Span>) -> Result<Vec<Member<'_>>, Malformed> {
    match span {
        Some(span) => json::members(text, span).map(Option::unwrap_or_default).map_err(Malformed::Json),
        None => Ok(Vec::new()),
    }
}

impl Places {
    /// Finds them among the members of `params`, or of the result of a subscription, and those of its `_meta`. A claim
    /// that stands there twice counts as absent: nothing is derived from it.
    fn find(text: &str, [members, meta]: [&[Member<'_>]; 2], completes: bool) -> Result<Places, Malformed> {
        let params = names::find(members, names::PARAMS).map_err(Malformed::Name)?;
        let [mut name, mut uri, _, progress, cancelled, arguments] = params;
        let mut reference = None;
        if completes {
            let [whole] = names::find(members, names::COMPLETION).map_err(Malformed::Name)?;
            let whole = listed(text, whole)?;
            [reference, name, uri] = names::find(&whole, names::REFERENCE).map_err(Malformed::Name)?;
        }
        let [token, subscription] = names::find(meta, names::META).map_err(Malformed::Name)?;
        let claim = only(meta, CLAIM);
        Ok(Places { name, uri, reference, arguments, token, progress, cancelled, subscription, claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(text.to_owned()).map_err(|(malformed, _)| malformed)
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |text: &str| parse(text).unwrap().kind();
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#), Kind::Request);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"a"}"#), Kind::Notification);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#), Kind::Notification);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"result":null}"#), Kind::Response);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#), Kind::Response);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":7}"#), Kind::Response);
    }

    #[test]
    fn malformed_messages_say_why() {
        let why = |text: &str| parse(text).unwrap_err();
        assert_eq!((why("[]"), why("{}")), (Malformed::NotAnObject, Malformed::Version));
        assert_eq!(why(r#"{"jsonrpc":2.0,"id":1,"method":"a"}"#), Malformed::Version);
        assert_eq!(why(r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#), Malformed::Id);
        assert_eq!(why(r#"{"jsonrpc":"2.0","id":null}"#), Malformed::Shape);
        assert_eq!(why(r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#), Malformed::Shape);
        assert_eq!(why(r#"{"jsonrpc":"2.0","id":1,"method":7}"#), Malformed::Shape);
        assert!(matches!(why(r#"{"jsonrpc":"2.0","id":1,"method":"a","i\u0064":2}"#), Malformed::Name(_)));
    }

    #[test]
    fn text_and_id_stay_exact() {
        let text = r#" {"x":1,"jsonrpc":"2.0","id":12345678901234567890,"method":"a","params":{"n":1.50}} "#;
        let message = parse(text).unwrap();
        assert_eq!((message.text(), message.id()), (text, Some("12345678901234567890")));
    }

    #[test]
    fn another_id_is_put_in_its_place_or_inserted() {
        let renamed = |text: &str, id: &str| {
            let message = parse(text).unwrap();
            let (span, id) = message.renamed(id)?;
            let mut text = text.to_owned();
            text.replace_range(span.start..span.end, &id);
            Some(text)
        };
        assert_eq!(renamed(r#"{"jsonrpc":"2.0","id":1,"result":1}"#, "1"), None);
        let null = renamed(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "\"a\"");
        assert_eq!(null.unwrap(), r#"{"jsonrpc":"2.0","id":"a","error":{}}"#);
        let absent = renamed(r#" {"jsonrpc":"2.0","error":{}}"#, "7");
        assert_eq!(absent.unwrap(), r#" {"id":7,"jsonrpc":"2.0","error":{}}"#);
    }

    #[test]
    fn eras_follow_body_before_header() {
        let era = |text: &str, header| parse(text).unwrap().era(header);
        let claimed = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(era(claimed, Some("2025-06-18")), Era::Modern);
        let bare = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        assert_eq!(era(&bare("initialize"), Some("2026-07-28")), Era::Legacy);
        assert_eq!(era(&bare("ping"), Some("2026-07-28")), Era::Legacy);
        assert_eq!(era(&bare("server/discover"), None), Era::Modern);
        assert_eq!(era(&bare("tools/list"), None), Era::Legacy);
        assert_eq!(era(&bare("tools/list"), Some("2026-07-28")), Era::Modern);
        assert_eq!(era(&bare("tools/list"), Some("2025-11-25")), Era::Legacy);
    }

    #[test]
    fn ids_compare_by_type_and_value() {
        let answer = |id: &str| parse(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#)).unwrap();
        assert!(answer("1").answers("1"));
        assert!(answer("1").answers("1.0"));
        assert!(answer(r#""\u0061""#).answers(r#""a""#));
        assert!(!answer("1").answers(r#""1""#));
        assert!(!answer("2").answers("1"));
        assert!(!answer("null").answers("1"));
    }
}
