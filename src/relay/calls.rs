//! Calls that have ended: one record each, which the log, the page and the counters are made of.
//!
//! A call is whatever the plane has handed out and waits for. What strangers chose is bounded here, and cleaned by
//! whoever shows it; nothing of arguments and results is kept. A session is known by a digest under a key of the process.

#[cfg(feature = "page")]
use std::collections::VecDeque;
use std::sync::Arc;
#[cfg(feature = "page")]
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Channel;
use crate::crypto::Keyed;
use crate::ops::line_limit::LineLimit;
use crate::ops::metrics::Metrics;
#[cfg(feature = "page")]
use crate::sync;
use crate::text;

use super::command::Command;
use super::record::Fate;

/// Records that are kept: enough to find the call of somebody who complains.
#[cfg(feature = "page")]
const KEPT_MAX: usize = 500;

/// Longest text that a stranger chose.
const TEXT_BYTES_MAX: usize = 200;

/// Call that has ended.
#[derive(Debug)]
#[cfg_attr(not(feature = "page"), allow(dead_code))]
pub struct Call {
    /// When it ended.
    pub at: SystemTime,
    /// The plane's id of it.
    pub request_id: String,
    /// The caller's id, as it was written.
    pub rpc_id: String,
    /// The caller's conversation, as a digest; empty where it has none.
    pub session: String,
    /// Its channel.
    pub channel: Channel,
    /// Its method.
    pub method: String,
    /// The tool, prompt or resource that it names; empty where it names none.
    pub name: String,
    /// The trace that it belongs to; empty where it belongs to none.
    pub trace_id: String,
    /// What became of it.
    pub fate: Fate,
    /// How long it waited for a worker.
    pub waited: Duration,
    /// How long it ran.
    pub ran: Duration,
    /// How many bytes it came with.
    pub bytes_in: usize,
}

/// The last calls, the newest at the end.
pub struct Calls {
    #[cfg(feature = "page")]
    kept: Mutex<VecDeque<Arc<Call>>>,
    /// Nothing where the system had no random numbers for a key.
    sessions: Option<Keyed>,
    lines: LineLimit,
    metrics: Arc<Metrics>,
}

impl Calls {
    /// Nothing is kept yet.
    pub fn new(metrics: Arc<Metrics>) -> Calls {
        Calls {
            #[cfg(feature = "page")]
            kept: Mutex::default(),
            sessions: Keyed::new().ok(),
            lines: LineLimit::default(),
            metrics,
        }
    }

    /// The last calls, the newest at the end.
    #[cfg(feature = "page")]
    pub fn last(&self) -> Vec<Arc<Call>> {
        sync::lock(&self.kept).iter().cloned().collect()
    }

    /// A command begins to run.
    pub(super) fn begin(&self, command: &Command) {
        // A command begins once.
        let _ = command.started.set(Instant::now());
        self.metrics.call_began(&command.channel);
    }

    /// A command has ended, whether it had begun or not.
    pub(super) fn end(&self, command: &Command, fate: Fate) {
        let (call, has_begun) = (self.call(command, fate), command.started.get().is_some());
        let took = call.waited + call.ran;
        self.metrics.call_ended(&call.channel, &call.method, fate.outcome, has_begun, took);
        self.tell(&call);
        #[cfg(feature = "page")]
        self.keep(Arc::new(call));
    }

    #[cfg(feature = "page")]
    fn keep(&self, call: Arc<Call>) {
        let mut kept = sync::lock(&self.kept);
        kept.push_back(call);
        let oldest = (kept.len() > KEPT_MAX).then(|| kept.pop_front());
        // It is freed where nobody waits for it.
        drop(kept);
        drop(oldest);
    }

    fn call(&self, command: &Command, fate: Fate) -> Call {
        let (now, bounded) = (Instant::now(), |text: &str| text::head(text, TEXT_BYTES_MAX).to_owned());
        let started = command.started.get().copied().unwrap_or(now);
        let session = command.conversation().zip(self.sessions.as_ref());
        Call {
            at: SystemTime::now(),
            request_id: bounded(&command.request_id),
            rpc_id: bounded(command.id().unwrap_or_default()),
            session: session.map(|(session, key)| key.digest(session.as_bytes())).unwrap_or_default(),
            channel: command.channel.clone(),
            method: bounded(command.asked().unwrap_or_default()),
            name: bounded(command.named().as_deref().unwrap_or_default()),
            trace_id: command.trace.as_ref().map(|trace| trace.id().to_owned()).unwrap_or_default(),
            fate,
            waited: started.saturating_duration_since(command.received),
            ran: now.saturating_duration_since(started),
            bytes_in: command.body.bytes(),
        }
    }

    /// Writes the line of a call: at `info` when it did not end well, else at `debug`.
    fn tell(&self, call: &Call) {
        let is_well = call.fate.outcome == "ok";
        let level = if is_well { log::Level::Debug } else { log::Level::Info };
        if log::max_level() < level {
            return;
        }
        let Some(left_out) = (if is_well { Some(0) } else { self.lines.admit(Instant::now()) }) else {
            return;
        };
        log::log!(
            level,
            request_id = call.request_id.as_str(),
            rpc_request_id = call.rpc_id.as_str(),
            session = call.session.as_str(),
            channel = call.channel.as_str(),
            method = call.method.as_str(),
            name = call.name.as_str(),
            outcome = call.fate.outcome,
            status = call.fate.status.unwrap_or_default(),
            failure = call.fate.failure.unwrap_or_default(),
            waited_ms = millis(call.waited),
            ran_ms = millis(call.ran),
            bytes_in = call.bytes_in,
            bytes_out = call.fate.bytes,
            trace_id = call.trace_id.as_str(),
            left_out = left_out;
            "call ended: {}", call.fate.outcome
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
