//! What the other rooms report, counted for `/metrics`.
//!
//! Names and labels are those of the reference where they make sense here. Every label is bounded:
//! method names and status codes against fixed sets, channels against those that are served, label
//! sets by family, so that neither the product nor a server can grow our memory. Whoever reports an
//! event waits at most for another thread to change a number, or for a scrape to write one family;
//! nothing here fails. A scrape that runs while calls are counted is consistent within a family and
//! not across them, as with any scrape.

mod families;
mod histogram;
mod labels;
mod process;
mod prometheus;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::proxy_health::CheckResult;
use crate::config::{Channel, Origin};
use families::Families;
use histogram::{Histogram, MICRO};
use labels::{Label, OTHER};

/// All metrics of one process. Shared behind an `Arc`; every method is cheap and never blocks for long.
#[derive(Debug)]
pub struct Metrics {
    /// A label of two families, where the reference has it.
    tunnel_id: Arc<str>,
    /// Channels that have a label value of their own.
    served: Vec<Arc<str>>,
    start_unix_s: u64,
    families: Families,
}

/// Why a poll failed, as `error_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollError {
    /// The client gave up waiting.
    Timeout,
    /// The process is stopping.
    Canceled,
    /// Everything else.
    Other,
}

/// Why a polled command was not queued, as `drop_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Unknown or missing `command_type`.
    InvalidCommandType,
    /// Anything else that made a command undecodable.
    InvalidCommand,
    /// The process is stopping.
    Canceled,
}

/// `request_kind` of an answered command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// A JSON-RPC request.
    Call,
    /// A JSON-RPC notification or response.
    Notification,
    /// A session's end.
    SessionTermination,
    /// A discovery command.
    OauthDiscovery,
}

/// A command whose terminal answer was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// Its channel.
    pub channel: &'a Channel,
    /// Its kind.
    pub kind: RequestKind,
    /// JSON-RPC method; names outside the published MCP set count as `other`.
    pub method: Option<&'a str>,
    /// The posted `resp_code`.
    pub status: u16,
    /// From the poll's headers to the accepted post.
    pub poll_to_response: Duration,
    /// From `created_at`, when that was present and not in the future.
    pub enqueue_to_response: Option<Duration>,
}

/// What happens to a child, as `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEvent {
    /// It was started.
    Start,
    /// It printed what is no message, or a message that belongs to nobody.
    Noise,
    /// It answered a call that had ended, or told of one.
    Late,
    /// It printed on standard error faster than is logged.
    Dropped,
}

impl ChildEvent {
    fn word(self) -> &'static str {
        match self {
            ChildEvent::Start => "start",
            ChildEvent::Noise => "noise",
            ChildEvent::Late => "late",
            ChildEvent::Dropped => "dropped",
        }
    }
}

/// How a call of an endpoint ended, as `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HarpoonOutcome {
    /// A response was handed back, whatever its status.
    Success,
    /// Nothing was sent.
    InvalidInput,
    /// No response came, or a redirect led where none may.
    RequestError,
    /// The response broke off.
    ReadError,
    /// The response exceeds its bound.
    TooLarge,
}

impl HarpoonOutcome {
    fn word(self) -> &'static str {
        match self {
            HarpoonOutcome::Success => "success",
            HarpoonOutcome::InvalidInput => "invalid_input",
            HarpoonOutcome::RequestError => "request_error",
            HarpoonOutcome::ReadError => "response_read_error",
            HarpoonOutcome::TooLarge => "response_too_large",
        }
    }
}

/// Labels that name where an HTTP exchange went: one text, made once, since every call counts with it.
#[derive(Debug)]
pub struct Place(Label);

impl Place {
    /// That of a route at an origin. The route is the path as the reference has it, or a word where the path
    /// may be a secret.
    pub fn new(route: &str, origin: &Origin) -> Place {
        let scheme = if origin.tls { "https" } else { "http" };
        let port = origin.port.to_string();
        let labels = [
            ("http_route", route),
            ("network_protocol_name", "http"),
            ("network_protocol_version", "1.1"),
            ("server_address", &origin.host),
            ("server_port", &port),
            ("url_scheme", scheme),
        ];
        Place(Label::Text(prometheus::pairs(labels.into_iter()).into()))
    }
}

impl Metrics {
    /// Starts all at zero. The channels that are served have labels of their own.
    pub fn new(tunnel_id: &str, queue_capacity: usize, workers: usize, served: &[Channel]) -> Metrics {
        let families = Families::new();
        families.queue_capacity.set([], widen(queue_capacity));
        families.workers.set([], widen(workers));
        Metrics {
            tunnel_id: tunnel_id.into(),
            served: served.iter().map(|channel| channel.as_str().into()).collect(),
            start_unix_s: unix_now_s(),
            families,
        }
    }

    /// The text of `/metrics`; `ready` is what `/readyz` would say now.
    pub fn render(&self, ready: bool) -> String {
        self.families.page(ready, self.start_unix_s)
    }

    /// A poll was sent.
    pub fn poll_started(&self) {
        self.families.poll_cycles.add([], 1);
    }

    /// A poll ended.
    pub fn poll_ended(&self, took: Duration, error: Option<PollError>) {
        self.families.poll_latency.observe([truth(error.is_some())], micros(took));
        let kind = match error {
            None => return self.families.last_poll.set([], unix_now_s()),
            Some(PollError::Timeout) => "timeout",
            Some(PollError::Canceled) => "context_canceled",
            Some(PollError::Other) => "other",
        };
        self.families.poll_errors.add([kind.into()], 1);
    }

    /// So many commands of a poll were decoded.
    pub fn polled(&self, commands: usize) {
        self.families.polled.add([], widen(commands));
    }

    /// A command's age at the poll.
    pub fn age(&self, age: Duration) {
        self.families.age.observe([], micros(age));
    }

    /// A command was queued.
    pub fn enqueued(&self) {
        self.families.enqueued.add([], 1);
    }

    /// A command was dropped before the queue.
    pub fn dropped(&self, reason: DropReason) {
        let reason = match reason {
            DropReason::InvalidCommandType => "invalid_command_type",
            DropReason::InvalidCommand => "invalid_command",
            DropReason::Canceled => "context_canceled",
        };
        self.families.drops.add([reason.into()], 1);
    }

    /// The queue holds so many.
    pub fn queue_length(&self, length: usize) {
        self.families.queue_length.set([], widen(length));
    }

    /// So many workers are busy.
    pub fn busy_workers(&self, busy: usize) {
        self.families.busy_workers.set([], widen(busy));
    }

    /// A terminal answer was accepted.
    pub fn answered(&self, answered: &Answered<'_>) {
        let kind = match answered.kind {
            RequestKind::Call => "call",
            RequestKind::Notification => "notification",
            RequestKind::SessionTermination => "session_termination",
            RequestKind::OauthDiscovery => "oauth_discovery",
        };
        let latencies = [
            ("poll_to_response", Some(answered.poll_to_response)),
            ("enqueue_to_response", answered.enqueue_to_response),
        ];
        for (latency, took) in latencies {
            let Some(took) = took else { continue };
            let key = [
                self.channel(answered.channel),
                latency.into(),
                kind.into(),
                answered.method.map_or(Label::Word(""), labels::mcp_method),
                Label::Text(Arc::clone(&self.tunnel_id)),
                labels::status(answered.status),
            ];
            // Whole milliseconds, as the reference counts them.
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.families.end_to_end.observe(key, millis.saturating_mul(MICRO));
        }
    }

    /// A terminal answer was given up.
    pub fn answer_lost(&self) {
        self.families.answers_lost.add([], 1);
    }

    /// A command named a channel that is not served. Here alone its name is shown, because it is what
    /// the operator has to act on; the family has room for few, and inventing more shows as `other`.
    pub fn unsupported_channel(&self, channel: &Channel, command_type: &'static str) {
        let channel = Label::Text(channel.as_str().into());
        let tunnel_id = Label::Text(Arc::clone(&self.tunnel_id));
        self.families.unsupported.add([channel, command_type.into(), tunnel_id], 1);
    }

    /// One HTTP exchange ended; `status` is absent when no reply came. Probes are not reported:
    /// they would be most of what an idle process has to show.
    pub fn http(&self, place: &Place, method: &str, status: Option<u16>, took: Duration, body_bytes: usize) {
        let Place(place) = place;
        let method = labels::http_method(method);
        let status = status.map_or(Label::Word(""), labels::status);
        let exchanges = &self.families.exchanges;
        exchanges.durations.observe([method.clone(), status, place.clone()], micros(took));
        if body_bytes > 0 {
            exchanges.body_sizes.observe([method, place.clone()], widen(body_bytes).saturating_mul(MICRO));
        }
    }

    /// An MCP call failed before or without an answer, by source word.
    pub fn target_failure(&self, channel: &Channel, source: &'static str) {
        self.families.failures.add([self.channel(channel), source.into()], 1);
    }

    /// A server-to-client request was answered locally or dropped.
    pub fn server_request(&self, channel: &Channel, answered: bool) {
        self.families.requests.add([self.channel(channel), truth(answered)], 1);
    }

    /// Something happened to a child of this channel.
    pub fn child_event(&self, channel: &Channel, event: ChildEvent) {
        self.families.children.add([self.channel(channel), event.word().into()], 1);
    }

    /// A child of this channel ended, by cause.
    pub fn child_death(&self, channel: &Channel, cause: &'static str) {
        self.families.deaths.add([self.channel(channel), cause.into()], 1);
    }

    /// So many calls wait for the child of this channel and era.
    pub fn child_pending(&self, channel: &Channel, era: &'static str, calls: usize) {
        self.families.pending.set([self.channel(channel), era.into()], widen(calls));
    }

    /// An endpoint was called, or was to be; `label` only when it is registered, whatever was asked for.
    pub fn harpoon_call(
        &self,
        label: Option<&str>,
        status: Option<u16>,
        outcome: HarpoonOutcome,
        took: Duration,
        response_bytes: Option<usize>,
    ) {
        let label = label.map_or(Label::Word("__unknown__"), |label| Label::Text(label.into()));
        let key = [label, labels::status_class(status), outcome.word().into()];
        let harpoon = &self.families.harpoon;
        harpoon.calls.add(key.clone(), 1);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        harpoon.latencies.observe(key.clone(), millis.saturating_mul(MICRO));
        if let Some(bytes) = response_bytes {
            harpoon.sizes.observe(key, widen(bytes).saturating_mul(MICRO));
        }
    }

    /// A proxy was checked.
    pub fn proxy_checked(&self, result: &CheckResult) {
        let (now, healthy) = (unix_now_s(), result.failure.is_none());
        let id = || Label::Text(result.proxy_id.as_str().into());
        let proxies = &self.families.proxies;
        proxies.states.set([id()], u64::from(healthy));
        proxies.checked.set([id()], now);
        // A proxy that was never well is shown with 0 and not left out.
        proxies.succeeded.update([id()], |at| *at = if healthy { now } else { *at });
        for (phase, took) in &result.phases {
            proxies.phases.observe([id(), phase.word().into()], micros(*took));
        }
        if let Some((phase, reason)) = result.failure {
            proxies.failures.add([id(), phase.word().into(), reason.word().into()], 1);
        }
    }

    /// The name of a channel that is served, else `other`: an invented name must not take a label set
    /// away from a real one.
    fn channel(&self, channel: &Channel) -> Label {
        let served = self.served.iter().find(|name| ***name == *channel.as_str());
        served.map_or(OTHER, |name| Label::Text(Arc::clone(name)))
    }
}

fn truth(value: bool) -> Label {
    Label::Word(if value { "true" } else { "false" })
}

/// Five hundred thousand years fit; what does not is counted as that.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Never more than 64 bits on any machine that we build for.
fn widen(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Wall-clock time, for samples that are time stamps; a clock before 1970 reads as 1970.
fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
