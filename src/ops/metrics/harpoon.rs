//! Metrics of calls of Harpoon's endpoints, by label, class of status and outcome.

use std::time::Duration;

use super::prometheus::{COUNTER, Metric, NUMBERS, OTHER, Table};

/// `outcome` of a call of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
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

impl CallOutcome {
    fn word(self) -> &'static str {
        match self {
            CallOutcome::Success => "success",
            CallOutcome::InvalidInput => "invalid_input",
            CallOutcome::RequestError => "request_error",
            CallOutcome::ReadError => "response_read_error",
            CallOutcome::TooLarge => "response_too_large",
        }
    }
}

/// The rows of Harpoon.
#[derive(Debug)]
pub(crate) struct Harpoon {
    calls: Metric<3>,
    latencies: Metric<3>,
    sizes: Metric<3>,
}

impl Harpoon {
    pub(super) fn new(table: &mut Table) -> Harpoon {
        let labels = ["label", "status_class", "outcome"];
        let calls = table.row(COUNTER, "harpoon_call_total", "Calls of endpoints.", labels);
        let name = "harpoon_call_latency_milliseconds";
        let latencies = table.row(NUMBERS, name, "Duration of calls of endpoints.", labels);
        let help = "Size of what endpoints returned.";
        let sizes = table.row(NUMBERS, "harpoon_response_size_bytes", help, labels);
        Harpoon { calls, latencies, sizes }
    }

    /// Counts a call of an endpoint; `label` only when it is registered, whatever was asked for.
    pub(crate) fn call(
        &self,
        label: Option<&str>,
        status: Option<u16>,
        outcome: CallOutcome,
        took: Duration,
        response_bytes: Option<usize>,
    ) {
        let class = match status.map(|code| code / 100) {
            None => "none",
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            Some(_) => OTHER,
        };
        let key = [label.unwrap_or("__unknown__"), class, outcome.word()];
        self.calls.add(key, 1);
        self.latencies.add(key, took.as_millis());
        if let Some(bytes) = response_bytes {
            self.sizes.add(key, bytes);
        }
    }
}
