//! Members of a record, as JSON text.
//!
//! What strangers chose (ids, names, methods, arguments) is bounded, and escaped like everything that is shown: a
//! value that was too long ends in `...`, and its line says `"cut":true`. No credential gets here: a session is known
//! by a keyed digest; names and arguments pass the redactor.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::config::AuditArguments;
use crate::crypto;
use crate::ops::redact::Redactor;
use crate::relay::command::Command;
use crate::relay::json;
use crate::relay::judgement::Decision;
use crate::relay::message::Message;
use crate::relay::record::Fate;
use crate::relay::trace::TraceContext;
use crate::text;

/// Longest value that a stranger chose.
const VALUE_BYTES_MAX: usize = 256;

/// Longest arguments.
const ARGUMENTS_BYTES_MAX: usize = 8 * 1024;

/// Bytes that are cleaned for each byte that may be shown: a secret must not escape by being cut.
const CLEANED_PER_SHOWN: usize = 8;

/// Longest number that every reader takes for the same one.
const NUMBER_BYTES_MAX: usize = 15;

/// Memory that is kept for the members of another record.
const KEPT_BYTES_MAX: usize = 1024;

/// Members, parted by commas.
#[derive(Default)]
pub(super) struct Members {
    pub(super) out: String,
    /// Whether a value was cut.
    cut: bool,
}

impl Members {
    /// Forgets all, but keeps the memory unless it is much.
    pub(super) fn empty(&mut self) {
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES_MAX);
        self.cut = false;
    }

    /// Begins a member.
    fn name(&mut self, name: &str) {
        self.out.push_str(if self.out.is_empty() { "\"" } else { ",\"" });
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// Adds a member with a value that needs no escape.
    fn plain(&mut self, name: &str, value: impl Display) {
        self.name(name);
        // Writing to a text cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// Adds a member that is text, when there is one.
    fn text(&mut self, name: &str, value: Option<&str>, limit: usize) {
        let Some(value) = value else { return };
        self.name(name);
        let cut = value.len() > limit;
        self.cut |= cut;
        let shown = if cut { &[text::head(value, limit), "..."].concat() } else { value };
        text::json(&mut self.out, shown);
    }
}

/// What is known of a command when it begins.
pub(super) fn begun(members: &mut Members, command: &Command, redactor: &Redactor) {
    members.out.reserve(KEPT_BYTES_MAX / 2);
    members.text("channel", Some(command.channel.as_str()), VALUE_BYTES_MAX);
    members.text("request_id", Some(&command.request_id), VALUE_BYTES_MAX);
    if let Some(id) = command.id() {
        let text = json::string(id);
        match text.as_deref().or(Some(id).filter(|id| id.len() > NUMBER_BYTES_MAX)) {
            Some(text) => members.text("rpc_id", Some(text), VALUE_BYTES_MAX),
            None => members.plain("rpc_id", id),
        }
    }
    members.text("trace_id", command.trace.as_ref().map(TraceContext::id), VALUE_BYTES_MAX);
    members.text("session", command.session.as_deref(), VALUE_BYTES_MAX);
    members.text("method", command.asked(), VALUE_BYTES_MAX);
    if let Some(name) = command.named() {
        // A URI may hold a credential.
        let head = text::head(&name, VALUE_BYTES_MAX * CLEANED_PER_SHOWN);
        members.text("name", Some(&redactor.clean(head)), VALUE_BYTES_MAX);
        members.cut |= head.len() < name.len();
    }
    let judgement = &command.judgement;
    members.text("decision", judgement.decision.map(Decision::word), VALUE_BYTES_MAX);
    members.text("rule", judgement.rule.as_deref(), VALUE_BYTES_MAX);
    members.plain("bytes_in", command.body.bytes());
}

/// The arguments of a call, when it has some: their digest, and perhaps their text.
pub(super) fn arguments(members: &mut Members, message: &Message, kept: AuditArguments, redactor: &Redactor) {
    let span = message.places().arguments.filter(|_| kept != AuditArguments::None);
    let Some(span) = span else { return };
    let sent = span.of(message.text());
    members.text("arguments_sha256", Some(&crypto::sha256_hex(sent.as_bytes())), VALUE_BYTES_MAX);
    if kept == AuditArguments::Full {
        let shown = text::head(sent, ARGUMENTS_BYTES_MAX * CLEANED_PER_SHOWN);
        members.text("arguments", Some(&redactor.clean(shown)), ARGUMENTS_BYTES_MAX);
        members.cut |= shown.len() < sent.len();
    }
}

/// What became of it, behind all else.
pub(super) fn ended(members: &mut Members, fate: &Fate, took: Duration) {
    members.text("outcome", Some(fate.outcome), VALUE_BYTES_MAX);
    if let Some(status) = fate.status {
        members.plain("status", status);
    }
    members.text("failure", fate.failure, VALUE_BYTES_MAX);
    members.plain("duration_us", took.as_micros());
    members.plain("bytes_out", fate.bytes);
    if members.cut {
        members.plain("cut", true);
    }
}

/// All of a command that was none, or could not be answered.
pub(super) fn dropped(request_id: Option<&str>, why: &'static str) -> String {
    let mut members = Members::default();
    members.text("request_id", request_id, VALUE_BYTES_MAX);
    ended(&mut members, &Fate::new("refused", Some(why)), Duration::ZERO);
    members.out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::relay::command::Body;
    use crate::relay::inflight::InFlight;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn record(payload: &str, kept: AuditArguments, change: impl FnOnce(&mut Command)) -> Value {
        let mut command = Command::example(InFlight::default().enter(0));
        command.body = Body::Message(Arc::new(Message::parse(payload.into()).unwrap()));
        change(&mut command);
        let redactor = Redactor::new(vec![Secret::new("sk-key-of-this-run".into())]);
        let mut members = Members::default();
        begun(&mut members, &command, &redactor);
        arguments(&mut members, command.message().unwrap(), kept, &redactor);
        let fate = Fate { status: Some(200), bytes: 7, ..Fate::new("ok", None) };
        ended(&mut members, &fate, Duration::from_micros(5));
        let line = format!("{{{}}}", members.out);
        assert!(line.len() < super::super::chain::LINE_BYTES_MAX - 1024, "{}", line.len());
        assert!(!line.contains(text::must_escape), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_record_says_who_asked_for_what_and_how_it_ended() {
        let payload = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"s\u0065arch","arguments":{"q":1.50}}}"#;
        let known = json!({"channel": "main", "request_id": "r", "rpc_id": "ab", "method": "tools/call",
            "name": "search", "bytes_in": payload.len(), "outcome": "ok", "status": 200, "duration_us": 5, "bytes_out": 7});
        assert_eq!(record(payload, AuditArguments::None, |_| {}), known);
        let hashed = record(payload, AuditArguments::Hash, |_| {});
        assert_eq!(hashed["arguments_sha256"], crypto::sha256_hex(br#"{"q":1.50}"#));
        assert_eq!(hashed.get("arguments"), None);
        let full = record(payload, AuditArguments::Full, |_| {});
        assert_eq!(full["arguments"], r#"{"q":1.50}"#);
        let session = record(payload, AuditArguments::None, |command| {
            command.session = Some("0123".into());
        });
        assert_eq!(session["session"], "0123");
    }

    #[test]
    fn ids_keep_their_value() {
        for (id, known) in [
            ("7", json!(7)),
            ("-7", json!(-7)),
            ("12345678901234567890", json!("12345678901234567890")),
            ("\"7\"", json!("7")),
        ] {
            let payload = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(record(&payload, AuditArguments::None, |_| {})["rpc_id"], known);
        }
    }

    /// The longest of everything, in the form that takes the most room, and no secret anywhere.
    #[test]
    fn what_strangers_chose_is_bounded_and_escaped() {
        let long = "\u{202e}\u{1}".repeat(40_000);
        let quoted = serde_json::to_string(&long).unwrap();
        let payload = format!(
            r#"{{"jsonrpc":"2.0","id":{quoted},"method":"tools/call","params":{{"name":{quoted},"arguments":{quoted}}}}}"#
        );
        let cut = record(&payload, AuditArguments::Full, |command| command.request_id.clone_from(&long));
        assert_eq!(cut["cut"], true);
        for name in ["request_id", "rpc_id", "name"] {
            let value = cut[name].as_str().unwrap();
            assert!(value.len() <= VALUE_BYTES_MAX + 3 && value.ends_with("..."), "{name}");
        }
        let secret = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"k":"sk-key-of-this-run","password":"p"}}}"#;
        let full = record(secret, AuditArguments::Full, |_| {});
        let uri = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://u:p@h/?api_key=q&k=sk-key-of-this-run"}}"#;
        let name = record(uri, AuditArguments::None, |_| {})["name"].to_string();
        assert!(name.contains("x://") && !name.contains("u:p") && !name.contains("key=q"), "{name}");
        assert!(!name.contains("sk-key"), "{name}");
        assert_eq!(full["arguments"], r#"{"k":"[REDACTED]","password":"[REDACTED]"}"#);
    }
}
