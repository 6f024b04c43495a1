//! The ways on which a tunnel reaches its destinations: for the log at start, and for the checks of proxies.
//!
//! The checks are for the operator's eyes only: a broken proxy is a figure, not an error, and neither readiness nor
//! routing depend on any of it. Only the start of their thread can fail.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::net;
use crate::ops::metrics::Metrics;
use crate::sync;

use super::tunnel::Tunnel;

/// Name of the way to the control plane; no channel has a blank in its own.
pub(super) const PLANE: &str = "control plane";

impl Tunnel {
    /// The clients of all destinations, by the name that people know. Posts take the way of polls.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, net::Client)> {
        let servers = self.servers.iter().map(|server| (server.channel().as_str(), server.client()));
        std::iter::once((PLANE, self.plane.clients().polls)).chain(servers)
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
