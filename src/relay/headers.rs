//! Which headers pass, in both directions.
//!
//! The control plane filters what callers send; the list here is the second fence, so that a
//! mistake there cannot reach into the private network. Towards the server names are refused (a
//! caller's own headers are part of the contract); towards the plane only six names pass (a private
//! server's other headers are not). Nothing fails: what may not pass is left out. Where a `Location` leads is
//! read here too, for all who follow one.

use std::collections::BTreeMap;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::header_names::is_refused;

/// What a command cannot do without: content negotiation, resumption, and the names of MCP itself.
const PROTOCOL: [&str; 2] = ["accept", "last-event-id"];
/// What the names of MCP begin with.
const PROTOCOL_PREFIX: &str = "mcp-";

/// What may pass from a server's reply, and how it is spelt on the wire. Never a cookie, which would be
/// the server's way to follow a caller, nor a name that says what runs inside.
const ALLOWED: [(HeaderName, &str); 6] = [
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Access-Control-Expose-Headers"),
    (header::CONTENT_TYPE, "Content-Type"),
    (HeaderName::from_static("last-event-id"), "Last-Event-Id"),
    (HeaderName::from_static("mcp-protocol-version"), "Mcp-Protocol-Version"),
    (HeaderName::from_static("mcp-session-id"), "Mcp-Session-Id"),
    (header::WWW_AUTHENTICATE, "Www-Authenticate"),
];

/// Names that are read from `Connection` headers; an honest one has a few.
const NOMINATED_MAX: usize = 64;

/// The headers of a command that its server may see, `Authorization` and the session's among them.
/// An empty value says nothing and is left out, so that an empty `Accept` gets our default. Where names are
/// `allowed`, they and those of the protocol are all that pass.
pub fn forwardable(polled: &HeaderMap, allowed: Option<&[HeaderName]>) -> HeaderMap {
    let is_shut_out = |name: &HeaderName| {
        let of_protocol = PROTOCOL.contains(&name.as_str()) || name.as_str().starts_with(PROTOCOL_PREFIX);
        allowed.is_some_and(|allowed| !of_protocol && !allowed.contains(name))
    };
    kept(polled, |name| is_refused(name) || is_shut_out(name))
}

/// The same of headers that come with a body of the caller's own, which it describes.
#[cfg(feature = "harpoon")]
pub fn forwardable_with_body(given: &HeaderMap) -> HeaderMap {
    kept(given, |name| is_refused(name) && name != header::CONTENT_TYPE)
}

fn kept(given: &HeaderMap, is_refused: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let nominated = nominated(given);
    let mut kept = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        if !is_refused(name) && !nominated.contains(name) && !value.is_empty() {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Whether a body came in an encoding. None is ever asked for, so nothing here can undo one.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING);
    encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Names that a `Connection` header makes hop-by-hop.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    names.take(NOMINATED_MAX).collect()
}

/// The headers of a server's reply that are posted, by their spelling on the wire.
#[derive(Debug, Clone, Default)]
pub struct ReplyHeaders {
    /// Sorted, which is also the order of posting: equal answers are equal bytes.
    kept: BTreeMap<&'static str, Vec<String>>,
    /// The reply made its `Content-Type` hop-by-hop; none may be posted, not even ours.
    no_content_type: bool,
}

impl ReplyHeaders {
    /// Keeps what may pass of a reply. A header that the server made hop-by-hop was meant for us alone.
    pub fn allowed(reply: &HeaderMap) -> ReplyHeaders {
        let nominated = nominated(reply);
        let mut kept = BTreeMap::new();
        for (name, spelling) in &ALLOWED {
            let values: Vec<String> = reply.get_all(name).iter().filter_map(text).collect();
            if !values.is_empty() && !nominated.contains(name) {
                kept.insert(*spelling, values);
            }
        }
        ReplyHeaders { kept, no_content_type: nominated.contains(&header::CONTENT_TYPE) }
    }

    /// Only a content type, for servers whose answers have no headers.
    pub fn content(kind: &str) -> ReplyHeaders {
        let kept = BTreeMap::from([("Content-Type", vec![kind.to_owned()])]);
        ReplyHeaders { kept, no_content_type: false }
    }

    /// The same headers around one JSON message, whatever the reply called its content: the product reads
    /// what is posted, and that is JSON.
    pub fn with_json_content(mut self) -> ReplyHeaders {
        if !self.no_content_type {
            self.kept.insert("Content-Type", vec!["application/json".to_owned()]);
        }
        self
    }

    /// Values by name.
    pub fn by_name(&self) -> &BTreeMap<&'static str, Vec<String>> {
        &self.kept
    }
}

/// A header value as JSON can carry it; bytes that are no UTF-8 are dropped with their value: replaced
/// ones would make a value that the server never sent.
fn text(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn identity_and_framing_do_not_pass() {
        let polled = map(&[
            ("authorization", "Bearer x"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("x-custom", "a"),
            ("x-custom", "b"),
            ("te", "trailers"),
            ("proxy", "http://10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("content-type", "text/weird"),
            ("x_forwarded_for", "10.0.0.1"),
            ("content_length", "0"),
            ("x.forwarded!for", "10.0.0.1"),
            ("x-forwarded-user", "root"),
            ("x-http-method-override", "DELETE"),
        ]);
        let kept = forwardable(&polled, None);
        assert_eq!(kept.len(), 3);
        assert_eq!(kept.get_all("x-custom").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(kept.get("authorization").unwrap(), "Bearer x");
    }

    #[test]
    fn an_allow_list_shuts_out_all_but_the_protocol() {
        let polled = map(&[
            ("accept", "a"),
            ("authorization", "Bearer x"),
            ("mcp-session-id", "s"),
            ("x-tenant", "t"),
            ("x-other", "o"),
            ("x-remote-user", "root"),
        ]);
        let names = |allowed: &[&'static str]| {
            let allowed: Vec<HeaderName> = allowed.iter().map(|name| HeaderName::from_static(name)).collect();
            let kept = forwardable(&polled, Some(&allowed));
            kept.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["accept", "mcp-session-id"]);
        assert_eq!(names(&["x-tenant", "x-remote-user"]), ["accept", "mcp-session-id", "x-tenant"]);
    }

    #[test]
    fn replies_keep_six_names_minus_the_nominated() {
        let reply = map(&[
            ("set-cookie", "a=b"),
            ("mcp-session-id", "s"),
            ("www-authenticate", "Bearer a"),
            ("www-authenticate", "Basic b"),
            ("last-event-id", ""),
            ("connection", "Mcp-Session-Id"),
        ]);
        let kept = ReplyHeaders::allowed(&reply);
        let values = vec!["Bearer a".to_owned(), "Basic b".to_owned()];
        assert_eq!(*kept.by_name(), BTreeMap::from([("Www-Authenticate", values)]));
    }

    #[test]
    fn json_content_takes_its_place_in_order() {
        let reply = map(&[("mcp-session-id", "s"), ("access-control-expose-headers", "x")]);
        let kept = ReplyHeaders::allowed(&reply).with_json_content();
        let names: Vec<_> = kept.by_name().keys().copied().collect();
        assert_eq!(names, ["Access-Control-Expose-Headers", "Content-Type", "Mcp-Session-Id"]);
    }
}
