//! The ways on which a tunnel reaches its destinations: for the log at start, for the checks of proxies, and for what is
//! measured of the certificates that are shown on them.
//!
//! The checks are for the operator's eyes only: a broken proxy is a figure, not an error, and neither readiness nor
//! routing depend on any of it. Only the start of their thread can fail.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, UNIX_EPOCH};

use crate::net::{self, Net};
use crate::ops::health::Object;
use crate::ops::metrics::Metrics;
use crate::ops::timestamp;
use crate::sync;

use super::tunnel::Tunnel;

/// What the certificates of `ca-bundle` are called beside those of the ways.
pub(super) const BUNDLE: &str = "ca-bundle";

/// Name of the way to the control plane; no channel has a blank in its own.
pub(super) const PLANE: &str = "control plane";

impl Tunnel {
    /// The clients of all destinations, by the name that people know. Posts take the way of polls.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, net::Client)> {
        let servers = self.servers.iter().map(|server| (server.channel().as_str(), server.client()));
        std::iter::once((PLANE, self.plane.clients().polls)).chain(servers)
    }

    /// Measures which certificates are in force. To be called when some have been loaded.
    pub(super) fn measure_certificates(&self, net: &Net) {
        let shown = self.routes().map(|(name, client)| (purpose(name), client.certificate()));
        for (purpose, loaded) in shown.chain([(BUNDLE.to_owned(), net.ca_bundle())]) {
            self.metrics.certificate_loaded(&purpose, loaded);
        }
    }

    /// The certificates in force as `/health` shows them: for what, from when to when they hold, since when they are.
    pub(super) fn certificates(&self) -> Vec<Object> {
        let purposes = self.routes().map(|(name, _)| purpose(name)).chain([BUNDLE.to_owned()]);
        let shown = |purpose: String| {
            let times = self.metrics.certificate(&purpose)?;
            let [begins, ends, loads] =
                times.map(|at| timestamp::rfc3339_ms(UNIX_EPOCH + Duration::from_secs(at)));
            let object = Object::default().with("purpose", purpose).with("not_before", begins);
            Some(object.with("not_after", ends).with("loaded_at", loads))
        };
        purposes.filter_map(shown).collect()
    }

    /// Checks the proxies on all ways at once, then at every interval; nothing where there is none. A check asks the
    /// proxy for a way to the destination and sends nothing over it. Dropping what comes back ends the thread after
    /// the check that it is in, which may take its full time-outs, and has nothing to finish.
    pub(super) fn check_proxies(self: &Arc<Tunnel>, interval: Duration) -> io::Result<Option<Sender<()>>> {
        let tunnel = Arc::clone(self);
        // Those that are used now.
        let clients = move || -> Vec<net::Client> {
            let endpoints = tunnel.built_in.iter().flat_map(|built_in| built_in.endpoints());
            tunnel.routes().map(|(_, client)| client).chain(endpoints).collect()
        };
        if clients().iter().all(|client| client.proxy_id().is_none()) {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let (heartbeat, metrics) = (self.heartbeats.add("proxy-health"), Arc::clone(&self.metrics));
        sync::spawn("proxy-health", move || {
            loop {
                for client in clients() {
                    heartbeat.within(net::CHECK_MAX);
                    check(&client, &metrics);
                }
                heartbeat.within(interval);
                // Anything else is the end of the other half.
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Some(stop))
    }
}

/// What a certificate is for that is shown on a way.
pub(super) fn purpose(way: &str) -> String {
    if way == PLANE { "control-plane".to_owned() } else { format!("mcp:{way}") }
}

/// One check, counted by phase and reason in words of the reference. It also knows proxies and destinations without
/// a host; here such settings are refused at start.
fn check(client: &net::Client, metrics: &Metrics) {
    let Some((id, found)) = client.proxy_id().zip(client.check_proxy()) else { return };
    let failure = found.failure.map(|error| match (error.kind, found.connect) {
        (net::Kind::Timeout, None) => ["tcp", "timeout"],
        (_, None) => ["tcp", "dial_error"],
        (net::Kind::Timeout, Some(_)) => ["connect", "timeout"],
        (net::Kind::Proxy(_), Some(_)) => ["connect", "bad_status"],
        (_, Some(_)) => ["connect", "connect_error"],
    });
    metrics.proxy_checked(&id, found.tcp, found.connect, failure);
}
