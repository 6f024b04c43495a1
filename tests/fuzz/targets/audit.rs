//! Records: whatever a command holds, its line is JSON of one meaning, and the chain of lines holds.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::chain::{Head, LINE_BYTES_MAX, Link};
use super::line::{self, Members};
use crate::config::{AuditArguments, Secret};
use crate::crypto;
use crate::fuzz::strict_json::{self as strict, Is, Value};
use crate::ops::redact::Redactor;
use crate::plane::wire;
use crate::relay::inflight::InFlight;
use crate::relay::record::Fate;
use crate::text::must_escape;

/// What must stand in no line.
const SECRET: &str = "sk-0123456789abcdef";

/// Takes a command down, or why it is none.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let redactor = Redactor::new(vec![Secret::new(SECRET.into())]);
    let flight = InFlight::default();
    let (mut head, mut lines, mut members) = (Head::default(), Vec::new(), Members::default());
    let mut add =
        |members: &str| head.add(&mut lines, "2026-01-01T00:00:00.000Z", "\"instance\":\"i\"", members);
    add(&line::dropped(Some(&text), "invalid_command"));
    if let Ok(command) = wire::command(&text, Instant::now(), &flight) {
        line::begun(&mut members, &command, &redactor);
        if let Some(message) = command.message() {
            line::arguments(&mut members, message, AuditArguments::Full, &redactor);
        }
        line::ended(&mut members, &Fate::new("ok", None), Duration::from_micros(7));
        add(&members.out);
    }
    add(&line::dropped(None, "unknown"));
    verify(&lines, &head);
}

fn verify(lines: &[u8], head: &Head) {
    let mut before = "0".repeat(64);
    let text = std::str::from_utf8(lines).expect("text");
    for (number, line) in (1_u64..).zip(text.lines()) {
        assert!(line.len() < LINE_BYTES_MAX && !line.contains(must_escape), "{line}");
        let tree = strict::read(line.as_bytes()).expect("JSON");
        let named =
            |value: &Value| value.members().iter().map(|(name, _)| name.units.clone()).collect::<Vec<_>>();
        assert_eq!(named(&tree).len(), named(&tree).into_iter().collect::<BTreeSet<_>>().len(), "{line}");
        assert!(tree.members().iter().all(|(_, value)| !matches!(value.is, Is::List(_) | Is::Object(_))));
        assert_eq!(tree.only("seq").map(|seq| &line[seq.at.clone()]), Some(number.to_string().as_str()));
        assert_eq!(tree.only("prev").and_then(Value::text).as_ref(), Some(&before));
        for name in ["name", "arguments"] {
            let shown = tree.only(name).and_then(Value::text).unwrap_or_default();
            assert!(!shown.contains(SECRET), "{shown}");
        }
        let link = Link::read(line.as_bytes()).expect("a record");
        assert_eq!((link.seq, &link.prev), (number, &before));
        before = crypto::sha256_hex(line.as_bytes());
    }
    assert_eq!(
        (lines.iter().filter(|byte| **byte == b'\n').count() as u64, &before),
        (head.seq, &head.digest)
    );
}
