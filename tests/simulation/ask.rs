//! Commands as callers ask for them, and what their answers have to look like.

use std::time::Duration;

use super::history::Number;
use super::random::Random;

/// Names of the channels that are served.
pub(super) const CHANNELS: [&str; 3] = ["main", "second", "third"];

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Call of a tool.
    Call,
    /// Notification.
    Notification,
    /// End of a session.
    Termination,
    /// Search for metadata.
    Discovery,
    /// Subscription, which never ends by itself.
    Subscription,
    /// Something that is no message.
    Malformed,
    /// Call on a channel that nobody serves.
    Elsewhere,
}

/// One command.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) number: Number,
    pub(super) kind: Kind,
    /// Place of its channel among [`CHANNELS`].
    pub(super) channel: usize,
    pub(super) timeout: Option<Duration>,
    /// Bytes that it brings for nothing.
    padding: usize,
}

impl Ask {
    /// Some command for one of so many channels.
    pub(super) fn random(random: &mut Random, number: Number, channels: usize, heavy: bool) -> Ask {
        let kind = match random.below(100) {
            0..10 => Kind::Notification,
            10..13 => Kind::Termination,
            13..15 => Kind::Discovery,
            15..18 => Kind::Subscription,
            18..20 => Kind::Malformed,
            20..22 => Kind::Elsewhere,
            _ => Kind::Call,
        };
        let channel = if kind == Kind::Discovery { 0 } else { random.index(channels) };
        let timeouts = [100, 1_000, 2_000, 5_000, 30_000, 90_000].map(Duration::from_millis);
        let timeout = random.one_in(2).then(|| random.pick(&timeouts));
        let padding = if heavy || random.one_in(10) { random.index(3_000) } else { random.index(50) };
        Ask { number, kind, channel, timeout, padding }
    }

    /// The same as a call whose caller waits for as long as it takes.
    pub(super) fn patient_call(self) -> Ask {
        Ask { kind: Kind::Call, timeout: None, ..self }
    }

    /// Its text in a poll's body.
    pub(super) fn text(&self) -> String {
        let n = self.number;
        let padding = "x".repeat(self.padding);
        let message = |method: &str| {
            let params = format!(r#"{{"name":"tool","arguments":{{"padding":"{padding}"}}}}"#);
            format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"{method}","params":{params}}}"#)
        };
        let (kind, payload) = match self.kind {
            Kind::Call | Kind::Elsewhere => ("jsonrpc", message("tools/call")),
            Kind::Subscription => ("jsonrpc", message("subscriptions/listen")),
            Kind::Notification => {
                ("jsonrpc", r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#.to_owned())
            }
            Kind::Malformed => ("jsonrpc", format!(r#"{{"jsonrpc":"1.0","id":{n},"padding":"{padding}"}}"#)),
            Kind::Termination => ("session_termination", "null".to_owned()),
            Kind::Discovery => ("oauth_discovery", "null".to_owned()),
        };
        let channel = if self.kind == Kind::Elsewhere { "nowhere" } else { CHANNELS[self.channel] };
        let timeout = self.timeout.map(|time| format!(r#","response_timeout":"{}ms""#, time.as_millis()));
        format!(
            r#"{{"command_type":"{kind}","request_id":"r{n}","shard_token":"t{n}","channel":"{channel}","headers":{{"mcp-session-id":["s"]}},"jsonrpc":{payload}{}}}"#,
            timeout.unwrap_or_default()
        )
    }

    /// Whether it waits for an answer with its id.
    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Subscription | Kind::Elsewhere)
    }

    /// What is wrong with its terminal answer.
    pub(super) fn fault(&self, status: u16, payload: Option<&str>) -> Option<String> {
        if !self.is_call() {
            return None;
        }
        let Some(text) = payload else { return Some("a call is answered without a message".into()) };
        let value: serde_json::Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Some(format!("an answer that is no JSON: {error}")),
        };
        if value["id"] != self.number {
            return Some(format!("the answer of another call: {text}"));
        }
        let is_result = value.get("result").is_some();
        match () {
            () if is_result && value["result"]["number"] != self.number => {
                Some(format!("the result of another call: {text}"))
            }
            () if is_result && (status != 200 || self.kind == Kind::Elsewhere) => {
                Some(format!("a result with status {status}: {text}"))
            }
            () if !is_result && value.get("error").is_none() => {
                Some(format!("neither result nor error: {text}"))
            }
            () => None,
        }
    }
}

/// The number in a request id.
pub(super) fn number(request_id: &str) -> Number {
    request_id.strip_prefix('r').and_then(|digits| digits.parse().ok()).unwrap()
}

/// A server's answer to that command.
pub(super) fn result(number: Number, padding: usize) -> String {
    let padding = "y".repeat(padding);
    format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"number":{number},"padding":"{padding}"}}}}"#)
}

/// A server's notification on the way to it.
pub(super) fn note(number: Number, place: u64) -> String {
    let params = format!(r#"{{"number":{number},"place":{place}}}"#);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#)
}
