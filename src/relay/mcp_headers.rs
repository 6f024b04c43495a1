//! The headers that MCP 2026-07-28 asks of a request, taken from its body.
//!
//! Only what the caller did not send is added, only to requests that state their revision, and
//! `Mcp-Param-*` never: it needs the tool's schema. Where the source is missing, ambiguous or has no
//! legal header form nothing is added and the server decides: it compares headers with the body and
//! refuses what differs. For the same reason no name is ever taken from these headers: the operator's policy judges the
//! body, and refuses a header that says something else ([`differing`]). It cannot fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::message::{Kind, Message};
use super::revision::VERSION_HEADER;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Adds the missing ones. A given header stays, also when it contradicts the body: that is for the
/// server to see.
pub fn complete(headers: &mut HeaderMap, message: &Message) {
    let (Kind::Request, Some(claim), Some(method)) = (message.kind(), message.claim(), message.method())
    else {
        return;
    };
    // A claim that cannot be a header is no claim that a server could compare with one.
    let Some(version) = plain(&claim) else { return };
    let name = source_of_name(method).and_then(|param| message.param(param));
    add(headers, VERSION_HEADER, Some(version));
    add(headers, METHOD, plain(method));
    add(headers, NAME, name.and_then(|name| HeaderValue::from_str(&encoded(&name)).ok()));
}

/// The header that says something else than the body, whose `name` is what the request is about. Values that are
/// not forwarded, because they are empty, say nothing; where the body has nothing to compare, the server decides.
pub fn differing(headers: &HeaderMap, message: &Message, name: Option<&str>) -> Option<&'static str> {
    let method = message.method()?;
    if values(headers, &METHOD).any(|value| value != method.as_bytes()) {
        return Some("Mcp-Method");
    }
    let source = source_of_name(method).filter(|_| values(headers, &NAME).next().is_some())?;
    let task = if source == "taskId" { message.param(source) } else { None };
    let name = if source == "taskId" { task.as_deref() } else { name }?;
    values(headers, &NAME).any(|value| !says(value, name)).then_some("Mcp-Name")
}

/// The values of a header that say something, under each name that a server could take for its own: the least careful
/// make a dash of all that is neither letter nor digit.
fn values<'a>(headers: &'a HeaderMap, wanted: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let plain = |name: &HeaderName| {
        let dashed = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
        let bytes = name.as_str().bytes().map(dashed);
        name.as_str().len() == wanted.as_str().len() && bytes.eq(wanted.as_str().bytes())
    };
    let of_name = headers.iter().filter(move |(name, _)| plain(name));
    of_name.map(|(_, value)| value.as_bytes().trim_ascii()).filter(|value| !value.is_empty())
}

/// Whether a value stands for this name, as it is or in the base64 form.
fn says(value: &[u8], name: &str) -> bool {
    let inner = value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    let Some(inner) = inner else { return value == name.as_bytes() };
    // A copy is made only where the value has as many bytes.
    base64::encoded_len(name.len(), true) == Some(inner.len()) && inner == STANDARD.encode(name).as_bytes()
}

/// Which parameter names the thing that a method is about.
fn source_of_name(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.entry(name).or_insert(value);
    }
}

/// A value without an encoded form: printable ASCII, or nothing.
fn plain(text: &str) -> Option<HeaderValue> {
    text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)).then(|| HeaderValue::from_str(text).ok())?
}

/// The base64 form, where the text would not survive as a header or would be taken for that form. Spaces
/// at the ends are no part of a header's value, so they count among what would not survive.
fn encoded(text: &str) -> String {
    let printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let outer = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    let disguised = text.starts_with("=?base64?") && text.ends_with("?=");
    if printable && !outer && !disguised {
        return text.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str, given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        complete(&mut headers, &Message::parse(text.to_owned()).unwrap());
        headers
    }

    fn request(method: &str, params: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
        )
    }

    #[test]
    fn rev_003_the_base64_form() {
        for (text, value) in [
            ("größe", "=?base64?Z3LDtsOfZQ==?="),
            (" lead", "=?base64?IGxlYWQ=?="),
            ("tail ", "=?base64?dGFpbCA=?="),
            ("x\r\ny", "=?base64?eA0KeQ==?="),
            ("a\tb", "=?base64?YQli?="),
            ("=?base64?abc?=", "=?base64?PT9iYXNlNjQ/YWJjPz0=?="),
            ("a b", "a b"),
            ("=?base64?abc", "=?base64?abc"),
            ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
            ("", ""),
        ] {
            assert_eq!(encoded(text), value);
        }
    }

    #[test]
    fn rev_001_002_004_missing_headers_are_added_and_given_ones_kept() {
        let headers = completed(&request("tools/call", r#""name":"add","#), &[("mcp-method", "other")]);
        assert_eq!(headers.get("mcp-protocol-version").unwrap(), "2026-07-28");
        assert_eq!(headers.get("mcp-method").unwrap(), "other");
        assert_eq!(headers.get("mcp-name").unwrap(), "add");
        let headers = completed(&request("resources/read", r#""uri":"file:///a%20b","name":"x","#), &[]);
        assert_eq!(headers.get("mcp-name").unwrap(), "file:///a%20b");
        assert!(completed(&request("tools/list", ""), &[]).get("mcp-name").is_none());
    }

    #[test]
    fn a_header_that_differs_from_the_body_is_named() {
        let differs = |method: &str, params: &str, name: &str, given: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            given.iter().for_each(|(name, value)| {
                headers.append(*name, HeaderValue::from_static(value));
            });
            let message = Message::parse(request(method, params)).unwrap();
            differing(&headers, &message, Some(name))
        };
        let call = |name: &str, given: &[(&'static str, &'static str)]| {
            differs("tools/call", &format!("\"name\":{},", serde_json::Value::from(name)), name, given)
        };
        for (name, value) in
            [("add", "add"), ("add", "=?base64?YWRk?="), ("größe", "=?base64?Z3LDtsOfZQ==?="), ("add", "")]
        {
            assert_eq!(call(name, &[("mcp-method", "tools/call"), ("mcp-name", value)]), None, "{value}");
        }
        for value in
            ["Add", "add2", "ad", "=?base64?YWRkMg==?=", "=?base64?YWR?=", "=?base64??=", "=?base64?add?="]
        {
            assert_eq!(call("add", &[("mcp-name", value)]), Some("Mcp-Name"), "{value}");
        }
        assert_eq!(call("=?base64?YWRk?=", &[("mcp-name", "=?base64?YWRk?=")]), Some("Mcp-Name"));
        assert_eq!(call("add", &[("mcp-name", "add"), ("mcp-name", "sub")]), Some("Mcp-Name"));
        assert_eq!(call("add", &[("mcp_name", "sub")]), Some("Mcp-Name"));
        assert_eq!(call("add", &[("mcp.name", "sub")]), Some("Mcp-Name"));
        assert_eq!(call("add", &[("mcp-method", "tools/list")]), Some("Mcp-Method"));
        let task = r#""taskId":"t","#;
        assert_eq!(differs("tasks/get", task, "tasks/get", &[("mcp-name", "t")]), None);
        assert_eq!(differs("tasks/get", task, "tasks/get", &[("mcp-name", "u")]), Some("Mcp-Name"));
        assert_eq!(differs("tools/list", "", "tools/list", &[("mcp-name", "u")]), None);
    }

    #[test]
    fn rev_005_007_009_nothing_is_derived_from_bare_or_ambiguous_messages() {
        assert!(completed(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &[]).is_empty());
        assert!(completed(&request("tools/list", "").replace("\"2026-07-28\"", "7"), &[]).is_empty());
        let claim = r#""io.modelcontextprotocol/protocolVersion":"2025-06-18","io"#;
        let twice = request("tools/call", r#""name":"a","#).replace("\"io", claim);
        assert!(completed(&twice, &[]).is_empty());
    }
}
