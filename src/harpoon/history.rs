//! The last calls that reached the network, for the operator's page.
//!
//! It is a ring in memory that nothing reads but that page. What was sent and received is kept only where the
//! operator asked for it, and then only its beginning. It cannot fail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::ops::redact::Redactor;
use crate::sync;
use crate::text::{bounded, head};

/// As many as the reference keeps.
const CALLS_MAX: usize = 100;

/// How much of a payload is kept; with all calls together a few megabytes.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// How much of one is cleaned for that.
const PAYLOAD_BYTES_READ: usize = 2 * PAYLOAD_BYTES_MAX;

/// One call.
#[derive(Clone)]
#[cfg_attr(not(feature = "page"), allow(dead_code))]
pub(crate) struct Record {
    pub(crate) at: SystemTime,
    pub(crate) took: Duration,
    pub(crate) label: String,
    /// Of the endpoint: paths can be secrets, and queries often are.
    pub(crate) origin: String,
    pub(crate) method: String,
    /// Of the last reply, where one came.
    pub(crate) status: Option<u16>,
    pub(crate) content_type: String,
    pub(crate) sent_bytes: usize,
    pub(crate) received_bytes: usize,
    /// Why the caller got nothing; empty when it got something.
    pub(crate) error: String,
    /// What was sent and what was handed back, where that is kept: without secrets and on one line.
    pub(crate) payloads: Option<[String; 2]>,
}

/// The ring.
#[derive(Default)]
pub(super) struct History {
    /// Cleans payloads, where they are kept.
    pub(super) captures: Option<Arc<Redactor>>,
    pub(super) calls: Mutex<VecDeque<Record>>,
}

impl History {
    /// Adds a call. What was sent and received is kept where it is wanted, unless it is not for keeping. It is cleaned here, on the thread of the
    /// call: all of them take seconds, and whoever makes the page has other things to answer.
    pub(super) fn add(&self, record: Record, payloads: Option<[&[u8]; 2]>) {
        let clean = |redactor: &Arc<Redactor>| Some(payloads?.map(|bytes| beginning(redactor, bytes)));
        let payloads = self.captures.as_ref().and_then(clean);
        let mut calls = sync::lock(&self.calls);
        if calls.len() >= CALLS_MAX {
            calls.pop_front();
        }
        calls.push_back(Record { payloads, ..record });
    }

    /// The calls, newest first.
    #[cfg(feature = "page")]
    pub(super) fn latest(&self) -> Vec<Record> {
        sync::lock(&self.calls).iter().rev().cloned().collect()
    }
}

/// As much of a payload as is kept, as text without secrets.
fn beginning(redactor: &Redactor, bytes: &[u8]) -> String {
    let read = bytes.get(..PAYLOAD_BYTES_READ).unwrap_or(bytes);
    let text = String::from_utf8_lossy(read);
    let clean = redactor.clean(&text);
    let is_cut = read.len() < bytes.len();
    // The end of what was cut may be half a secret, which no redactor knows.
    let whole = if is_cut { head(&clean, clean.len().saturating_sub(PAYLOAD_BYTES_MAX)) } else { &clean };
    let mut kept = bounded(whole, PAYLOAD_BYTES_MAX);
    if is_cut {
        kept.push_str(" (cut)");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn record(label: String) -> Record {
        Record {
            at: SystemTime::now(),
            took: Duration::ZERO,
            label,
            origin: String::new(),
            method: "GET".into(),
            status: None,
            content_type: String::new(),
            sent_bytes: 0,
            received_bytes: 0,
            error: String::new(),
            payloads: None,
        }
    }

    fn kept(secrets: Vec<Secret>) -> History {
        History { captures: Some(Arc::new(Redactor::new(secrets))), ..History::default() }
    }

    #[test]
    fn the_oldest_call_makes_room() {
        let history = History::default();
        for number in 0..=CALLS_MAX {
            history.add(record(number.to_string()), Some([b"sent", b"received"]));
        }
        let latest = history.latest();
        assert_eq!(latest.len(), CALLS_MAX);
        assert_eq!((latest[0].label.as_str(), latest[99].label.as_str()), ("100", "1"));
        assert!(latest.iter().all(|record| record.payloads.is_none()));
    }

    #[test]
    fn payloads_are_kept_where_wanted_and_cut() {
        let history = kept(Vec::new());
        history.add(record(String::new()), Some([b"sent", &[b'x'; 100 * 1024]]));
        let [sent, received] = history.latest()[0].payloads.clone().unwrap();
        assert_eq!(sent, "sent");
        assert!(received.len() < PAYLOAD_BYTES_MAX + 10 && received.ends_with("x (cut)"));
    }

    /// Wherever a secret lies in what is kept: nothing of it must be seen, not even its first half.
    #[test]
    fn no_bound_cuts_a_secret_in_two() {
        let secret = "hunter2".repeat(20);
        let history = kept(vec![Secret::new(secret.clone())]);
        for bound in [PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_READ] {
            let filled = "x".repeat(bound - 70);
            // What is replaced makes room for what follows it.
            let repeated = secret.repeat(bound / secret.len() + 1);
            for text in [format!("{filled}{secret}{filled}"), format!("{repeated}{filled}")] {
                history.add(record(String::new()), Some([text.as_bytes(), b""]));
                let [sent, _] = history.latest()[0].payloads.clone().unwrap();
                assert!(!sent.contains("hunter2"), "{}", sent.find("hunter2").unwrap());
            }
        }
    }
}
