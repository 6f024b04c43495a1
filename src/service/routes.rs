//! The ways on which a tunnel reaches its destinations: for the log at start, and for the checks of proxies.
//!
//! It opens nothing by itself and cannot fail: a check that finds a broken proxy is a result, not an error.
//! Readiness does not depend on any of it.

use std::sync::Arc;

use crate::net;
use crate::ops::proxy_health::{CheckResult, Checks, Failure};

use super::tunnel::Tunnel;

impl Tunnel {
    /// The clients of all destinations, by the name that people know. Posts take the way of polls.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, &net::Client)> {
        let servers = self.servers.iter().map(|server| (server.channel().as_str(), server.client()));
        std::iter::once(("control plane", &self.plane.clients.polls)).chain(servers)
    }

    /// What checks the proxies on all ways; nothing when there is none, and then no thread is started
    /// for it. A check asks the proxy for a way to the destination and sends nothing over it.
    pub(crate) fn proxy_checks(&self) -> Option<Checks> {
        // Those that are called now: a check need not follow what discovery finds.
        let endpoints = self.built_in.as_ref().map(|built_in| built_in.endpoints()).unwrap_or_default();
        let (plane, servers) = (Arc::clone(&self.plane), self.servers.clone());
        let mut ways =
            self.routes().map(|(_, client)| client).chain(endpoints.iter().map(|one| (**one).as_ref()));
        ways.find(|client| client.proxy_id().is_some())?;
        Some(Box::new(move |heartbeat| {
            let servers = servers.iter().map(|server| server.client());
            let endpoints = endpoints.iter().map(|endpoint| (**endpoint).as_ref());
            let clients = std::iter::once(&plane.clients.polls).chain(servers).chain(endpoints);
            clients.inspect(|_| heartbeat.within(net::CHECK_MAX)).filter_map(check).collect()
        }))
    }
}

/// One check, in the words of the metrics. The words of `net` are mapped here, because neither of the two
/// rooms may know the other.
fn check(client: &net::Client) -> Option<CheckResult> {
    let found = client.check_proxy()?;
    let failure = found.failure.map(|error| match (error.kind, found.connect) {
        (net::Kind::Timeout, None) => Failure::TcpTimeout,
        (_, None) => Failure::Dial,
        (net::Kind::Timeout, Some(_)) => Failure::ConnectTimeout,
        (net::Kind::Proxy(_), Some(_)) => Failure::BadStatus,
        (_, Some(_)) => Failure::Connect,
    });
    let (tcp, connect) = (found.tcp, found.connect);
    Some(CheckResult { proxy_id: client.proxy_id()?, tcp, connect, failure })
}
