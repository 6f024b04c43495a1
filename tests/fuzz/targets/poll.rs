//! The body of a poll and its commands, against what the strict reader sees of them.

use std::time::Instant;

use super::strict_json::{self as strict, Is, No, Value};
use crate::ops::metrics::DropReason;
use crate::plane::{poll_body, wire};
use crate::relay::command::Body;
use crate::relay::inflight::InFlight;
use crate::relay::message::Message;

/// Longest id and token, and most bytes of headers.
const TOKEN_BYTES_MAX: usize = 4096;
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Takes a poll apart; what is no poll is read as a command.
pub fn run(data: &[u8]) {
    let commands = poll_body::commands(data);
    let Ok(text) = std::str::from_utf8(data) else { return assert!(commands.is_err()) };
    match strict::read(data) {
        Err(No::Verdict) => return,
        Err(No::Json) => assert!(commands.is_err()),
        Ok(tree) => {
            let expected = expected(text, &tree);
            assert_eq!(commands.as_ref().ok(), expected.as_ref());
            for raw in expected.unwrap_or_default() {
                command(raw);
            }
        }
    }
    command(text);
}

/// The commands of a poll; none where it is no poll.
fn expected<'a>(text: &'a str, tree: &Value) -> Option<Vec<&'a str>> {
    match tree.is {
        Is::Null => return Some(Vec::new()),
        Is::Object(_) => {}
        _ => return None,
    }
    let named = |name: &strict::Name| strict::text(&name.units).as_deref() == Some("commands");
    let lists: Vec<&Value> =
        tree.members().iter().filter(|(name, _)| named(name)).map(|(_, value)| value).collect();
    match lists[..] {
        [] => Some(Vec::new()),
        [one] => match &one.is {
            Is::Null => Some(Vec::new()),
            Is::List(items) => Some(items.iter().map(|item| &text[item.at.clone()]).collect()),
            _ => None,
        },
        _ => None,
    }
}

/// The member, when there is one and it is not null; a second one is a fault.
fn member<'a>(tree: &'a Value, name: &str) -> Result<Option<&'a Value>, ()> {
    let is = |own: &strict::Name| strict::text(&own.units).as_deref() == Some(name);
    let mut named = tree.members().iter().filter(|(own, _)| is(own)).map(|(_, value)| value);
    let first = named.next();
    if named.next().is_some() { Err(()) } else { Ok(first.filter(|value| value.is != Is::Null)) }
}

/// Its text; as it is written where that names half a pair.
fn written(text: &str, value: &Value) -> Option<String> {
    let Is::Text(units) = &value.is else { return None };
    Some(strict::text(units).unwrap_or_else(|| text[value.at.start + 1..value.at.end - 1].to_owned()))
}

fn command(text: &str) {
    let flight = InFlight::default();
    let read = wire::command(text, Instant::now(), &flight);
    let tree = match strict::read(text.as_bytes()) {
        Err(No::Verdict) => return,
        Err(No::Json) => return assert!(read.is_err()),
        Ok(tree) => tree,
    };
    let names = ["request_id", "shard_token", "command_type", "channel", "headers", "jsonrpc"];
    let clear =
        ["created_at", "response_timeout"].iter().chain(&names).all(|name| member(&tree, name).is_ok());
    let of = |name| member(&tree, name).ok().flatten();
    let token = |name| {
        let token = of(name).and_then(|value| written(text, value));
        token.filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX)
    };
    let legal = |token: &String| token.bytes().all(|byte| byte == b'\t' || (byte >= 32 && byte != 127));
    let (id, shard) = (token("request_id"), token("shard_token").filter(legal));
    let kind = of("command_type").and_then(|value| written(text, value)).unwrap_or_default();
    let known = ["jsonrpc", "session_termination", "oauth_discovery"].contains(&kind.as_str());
    let channel = match of("channel") {
        None => Some("main".to_owned()),
        Some(value) => written(text, value).and_then(|name| channel(&name)),
    };
    let command = match read {
        Ok(command) => command,
        Err(dropped) => {
            let taken = clear && id.is_some() && shard.is_some() && known && channel.is_some();
            assert!(!taken, "{dropped:?}");
            assert!(dropped.request_id.is_none() || dropped.request_id == id);
            let unknown = matches!(dropped.reason, DropReason::InvalidCommandType);
            return assert!(!unknown || !known);
        }
    };
    assert!(clear && known);
    assert_eq!(Some(&command.request_id), id.as_ref());
    assert_eq!(Some(command.shard_token.as_bytes()), shard.as_deref().map(str::as_bytes));
    assert_eq!(Some(command.channel.as_str()), channel.as_deref());
    body(text, &command, of("jsonrpc"), of("headers"), &kind);
}

fn channel(name: &str) -> Option<String> {
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        return Some("main".to_owned());
    }
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    (plain && name.len() <= 64).then_some(name)
}

/// The headers, name by name; none where one cannot be sent.
fn pairs(headers: Option<&Value>) -> Option<Vec<(String, String)>> {
    let Some(headers) = headers else { return Some(Vec::new()) };
    if !matches!(headers.is, Is::Object(_)) {
        return None;
    }
    let mut pairs = Vec::new();
    for (name, values) in headers.members() {
        let name = strict::text(&name.units)?.to_ascii_lowercase();
        let values = match &values.is {
            Is::Null => continue,
            Is::List(values) => values.iter().map(Value::text).collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Some(pairs)
}

fn body(
    text: &str,
    command: &crate::relay::command::Command,
    payload: Option<&Value>,
    headers: Option<&Value>,
    kind: &str,
) {
    let small = headers.is_none_or(|headers| headers.at.len() <= HEADERS_BYTES_MAX);
    let pairs = pairs(headers).filter(|_| small);
    let payload = payload.map_or("null", |payload| &text[payload.at.clone()]);
    match &command.body {
        Body::Message(message) => {
            assert!(kind == "jsonrpc" && pairs.is_some());
            assert_eq!(
                (Ok(&**message), message.text()),
                (Message::parse(payload.to_owned()).as_ref(), payload)
            );
        }
        Body::SessionTermination => assert_eq!(kind, "session_termination"),
        Body::OauthDiscovery => assert_eq!(kind, "oauth_discovery"),
        Body::Unusable { id, .. } => {
            // An id in an answer is one that stands there.
            assert!(id.as_ref().is_none_or(|id| payload.contains(id.as_str())));
        }
    }
    let Some(pairs) = pairs.filter(|_| !command.headers.is_empty()) else { return };
    let mut sent: Vec<(String, Vec<u8>)> = command
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let mut given: Vec<_> = pairs.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    sent.sort();
    given.sort();
    assert_eq!(sent, given);
}
