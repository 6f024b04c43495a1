//! How long connections may rest before they are not used again.
//!
//! A server drops idle connections after a time of its own, and a request sent at that moment is lost. So
//! connections towards servers whose time is unknown rest shortly, and a server that names its time is
//! believed, up to our own bound. A wrong time costs a new connection or a lost request, nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ureq::http::HeaderMap;

/// No connection rests longer than this, whatever a server promises.
pub(super) const IDLE_MAX: Duration = super::PLANE_IDLE;

/// How long connections of one purpose may rest.
#[derive(Debug)]
pub(super) struct Idle {
    unnamed: Duration,
    /// What the last reply's `Keep-Alive` named, in milliseconds; 0 for nothing.
    named_ms: AtomicU64,
}

impl Idle {
    /// Connections may rest for `unnamed` where the server names no time.
    pub(super) fn new(unnamed: Duration) -> Idle {
        Idle { unnamed, named_ms: AtomicU64::new(0) }
    }

    /// How long a connection may have rested to be used now.
    pub(super) fn age(&self) -> Duration {
        match self.named_ms.load(Ordering::Relaxed) {
            0 => self.unnamed,
            named_ms => Duration::from_millis(named_ms),
        }
    }

    /// Takes what the server says, less a second: its clock started before ours.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        let named = headers.get("keep-alive").and_then(|value| keep_alive_seconds(value.to_str().ok()?));
        let limit = named.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_MAX));
        // One millisecond stands for "never reuse": zero says that nothing was named.
        let wanted = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(0).max(1));
        // Seldom another one: a store each time would take the line from the other threads' caches.
        if self.named_ms.load(Ordering::Relaxed) != wanted {
            self.named_ms.store(wanted, Ordering::Relaxed);
        }
    }
}

fn keep_alive_seconds(value: &str) -> Option<u64> {
    value.split(',').find_map(|item| item.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn the_server_names_the_idle_time() {
        let idle = Idle::new(Duration::from_secs(4));
        let mut headers = HeaderMap::new();
        for (value, age_ms) in
            [("timeout=5, max=100", 4000), ("max=3,timeout=900", 50_000), ("timeout=1", 1), ("x", 4000)]
        {
            headers.insert("keep-alive", HeaderValue::from_static(value));
            idle.learn(&headers);
            assert_eq!(idle.age(), Duration::from_millis(age_ms), "{value}");
        }
    }
}
