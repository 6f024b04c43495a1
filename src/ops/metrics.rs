//! What the other rooms report, counted for `/metrics`.
//!
//! Names and labels are those of the reference where they make sense here. Every label is bounded:
//! method names and status codes against fixed sets, channels against those that are served, label
//! sets by metric, so that neither the product nor a server can grow our memory. No label holds a
//! path, a host or an id of a command, but for where an HTTP request went. Counting takes no lock and
//! cannot fail. A scrape that runs while calls are counted is consistent within a number and
//! not across them, as with any scrape.

#[cfg(feature = "harpoon")]
pub mod harpoon;
mod labels;
mod process;
mod prometheus;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{Channel, Origin};

use super::readiness::Readiness;
use crate::net::Loaded;
use process::Process;
use prometheus::{
    ABSENT, CALL_SECONDS, COUNTER, GAUGE, Metric, NUMBERS, OTHER, REQUEST_SECONDS, SECONDS, Table, UNSERVED,
};

pub use labels::{ChildEvent, DropReason, PollError, RequestKind};

/// Makes the metrics of one process: each row is a field, and a metric of the page.
macro_rules! rows {
    ($($(#[$condition:meta])? $field:ident: $kind:ident $name:literal $help:literal [$($label:literal),*];)*) => {
        /// All metrics of one process. Shared behind an `Arc`. One with labels from outside is changed by a method.
        pub struct Metrics {
            /// A label of two metrics, where the reference has it.
            tunnel_id: String,
            /// Channels that have a label value of their own.
            served: Vec<Channel>,
            table: Table,
            process: Process,
            $($(#[$condition])? pub(crate) $field: Metric<{ <[&str]>::len(&[$($label),*]) }>,)*
        }

        impl Metrics {
            /// All at zero.
            fn zero(tunnel_id: String, served: Vec<Channel>) -> Metrics {
                let mut table = Table::default();
                $($(#[$condition])? let $field = table.row($kind, $name, $help, [$($label),*]);)*
                let process = Process::new(table.show_zeros(), unix_now_s());
                Metrics { tunnel_id, served, table, process, $($(#[$condition])? $field,)* }
            }
        }
    };
}

// They stand in the order of the page, in which a person would ask: is it up, does it poll, is it full, what became of
// the commands, how do the servers, and only then how the connections do.
rows! {
    liveness: GAUGE "liveness" "1 while the process runs." [];
    readiness: GAUGE "readiness" "1 while /readyz answers 200." [];
    build_info: GAUGE "build_info" "The running version." ["version"];
    poll_cycles: COUNTER "commands_poll_cycles_total" "Polls started." [];
    polled: COUNTER "commands_polled_total" "Commands decoded." [];
    enqueued: COUNTER "commands_enqueued_total" "Commands queued." [];
    // By three words and not by the texts of errors, which name hosts.
    poll_errors: COUNTER "commands_poll_errors_total" "Failed polls." ["error_kind"];
    // Commands that were polled and did not get as far as a worker.
    drops: COUNTER "commands_queue_drops_total" "Commands not queued." ["drop_reason"];
    // The metric for alerts: it stands still when the plane is lost, whatever else is counted.
    last_poll: GAUGE "commands_poll_last_successful_timestamp_seconds" "Unix time of the last good poll." [];
    // Time that commands had waited at the plane: it grows when clients are too few or too busy.
    age: SECONDS "commands_age_seconds" "Age of commands when polled." [];
    // By whether the poll failed: a good one takes as long as the plane holds it.
    poll_latency: SECONDS "commands_poll_latency_seconds" "Duration of polls." ["error"];
    queue_capacity: GAUGE "commands_queue_capacity" "Places in the queue." [];
    queue_length: GAUGE "commands_queue_length" "Places taken." [];
    workers: GAUGE "dispatcher_worker_pool_capacity" "Workers." [];
    // All of them busy for long is what a slow server looks like from here.
    busy_workers: GAUGE "dispatcher_worker_pool_occupancy" "Busy workers." [];
    // Only while there is an audit record: what is refused had none that could be written, what is lost had no room.
    audit_records: COUNTER "tunnel_client_audit_records_total" "Audit records." ["result"];
    // A try that changes nothing is a good one.
    reloads: COUNTER "tunnel_client_config_reloads_total" "Tries to take over other settings." ["result"];
    last_reload: GAUGE "tunnel_client_config_last_reload_timestamp_seconds" "Unix time of the last try." [];
    // Each is a caller who waited in vain.
    answers_lost: COUNTER "answers_lost_total" "Terminal answers given up." [];
    // Each is half a character, or another text that is no text, of a server.
    posts_unreadable: COUNTER "posts_unreadable_total" "Posts refused as invalid JSON." [];
    // Only answers that the plane took, so lost ones do not make the tunnel look fast.
    end_to_end: NUMBERS "command_end_to_end_latency_milliseconds" "Time until the control plane took the answer."
        ["channel", "latency_type", "request_kind", "request_method", "tunnel_id", "tunnel_service_status"];
    // The one metric with names that outsiders choose.
    unsupported: UNSERVED "command_unsupported_channel_total" "Commands for channels that are not served."
        ["channel", "command_type", "tunnel_id"];
    // Only of channels that the operator's policy names.
    policy_decisions: COUNTER "tunnel_client_policy_decisions_total" "Decisions of the operator's policy."
        ["channel", "kind", "decision"];
    // Each change of a tool counts once.
    pin_drift: COUNTER "tunnel_client_pin_drift_total" "Tools that are not as they were accepted." ["channel", "change"];
    target_failures: COUNTER "target_failures_total" "Calls without an answer." ["channel", "source"];
    // Requests of servers within streams.
    server_requests: COUNTER "server_requests_total" "Requests of servers." ["channel", "answered"];
    child_events: COUNTER "stdio_events_total" "What stdio servers did." ["channel", "event"];
    child_deaths: COUNTER "stdio_deaths_total" "Ends of stdio servers." ["channel", "cause"];
    pending_calls: GAUGE "stdio_pending_calls" "Calls that wait for a stdio server." ["channel", "era"];
    http_durations: REQUEST_SECONDS "http_client_request_duration_seconds" "Duration of HTTP requests."
        ["http_request_method", "http_response_status_code", "http_route", "network_protocol_name",
            "network_protocol_version", "server_address", "server_port", "url_scheme"];
    // Without a status, which says nothing about what was sent.
    http_body_sizes: NUMBERS "http_client_request_body_size_bytes" "Size of request bodies."
        ["http_request_method", "http_route", "network_protocol_name", "network_protocol_version",
            "server_address", "server_port", "url_scheme"];
    #[cfg(feature = "harpoon")]
    harpoon_calls: COUNTER "harpoon_call_total" "Calls of endpoints." ["label", "status_class", "outcome"];
    #[cfg(feature = "harpoon")]
    harpoon_latencies: NUMBERS "harpoon_call_latency_milliseconds" "Duration of calls of endpoints."
        ["label", "status_class", "outcome"];
    #[cfg(feature = "harpoon")]
    harpoon_sizes: NUMBERS "harpoon_response_size_bytes" "Size of what endpoints returned."
        ["label", "status_class", "outcome"];
    // Of the certificate among those of a purpose that ends first: from begin and end comes the share of its life that
    // is left, and from the load whether a renewal has arrived.
    certificate_begins: GAUGE "tunnel_client_certificate_not_before_timestamp_seconds" "Unix time." ["purpose"];
    certificate_ends: GAUGE "tunnel_client_certificate_expiry_timestamp_seconds" "Unix time." ["purpose"];
    certificate_loads: GAUGE "tunnel_client_certificate_loaded_timestamp_seconds" "Unix time." ["purpose"];
    // Checks of proxies. There are as many ids as proxies were configured.
    proxy_states: GAUGE "proxy_health_state" "1 after a good check." ["proxy_id"];
    proxy_checked: GAUGE "proxy_last_check_timestamp" "Unix time." ["proxy_id"];
    // Beside the time of the last check: together they tell a proxy that fails from one that is not checked.
    proxy_succeeded: GAUGE "proxy_last_success_timestamp" "Unix time." ["proxy_id"];
    proxy_phases: SECONDS "proxy_check_phase_duration_seconds" "Duration of the phases of proxy checks." ["proxy_id", "phase"];
    // By phase and reason, in words of ours: what a proxy says about itself is not a label.
    proxy_failures: COUNTER "proxy_check_failures_total" "Failed proxy checks." ["proxy_id", "phase", "reason"];
    // The second set, in base units and with names of its own: what alerts and dashboards are made of.
    up: GAUGE "tunnel_client_up" "1 while nothing is known to be wrong with the server of a channel." ["channel"];
    plane_up: GAUGE "tunnel_client_control_plane_up" "1 while the control plane counts as reached." [];
    calls: COUNTER "tunnel_client_calls_total" "Calls that have ended." ["channel", "method", "outcome"];
    call_durations: CALL_SECONDS "tunnel_client_call_duration_seconds" "Time from the poll to the end of a call."
        ["channel", "method", "outcome"];
    calls_in_flight: GAUGE "tunnel_client_calls_in_flight" "Calls that run." ["channel"];
    last_good_poll: GAUGE "tunnel_client_last_poll_timestamp_seconds" "Unix time of the last good poll." [];
    calls_unanswered: COUNTER "tunnel_client_answers_lost_total" "Terminal answers given up." [];
    posts_refused: COUNTER "tunnel_client_posts_refused_total" "Answers that the control plane did not take." ["status"];
    child_restarts: COUNTER "tunnel_client_child_restarts_total" "Starts of stdio servers after the first." ["channel"];
    build: GAUGE "tunnel_client_build_info" "The running version." ["version", "features"];
}

/// A command whose terminal answer was accepted.
#[derive(Clone, Copy)]
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

/// Labels of where an HTTP request went.
#[derive(Clone)]
pub struct Destination {
    route: String,
    host: String,
    port: String,
    scheme: &'static str,
}

impl Destination {
    /// The route is the path as the reference has it, or a word where the path may be a secret.
    pub fn new(route: &str, origin: &Origin) -> Destination {
        let scheme = if origin.tls { "https" } else { "http" };
        let (host, port) = (origin.host.clone(), origin.port.to_string());
        Destination { route: route.to_owned(), host, port, scheme }
    }
}

impl Metrics {
    /// Starts all at zero. The channels that are served have labels of their own.
    pub fn new(tunnel_id: &str, queue_capacity: usize, workers: usize, served: &[Channel]) -> Metrics {
        let metrics = Metrics::zero(tunnel_id.to_owned(), served.to_vec());
        // These two are shown before any has happened: they are what alerts are made of.
        let errors = [PollError::Timeout, PollError::Canceled, PollError::Other];
        errors.iter().for_each(|kind| metrics.poll_errors.add([kind.word()], 0));
        let drops = [DropReason::InvalidCommandType, DropReason::InvalidCommand, DropReason::Canceled];
        drops.iter().for_each(|reason| metrics.drops.add([reason.word()], 0));
        metrics.liveness.set([], 1);
        // Its value says nothing; the version is a label because that is where dashboards join it.
        metrics.build_info.set([env!("CARGO_PKG_VERSION")], 1);
        metrics.build.set([env!("CARGO_PKG_VERSION"), &crate::features()], 1);
        metrics.queue_capacity.set([], queue_capacity);
        metrics.workers.set([], workers);
        metrics
    }

    /// The text of `/metrics`, with the verdict that `/readyz` would give now.
    pub fn render(&self, verdict: &Readiness) -> String {
        self.readiness.set([], verdict.verdict().0);
        self.plane_up.set([], verdict.plane_reached());
        self.served.iter().for_each(|channel| self.up.set([channel.as_str()], verdict.is_up(channel)));
        self.process.look();
        self.table.page()
    }

    /// A poll ended.
    pub fn poll_ended(&self, took: Duration, error: Option<PollError>) {
        self.poll_latency.add([truth(error.is_some())], took.as_micros());
        match error {
            None => {
                self.last_poll.set([], unix_now_s());
                self.last_good_poll.set([], unix_now_s());
            }
            Some(error) => self.poll_errors.add([error.word()], 1),
        }
    }

    /// A terminal answer was accepted.
    pub fn answered(&self, answered: &Answered<'_>) {
        let (channel, kind) = (self.channel(answered.channel), answered.kind.word());
        let method = answered.method.map_or("", labels::mcp_method);
        let status = labels::status(answered.status);
        let add = |latency, took: Duration| {
            let key = [channel, latency, kind, method, &self.tunnel_id, &status];
            self.end_to_end.add(key, took.as_millis());
        };
        add("poll_to_response", answered.poll_to_response);
        if let Some(took) = answered.enqueue_to_response {
            add("enqueue_to_response", took);
        }
    }

    /// A command named a channel that is not served. Here alone its name is shown, because it is what
    /// the operator has to act on; the metric has room for few, and inventing more shows as `other`.
    pub fn unsupported_channel(&self, channel: &Channel, command_type: &'static str) {
        self.unsupported.add([channel.as_str(), command_type, &self.tunnel_id], 1);
    }

    /// One HTTP exchange ended; `status` is absent when no reply came. Probes are not reported:
    /// they would be most of what an idle process has to show.
    pub fn http(
        &self,
        to: &Destination,
        method: &str,
        status: Option<u16>,
        took: Duration,
        body_bytes: usize,
    ) {
        let method = labels::http_method(method);
        let status = status.map(labels::status).unwrap_or_default();
        let Destination { route, host, port, scheme } = to;
        self.http_durations
            .add([method, &status, route, "http", "1.1", host, port, scheme], took.as_micros());
        if body_bytes > 0 {
            self.http_body_sizes.add([method, route, "http", "1.1", host, port, scheme], body_bytes);
        }
    }

    /// An answer was not taken; `status` is absent when no reply came.
    pub(crate) fn post_refused(&self, status: Option<u16>) {
        self.posts_refused.add([&status.map_or("none".to_owned(), labels::status)], 1);
    }

    /// A call begins to run.
    pub(crate) fn call_began(&self, channel: &Channel) {
        self.calls_in_flight.add([self.channel(channel)], 1);
    }

    /// A call has ended, whether it had begun to run or not.
    pub(crate) fn call_ended(
        &self,
        channel: &Channel,
        method: &str,
        outcome: &'static str,
        has_begun: bool,
        took: Duration,
    ) {
        let key = [self.channel(channel), labels::asked(method), outcome];
        self.calls.add(key, 1);
        self.call_durations.add(key, took.as_micros());
        if has_begun {
            self.calls_in_flight.take([key[0]], 1);
        }
    }

    /// A tool is not as the operator has accepted it; the first word of `change` says how.
    pub fn pin_drift(&self, channel: &Channel, change: &str) {
        self.pin_drift.add([self.channel(channel), change.split(' ').next().unwrap_or_default()], 1);
    }

    /// The operator's policy decided about a command.
    pub fn policy_decided(&self, channel: &Channel, kind: &'static str, decision: &'static str) {
        self.policy_decisions.add([self.channel(channel), kind, decision], 1);
    }

    /// An MCP call failed before or without an answer, by source word.
    pub fn target_failure(&self, channel: &Channel, source: &'static str) {
        self.target_failures.add([self.channel(channel), source], 1);
    }

    /// A server-to-client request was answered locally or dropped.
    pub fn server_request(&self, channel: &Channel, answered: bool) {
        self.server_requests.add([self.channel(channel), truth(answered)], 1);
    }

    /// Counts a try to take over other settings.
    pub(crate) fn reloaded(&self, is_good: bool) {
        self.reloads.add([if is_good { "ok" } else { "failed" }], 1);
        self.last_reload.set([], unix_now_s());
    }

    /// A proxy was checked: how long the connection to it took, how long its answer, and where and why it failed.
    pub fn proxy_checked(
        &self,
        id: &str,
        tcp: Duration,
        connect: Option<Duration>,
        failure: Option<[&'static str; 2]>,
    ) {
        let now = unix_now_s();
        self.proxy_states.set([id], failure.is_none());
        self.proxy_checked.set([id], now);
        match failure {
            None => self.proxy_succeeded.set([id], now),
            Some([phase, reason]) => {
                self.proxy_failures.add([id, phase, reason], 1);
                // A proxy that was never well is shown with 0 and not left out.
                self.proxy_succeeded.add([id], 0);
            }
        }
        self.proxy_phases.add([id, "tcp"], tcp.as_micros());
        if let Some(took) = connect {
            self.proxy_phases.add([id, "connect"], took.as_micros());
        }
    }

    /// These certificates of a purpose are in force, or none. There are few purposes: the control plane, channels, the
    /// bundle.
    pub fn certificate_loaded(&self, purpose: &str, loaded: Option<Loaded>) {
        let times = |loaded: Loaded| [loaded.validity.not_before, loaded.validity.not_after, loaded.at];
        let [begins, ends, loads] = loaded.map_or([ABSENT; 3], times);
        self.certificate_begins.set([purpose], begins);
        self.certificate_ends.set([purpose], ends);
        self.certificate_loads.set([purpose], loads);
    }

    /// Begin and end of the certificate of a purpose, and when it was loaded, as Unix times.
    pub fn certificate(&self, purpose: &str) -> Option<[u64; 3]> {
        let value = |one: &Metric<1>| one.value([purpose]);
        Some([
            value(&self.certificate_begins)?,
            value(&self.certificate_ends)?,
            value(&self.certificate_loads)?,
        ])
    }

    /// What the last check of a proxy found, and the Unix times of it and of the last good one, if there was any.
    pub fn proxy(&self, id: &str) -> Option<(bool, u64, u64)> {
        let is_well = self.proxy_states.value([id])? > 0;
        Some((is_well, self.proxy_checked.value([id])?, self.proxy_succeeded.value([id])?))
    }

    /// The name of a channel that is served, else `other`: an invented name must not take a label set
    /// away from a real one.
    pub(crate) fn channel<'a>(&self, channel: &'a Channel) -> &'a str {
        if self.served.contains(channel) { channel.as_str() } else { OTHER }
    }
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Wall-clock time, for samples that are time stamps; a clock before 1970 reads as 1970.
fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
