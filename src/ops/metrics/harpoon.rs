//! Metrics of calls of Harpoon's endpoints, by label, class of status and outcome.

use std::time::Duration;

use super::Metrics;
use super::prometheus::OTHER;

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
    /// The word for it, also in the log.
    pub fn word(self) -> &'static str {
        match self {
            CallOutcome::Success => "success",
            CallOutcome::InvalidInput => "invalid_input",
            CallOutcome::RequestError => "request_error",
            CallOutcome::ReadError => "response_read_error",
            CallOutcome::TooLarge => "response_too_large",
        }
    }
}

impl Metrics {
    /// Counts a call of an endpoint; `label` only when it is registered, whatever was asked for.
    pub(crate) fn harpoon_call(
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
        self.harpoon_calls.add(key, 1);
        self.harpoon_latencies.add(key, took.as_millis());
        if let Some(bytes) = response_bytes {
            self.harpoon_sizes.add(key, bytes);
        }
    }
}
