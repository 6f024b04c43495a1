//! Watches what servers offer while the tunnel runs, and compares it with what was accepted.
//!
//! Every list of tools that passes is compared. Where the operator blocks, this service lists once itself when a
//! channel starts, and again when its server says that the list has changed, or another child serves: then only tools
//! whose last seen definition is the accepted one may be called. A list that cannot be read leaves its channel without
//! service. A change is told once. Nothing here waits but the thread that lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::audit::Audit;
use crate::config::{Channel, PinMode};
use crate::ops::heartbeat::Heartbeat;
use crate::ops::line_limit::LineLimit;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::relay::backoff::Backoff;
use crate::relay::json;
use crate::relay::stop::{Phase, Stop};
use crate::sync;
use crate::text;

use super::definition::Tool;
use super::file::Pins;
use super::lister::{Server, TOOLS_MAX, list};
use super::{change, drift, find};

/// How long a server may take to list its tools.
const LIST_TIME: Duration = Duration::from_secs(30);

/// How often it is looked whether a list has changed.
const LOOK: Duration = Duration::from_secs(1);

/// First wait after a list that could not be read; it doubles up to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long polls wait for the first lists, and how often they look.
const GATE_TIME: Duration = Duration::from_secs(10);
const GATE_LOOK: Duration = Duration::from_millis(20);

/// The method by which a server says that its list has changed.
const LIST_CHANGED: &str = "notifications/tools/list_changed";

/// Longest name in a log line.
const NAME_SHOWN_BYTES_MAX: usize = 200;

/// Tools of a channel that the page names.
#[cfg(feature = "page")]
const SHOWN_MAX: usize = 50;

/// The accepted tools of all channels, and what became of them.
pub(crate) struct Watch {
    mode: PinMode,
    /// Whether what is refused is refused, or only told.
    enforces: AtomicBool,
    channels: HashMap<Channel, Mutex<State>>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    /// Where changes are taken down as well, when there is such a place.
    pub(crate) audit: OnceLock<Arc<Audit>>,
    lines: LineLimit,
}

/// What is known of one channel.
#[derive(Default)]
struct State {
    accepted: Vec<Tool>,
    /// Whether its list was asked for.
    is_tried: bool,
    /// Whether its server has said that its list is another one.
    is_stale: bool,
    /// Why its list is not known, where it has to be.
    unread: Option<String>,
    /// Tools whose last seen definition is the accepted one.
    trusted: BTreeSet<String>,
    /// What the operator was told, by tools: the digest of the definition, and what became of it.
    told: BTreeMap<String, [String; 2]>,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The list of its channel could not be read.
    Unread,
    /// The tool was not accepted, or not as it was seen last.
    Changed,
}

impl Watch {
    /// Watches these channels, of which nothing is accepted yet.
    pub(crate) fn new(
        mode: PinMode,
        enforces: bool,
        channels: impl Iterator<Item = Channel>,
        metrics: &Arc<Metrics>,
        readiness: &Arc<Readiness>,
    ) -> Watch {
        let unread = (mode == PinMode::Block).then(|| "they were not asked for yet".to_owned());
        let state = |channel: Channel| {
            readiness.tools_unread(&channel, unread.as_deref().filter(|_| enforces));
            (channel, Mutex::new(State { unread: unread.clone(), ..State::default() }))
        };
        let channels = channels.map(state).collect();
        let (metrics, readiness) = (Arc::clone(metrics), Arc::clone(readiness));
        let (enforces, audit, lines) = (AtomicBool::new(enforces), OnceLock::new(), LineLimit::default());
        Watch { mode, enforces, channels, metrics, readiness, audit, lines }
    }

    /// Takes over what the operator has accepted.
    pub(crate) fn read(&self, file: &Path) -> io::Result<()> {
        let (pins, warnings) = Pins::read(file)?;
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        for (channel, state) in &self.channels {
            let mut state = sync::lock(state);
            let State { accepted, trusted, is_stale, .. } = &mut *state;
            let now = pins.of(channel.as_str());
            // Other tools are compared when the list is read again.
            trusted.retain(|tool| find(accepted, tool) == find(now, tool));
            *is_stale |= *accepted != now;
            *accepted = now.to_vec();
        }
        Ok(())
    }

    /// Begins to refuse what was only told.
    pub(crate) fn enforce(&self) {
        self.enforces.store(true, Ordering::Relaxed);
        for (channel, state) in &self.channels {
            self.readiness.tools_unread(channel, sync::lock(state).unread.as_deref());
        }
    }

    fn enforces(&self) -> bool {
        self.enforces.load(Ordering::Relaxed)
    }

    /// Whether tools of this channel are refused that are not as they were accepted.
    pub(crate) fn blocks(&self, channel: &Channel) -> bool {
        self.blocked(channel).is_some()
    }

    /// The state of a channel where what is not as it was accepted is refused.
    fn blocked(&self, channel: &Channel) -> Option<&Mutex<State>> {
        self.channels.get(channel).filter(|_| self.mode == PinMode::Block)
    }

    /// Whether the accepted definition of a tool says that it only reads.
    pub(crate) fn is_read_only(&self, channel: &Channel, tool: &str) -> bool {
        let Some(state) = self.channels.get(channel) else { return false };
        find(&sync::lock(state).accepted, tool).is_some_and(|tool| tool.read_only_hint == Some(true))
    }

    /// Why a request is refused that calls this tool, or none.
    pub(crate) fn refuses(&self, channel: &Channel, tool: Option<&str>) -> Option<Refusal> {
        let state = sync::lock(self.blocked(channel)?);
        match tool {
            _ if state.unread.is_some() => Some(Refusal::Unread),
            Some(tool) if !state.trusted.contains(tool) => Some(Refusal::Changed),
            _ => None,
        }
    }

    /// Compares an entry of a list that passes, with the name by which it is called, where it has one. Tells whether the
    /// entry may be shown. One that cannot be read is a change like any other: clients may read what is refused here.
    pub(crate) fn shows(&self, channel: &Channel, name: Option<&str>, entry: &str) -> bool {
        let Some(state) = self.channels.get(channel).filter(|_| self.mode != PinMode::Off) else {
            return true;
        };
        let read = Tool::read(entry);
        let mut state = sync::lock(state);
        let State { accepted, trusted, told, .. } = &mut *state;
        match read {
            Ok(tool) => match change(find(accepted, &tool.name), &tool) {
                None => {
                    told.remove(&tool.name);
                    trusted.insert(tool.name);
                    return true;
                }
                Some(change) => {
                    trusted.remove(&tool.name);
                    self.tell(told, channel, tool.name, &change, tool.sha256);
                }
            },
            Err(fault) => {
                let name = name.unwrap_or_default();
                trusted.remove(name);
                let word = if find(accepted, name).is_some() { "changed" } else { "new" };
                let tool = text::bounded(name, NAME_SHOWN_BYTES_MAX);
                self.tell(told, channel, tool, &format!("{word} (its definition {fault})"), fault.to_owned());
            }
        }
        self.mode != PinMode::Block
    }

    /// Tools that were accepted, or are not as they were: channel, name, and what is known of each. Changes come first.
    #[cfg(feature = "page")]
    pub(crate) fn shown(&self) -> Vec<[String; 3]> {
        let mut rows = [Vec::new(), Vec::new()];
        let [changed, accepted] = &mut rows;
        for (channel, state) in &self.channels {
            let state = sync::lock(state);
            let row = |tool: &str, what: &str| {
                [channel.as_str().to_owned(), text::bounded(tool, NAME_SHOWN_BYTES_MAX), what.to_owned()]
            };
            let told = state.told.iter().take(SHOWN_MAX);
            changed.extend(told.map(|(tool, [_, change])| row(tool, change)));
            let known = state.accepted.iter().filter(|tool| !state.told.contains_key(&tool.name));
            accepted.extend(known.take(SHOWN_MAX).map(|tool| {
                let seen =
                    if state.trusted.contains(&tool.name) { "as accepted" } else { "accepted, not seen yet" };
                let reads = if tool.read_only_hint == Some(true) { "; it only reads" } else { "" };
                row(&tool.name, &format!("{seen}{reads}"))
            }));
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable());
        rows.concat()
    }

    /// A list passes that cannot be read.
    pub(crate) fn passes_unread(&self, channel: &Channel, why: &str) {
        if self.mode == PinMode::Off || !self.channels.contains_key(channel) {
            return;
        }
        if let Some(left_out) = self.lines.admit(Instant::now()) {
            log::warn!(
                channel = channel.as_str(), error = why, left_out = left_out;
                "a list of tools passes that cannot be read and compared"
            );
        }
    }

    /// Hears a notification that passes.
    pub(crate) fn hears(&self, channel: &Channel, notification: &str) {
        let Some(state) = self.blocked(channel) else { return };
        // A call may have thousands, and almost none can be this one: they are not read.
        if !notification.contains("list_changed") && !notification.contains('\\') {
            return;
        }
        let method = || json::only(&json::object(notification).ok()?.1?, "method").ok()?;
        let method = method().and_then(|span| json::string(span.of(notification)));
        // As clients read it: many servers write each slash with an escape.
        if method.as_deref() == Some(LIST_CHANGED) {
            sync::lock(state).is_stale = true;
        }
    }

    /// Tells the operator what became of a tool, unless that was told before.
    fn tell(
        &self,
        told: &mut BTreeMap<String, [String; 2]>,
        channel: &Channel,
        tool: String,
        change: &str,
        digest: String,
    ) {
        // A server that thinks of new names for ever is told of until there are too many, which hides no change of a
        // tool that was accepted.
        let is_known = told.get(&tool).is_some_and(|[known, _]| *known == digest);
        if is_known || (told.len() > TOOLS_MAX && change.starts_with("new")) {
            return;
        }
        self.metrics.pin_drift(channel, change);
        // One that shows another definition each time could fill the log.
        if let Some(left_out) = self.lines.admit(Instant::now()) {
            let shown = text::bounded(&tool, NAME_SHOWN_BYTES_MAX);
            log::warn!(
                channel = channel.as_str(), tool = shown.as_str(), change = change, left_out = left_out;
                "a tool is not as it was accepted: see tunnel-client pins diff"
            );
            if let Some(audit) = self.audit.get() {
                let (channel, name) = (channel.as_str(), shown.as_str());
                audit.event(text::members([
                    ("event", "drift"),
                    ("channel", channel),
                    ("name", name),
                    ("change", change),
                ]));
            }
        }
        told.insert(tool, [digest, change.to_owned()]);
    }

    /// Takes the whole list of a server, or why there is none.
    fn take(&self, channel: &Channel, state: &Mutex<State>, listed: Result<Vec<Tool>, String>) {
        let (offered, why) = match listed {
            Ok(offered) => (offered, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        self.readiness.tools_unread(channel, why.as_deref().filter(|_| self.enforces()));
        let mut state = sync::lock(state);
        let State { accepted, trusted, told, unread, is_tried, .. } = &mut *state;
        match &why {
            Some(why) if unread.as_ref() != Some(why) => {
                let event = if self.enforces() { "is not" } else { "would not be" };
                log::warn!(
                    channel = channel.as_str(), error = why.as_str();
                    "the channel {event} served, since its tools cannot be listed and compared"
                );
            }
            Some(_) => {}
            None => {
                let same = |tool: &&Tool| change(find(accepted, &tool.name), tool).is_none();
                *trusted = offered.iter().filter(same).map(|tool| tool.name.clone()).collect();
                told.retain(|tool, _| !trusted.contains(tool));
                for (tool, change) in drift(accepted, &offered) {
                    let digest = find(&offered, &tool).map(|tool| tool.sha256.clone()).unwrap_or_default();
                    self.tell(told, channel, tool, &change, digest);
                }
            }
        }
        (*is_tried, *unread) = (true, why);
    }

    /// Lists the tools of a server whenever that is needed, until the process stops.
    pub(crate) fn run(&self, channel: &Channel, server: &Server, stop: &Stop, heartbeat: &Heartbeat) {
        let Some(state) = self.blocked(channel) else { return };
        // What the server was when its list was read.
        let mut seen = None;
        let (mut backoff, mut due) = (Backoff::new(RETRY_MIN), Instant::now());
        while !stop.reached(Phase::Draining) {
            let generation = server.generation();
            if is_due(&mut sync::lock(state), seen != Some(generation), due) {
                heartbeat.within(2 * LIST_TIME);
                let listed = list(server, LIST_TIME);
                match listed {
                    // What changes while it is listed is listed again.
                    Ok(_) => (seen, backoff) = (Some(generation), Backoff::new(RETRY_MIN)),
                    Err(_) => due = Instant::now() + backoff.next(RETRY_MAX),
                }
                self.take(channel, state, listed);
            }
            heartbeat.within(LOOK);
            stop.sleep(LOOK, Phase::Draining);
        }
    }

    /// Waits until every list was asked for, at most for a while; a stop ends it at once.
    pub(crate) fn gate(&self, stop: &Stop, heartbeat: &Heartbeat) {
        let end = Instant::now() + GATE_TIME;
        heartbeat.until(end);
        let is_open = || self.channels.values().all(|state| sync::lock(state).is_tried);
        while self.mode == PinMode::Block && !is_open() && Instant::now() < end {
            if stop.sleep(GATE_LOOK, Phase::Draining) {
                return;
            }
        }
    }
}

/// Whether the list of a server has to be read now, which may have `changed`, and after a failure not before it is `due`.
fn is_due(state: &mut State, changed: bool, due: Instant) -> bool {
    let is_stale = std::mem::take(&mut state.is_stale) || changed;
    if state.unread.is_some() { due <= Instant::now() } else { is_stale }
}
