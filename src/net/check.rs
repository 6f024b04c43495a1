//! Asks whether the proxy on a route lets us through: a TCP connection, then CONNECT to the destination, or for
//! plain http a question in absolute form. Or whether a connection can be made at all.
//!
//! Made of the same steps as a real connection, credentials and TLS included, and closed at once. It informs;
//! nothing depends on it. The destination sees a connection without a request; or nothing; or, behind a proxy
//! that passes on what it should answer, an OPTIONS.

use std::time::{Duration, Instant};

use super::client::Client;
use super::error::{Error, Kind};
use super::proxy;

/// Bounds each phase. A proxy that needs longer is unhealthy to the people behind it.
const PHASE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole check takes at most.
pub const CHECK_MAX: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Debug)]
pub struct ProxyCheck {
    /// What was tried, in order: `tcp`, then `connect` unless that failed.
    pub phases: Vec<Phase>,
}

/// One step of a check.
#[derive(Debug)]
pub struct Phase {
    /// `tcp` or `connect`.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Why a step of a check failed.
#[derive(Debug)]
pub struct Failure {
    /// `timeout`, `dial_error`, `connect_error` or `bad_status`. (Hosts cannot be missing: settings are validated.)
    pub reason: &'static str,
    /// `4xx` and the like, for a bad status.
    pub category: Option<&'static str>,
    /// For people.
    pub text: String,
}

impl ProxyCheck {
    /// Whether the proxy let us through.
    pub fn healthy(&self) -> bool {
        self.phases.iter().all(|phase| phase.failure.is_none())
    }
}

impl Client {
    /// Checks the proxy on the way to the configured destination; `None` when there is none. Takes up to
    /// [`CHECK_MAX`].
    pub fn check_proxy(&self) -> Option<ProxyCheck> {
        let dialer = self.dialer();
        let proxy = dialer.proxy()?;
        let began = Instant::now();
        // Not registered with the agent: a shutdown does not end a check, its own bound does.
        let opened = dialer.to_proxy(proxy, began + PHASE_TIMEOUT, &|_| Ok(()));
        let mut phases = vec![Phase::new("tcp", began, opened.as_ref().err(), "dial_error")];
        if let Ok(wire) = opened {
            let began = Instant::now();
            let deadline = began + PHASE_TIMEOUT;
            let asked = dialer.secure_proxy(wire, proxy, deadline).and_then(|mut wire| {
                match dialer.forwarder(dialer.origin()) {
                    Some(_) => proxy::ask(&mut wire, proxy, dialer.origin()),
                    None => proxy::connect(&mut wire, proxy, dialer.origin()),
                }
            });
            phases.push(Phase::new("connect", began, asked.as_ref().err(), "connect_error"));
        }
        Some(ProxyCheck { phases })
    }

    /// Opens a connection to the configured destination, as a request would, and closes it unused. Fails as a
    /// request does that is not sent.
    pub fn check_connection(&self, deadline: Instant) -> Result<(), Error> {
        let dialer = self.dialer();
        dialer.open(dialer.origin(), deadline, &|_| Ok(())).map(drop)
    }
}

impl Phase {
    fn new(name: &'static str, began: Instant, error: Option<&Error>, otherwise: &'static str) -> Phase {
        let failure = error.map(|error| {
            let (reason, category) = match error.kind {
                Kind::Timeout => ("timeout", None),
                Kind::Proxy(status) => ("bad_status", Some(category(status))),
                _ => (otherwise, None),
            };
            Failure { reason, category, text: error.to_string() }
        });
        Phase { name, took: began.elapsed(), failure }
    }
}

fn category(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}
