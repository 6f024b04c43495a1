//! The periodic check of proxies, for the operator's eyes only.
//!
//! It changes neither readiness nor routing. The checks themselves open connections and therefore
//! belong to whoever may do that; this module runs them at start and at every interval, and counts.
//! A check that fails is a figure, not an error.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
    /// The phases that were entered, and how long each took.
    pub phases: Vec<(Phase, Duration)>,
    /// Where and why it failed, if it did.
    pub failure: Option<(Phase, Reason)>,
}

/// The steps of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The connection to the proxy.
    Tcp,
    /// `CONNECT` to the destination, TLS to the proxy included.
    Connect,
}

/// Why a check failed. The reference also knows proxies and destinations without a host; here such
/// settings are refused at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The phase took too long.
    Timeout,
    /// No connection to the proxy.
    DialError,
    /// The proxy broke off.
    ConnectError,
    /// The proxy answered, but not with 2xx.
    BadStatus,
}

impl Phase {
    /// The label value.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Tcp => "tcp",
            Phase::Connect => "connect",
        }
    }
}

impl Reason {
    /// The label value.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::DialError => "dial_error",
            Reason::ConnectError => "connect_error",
            Reason::BadStatus => "bad_status",
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
        sync::spawn("proxy-health", move || run(interval, &checks, &metrics, &stopped, &heartbeat))
            .map_err(|cause| Error::caused("start proxy-health thread", cause))?;
        Ok(ProxyHealth { _stop: stop })
    }
}

fn run(
    interval: Duration,
    checks: &Checks,
    metrics: &Metrics,
    stopped: &Receiver<()>,
    heartbeat: &Heartbeat,
) {
    loop {
        checks(heartbeat).iter().for_each(|result| count(&metrics.proxies, result));
        heartbeat.within(interval);
        match stopped.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn count(metrics: &Proxies, result: &CheckResult) {
    let (id, now) = (result.proxy_id.as_str(), unix_now_s());
    metrics.states.set([id], result.failure.is_none());
    metrics.checked.set([id], now);
    match result.failure {
        None => metrics.succeeded.set([id], now),
        Some((phase, reason)) => {
            metrics.failures.add([id, phase.word(), reason.word()], 1);
            // A proxy that was never well is shown with 0 and not left out.
            metrics.succeeded.add([id], 0);
        }
    }
    for (phase, took) in &result.phases {
        metrics.phases.add([id, phase.word()], took.as_micros());
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
            let failure = Some((Phase::Connect, Reason::BadStatus));
            let phases =
                vec![(Phase::Tcp, Duration::from_millis(1)), (Phase::Connect, Duration::from_millis(2))];
            vec![CheckResult { proxy_id: "p".into(), phases, failure }]
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
