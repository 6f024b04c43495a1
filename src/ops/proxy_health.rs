//! The periodic check of proxies, for the operator's eyes only.
//!
//! It changes neither readiness nor routing. The checks themselves open connections and therefore
//! belong to whoever may do that; this module runs them at start and at every interval, and counts.
//! A check that fails is a figure, not an error.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::sync;

use super::Error;
use super::heartbeat::{Heartbeat, Heartbeats};
use super::metrics::{Metrics, Proxies, unix_now_s};

/// Runs all checks once, and says before each how long it may take.
pub type Checks = Box<dyn Fn(&Heartbeat) -> Vec<CheckResult> + Send>;

/// What the check of one proxy found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// Names the proxy without showing it: the SHA-256 of its URL without credentials.
    pub proxy_id: String,
    /// How long the connection to the proxy took.
    pub tcp: Duration,
    /// How long `CONNECT` to the destination took, TLS to the proxy included; nothing when it was not reached.
    pub connect: Option<Duration>,
    /// Where and why the check failed, if it did.
    pub failure: Option<Failure>,
}

/// Phase and reason of a failed check. The reference also knows proxies and destinations without a host; here
/// such settings are refused at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection to the proxy took too long.
    TcpTimeout,
    /// There was no connection to the proxy.
    Dial,
    /// `CONNECT` took too long.
    ConnectTimeout,
    /// The proxy broke off.
    Connect,
    /// The proxy answered, but not with 2xx.
    BadStatus,
}

const TCP: &str = "tcp";
const CONNECT: &str = "connect";

impl Failure {
    fn labels(self) -> [&'static str; 2] {
        match self {
            Failure::TcpTimeout => [TCP, "timeout"],
            Failure::Dial => [TCP, "dial_error"],
            Failure::ConnectTimeout => [CONNECT, "timeout"],
            Failure::Connect => [CONNECT, "connect_error"],
            Failure::BadStatus => [CONNECT, "bad_status"],
        }
    }
}

/// The running checker. Dropping it ends the thread after the check that it is in.
#[derive(Debug)]
pub struct ProxyHealth {
    _stop: Sender<()>,
}

impl ProxyHealth {
    /// Checks at once, then at every interval. Stopping does not wait for a check that is under
    /// way: it may take its full time-outs, and has nothing to finish.
    pub fn start(
        interval: Duration,
        checks: Checks,
        metrics: Arc<Metrics>,
        heartbeats: &Heartbeats,
    ) -> Result<ProxyHealth, Error> {
        let (stop, stopped) = channel();
        let heartbeat = heartbeats.add("proxy-health");
        let run = move || loop {
            checks(&heartbeat).iter().for_each(|result| count(&metrics.proxies, result));
            heartbeat.within(interval);
            // Anything else is the end of the other half.
            if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        };
        sync::spawn("proxy-health", run)
            .map_err(|cause| Error::caused("start proxy-health thread", cause))?;
        Ok(ProxyHealth { _stop: stop })
    }
}

/// Counts one check.
fn count(metrics: &Proxies, result: &CheckResult) {
    let (id, now) = (result.proxy_id.as_str(), unix_now_s());
    metrics.states.set([id], result.failure.is_none());
    metrics.checked.set([id], now);
    match result.failure {
        None => metrics.succeeded.set([id], now),
        Some(failure) => {
            let [phase, reason] = failure.labels();
            metrics.failures.add([id, phase, reason], 1);
            // A proxy that was never well is shown with 0 and not left out.
            metrics.succeeded.add([id], 0);
        }
    }
    metrics.phases.add([id, TCP], result.tcp.as_micros());
    if let Some(took) = result.connect {
        metrics.phases.add([id, CONNECT], took.as_micros());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_metrics_at_once_and_the_thread_ends_when_dropped() {
        let metrics = Arc::new(Metrics::new("tunnel_x", 1, 1, &[]));
        let (done, ended) = channel::<()>();
        let (ran, first) = channel();
        let checks: Checks = Box::new(move |_| {
            let _keep = &done;
            let _ = ran.send(());
            let (tcp, connect) = (Duration::from_millis(1), Some(Duration::from_millis(2)));
            let failure = Some(Failure::BadStatus);
            vec![CheckResult { proxy_id: "p".into(), tcp, connect, failure }]
        });
        let checker = ProxyHealth::start(
            Duration::from_secs(3600),
            checks,
            Arc::clone(&metrics),
            &Heartbeats::default(),
        );
        let checker = checker.unwrap();
        first.recv().unwrap();
        drop(checker);
        // The thread owns the closure; when it ends, so does the channel.
        assert!(ended.recv().is_err());
        let text = metrics.render(false);
        assert!(text.contains("proxy_health_state{proxy_id=\"p\"} 0\n"), "{text}");
        let failure =
            "proxy_check_failures_total{proxy_id=\"p\",phase=\"connect\",reason=\"bad_status\"} 1\n";
        assert!(text.contains(failure));
        assert!(text.contains("proxy_check_phase_duration_seconds_count{proxy_id=\"p\",phase=\"tcp\"} 1\n"));
    }
}
