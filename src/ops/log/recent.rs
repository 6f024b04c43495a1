//! The last warnings and errors, for the operator's page.
//!
//! They are kept as the log writes them: without secrets, escaped, cut. It cannot fail.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

use ::log::kv::{Error, Key, Value, VisitSource};

use super::Line;
use crate::sync;

/// Lines that are kept.
const KEPT_MAX: usize = 30;

/// Longest part of a line that is kept.
pub(super) const KEPT_BYTES_MAX: usize = 200;

/// Line that was logged.
#[derive(Debug, Clone)]
pub struct Noted {
    /// When.
    pub at: SystemTime,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// Message and attributes.
    pub text: String,
}

/// Attributes with what servers print: on a port, the page would show it to every user of this host.
const PRINTED: [&str; 2] = ["first", "last_words"];

/// Line without what servers print.
pub(super) struct Ours<'a>(pub(super) Line<'a>);

impl<'kvs> VisitSource<'kvs> for Ours<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if PRINTED.contains(&key.as_str()) { Ok(()) } else { self.0.visit_pair(key, value) }
    }
}

/// Ring of the last lines.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Noted>>);

impl Recent {
    pub(super) fn note(&self, line: Noted) {
        let mut kept = sync::lock(&self.0);
        kept.push_back(line);
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }

    /// All that are kept, the newest first.
    pub fn all(&self) -> Vec<Noted> {
        sync::lock(&self.0).iter().rev().cloned().collect()
    }
}
