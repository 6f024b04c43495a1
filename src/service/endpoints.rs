//! Harpoon as the server inside this program.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::{self, HttpServer, Settings};
use crate::harpoon::Harpoon;
use crate::harpoon::registrar::Registrar;
use crate::net::{Client, Net};
use crate::oauth::Register;
use crate::ops::listener::calls::Starter;
use crate::relay::port::Target;

use super::built_in::BuiltIn;
use super::error::Error;
#[cfg(feature = "page")]
use super::page::{self, Page};
use super::parts::Shared;

/// Harpoon with its settings.
struct Endpoints {
    harpoon: Arc<Harpoon>,
    settings: config::Harpoon,
}

/// Makes Harpoon with the endpoints that are configured.
pub(super) fn prepare(shared: &Shared) -> Result<Arc<dyn BuiltIn>, Error> {
    let settings = shared.settings;
    let captures = shared.redactor.clone().filter(|_| settings.harpoon.capture_payloads);
    let harpoon = Harpoon::new(shared.net, settings, &shared.metrics, captures, shared.governor());
    let harpoon = harpoon.map_err(Error::Settings)?;
    Ok(Arc::new(Endpoints { harpoon: Arc::new(harpoon), settings: settings.harpoon.clone() }))
}

impl BuiltIn for Endpoints {
    fn target(&self) -> Arc<dyn Target> {
        Arc::<Harpoon>::clone(&self.harpoon)
    }

    fn served(&self) -> Arc<AtomicBool> {
        self.harpoon.registry().served()
    }

    fn renew(&self, net: &Net, settings: &Settings) -> Result<(), Error> {
        self.harpoon.renew(net, settings).map_err(Error::Settings)
    }

    fn registrar(&self, settings: &Settings, server: &HttpServer) -> Box<dyn Register> {
        Box::new(Registrar {
            maker: Arc::clone(&self.harpoon.maker),
            settings: self.settings.clone(),
            registry: Arc::clone(self.harpoon.registry()),
            server: server.clone(),
            named: settings.mcp.oauth_trusted_origins.clone(),
        })
    }

    fn count(&self) -> usize {
        self.harpoon.endpoints().all().len()
    }

    fn endpoints(&self) -> Vec<Client> {
        let (mut seen, endpoints) = (HashSet::new(), self.harpoon.endpoints());
        let first = endpoints.all().iter().filter(|one| seen.insert(one.target.origin.to_string()));
        first.map(|one| one.client.clone()).collect()
    }

    fn log(&self) {
        let endpoints = self.harpoon.endpoints();
        let labels: Vec<&str> = endpoints.all().iter().map(|one| one.target.label.as_str()).collect();
        log::info!(
            target_count = labels.len(),
            allow_plaintext_http = self.settings.allow_plaintext_http,
            transports = if self.settings.over_http { "in-memory,http-streamable" } else { "in-memory" },
            targets = labels.join(",").as_str();
            "harpoon enabled"
        );
        for endpoint in endpoints.all() {
            let route = endpoint.client.route();
            log::info!(
                route_kind = "harpoon_target",
                route_name = endpoint.target.label.as_str(),
                target_host = route.destination.as_str(),
                route_mode = if route.proxy.is_some() { "proxy" } else { "direct" },
                proxy = route.proxy.as_deref().unwrap_or("none"),
                reason = route.reason.as_str();
                "harpoon route resolved"
            );
        }
    }

    fn offer(&self) -> Option<Starter> {
        let offer = || self.harpoon.offer().starter();
        self.settings.over_http.then(offer)
    }

    #[cfg(feature = "page")]
    fn show(&self, page: &mut Page<'_>) {
        page::endpoints::show(page, &self.harpoon, self.settings.over_http);
    }
}
