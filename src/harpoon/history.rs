//! The last calls that reached the network, for the operator's page.
//!
//! It is a ring in memory that nothing reads but that page. What was sent and received is kept only where the
//! operator asked for it, and then only its beginning. It cannot fail.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// As many as the reference keeps.
const CALLS_MAX: usize = 100;

/// How much of a payload is kept; with all calls together a few megabytes.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// One call.
#[derive(Debug, Clone)]
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
    /// What was sent and what was handed back, where that is kept.
    pub(crate) payloads: Option<[String; 2]>,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Whether payloads are kept.
    captures: bool,
    calls: Mutex<VecDeque<Record>>,
}

impl History {
    pub(super) fn new(captures: bool) -> History {
        History { captures, calls: Mutex::default() }
    }

    /// Adds a call; the payloads are kept where they are wanted.
    pub(super) fn add(&self, record: Record, sent: &[u8], received: &[u8]) {
        let payloads = self.captures.then(|| [beginning(sent), beginning(received)]);
        let mut calls = self.lock();
        if calls.len() >= CALLS_MAX {
            calls.pop_front();
        }
        calls.push_back(Record { payloads, ..record });
    }

    /// The calls, newest first.
    pub(super) fn latest(&self) -> Vec<Record> {
        self.lock().iter().rev().cloned().collect()
    }

    /// A panic elsewhere cannot leave the list half-changed.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a payload as is kept, as text.
fn beginning(bytes: &[u8]) -> String {
    let kept = bytes.get(..PAYLOAD_BYTES_MAX).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if kept.len() < bytes.len() {
        text.push_str("... (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_oldest_call_makes_room() {
        let history = History::default();
        for number in 0..=CALLS_MAX {
            history.add(record(number.to_string()), b"sent", b"received");
        }
        let latest = history.latest();
        assert_eq!(latest.len(), CALLS_MAX);
        assert_eq!((latest[0].label.as_str(), latest[99].label.as_str()), ("100", "1"));
        assert!(latest.iter().all(|record| record.payloads.is_none()));
    }

    #[test]
    fn payloads_are_kept_where_wanted_and_cut() {
        let history = History::new(true);
        history.add(record(String::new()), b"sent", &[b'x'; PAYLOAD_BYTES_MAX + 1]);
        let [sent, received] = history.latest()[0].payloads.clone().unwrap();
        assert_eq!(sent, "sent");
        assert!(received.len() == PAYLOAD_BYTES_MAX + 9 && received.ends_with("x... (cut)"));
    }
}
