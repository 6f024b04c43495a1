//! Calls that have ended: one record each, which the log, the page and the counters are made of.
//!
//! A call is whatever the plane has handed out and waits for. What strangers chose is bounded here, and cleaned by
//! whoever shows it; nothing of arguments and results is kept. A session is known by a digest under a key of the process.

#[cfg(feature = "page")]
pub mod hour;

#[cfg(feature = "page")]
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
#[cfg(feature = "page")]
use std::sync::Mutex;
#[cfg(feature = "page")]
use std::time::Instant;
use std::time::{Duration, SystemTime};

use crate::config::Channel;
use crate::crypto::Keyed;
use crate::ops::line_limit::LineLimit;
use crate::ops::metrics::Metrics;
use crate::sync;
use crate::text;

use super::command::Command;
use super::record::Fate;
#[cfg(feature = "page")]
use hour::Hour;

/// Records that are kept: enough to find the call of somebody who complains.
#[cfg(feature = "page")]
const KEPT_MAX: usize = 500;

/// Longest text that a stranger chose.
const TEXT_BYTES_MAX: usize = 200;

/// Longest reason of a failure; the redactor may need more than what is shown.
#[cfg(feature = "page")]
const WHY_BYTES_MAX: usize = 2048;

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
    /// Why it failed or was refused, in words for the operator; empty where nothing says so.
    #[cfg(feature = "page")]
    pub why: String,
}

/// What is kept of calls that have ended.
#[cfg(feature = "page")]
#[derive(Clone)]
pub struct Kept {
    began: Instant,
    /// The last ones, the newest at the end.
    pub last: VecDeque<Arc<Call>>,
    /// The last one that did not end well, unless the end of the process has cut it.
    pub failure: Option<Arc<Call>>,
    /// The last hour of each channel that is served, and of all others together.
    pub hours: BTreeMap<String, Hour>,
}

#[cfg(feature = "page")]
impl Kept {
    /// The minute that it is now.
    pub fn minute(&self) -> u64 {
        sync::since(self.began).as_secs() / 60
    }

    /// Adds a call; tells which one made room for it.
    fn add(&mut self, call: Arc<Call>, channel: &str, has_begun: bool) -> Option<Arc<Call>> {
        let (minute, outcome) = (self.minute(), call.fate.outcome);
        // The name is copied only when a channel is met for the first time.
        if !self.hours.contains_key(channel) {
            self.hours.insert(channel.to_owned(), Hour::default());
        }
        if let Some(hour) = self.hours.get_mut(channel) {
            hour.note(minute, (outcome == "ok").then_some(call.at), has_begun.then_some(call.ran));
        }
        if !["ok", Fate::CANCELLED.outcome].contains(&outcome) {
            self.failure = Some(Arc::clone(&call));
        }
        self.last.push_back(call);
        (self.last.len() > KEPT_MAX).then(|| self.last.pop_front()).flatten()
    }
}

/// The last calls, the newest at the end.
pub struct Calls {
    #[cfg(feature = "page")]
    kept: Mutex<Kept>,
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
            kept: Mutex::new(Kept {
                began: sync::now(),
                last: VecDeque::new(),
                failure: None,
                hours: BTreeMap::new(),
            }),
            sessions: Keyed::new().ok(),
            lines: LineLimit::default(),
            metrics,
        }
    }

    /// What is kept, as it is now.
    #[cfg(feature = "page")]
    pub fn kept(&self) -> Kept {
        sync::lock(&self.kept).clone()
    }

    /// Digest of the caller's conversation, and where that has no name, of the caller: its name in all that is kept.
    pub(super) fn session(&self, command: &Command) -> Option<String> {
        let session = ["mcp-session-id", "authorization"].iter().find_map(|name| command.headers.get(*name));
        self.sessions.as_ref().zip(session).map(|(key, session)| key.digest(session.as_bytes()))
    }

    /// A command begins to run.
    pub(super) fn begin(&self, command: &Command) {
        // A command begins once.
        let _ = command.started.set(sync::now());
        self.metrics.call_began(&command.channel);
    }

    /// A command has ended, whether it had begun or not.
    pub(super) fn end(&self, command: &Command, fate: Fate) {
        let (call, has_begun) = (self.call(command, fate), command.started.get().is_some());
        let took = call.waited + call.ran;
        self.metrics.call_ended(&call.channel, &call.method, fate.outcome, has_begun, took);
        self.tell(&call);
        #[cfg(feature = "page")]
        let oldest =
            sync::lock(&self.kept).add(Arc::new(call), self.metrics.channel(&command.channel), has_begun);
        // It is freed where nobody waits for it.
        #[cfg(feature = "page")]
        drop(oldest);
    }

    /// Why a command fails or is refused. The first word of it counts.
    #[cfg(feature = "page")]
    pub(super) fn because(command: &Command, why: &str) {
        let _ = command.why.set(text::head(why, WHY_BYTES_MAX).to_owned());
    }

    fn call(&self, command: &Command, fate: Fate) -> Call {
        let (now, bounded) = (sync::now(), |text: &str| text::head(text, TEXT_BYTES_MAX).to_owned());
        let started = command.started.get().copied().unwrap_or(now);
        Call {
            at: SystemTime::now(),
            request_id: bounded(&command.request_id),
            rpc_id: bounded(command.id().unwrap_or_default()),
            session: command.session.clone().unwrap_or_default(),
            channel: command.channel.clone(),
            method: bounded(command.asked().unwrap_or_default()),
            name: bounded(command.named().as_deref().unwrap_or_default()),
            trace_id: command.trace.as_ref().map(|trace| trace.id().to_owned()).unwrap_or_default(),
            fate,
            waited: started.saturating_duration_since(command.received),
            ran: now.saturating_duration_since(started),
            bytes_in: command.body.bytes(),
            #[cfg(feature = "page")]
            why: command.why.get().cloned().unwrap_or_default(),
        }
    }

    /// Writes the line of a call: at `info` when it did not end well, else at `debug`.
    fn tell(&self, call: &Call) {
        let is_well = call.fate.outcome == "ok";
        let level = if is_well { log::Level::Debug } else { log::Level::Info };
        if log::max_level() < level {
            return;
        }
        let Some(left_out) = (if is_well { Some(0) } else { self.lines.admit(sync::now()) }) else {
            return;
        };
        log::log!(
            level,
            request_id = call.request_id.as_str(), rpc_request_id = call.rpc_id.as_str(),
            session = call.session.as_str(), channel = call.channel.as_str(), method = call.method.as_str(),
            name = call.name.as_str(), outcome = call.fate.outcome, status = call.fate.status.unwrap_or_default(),
            failure = call.fate.failure.unwrap_or_default(), waited_ms = millis(call.waited), ran_ms = millis(call.ran),
            bytes_in = call.bytes_in, bytes_out = call.fate.bytes, trace_id = call.trace_id.as_str(), left_out = left_out;
            "call ended: {}", call.fate.outcome
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
