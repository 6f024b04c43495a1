//! The ways on which a tunnel reaches its destinations: for the log at start, and for the checks of proxies.
//!
//! It opens nothing by itself and cannot fail: a check that finds a broken proxy is a result, not an error.
//! Readiness does not depend on any of it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config;
use crate::harpoon::registry::{Endpoint, Endpoints};
use crate::net;
use crate::ops::listener::calls::Offer;
use crate::ops::proxy_health::{CheckResult, Checks, Phase as CheckPhase, Reason};

use super::tunnel::Tunnel;

impl Tunnel {
    /// The clients of all destinations, by the name that people know. Posts take the way of polls.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, &net::Client)> {
        let servers = self.servers.iter().map(|server| (server.channel().as_str(), server.client()));
        std::iter::once(("control plane", self.plane.polls())).chain(servers)
    }

    /// The endpoints that the product may call now, when any were configured.
    pub(crate) fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.harpoon.as_ref().map(|harpoon| harpoon.endpoints())
    }

    /// What programs of this host are offered, where the settings say so.
    pub(crate) fn offer(&self, settings: &config::Harpoon) -> Option<Offer> {
        let harpoon = self.harpoon.as_ref().filter(|_| settings.over_http)?;
        Some(harpoon.offer(settings.token.clone()))
    }

    /// What checks the proxies on all ways; nothing when there is none, and then no thread is started
    /// for it. A check asks the proxy for a way to the destination and sends nothing over it.
    pub(crate) fn proxy_checks(&self) -> Option<Checks> {
        let endpoints = self.endpoints().unwrap_or_default();
        let mut seen = HashSet::new();
        let is_new = |endpoint: &&Arc<Endpoint>| seen.insert(endpoint.target.origin.to_string());
        // One for each origin: a proxy need not be asked for the same way twice.
        let called: Vec<Arc<Endpoint>> = endpoints.all().iter().filter(is_new).cloned().collect();
        let mut ways = self.routes().map(|(_, client)| client).chain(called.iter().map(|one| &one.client));
        ways.find(|client| client.proxy_id().is_some())?;
        let (plane, servers) = (Arc::clone(&self.plane), self.servers.clone());
        Some(Box::new(move |heartbeat| {
            let clients = servers.iter().map(|server| server.client());
            let clients = clients.chain(called.iter().map(|endpoint| &endpoint.client));
            let clients = std::iter::once(plane.polls()).chain(clients);
            clients.inspect(|_| heartbeat.within(net::CHECK_MAX)).filter_map(check).collect()
        }))
    }
}

/// One check, in the words of the metrics. The words of `net` are mapped here, because neither of the two
/// rooms may know the other.
fn check(client: &net::Client) -> Option<CheckResult> {
    let found = client.check_proxy()?;
    let mut phases = vec![(CheckPhase::Tcp, found.tcp)];
    phases.extend(found.connect.map(|took| (CheckPhase::Connect, took)));
    let failure = found.failure.map(|error| match (error.kind, found.connect) {
        (net::Kind::Timeout, None) => (CheckPhase::Tcp, Reason::Timeout),
        (_, None) => (CheckPhase::Tcp, Reason::DialError),
        (net::Kind::Timeout, Some(_)) => (CheckPhase::Connect, Reason::Timeout),
        (net::Kind::Proxy(_), Some(_)) => (CheckPhase::Connect, Reason::BadStatus),
        (_, Some(_)) => (CheckPhase::Connect, Reason::ConnectError),
    });
    Some(CheckResult { proxy_id: client.proxy_id()?, phases, failure })
}
