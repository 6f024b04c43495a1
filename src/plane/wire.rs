//! What the control plane sends, decoded.
//!
//! Decoding is lenient where the contract allows it and never lets one bad command cost its
//! siblings. A command whose id and shard token are readable is answered even when nothing else of
//! it is; the rest is dropped and counted.
//!
//! Members stay text until each is looked at, so the depth or type of one cannot spoil another, and a
//! payload is never decoded into a tree. A member that is named twice makes its command unreadable.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Channel, unit_ns};
use crate::ops::metrics::{DropReason, RequestKind};
use crate::relay::command::{Body, Command};
use crate::relay::failure::Class;
use crate::relay::inflight::InFlight;
use crate::relay::json::{self, Span};
use crate::relay::judgement::Judgement;
use crate::relay::message::{Kind, Malformed, Message};
use crate::relay::trace::TraceContext;

use super::oversized::{self, Oversized};
use super::timestamp;

/// Longest request id and shard token that are taken. A longer one could not be posted back, so its
/// command is dropped before the server is contacted: work without an answer is worse than none.
const TOKEN_BYTES_MAX: usize = 4096;

/// How much of an unknown `command_type` is worth a log line.
const TYPE_CHARS_MAX: usize = 64;

/// Most bytes of one command's headers, as JSON. Servers refuse heads far smaller than this.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Most headers of one command, counted with repetitions; servers commonly refuse more than a hundred.
const HEADERS_MAX: usize = 256;

/// A command that was neither taken nor answered: its id or token is missing, or its type is unknown.
#[derive(Debug)]
pub struct Dropped {
    /// Its class in metrics.
    pub reason: DropReason,
    /// What was wrong, for the log.
    pub why: String,
    /// Its id, where one could be read.
    pub request_id: Option<String>,
}

/// Decodes one command of a poll whose headers arrived at `received`. From here on it counts as in
/// flight. What makes it unanswerable is looked at first, then what makes it unknown, then the rest.
pub fn command(raw: &str, received: Instant, flight: &InFlight) -> Result<Command, Dropped> {
    let dropped = |reason, what: &str, id: Option<&str>| Dropped {
        reason,
        why: format!("control-plane command dropped: {what}"),
        request_id: id.map(str::to_owned),
    };
    let invalid = |what: &str, id: Option<&str>| dropped(DropReason::InvalidCommand, what, id);
    let members = json::members(raw, Span { start: 0, end: raw.len() }).ok().flatten();
    let members = members.ok_or_else(|| invalid("invalid payload", None))?;
    // Text, so that one of the wrong type hides no other. What is not asked for is ignored: the contract may grow.
    let member = |name: &'static str| match json::only(&members, name) {
        Ok(span) => Ok(span.map(|span| span.of(raw)).filter(|text| *text != "null")),
        Err(_) => Err(invalid("invalid payload", None)),
    };
    let text = |name| member(name).map(|literal| literal.and_then(json::string));
    let request_id = text("request_id")?.filter(|id| is_token(id));
    let request_id = request_id.ok_or_else(|| invalid("request_id is missing or too long", None))?;
    let id = Some(request_id.as_ref());
    let shard_token = text("shard_token")?.filter(|token| is_token(token));
    let shard_token = shard_token.and_then(|token| HeaderValue::from_str(&token).ok());
    let shard_token = shard_token.ok_or_else(|| invalid("shard_token is missing or unusable", id))?;
    let kind = kind(text("command_type")?.as_deref())
        .map_err(|what| dropped(DropReason::InvalidCommandType, &what, id))?;
    let channel = channel(member("channel")?).ok_or_else(|| invalid("invalid channel", id))?;
    let raw_headers = member("headers")?;
    let headers = headers(raw_headers);
    let body = body(kind, member("jsonrpc")?.unwrap_or("null"), headers.as_ref());
    // Ten thousand commands may be in flight, so their headers count too, unless they were not taken.
    let kept = raw_headers.filter(|_| headers.is_some());
    let bytes = body.bytes() + kept.map_or(0, str::len);
    Ok(Command {
        request_id: request_id.into_owned(),
        shard_token,
        channel,
        body,
        headers: headers.unwrap_or_default(),
        received,
        // For metrics alone; a malformed one costs nothing.
        created_at: text("created_at")?.and_then(|value| timestamp::parse(&value)),
        // Monotonic, so that a clock that is set meanwhile neither ends nor prolongs a call.
        silent_after: text("response_timeout")?
            .and_then(|value| response_timeout(&value))
            .and_then(|timeout| received.checked_add(timeout)),
        answer_by: None,
        trace: TraceContext::of_command(raw, &members),
        judgement: Judgement::default(),
        record: None,
        session: None,
        started: OnceLock::new(),
        #[cfg(feature = "page")]
        why: OnceLock::new(),
        ticket: flight.enter(bytes),
    })
}

/// The command of which no more than this could be read: it is refused, not run.
pub fn oversized(found: &Oversized, received: Instant, flight: &InFlight) -> Result<Command, Dropped> {
    let id = found.get(oversized::ID).map(|id| format!(",\"id\":{id}")).unwrap_or_default();
    let members = found.iter().filter(|(name, _)| **name != oversized::ID);
    let members: String = members.map(|(name, value)| format!("\"{name}\":{value},")).collect();
    // Its members are looked at like those of any other command.
    let text = format!("{{{members}\"jsonrpc\":{{\"jsonrpc\":\"2.0\",\"method\":\"unknown\"{id}}}}}");
    let command = self::command(&text, received, flight)?;
    let (kind, id) = (command.kind(), command.id().map(str::to_owned));
    let body = unusable(kind, Class::CommandTooLarge, "the command is larger than a poll may be", id);
    Ok(Command { body, ..command })
}

/// The kind that `command_type` names. An unknown one is never treated as JSON-RPC: what it means was
/// decided after this program was written, so it is neither run nor answered.
fn kind(command_type: Option<&str>) -> Result<RequestKind, String> {
    match command_type {
        Some("jsonrpc") => Ok(RequestKind::Call),
        Some("session_termination") => Ok(RequestKind::SessionTermination),
        Some("oauth_discovery") => Ok(RequestKind::OauthDiscovery),
        None | Some("") => Err("missing command_type".into()),
        Some(other) => {
            let shown: String = other.chars().take(TYPE_CHARS_MAX).collect();
            Err(format!("unknown command_type \"{shown}\""))
        }
    }
}

/// What is asked, or why it cannot be done. Headers are missing when one of them is unusable; that is
/// answered in the way in which the command itself would have been.
fn body(kind: RequestKind, payload: &str, headers: Option<&HeaderMap>) -> Body {
    let illegal = |kind, id| unusable(kind, Class::InvalidHeader, "a header is not legal HTTP", id);
    match (kind, headers) {
        (RequestKind::Call | RequestKind::Notification, headers) => {
            let malformed = |why: Malformed| {
                unusable(kind, Class::InvalidMessage, why.to_string(), readable_id(payload, why))
            };
            match (Message::parse(payload.to_owned()), headers) {
                (Ok(message), _) if message.kind() == Kind::Response && !message.has_outcome() => {
                    malformed(Malformed::Shape)
                }
                (Ok(message), Some(_)) => Body::Message(Arc::new(message)),
                (Ok(message), None) if message.kind() != Kind::Request => {
                    illegal(RequestKind::Notification, None)
                }
                (Ok(message), None) => illegal(kind, message.id().map(str::to_owned)),
                (Err((why, _)), _) => malformed(why),
            }
        }
        (kind, None) => illegal(kind, None),
        // Without a session's name the DELETE would end nothing, or whatever the server takes for it.
        (RequestKind::SessionTermination, Some(headers)) => match headers.get("mcp-session-id") {
            Some(session) if !session.is_empty() => Body::SessionTermination,
            _ => unusable(kind, Class::NoSession, "no Mcp-Session-Id names the session to end", None),
        },
        (RequestKind::OauthDiscovery, Some(_)) => Body::OauthDiscovery,
    }
}

fn unusable(kind: RequestKind, class: Class, cause: impl Into<String>, id: Option<String>) -> Body {
    Body::Unusable { kind, class, cause: cause.into(), id }
}

/// The id of a payload that is no message, so that its sender can tell which call failed. An envelope that
/// could be read in two ways would make that a guess.
fn readable_id(payload: &str, why: Malformed) -> Option<String> {
    match why {
        Malformed::Id => return None,
        Malformed::Name(ambiguous) if ambiguous.is_in_envelope() => return None,
        _ => {}
    }
    let whole = json::value(payload).ok()?;
    let members = json::members(payload, whole).ok()??;
    let id = members.iter().find(|member| member.name == "id")?.value.of(payload);
    id.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).then(|| id.to_owned())
}

/// The channel; without a name it is the main one. A name that is none is not corrected to it.
fn channel(raw: Option<&str>) -> Option<Channel> {
    raw.map_or(Some(Channel::main()), |raw| Channel::parse(&json::string(raw)?))
}

/// The headers, or nothing when one of them cannot be put on a wire. None is left out quietly: a call
/// without its `Authorization` would be another call.
fn headers(raw: Option<&str>) -> Option<HeaderMap> {
    let Some(raw) = raw else { return Some(HeaderMap::new()) };
    if raw.len() > HEADERS_BYTES_MAX {
        return None;
    }
    let lists: BTreeMap<String, Option<Vec<String>>> = serde_json::from_str(raw).ok()?;
    let mut map = HeaderMap::new();
    for (name, values) in lists {
        let values = values.unwrap_or_default();
        if values.is_empty() {
            continue;
        }
        let name: HeaderName = name.parse().ok()?;
        for value in values {
            // Counted before each: one name may have a million values, and the map costs more than they do.
            if map.len() == HEADERS_MAX {
                return None;
            }
            map.append(&name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
    }
    Some(map)
}

/// Whether a text can name a command, or be the token of one.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.len() <= TOKEN_BYTES_MAX
}

/// `^[0-9]+(ns|us|ms|s|m|h)$`, fitting 63 bits of nanoseconds. Anything else sets no deadline: the
/// contract has a mistake cost nothing here, since a call without deadline still ends by our own.
fn response_timeout(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits)?;
    let unit_ns = unit_ns(unit).filter(|_| unit.is_ascii())?;
    let total_ns = number.parse::<i64>().ok()?.checked_mul(unit_ns)?;
    u64::try_from(total_ns).ok().map(Duration::from_nanos)
}

/// How long ago `created_at` was; nothing when it lies in the future, which means that two clocks differ.
pub fn age(created_at: Option<SystemTime>) -> Option<Duration> {
    SystemTime::now().duration_since(created_at?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(json: &str) -> Result<Command, Dropped> {
        command(json, Instant::now(), &InFlight::default())
    }

    fn with(members: &str) -> Result<Command, Dropped> {
        decode(&format!(
            r#"{{"command_type":"jsonrpc","request_id":"r","shard_token":"t","jsonrpc":{{"jsonrpc":"2.0","id":1,"method":"a"}}{members}}}"#
        ))
    }

    #[test]
    fn cp_062_064_unknown_types_are_dropped_with_their_id() {
        let dropped = decode(r#"{"command_type":"JSONRPC","request_id":"r","shard_token":"t"}"#).unwrap_err();
        assert_eq!(
            (dropped.reason, dropped.request_id.as_deref()),
            (DropReason::InvalidCommandType, Some("r"))
        );
        assert!(decode(r#"{"request_id":"r","shard_token":"t"}"#).is_err());
        assert!(decode("7").is_err());
        assert!(decode(r#"["jsonrpc","r","t"]"#).is_err());
    }

    #[test]
    fn cp_065_069_ids_tokens_and_channels() {
        assert!(decode(r#"{"command_type":"jsonrpc","request_id":"","shard_token":"t"}"#).is_err());
        assert!(decode(r#"{"command_type":"jsonrpc","request_id":"r","shard_token":"a\nb"}"#).is_err());
        assert!(
            decode(&format!(
                r#"{{"command_type":"jsonrpc","request_id":"r","shard_token":"{}"}}"#,
                "t".repeat(4097)
            ))
            .is_err()
        );
        assert!(with(r#","channel":"a/b""#).is_err());
        assert_eq!(with(r#","channel":" MAIN ""#).unwrap().channel.as_str(), "main");
        assert_eq!(with(r#","channel":null"#).unwrap().channel.as_str(), "main");
    }

    #[test]
    fn cp_070_to_073_optional_members_cost_nothing() {
        for members in [
            r#","created_at":null"#,
            r#","created_at":7"#,
            r#","created_at":"x""#,
            r#","headers":null"#,
            r#","headers":{"a":[]}"#,
        ] {
            assert!(with(members).unwrap().message().is_some(), "{members}");
        }
        assert!(with(r#","created_at":"2026-01-02T03:04:05.678Z""#).unwrap().created_at.is_some());
        for bad in
            [r#","headers":{"a b":["x"]}"#, r#","headers":{"a":["x\r\ny"]}"#, r#","headers":{"a":"x"}"#]
        {
            let Body::Unusable { class, id, .. } = with(bad).unwrap().body else { panic!("{bad}") };
            assert_eq!((class, id.as_deref()), (Class::InvalidHeader, Some("1")));
        }
        let notification = r#"{"command_type":"jsonrpc","request_id":"r","shard_token":"t","headers":{"a b":["x"]},
            "jsonrpc":{"jsonrpc":"2.0","method":"a"}}"#;
        assert_eq!(decode(notification).unwrap().kind(), RequestKind::Notification);
        let headers = |count: usize| format!(r#","headers":{{"a":[{}""]}}"#, "\"\",".repeat(count - 1));
        assert!(with(&headers(HEADERS_MAX)).unwrap().message().is_some());
        assert!(with(&headers(HEADERS_MAX + 1)).unwrap().message().is_none());
    }

    #[test]
    fn a_command_shows_nothing_of_its_caller() {
        let command = with(r#","headers":{"Authorization":["Bearer cred"]}"#).unwrap();
        assert_eq!(format!("{command:?}"), "Command { request_id: \"r\", .. }");
    }

    #[test]
    fn what_a_command_keeps_is_counted() {
        let holds = |members: &str, bytes: usize| {
            let (flight, now) = (InFlight::default(), Instant::now());
            let json =
                format!(r#"{{"command_type":"jsonrpc","request_id":"r","shard_token":"t",{members}}}"#);
            let command = command(&json, now, &flight).unwrap();
            assert!(!flight.wait_below(bytes, now) && flight.wait_below(bytes + 1, now), "{members}");
            drop(command);
            assert!(flight.wait_below(1, now), "{members}");
        };
        let message = r#"{"jsonrpc":"2.0","id":"x","method":"a"}"#;
        let call = format!(r#""jsonrpc":{message}"#);
        holds(&call, message.len());
        holds(&format!(r#"{call},"headers":{{"a":["b"]}}"#), message.len() + 11);
        // The id stays for the answer; payload and headers do not.
        holds(&format!(r#"{call},"headers":{{"a b":["c"]}}"#), 3);
        holds(r#""jsonrpc":{"jsonrpc":"1.0","id":"x","method":"a"}"#, 3);
    }

    #[test]
    fn malformed_payloads_keep_what_is_needed_to_answer() {
        let of = |payload: &str| {
            let json = format!(
                r#"{{"command_type":"jsonrpc","request_id":"r","shard_token":"t","jsonrpc":{payload}}}"#
            );
            match decode(&json).unwrap().body {
                Body::Unusable { id, .. } => id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of("[]"), None);
        assert_eq!(of("null"), None);
        assert_eq!(of(r#"{"jsonrpc":"1.0","id":"x","method":"a"}"#).as_deref(), Some("\"x\""));
        assert_eq!(of(r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#), None);
    }

    #[test]
    fn cp_152_deadlines() {
        for (value, ns) in
            [("0s", 0), ("500ms", 500_000_000), ("1ns", 1), ("2h", 7_200_000_000_000), ("007us", 7000)]
        {
            assert_eq!(response_timeout(value), Some(Duration::from_nanos(ns)), "{value}");
        }
        for bad in ["30", "4.5s", "-1s", " 1s", "1m30s", "30d", "99999999999h", "1S", "", "s"] {
            assert_eq!(response_timeout(bad), None, "{bad}");
        }
    }
}
