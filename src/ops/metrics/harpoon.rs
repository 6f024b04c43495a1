//! Metrics of calls of Harpoon's endpoints, by label, class of status and outcome.

use std::time::Duration;

use super::Metrics;
use super::prometheus::OTHER;
use crate::text::words;

words! {
    /// `outcome` of a call of an endpoint, also in the log.
    CallOutcome {
        /// A response was handed back, whatever its status.
        Success = "success",
        /// Nothing was sent.
        InvalidInput = "invalid_input",
        /// No response came, or a redirect led where none may.
        RequestError = "request_error",
        /// The response broke off.
        ReadError = "response_read_error",
        /// The response exceeds its bound.
        TooLarge = "response_too_large",
    }
}

/// Classes of status by their hundreds.
const CLASSES: [&str; 6] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

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
        let class = status.map_or("none", |code| CLASSES.get(usize::from(code / 100)).unwrap_or(&OTHER));
        let key = [label.unwrap_or("__unknown__"), class, outcome.word()];
        self.harpoon_calls.add(key, 1);
        self.harpoon_latencies.add(key, took.as_millis());
        if let Some(bytes) = response_bytes {
            self.harpoon_sizes.add(key, bytes);
        }
    }
}
