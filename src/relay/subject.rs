//! What a request is about: the tool, prompt or resource that it names, or its method alone.
//!
//! Whoever judges a command and whoever records it read the same here. Names are compared as decoded text; one that
//! has no text in Rust (half a surrogate pair) is none. A name without escapes is not copied.

use std::borrow::Cow;

use crate::config::{CALLS_ENDPOINT, Channel};
use crate::text::words;

use super::json::{self, Span};
use super::message::Message;
use super::names;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What it names.
    pub kind: Kind,
    /// The name: a tool's or prompt's name, a URI, or the method; nothing where the request has none that is a text.
    pub name: Option<Cow<'a, str>>,
    /// Whether the URI may be a template, with variables in braces.
    pub is_template: bool,
    /// The tool that was called, where what it calls in turn is the subject.
    pub through: Option<&'static str>,
}

/// Whether a call of this tool is about what it calls in turn.
pub fn calls_another(channel: &Channel, tool: &str) -> bool {
    tool == CALLS_ENDPOINT.0 && *channel == Channel::harpoon()
}

impl<'a> Subject<'a> {
    /// That of a message.
    pub fn of(message: &'a Message) -> Subject<'a> {
        let (method, places) = (message.method().unwrap_or_default(), message.places());
        let named = |kind, name: Option<Span>, is_template| {
            let name = name.and_then(|span| json::exact(span.of(message.text())));
            Subject { kind, name, is_template, through: None }
        };
        match method {
            "tools/call" => named(Kind::Tool, places.name, false),
            "prompts/get" => named(Kind::Prompt, places.name, false),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                named(Kind::Resource, places.uri, false)
            }
            "completion/complete" => {
                let reference = places.reference.and_then(|span| json::exact(span.of(message.text())));
                match reference.as_deref() {
                    Some("ref/prompt") => named(Kind::Prompt, places.name, false),
                    Some("ref/resource") => named(Kind::Resource, places.uri, true),
                    _ => named(Kind::Method, None, false),
                }
            }
            method => {
                Subject { kind: Kind::Method, name: Some(method.into()), is_template: false, through: None }
            }
        }
    }

    /// The same on this channel, where a tool may call another one: then that one is meant.
    pub fn on(self, channel: &Channel, message: &'a Message) -> Subject<'a> {
        let (tool, argument) = CALLS_ENDPOINT;
        if self.kind != Kind::Tool || !self.name.as_deref().is_some_and(|name| calls_another(channel, name)) {
            return self;
        }
        let label = || {
            let arguments = json::members(message.text(), message.places().arguments?).ok()??;
            let [label] = names::find(&arguments, [argument]).ok()?;
            Some(match json::exact(label?.of(message.text()))? {
                Cow::Borrowed(text) => unbound(text).into(),
                Cow::Owned(text) => unbound(&text).to_owned().into(),
            })
        };
        Subject { name: label(), through: Some(tool), ..self }
    }
}

/// The label in a name that is bound to a policy of headers: `hr1:`, a digest, `:` and the label.
fn unbound(name: &str) -> &str {
    let bound = name.strip_prefix("hr1:").and_then(|rest| rest.rsplit_once(':'));
    bound.map_or(name, |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_an_endpoint_is_about_its_label() {
        for (arguments, name) in [
            (r#"{"label":"a","method":"GET"}"#, Some("a")),
            (r#"{"\u006cabel":"\u0061"}"#, Some("a")),
            (r#"{"label":"hr1:00ff:a"}"#, Some("a")),
            (r#"{"label":"hr1:00ff:\u0061"}"#, Some("a")),
            (r#"{"label":"hr1:a"}"#, Some("hr1:a")),
            (r#"{"label":"HR1:00ff:a"}"#, Some("HR1:00ff:a")),
            (r#"{"label":"a","label":"b"}"#, None),
            (r#"{"label":"a","Label":"b"}"#, None),
            (r#"{"label":7}"#, None),
            ("{}", None),
            ("7", None),
        ] {
            let params = format!(r#"{{"name":"call_targe\u0074","arguments":{arguments}}}"#);
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let message = Message::parse(text).unwrap();
            let on = |channel| Subject::of(&message).on(&channel, &message);
            let subject = on(Channel::harpoon());
            assert_eq!(
                (subject.name.as_deref(), subject.through),
                (name, Some("call_target")),
                "{arguments}"
            );
            assert_eq!(on(Channel::main()).name.as_deref(), Some("call_target"));
        }
    }

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
