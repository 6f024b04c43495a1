//! Trace context of a command, as W3C has it: read, checked, and put into `params._meta` of its request.
//!
//! What is almost valid is none: a request is forwarded as it came rather than with a context that its server would
//! read in another way. The members are inserted into the text, which stays as it is otherwise. Nothing fails.

use std::collections::BTreeSet;

use super::json::{self, Member, Span};
use super::message::{Kind, Message};
use super::names;

/// Names of the two members, in a command and in `_meta`, and of the headers that stand in their way.
pub const NAMES: [&str; 2] = ["traceparent", "tracestate"];

/// Bounds of `tracestate`: of all, of a value, and how many members the standard allows.
const STATE_BYTES_MAX: usize = 512;
const VALUE_BYTES_MAX: usize = 256;
const STATE_MEMBERS_MAX: usize = 32;

/// A valid trace context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    /// In its canonical form; may be empty.
    state: String,
}

impl TraceContext {
    /// That of a command, from its text and the members of that. Nothing that is wrong with it, not even that it stands
    /// there twice, makes the command malformed. Whoever names one of the two in the headers has a context of their own.
    pub fn of_command(text: &str, command: &[Member<'_>]) -> Option<TraceContext> {
        let context = json::members(text, names::only(command, "trace_context")?).ok()??;
        let headers =
            names::only(command, "headers").and_then(|headers| json::members(text, headers).ok()?);
        if headers.is_some_and(|headers| any_own(&headers)) {
            return None;
        }
        let [parent, state] = names::find(&context, NAMES).ok()?;
        let parent = json::exact(parent?.of(text)).filter(|parent| is_parent(parent))?;
        let state = match state.map(|span| span.of(text)) {
            None | Some("null") => String::new(),
            Some(literal) => canonical(&json::exact(literal)?)?,
        };
        Some(TraceContext { parent: parent.into_owned(), state })
    }

    /// The id of the whole trace, for the log.
    pub fn id(&self) -> &str {
        self.parent.split('-').nth(1).unwrap_or_default()
    }

    /// The request with this context in its `_meta`; nothing where it has to stay as it came.
    pub fn inject(&self, request: &Message) -> Option<Message> {
        if request.kind() != Kind::Request {
            return None;
        }
        let text = request.text();
        let mut own = format!("\"traceparent\":\"{}\"", self.parent);
        if !self.state.is_empty() {
            own += &format!(",\"tracestate\":{}", serde_json::Value::from(self.state.as_str()));
        }
        let first = |span: Span, is_alone: bool, member: &str| {
            (span.start + 1, if is_alone { member.to_owned() } else { format!("{member},") })
        };
        let (at, inserted) = match request.params {
            // An envelope is never empty.
            None => (request.inside, format!("\"params\":{{\"_meta\":{{{own}}}}},")),
            Some(params) => {
                let beside = distinct(text, params)?;
                match names::only(&beside, "_meta") {
                    None => first(params, beside.is_empty(), &format!("\"_meta\":{{{own}}}")),
                    Some(meta) => {
                        let beside = distinct(text, meta).filter(|members| !any_own(members))?;
                        first(meta, beside.is_empty(), &own)
                    }
                }
            }
        };
        let [before, after] = [Span { start: 0, end: at }, Span { start: at, end: text.len() }];
        Message::parse([before.of(text), &inserted, after.of(text)].concat()).ok()
    }
}

/// The same, if no name occurs twice: of two, nobody can say which a server takes.
fn distinct(text: &str, span: Span) -> Option<Vec<Member<'_>>> {
    let members = json::members(text, span).ok()??;
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    (names.len() == members.len()).then_some(members)
}

/// Whether a trace context stands here already, in whatever case.
fn any_own(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| NAMES.iter().any(|name| member.name.eq_ignore_ascii_case(name)))
}

/// Version 00, the ids of trace and caller, the flags.
fn is_parent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &str, length| part.len() == length && is_hex(part) && part.contains(|c| c != '0');
    match text.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, caller, flags] => {
            is_id(trace, 32) && is_id(caller, 16) && flags.len() == 2 && is_hex(flags) && flags != "ff"
        }
        _ => false,
    }
}

/// `a=b,c=d`: without blanks around members, and without empty ones.
fn canonical(state: &str) -> Option<String> {
    if state.len() > STATE_BYTES_MAX {
        return None;
    }
    let (mut keys, mut kept) = (BTreeSet::new(), Vec::new());
    for member in state.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || !keys.insert(key) {
            return None;
        }
        kept.push(member);
    }
    (kept.len() <= STATE_MEMBERS_MAX).then(|| kept.join(","))
}

/// A vendor's name, or a tenant's name at that of a system.
fn is_key(key: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &str, most: usize| {
        (1..=most).contains(&name.len())
            && name.bytes().all(is_letter)
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    let (tenant, name, most) = match key.split_once('@') {
        Some((tenant, system)) => (tenant, system, 14),
        None => ("tenant", key, VALUE_BYTES_MAX),
    };
    is_name(tenant, 241) && is_name(name, most) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn is_value(value: &str) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(parent: &str, state: &str) -> Option<TraceContext> {
        let text =
            serde_json::json!({"traceparent": parent, "tracestate": state, "baggage": [1]}).to_string();
        read(&text, "{}")
    }

    fn of_command(text: &str) -> Option<TraceContext> {
        TraceContext::of_command(text, &json::members(text, Span { start: 0, end: text.len() }).ok()??)
    }

    fn read(context: &str, headers: &str) -> Option<TraceContext> {
        of_command(&format!("{{\"a\":1,\"trace_context\":{context},\"headers\":{headers}}}"))
    }

    /// NEW-030, NEW-068: almost valid is not valid.
    #[test]
    fn almost_valid_parents_are_none() {
        let good = context(PARENT, "").unwrap();
        assert_eq!((good.id(), good.state.as_str()), ("4bf92f3577b34da6a3ce929d0e0e4736", ""));
        for bad in [
            PARENT.replace("00-4b", "01-4b"),
            PARENT.replace("00-4b", "ff-4b"),
            PARENT.to_uppercase(),
            PARENT.replace("4b", "4g"),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace("b7-01", "b7-ff"),
            format!("{PARENT}-"),
            format!("{PARENT}0"),
            format!(" {PARENT}"),
            PARENT.replacen('-', "_", 1),
            PARENT.replace("b7-01", "b7-0"),
            PARENT.replace("4bf9", "4b\u{e9}"),
            String::new(),
        ] {
            assert_eq!(context(&bad, ""), None, "{bad}");
        }
    }

    /// NEW-068: the state is valid as a whole, or the context is none.
    #[test]
    fn states_are_canonical_or_spoil_the_context() {
        let long = "x".repeat(256);
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        for (state, expected) in [
            ("a=b,c=d", Some("a=b,c=d")),
            (" a=b ,\t,c=d\t,", Some("a=b,c=d")),
            ("", Some("")),
            (" , ", Some("")),
            ("a= \"\\b", Some("a= \"\\b")),
            ("t0@sys=1,0t@sys=2,a-*/_9=3", Some("t0@sys=1,0t@sys=2,a-*/_9=3")),
            (&format!("a={long}"), Some(&*format!("a={long}"))),
            (&many[..32].join(","), Some(&*many[..32].join(","))),
            (&many.join(","), None),
            (&format!("a={long}x"), None),
            (&format!("a={long},b={long}"), None),
            ("a=b,a=c", None),
            ("A=b", None),
            ("0a=b", None),
            ("-a=b", None),
            ("a", None),
            ("a=", None),
            ("=b", None),
            ("a=b=c", None),
            ("a=\u{e9}", None),
            ("a=\u{1}", None),
            ("a@=b", None),
            ("@a=b", None),
            ("a@0b=c", None),
            ("a@b@c=d", None),
            ("a b=c", None),
        ] {
            assert_eq!(context(PARENT, state).map(|context| context.state).as_deref(), expected, "{state:?}");
        }
    }

    /// NEW-030: whatever else is wrong with it is as if it were not there.
    #[test]
    fn contexts_are_read_tolerantly() {
        let good = format!("{{\"traceparent\":\"{PARENT}\",\"x\":1,\"x\":{{}}}}");
        for headers in ["null", "7", "{\"trace\":[]}"] {
            assert!(read(&good, headers).is_some(), "{headers}");
        }
        assert!(read(&good.replace("\"x\":1", "\"tracestate\":null"), "{}").is_some());
        assert_eq!(of_command("{\"a\":\"\\\"trace_context\\\"\"}"), None);
        let twice = good.replace("\"x\":1", &format!("\"tr\\u0061ceparent\":\"{PARENT}\""));
        for bad in [
            "null",
            "[]",
            "7",
            "\"x\"",
            "{}",
            "{\"traceparent\":7}",
            &twice,
            &good.replace("\"x\":1", "\"tracestate\":7"),
            &good.replace("\"x\":1", "\"tracestate\":[]"),
            &good.replace("\"x\":1", "\"tracestate\":\"a=\\ude67b\""),
            &good.replace("\"x\":1", "\"TraceParent\":0"),
        ] {
            assert_eq!(read(bad, "{}"), None, "{bad}");
        }
        let command = format!("{{\"a\":1,\"a\":2,\"trace_context\":{good},\"headers\":{{}}}}");
        assert!(of_command(&command).is_some());
        let command = command.replace("\"a\":2", "\"trace_context\":{}");
        assert_eq!(of_command(&command), None);
        for headers in
            ["{\"traceparent\":null}", "{\"TRACESTATE\":[]}", "{\"a\":[],\"Tr\\u0061ceparent\":[\"x\"]}"]
        {
            assert_eq!(read(&good, headers), None, "{headers}");
        }
    }

    /// NEW-067, NEW-069: the members are inserted, and nothing else changes.
    #[test]
    fn contexts_are_inserted_into_the_text() {
        let own = format!("\"traceparent\":\"{PARENT}\",\"tracestate\":\"a=\\\"\"");
        let context = context(PARENT, "a=\"").unwrap();
        let injected = |rest: &str| {
            let message = Message::parse(format!(" {{\"jsonrpc\":\"2.0\",\"id\":1.50,{rest}}} ")).unwrap();
            context.inject(&message).map(|message| message.into_text())
        };
        let whole =
            |start: &str, rest: &str| Some(format!(" {{{start}\"jsonrpc\":\"2.0\",\"id\":1.50,{rest}}} "));
        let call = |params: &str| format!("\"method\":\"m\",\"params\":{params}");
        for (params, expected) in [
            ("{}", format!("{{\"_meta\":{{{own}}}}}")),
            ("{ }", format!("{{\"_meta\":{{{own}}} }}")),
            (
                "{\"n\":1.50,\"x\":{\"a\":1,\"a\":2}}",
                format!("{{\"_meta\":{{{own}}},\"n\":1.50,\"x\":{{\"a\":1,\"a\":2}}}}"),
            ),
            ("{\"_meta\":{}}", format!("{{\"_meta\":{{{own}}}}}")),
            ("{\"_meta\": {\"p\" : 1e2}, \"n\":1}", format!("{{\"_meta\": {{{own},\"p\" : 1e2}}, \"n\":1}}")),
        ] {
            assert_eq!(injected(&call(params)), whole("", &call(&expected)), "{params}");
        }
        let start = format!("\"params\":{{\"_meta\":{{{own}}}}},");
        assert_eq!(injected("\"method\":\"m\""), whole(&start, "\"method\":\"m\""));
        for params in [
            "null",
            "[]",
            "7",
            "{\"_meta\":null}",
            "{\"_meta\":[]}",
            "{\"_meta\":\"\"}",
            "{\"_meta\":{\"traceparent\":null}}",
            "{\"_meta\":{\"Trace\\u0053tate\":1}}",
            "{\"_meta\":{\"a\":1,\"\\u0061\":2}}",
            "{\"a\":1,\"a\":2}",
        ] {
            assert_eq!(injected(&call(params)), None, "{params}");
        }
        assert_eq!(injected("\"result\":{}"), None);
        let note = Message::parse("{\"jsonrpc\":\"2.0\",\"method\":\"m\"}".into()).unwrap();
        assert_eq!(context.inject(&note), None);
    }
}
