//! What a request is about: the tool, prompt or resource that it names, or its method alone.
//!
//! Whoever judges a command and whoever records it read the same here. Names are compared as decoded text; one that
//! has no text in Rust (half a surrogate pair) is none. A name without escapes is not copied.

use std::borrow::Cow;

use crate::ops::metrics::words;

use super::json::Span;
use super::message::Message;

words! {
    /// Kind of what a request names.
    Kind {
        /// Tool.
        Tool = "tool",
        /// Prompt.
        Prompt = "prompt",
        /// Resource, or a template of resources.
        Resource = "resource",
        /// Nothing but a method.
        Method = "method",
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What it names.
    pub kind: Kind,
    /// The name: a tool's or prompt's name, a URI, or the method; nothing where the request has none that is a text.
    pub name: Option<Cow<'a, str>>,
    /// Whether the URI may be a template, with variables in braces.
    pub is_template: bool,
}

impl<'a> Subject<'a> {
    /// That of a message.
    pub fn of(message: &'a Message) -> Subject<'a> {
        let (method, places) = (message.method().unwrap_or_default(), message.places());
        let named = |kind, name: Option<Span>, is_template| {
            let name = name.and_then(|span| exact(span.of(message.text())));
            Subject { kind, name, is_template }
        };
        match method {
            "tools/call" => named(Kind::Tool, places.name, false),
            "prompts/get" => named(Kind::Prompt, places.name, false),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                named(Kind::Resource, places.uri, false)
            }
            "completion/complete" => {
                let reference = places.reference.and_then(|span| exact(span.of(message.text())));
                match reference.as_deref() {
                    Some("ref/prompt") => named(Kind::Prompt, places.name, false),
                    Some("ref/resource") => named(Kind::Resource, places.uri, true),
                    _ => named(Kind::Method, None, false),
                }
            }
            method => Subject { kind: Kind::Method, name: Some(method.into()), is_template: false },
        }
    }
}

/// The text that a JSON string literal stands for, where it is one.
fn exact(literal: &str) -> Option<Cow<'_, str>> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(inner.into()),
        true => serde_json::from_str::<String>(literal).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_what_they_are_about() {
        for (method, params, kind, name) in [
            ("tools/call", r#"{"name":"a\u0062","uri":"u"}"#, Kind::Tool, Some("ab")),
            ("tools/call", r#"{"name":["a"]}"#, Kind::Tool, None),
            ("tools/call", r#"{"name":"a\ud800"}"#, Kind::Tool, None),
            ("tools/call", r#"["a"]"#, Kind::Tool, None),
            ("prompts/get", r#"{"name":"p"}"#, Kind::Prompt, Some("p")),
            ("resources/read", r#"{"uri":"file:\/\/\/x","name":"n"}"#, Kind::Resource, Some("file:///x")),
            ("resources/subscribe", r#"{"uri":"u"}"#, Kind::Resource, Some("u")),
            ("resources/unsubscribe", r#"{"uri":7}"#, Kind::Resource, None),
            ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"}}"#, Kind::Prompt, Some("p")),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/resource","uri":"\/u"}}"#,
                Kind::Resource,
                Some("/u"),
            ),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/tool","name":"p"},"name":"p"}"#,
                Kind::Method,
                None,
            ),
            ("completion/complete", r#"{"ref":"ref/prompt","name":"p"}"#, Kind::Method, None),
            ("completion/complete", r#"{"name":"p"}"#, Kind::Method, None),
            ("tools/list", r#"{"name":"p"}"#, Kind::Method, Some("tools/list")),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            let message = Message::parse(text).unwrap();
            let subject = Subject::of(&message);
            assert_eq!((subject.kind, subject.name.as_deref()), (kind, name), "{method} {params}");
            let copies = matches!(subject.name, Some(Cow::Owned(_)));
            assert_eq!(copies, name.is_some() && params.contains('\\'), "{params}");
        }
    }
}
