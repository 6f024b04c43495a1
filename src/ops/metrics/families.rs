//! Every metric with its name, help text and labels, and the page that they make.
//!
//! The one file to read for what a scrape can tell: names are those of dashboards made for the
//! reference, and no label holds a path, a host or an id of a command. What is not written in
//! [`Families::page`] is not shown; a test at the binary looks for every name.

use super::Histogram;
use super::labels::Label;
use super::process;
use super::prometheus::{self, Family, TUNNEL_ID, Text, counter, durations, gauge, histogram};

/// Names of channels that are not served. The rest of the name space is open to whoever sends
/// commands; a profile that misspells a channel invents a handful.
/// Above it they are counted together: the number stays true, only the names are lost.
const MAX_UNSERVED: usize = 64;

/// What is counted, in the order of the page: the order in which a person would ask.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) poll_cycles: Family<u64, 0>,
    pub(super) polled: Family<u64, 0>,
    pub(super) enqueued: Family<u64, 0>,
    /// By three words and not by the texts of errors, which name hosts.
    pub(super) poll_errors: Family<u64, 1>,
    /// Commands that were polled and did not get as far as a worker.
    pub(super) drops: Family<u64, 1>,
    /// What to alert on: it stands still when the plane is lost, whatever else is counted.
    pub(super) last_poll: Family<u64, 0>,
    /// How long commands had waited at the plane: it grows when clients are too few or too busy.
    pub(super) age: Family<Histogram, 0>,
    /// By whether the poll failed: a good one takes as long as the plane holds it.
    pub(super) poll_latency: Family<Histogram, 1>,
    pub(super) queue_capacity: Family<u64, 0>,
    pub(super) queue_length: Family<u64, 0>,
    pub(super) workers: Family<u64, 0>,
    /// All of them busy for long is what a slow server looks like from here.
    pub(super) busy_workers: Family<u64, 0>,
    /// Each is a caller who waited in vain.
    pub(super) answers_lost: Family<u64, 0>,
    /// Only answers that the plane took, so lost ones do not make the tunnel look fast.
    pub(super) end_to_end: Family<Histogram, 6>,
    /// The one family with names that outsiders choose, and the room of [`MAX_UNSERVED`].
    pub(super) unsupported: Family<u64, 3>,
    /// By channel and published source word.
    pub(super) failures: Family<u64, 2>,
    /// Requests of servers within streams, by channel and whether they were answered.
    pub(super) requests: Family<u64, 2>,
    /// Children by channel: what they did, how they ended, what waits for them.
    pub(super) children: Family<u64, 2>,
    pub(super) deaths: Family<u64, 2>,
    pub(super) pending: Family<u64, 2>,
    pub(super) exchanges: Exchanges,
    pub(super) harpoon: Harpoon,
    pub(super) proxies: Proxies,
}

/// HTTP requests to the plane and to MCP servers. The route is a word for the side: the reference has
/// the whole path there, that is the tunnel's id and the paths of private servers, once a bucket.
#[derive(Debug)]
pub(super) struct Exchanges {
    pub(super) durations: Family<Histogram, 3>,
    /// Without a status, which says nothing about what was sent.
    pub(super) body_sizes: Family<Histogram, 2>,
}

/// Calls of endpoints, by label, class of status and outcome. Labels are registered ones.
#[derive(Debug)]
pub(super) struct Harpoon {
    pub(super) calls: Family<u64, 3>,
    pub(super) latencies: Family<Histogram, 3>,
    pub(super) sizes: Family<Histogram, 3>,
}

/// Checks of proxies. There are as many ids as proxies were configured.
#[derive(Debug)]
pub(super) struct Proxies {
    pub(super) states: Family<u64, 1>,
    pub(super) checked: Family<u64, 1>,
    /// Beside the time of the last check: together they tell a proxy that fails from one that is not checked.
    pub(super) succeeded: Family<u64, 1>,
    pub(super) phases: Family<Histogram, 2>,
    /// By phase and reason, in words of ours: what a proxy says about itself is not a label.
    pub(super) failures: Family<u64, 3>,
}

impl Families {
    /// All at zero. The failures of polls and the drops are shown before any has happened: they are
    /// what alerts are made of.
    pub(super) fn new() -> Families {
        // In the words that dashboards of the reference ask for, whatever the classes are called here.
        let poll_errors = ["context_canceled", "other", "timeout"].map(|word| [Label::Word(word)]);
        let drops = ["context_canceled", "invalid_command", "invalid_command_type"];
        let drops = drops.map(|word| [Label::Word(word)]);
        let last_poll = "commands_poll_last_successful_timestamp_seconds";
        let status = "tunnel_service_status";
        Families {
            poll_cycles: counter("commands_poll_cycles_total", "Polls started.", []),
            polled: counter("commands_polled_total", "Commands decoded.", []),
            enqueued: counter("commands_enqueued_total", "Commands queued.", []),
            poll_errors: counter("commands_poll_errors_total", "Failed polls.", ["error_kind"])
                .showing(poll_errors),
            drops: counter("commands_queue_drops_total", "Commands not queued.", ["drop_reason"])
                .showing(drops),
            last_poll: gauge(last_poll, "Unix time of the last good poll.", []),
            age: histogram("commands_age_seconds", "Age of commands when polled.", []),
            poll_latency: histogram("commands_poll_latency_seconds", "Duration of polls.", ["error"]),
            queue_capacity: gauge("commands_queue_capacity", "Places in the queue.", []),
            queue_length: gauge("commands_queue_length", "Places taken.", []),
            workers: gauge("dispatcher_worker_pool_capacity", "Workers.", []),
            busy_workers: gauge("dispatcher_worker_pool_occupancy", "Busy workers.", []),
            answers_lost: counter("answers_lost_total", "Terminal answers given up.", []),
            end_to_end: histogram(
                "command_end_to_end_latency_milliseconds",
                "Time until the control plane took the answer.",
                ["channel", "latency_type", "request_kind", "request_method", TUNNEL_ID, status],
            ),
            unsupported: counter(
                "command_unsupported_channel_total",
                "Commands for channels that are not served.",
                ["channel", "command_type", TUNNEL_ID],
            )
            .at_most(MAX_UNSERVED),
            failures: counter("target_failures_total", "Calls without an answer.", ["channel", "source"]),
            requests: counter("server_requests_total", "Requests of servers.", ["channel", "answered"]),
            children: counter("stdio_events_total", "What stdio servers did.", ["channel", "event"]),
            deaths: counter("stdio_deaths_total", "Ends of stdio servers.", ["channel", "cause"]),
            pending: gauge("stdio_pending_calls", "Calls that wait for a stdio server.", ["channel", "era"]),
            exchanges: Exchanges::new(),
            harpoon: Harpoon::new(),
            proxies: Proxies::new(),
        }
    }

    /// The text of `/metrics`, in the order in which a person would ask: is it up, does it poll, is it
    /// full, what became of the commands, and only then how the connections do.
    pub(super) fn page(&self, ready: bool, start_unix_s: u64) -> String {
        let mut text = Text::default();
        text.single("liveness", "gauge", "1 while the process runs.", 1);
        text.single("readiness", "gauge", "1 while /readyz answers 200.", u8::from(ready));
        // Its value says nothing; the version is a label because that is where dashboards join it.
        text.family("build_info", "gauge", "The running version.");
        text.sample("build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        self.poll_cycles.write(&mut text);
        self.polled.write(&mut text);
        self.enqueued.write(&mut text);
        self.poll_errors.write(&mut text);
        self.drops.write(&mut text);
        self.last_poll.write(&mut text);
        self.age.write(&mut text);
        self.poll_latency.write(&mut text);
        self.queue_capacity.write(&mut text);
        self.queue_length.write(&mut text);
        self.workers.write(&mut text);
        self.busy_workers.write(&mut text);
        self.answers_lost.write(&mut text);
        self.end_to_end.write(&mut text);
        self.unsupported.write(&mut text);
        self.failures.write(&mut text);
        self.requests.write(&mut text);
        self.children.write(&mut text);
        self.deaths.write(&mut text);
        self.pending.write(&mut text);
        self.exchanges.durations.write(&mut text);
        self.exchanges.body_sizes.write(&mut text);
        self.harpoon.calls.write(&mut text);
        self.harpoon.latencies.write(&mut text);
        self.harpoon.sizes.write(&mut text);
        self.proxies.states.write(&mut text);
        self.proxies.checked.write(&mut text);
        self.proxies.succeeded.write(&mut text);
        self.proxies.phases.write(&mut text);
        self.proxies.failures.write(&mut text);
        process::write(&mut text, start_unix_s);
        text.finish()
    }
}

impl Exchanges {
    fn new() -> Exchanges {
        let (method, place) = ("http_request_method", prometheus::READY);
        Exchanges {
            durations: durations(
                "http_client_request_duration_seconds",
                "Duration of HTTP requests.",
                [method, "http_response_status_code", place],
            ),
            body_sizes: histogram(
                "http_client_request_body_size_bytes",
                "Size of request bodies.",
                [method, place],
            ),
        }
    }
}

impl Harpoon {
    fn new() -> Harpoon {
        let labels = ["label", "status_class", "outcome"];
        Harpoon {
            calls: counter("harpoon_call_total", "Calls of endpoints.", labels),
            latencies: histogram(
                "harpoon_call_latency_milliseconds",
                "Duration of calls of endpoints.",
                labels,
            ),
            sizes: histogram("harpoon_response_size_bytes", "Size of what endpoints returned.", labels),
        }
    }
}

impl Proxies {
    fn new() -> Proxies {
        let id = "proxy_id";
        Proxies {
            states: gauge("proxy_health_state", "1 after a good check.", [id]),
            checked: gauge("proxy_last_check_timestamp", "Unix time.", [id]),
            succeeded: gauge("proxy_last_success_timestamp", "Unix time.", [id]),
            phases: histogram(
                "proxy_check_phase_duration_seconds",
                "Duration of the phases of proxy checks.",
                [id, "phase"],
            ),
            failures: counter("proxy_check_failures_total", "Failed proxy checks.", [id, "phase", "reason"]),
        }
    }
}
