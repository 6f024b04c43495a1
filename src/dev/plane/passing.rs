//! Which headers pass through the local control plane, in both directions.
//!
//! Towards the tunnel client a caller's names are filtered as the client filters them once more. Towards
//! the caller everything passes but what belongs to a connection. Nothing fails: what may not pass is left
//! out.

use regex_lite::Regex;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::board::Headers;
use crate::dev::server::Request;
use crate::relay::headers::forwardable;

/// Headers of a reply that are about a connection which is not this one.
#[rustfmt::skip]
const HOP_BY_HOP: &[&str] = &[
    "connection", "content-length", "date", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "trailer", "transfer-encoding", "upgrade",
];

/// Where a challenge says that the metadata of the protected resource is.
const RESOURCE_METADATA: &str = r#"(?i)\bresource_metadata\s*=\s*("[^"]*"|[^\s,]+)"#;

/// The headers of a caller that go into a command.
pub(super) fn of_caller(request: &Request) -> Headers {
    let mut map = HeaderMap::new();
    for (name, value) in &request.headers {
        // What is no header for this program would be none for the server either.
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
            continue;
        };
        map.append(name, value);
    }
    let mut headers = Headers::new();
    for (name, value) in &forwardable(&map, None) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str().to_owned()).or_default().push(value);
    }
    headers
}

/// The headers of an answer that go to the caller, without the type of its content.
pub(super) fn to_caller(headers: &Headers, request: &Request) -> Vec<(String, String)> {
    let all = |wanted: &'static str| {
        let named = headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        named.flat_map(|(_, values)| values)
    };
    let nominated = all("connection").flat_map(|value| value.split(','));
    let nominated: Vec<String> = nominated.map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut kept = Vec::new();
    for (name, values) in headers {
        let lower = name.to_ascii_lowercase();
        if HOP_BY_HOP.contains(&lower.as_str()) || lower == "content-type" || nominated.contains(&lower) {
            continue;
        }
        let rewritten = |value: &String| match lower.as_str() {
            "www-authenticate" => rewrite(value, request),
            _ => value.clone(),
        };
        kept.extend(values.iter().map(|value| (name.clone(), rewritten(value))));
    }
    kept
}

/// The type of an answer's content, unless it is for the hop alone.
pub(super) fn content_type(headers: &Headers) -> Option<&str> {
    let (_, values) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    values.first().map(String::as_str)
}

/// The host that the caller asked, as far as it may stand in a URL.
pub(super) fn host(request: &Request) -> &str {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    let host = request.header("host").filter(|host| !host.is_empty() && host.chars().all(legal));
    host.unwrap_or("localhost")
}

/// Points a challenge at this host, since the caller may not reach the one that it names.
fn rewrite(challenge: &str, request: &Request) -> String {
    let host = host(request);
    let path = &request.path;
    let local = format!("resource_metadata=\"http://{host}/.well-known/oauth-protected-resource{path}\"");
    match Regex::new(RESOURCE_METADATA) {
        Ok(pattern) => pattern.replace_all(challenge, regex_lite::NoExpand(&local)).into_owned(),
        // The pattern is a constant, and a test reads it.
        Err(_) => challenge.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Request {
            method: "POST".into(),
            path: "/v1/mcp/t".into(),
            headers: owned.collect(),
            ..Request::default()
        }
    }

    #[test]
    fn identity_and_framing_of_callers_stay_here() {
        let headers = of_caller(&request(&[
            ("host", "h"),
            ("x-real-ip", "10.0.0.1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-type", "application/json"),
            ("openai-organization", "o"),
            ("x-empty", ""),
            ("authorization", "Bearer caller"),
            ("x-openai-session", "s"),
        ]));
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["authorization", "x-openai-session"]);
    }

    #[test]
    fn answers_keep_all_but_what_belongs_to_a_connection() {
        let pairs = [
            ("Connection", "X-Hop, close"),
            ("X-Hop", "1"),
            ("Date", "today"),
            ("Content-Type", "text/event-stream"),
            ("Mcp-Session-Id", "s"),
            ("Www-Authenticate", "Basic, Bearer Resource_Metadata=\"https://mcp.internal/x\", scope=\"a$1\""),
        ];
        let headers: Headers =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        let kept = to_caller(&headers, &request(&[("host", "127.0.0.1:1")]));
        let url = "http://127.0.0.1:1/.well-known/oauth-protected-resource/v1/mcp/t";
        let challenge = format!("Basic, Bearer resource_metadata=\"{url}\", scope=\"a$1\"");
        let expected = [("Mcp-Session-Id", "s"), ("Www-Authenticate", challenge.as_str())];
        assert_eq!(kept, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(content_type(&headers), Some("text/event-stream"));
        assert_eq!(
            rewrite("Bearer resource_metadata=https://a/b, x=1", &request(&[("host", "evil\"")])),
            "Bearer resource_metadata=\"http://localhost/.well-known/oauth-protected-resource/v1/mcp/t\", x=1"
        );
    }
}
