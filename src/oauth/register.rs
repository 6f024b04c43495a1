//! Makes what discovery found callable by name, as far as it is trusted.
//!
//! A public server could otherwise steer us at hosts inside: what is registered lies on the configured server's
//! own origin, or on one that the operator named; and its host is private by the rules of the settings, or is
//! the configured one. A set takes the place of the one before. Nothing here fails: what may not be registered
//! is left out, and the log says why.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::http::{Method, Uri};

use crate::config::{self, Origin};
use crate::crypto;
use crate::harpoon::registry::{Endpoint, Endpoints, OAUTH, Registry};
use crate::net::Net;

use super::candidates;
use super::documents::{AuthServer, Resource};
use super::fetch::Fetcher;
use super::trail::Trail;

/// Registers endpoints with Harpoon.
pub struct Registrar {
    /// Makes the ways to them.
    pub net: Net,
    /// What holds for all endpoints.
    pub settings: config::Harpoon,
    /// Where they are registered.
    pub registry: Arc<Registry>,
    /// The socket of the MCP server, which endpoints of its origin share.
    pub unix_socket: Option<PathBuf>,
    /// How many may call one at a time.
    pub workers: usize,
}

/// One URL of a document.
struct Record {
    role: &'static str,
    url: String,
    place: Option<(Uri, Origin)>,
    /// Whoever named it may name it.
    trusted: bool,
    /// Whether it is behind the MCP server's socket, if it is of its origin.
    shares_socket: bool,
    tags: Vec<String>,
}

/// Why a record is not registered.
pub(super) enum Refusal {
    /// No fault of anybody's: most of what a document names is not ours to call.
    NotAllowed(&'static str),
    /// It should have been.
    Failed(String),
}

/// Roles of the protected resource's own document with their second tags.
const RESOURCE: &str = "prmd-resource";
const SOURCE: &str = "prmd-source";

impl Registrar {
    /// Whether this host would have been private by the settings, or by having no domain.
    pub(super) fn counts_as_private(&self, origin: &Origin) -> bool {
        self.settings.hosts.reason(&origin.host).is_some() || !origin.host.contains(['.', ':'])
    }

    /// Registers what these documents name, and nothing that was registered before.
    pub(super) fn publish(
        &self,
        fetcher: &Fetcher,
        source: &str,
        resource: &Resource,
        server: Option<&AuthServer>,
        trail: &mut Trail,
    ) {
        let records = records(fetcher, source, resource, server);
        let anchors = records.iter().filter(|one| one.trusted && matches!(one.role, RESOURCE | SOURCE));
        let anchors: Vec<&Origin> = anchors.filter_map(|one| Some(&one.place.as_ref()?.1)).collect();
        let now = self.registry.now();
        let mut labels: HashSet<String> = HashSet::new();
        let mut set = Vec::new();
        for record in &records {
            let reason = self.reason(record, &anchors, fetcher).map_err(Refusal::NotAllowed);
            let made = reason.and_then(|reason| self.endpoint(record, fetcher, &reason, &now, &mut labels));
            trail.offered(record.role, record.place.as_ref().map(|(url, _)| url), made.as_ref());
            match made {
                Ok(endpoint) => set.push(endpoint),
                Err(why) => refused(record, &why),
            }
        }
        if let Err(error) = self.registry.replace(OAUTH, set) {
            let error = error.to_string();
            log::warn!(error = error.as_str(); "harpoon host auto-registration failed");
        }
    }

    /// Why a record may be registered, or why not.
    fn reason(
        &self,
        record: &Record,
        anchors: &[&Origin],
        fetcher: &Fetcher,
    ) -> Result<String, &'static str> {
        let (_, origin) = record.place.as_ref().ok_or("invalid-url")?;
        let private = self.settings.hosts.reason(&origin.host);
        if !record.trusted {
            return Err(match private {
                Some(_) => "private-host-registration-disabled",
                None => "host-not-trusted",
            });
        }
        // A name without a dot may be anybody's, wherever this machine stands.
        let of_anchor = |anchor: &&Origin| anchor.host == origin.host && origin.host.contains(['.', ':']);
        let named = fetcher.is_named(origin).then(|| "oauth-trusted-origin".to_owned());
        let anchored = anchors.iter().any(of_anchor).then(|| "oauth-protected-resource-host".to_owned());
        named.or(private).or(anchored).ok_or("host-not-private")
    }

    /// The endpoint of a record; the one of last time, when nothing about it has changed.
    fn endpoint(
        &self,
        record: &Record,
        fetcher: &Fetcher,
        reason: &str,
        now: &Endpoints,
        labels: &mut HashSet<String>,
    ) -> Result<Arc<Endpoint>, Refusal> {
        let taken = |label: &str| now.labelled(label).is_some_and(|one| one.category != OAUTH);
        let label = free_label(record.role, |label| taken(label) || labels.contains(label));
        let label = label.ok_or(Refusal::Failed("no label is free".into()))?;
        let target = {
            let (url, methods) = (record.url.clone(), methods(record.role));
            config::learned_target(&self.settings, label.clone(), url, description(record.role), methods)
        };
        let mut target = target.map_err(Refusal::NotAllowed)?;
        if target.origin == fetcher.origin && self.unix_socket.is_some() {
            // The name before a socket is often made up; whoever has it in the network is somebody else.
            if !record.shares_socket {
                return Err(Refusal::NotAllowed("outside-issuer-path"));
            }
            target.unix_socket.clone_from(&self.unix_socket);
        }
        // What the operator registered decides how a URL is reached.
        let differs =
            |one: &Arc<Endpoint>| one.category != OAUTH && one.target.unix_socket != target.unix_socket;
        if now.at(&record.url).iter().any(differs) {
            return Err(Refusal::Failed("the URL is registered with another transport".into()));
        }
        labels.insert(label.clone());
        let same = |one: &&Arc<Endpoint>| {
            one.category == OAUTH
                && (&one.target.url, &one.tags) == (&target.url, &record.tags)
                && one.target.unix_socket == target.unix_socket
        };
        if let Some(known) = now.labelled(&label).filter(same) {
            return Ok(Arc::clone(known));
        }
        let client = self.net.harpoon(&self.settings, &target, self.workers);
        let client = client.map_err(|error| Refusal::Failed(error.to_string()))?;
        let origin = target.origin.to_string();
        log::info!(label = label.as_str(), origin = origin.as_str(), reason = reason; "harpoon host auto-registered");
        Ok(Arc::new(Endpoint { target, category: OAUTH, tags: record.tags.clone(), client }))
    }
}

/// Tells the log, each kind in its own words.
fn refused(record: &Record, why: &Refusal) {
    let why = match why {
        Refusal::NotAllowed(why) => *why,
        Refusal::Failed(error) => {
            let error = error.as_str();
            log::warn!(role = record.role, error = error; "harpoon host auto-registration failed");
            return;
        }
    };
    let origin = record.place.as_ref().map(|(_, origin)| origin.to_string()).unwrap_or_default();
    log::info!(role = record.role, origin = origin.as_str(), exclusion_reason = why; "harpoon host auto-registration skipped: not allowed");
}

/// What the documents name, in the order of registration.
fn records(fetcher: &Fetcher, source: &str, resource: &Resource, server: Option<&AuthServer>) -> Vec<Record> {
    const RESOURCE_TAG: &str = "protected-resource-metadata";
    const SERVER_TAG: &str = "auth-server-metadata";
    // The issuer that was asked for: what the document calls itself may be anything.
    let issuer_path = server.and_then(|server| candidates::learned(&server.asked));
    let issuer_path =
        issuer_path.map(|(url, _)| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
    let record = |role: &'static str, url: &str, tags: &[&str], of_server: bool| {
        let place = candidates::learned(url);
        // Another program may be an authorization server's neighbour behind one socket.
        let rest = place.as_ref().and_then(|(url, _)| url.path().strip_prefix(&issuer_path));
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let shares_socket = !of_server || role == SERVER_TAG || below;
        let trusted = place.as_ref().is_some_and(|(_, origin)| fetcher.trusts(origin));
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Record { role, url: url.to_owned(), place, trusted, shares_socket, tags }
    };
    let mut all = vec![record(RESOURCE, &resource.resource, &[RESOURCE_TAG, "resource"], false)];
    let issuer = resource.issuer.iter();
    all.extend(
        issuer.map(|url| record("prmd-auth-server", url, &[RESOURCE_TAG, "authorization-server"], false)),
    );
    all.push(record(SOURCE, source, &[RESOURCE_TAG, "source-url"], false));
    // It was read because its issuer is trusted. What it names lies with it, or is named by the operator too.
    if let Some(server) = server {
        let group = format!("group=auth-server:{}:0", crypto::fingerprint(&server.issuer));
        all.push(record(SERVER_TAG, &server.url, &[SERVER_TAG, &group], true));
        all.push(record("issuer", &server.issuer, &[SERVER_TAG, "issuer", &group], true));
        let endpoints = server.endpoints.iter();
        all.extend(endpoints.map(|(role, url)| record(role, url, &[SERVER_TAG, role, &group], true)));
    }
    all
}

/// `oauth-<role>-0`, or the first further name that is free.
fn free_label(role: &str, taken: impl Fn(&str) -> bool) -> Option<String> {
    let label = format!("oauth-{role}-0");
    if !taken(&label) {
        return Some(label);
    }
    let further = (1..10_000).map(|number| format!("{label}-{number}")).find(|label| !taken(label))?;
    log::info!(label = further.as_str(); "harpoon host auto-registration resolved label collision");
    Some(further)
}

/// What a record may be called with: documents are read, endpoints are posted to.
fn methods(role: &str) -> Vec<Method> {
    let is_endpoint = role.ends_with("-endpoint");
    vec![if is_endpoint { Method::POST } else { Method::GET }]
}

fn description(role: &str) -> &'static str {
    match role {
        RESOURCE => "The protected MCP server",
        "prmd-auth-server" => "Authorization server of the MCP server",
        SOURCE => "Protected resource metadata of the MCP server",
        "auth-server-metadata" => "Metadata of the authorization server",
        "issuer" => "Issuer of the authorization server",
        "token-endpoint" => "Token endpoint of the authorization server",
        "jwks-uri" => "Keys of the authorization server",
        "introspection-endpoint" => "Introspection endpoint of the authorization server",
        "registration-endpoint" => "Client registration endpoint of the authorization server",
        _ => "Revocation endpoint of the authorization server",
    }
}
