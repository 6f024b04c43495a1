//! Makes what OAuth discovery found callable by name, as far as it is trusted.
//!
//! A public server could otherwise steer us at hosts inside: what is registered lies on the configured server's
//! own origin, or on one that the operator named; and its host is private by the rules of the settings, or is
//! the configured one. A set takes the place of the one before, and cannot lead a call to an endpoint that the
//! operator configured. Nothing here fails: what may not be registered is left out, and the log says why.

use std::sync::{Arc, Mutex};

use ureq::http::Method;

use crate::config;
use crate::crypto;
use crate::oauth::{AuthServer, Place, Register, Resource};
use crate::sync;
use crate::url::Origin;

use super::Maker;
use super::registry::{Endpoint, Endpoints, OAUTH, Registry};

/// Registers endpoints that discovery found.
pub struct Registrar {
    /// Makes the ways to them.
    pub(crate) maker: Arc<Mutex<Maker>>,
    /// Settings that hold for all endpoints.
    pub settings: config::Harpoon,
    /// Where they are registered.
    pub registry: Arc<Registry>,
    /// The MCP server; endpoints of its origin share its socket.
    pub server: config::HttpServer,
    /// Origins that the operator named besides the server's.
    pub named: Vec<Origin>,
}

/// URL in a document that may become an endpoint.
struct Record {
    role: &'static str,
    url: String,
    place: Option<Place>,
    /// Whether it is behind the MCP server's socket, if it is of its origin.
    shares_socket: bool,
    tags: Vec<String>,
}

/// Why a record is not registered.
enum Refusal {
    /// Most of what a document names is not ours to call.
    NotAllowed(&'static str),
    /// It should have been registered.
    Failed(String),
}

/// Roles of the protected resource's own document with their second tags.
const RESOURCE: &str = "prmd-resource";
const SOURCE: &str = "prmd-source";

impl Register for Registrar {
    fn register(&self, source: &Place, resource: &Resource, server: Option<&AuthServer>) -> Vec<String> {
        let records = records(source, resource, server);
        let anchors = records.iter().filter(|record| matches!(record.role, RESOURCE | SOURCE));
        let anchors = anchors.filter_map(|record| Some(&record.place.as_ref()?.origin));
        let anchors: Vec<&Origin> = anchors.filter(|origin| self.trusts(origin)).collect();
        // Before the look at what there is, which is made of the same.
        let maker = sync::lock(&self.maker);
        let now = self.registry.now();
        let mut set = Vec::new();
        let mut steps = Vec::new();
        for record in &records {
            let role = record.role;
            let verdict = match self.endpoint(&maker, record, &anchors, &now, &set) {
                Ok(endpoint) => {
                    let verdict = format!("may be called, as {}", endpoint.target.label);
                    set.push(endpoint);
                    verdict
                }
                Err(Refusal::NotAllowed(why)) => {
                    let origin = record.place.as_ref().map(|place| place.origin.to_string());
                    let origin = origin.unwrap_or_default();
                    log::info!(role = role, origin = origin.as_str(), exclusion_reason = why; "harpoon host auto-registration skipped: not allowed");
                    format!("may not be called ({why})")
                }
                Err(Refusal::Failed(why)) => {
                    log::warn!(role = role, error = why.as_str(); "harpoon host auto-registration failed");
                    format!("cannot be called ({why})")
                }
            };
            let place = record.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
            steps.push(format!("{role}{place} {verdict}"));
        }
        if let Err(error) = self.registry.replace(OAUTH, set) {
            log::warn!(error = error.as_str(); "harpoon host auto-registration failed");
        }
        steps
    }

    fn would_call(&self, origin: &Origin) -> bool {
        self.settings.hosts.reason(&origin.host).is_some() || !has_domain(origin)
    }
}

impl Registrar {
    /// Whether a document's URL of this origin may be called at all.
    fn trusts(&self, origin: &Origin) -> bool {
        *origin == self.server.origin || self.named.contains(origin)
    }

    /// Why a record may be registered, or why not.
    fn reason(&self, origin: &Origin, anchors: &[&Origin]) -> Result<String, &'static str> {
        let private = self.settings.hosts.reason(&origin.host);
        if !self.trusts(origin) {
            return Err(match private {
                Some(_) => "private-host-registration-disabled",
                None => "host-not-trusted",
            });
        }
        if self.named.contains(origin) {
            return Ok("oauth-trusted-origin".into());
        }
        // A name without a dot may be anybody's, wherever this machine stands.
        let anchored = has_domain(origin) && anchors.iter().any(|anchor| anchor.host == origin.host);
        private.or(anchored.then(|| "oauth-protected-resource-host".into())).ok_or("host-not-private")
    }

    /// The endpoint of a record, beside those of its `set`; the one of last time, when nothing about it has changed.
    fn endpoint(
        &self,
        maker: &Maker,
        record: &Record,
        anchors: &[&Origin],
        now: &Endpoints,
        set: &[Arc<Endpoint>],
    ) -> Result<Arc<Endpoint>, Refusal> {
        let place = record.place.as_ref().ok_or(Refusal::NotAllowed("invalid-url"))?;
        let reason = self.reason(&place.origin, anchors).map_err(Refusal::NotAllowed)?;
        let label = free_label(record.role, |label| {
            now.labelled(label).is_some_and(|one| one.category != OAUTH)
                || set.iter().any(|one| one.target.label == label)
        });
        let label = label.ok_or(Refusal::Failed("no label is free".into()))?;
        let (url, methods) = (record.url.clone(), methods(record.role));
        let target = self.settings.learned(label.clone(), url, description(record.role), methods);
        let mut target = target.map_err(Refusal::NotAllowed)?;
        if target.origin == self.server.origin && self.server.unix_socket.is_some() {
            // The name before a socket is often made up; whoever has it in the network is somebody else.
            if !record.shares_socket {
                return Err(Refusal::NotAllowed("outside-issuer-path"));
            }
            target.unix_socket.clone_from(&self.server.unix_socket);
        }
        // What the operator registered decides how a URL is reached.
        let differs =
            |one: &Arc<Endpoint>| one.category != OAUTH && one.target.unix_socket != target.unix_socket;
        if now.at(&record.url).iter().any(differs) {
            return Err(Refusal::Failed("the URL is registered with another transport".into()));
        }
        let same = |one: &&Arc<Endpoint>| {
            one.category == OAUTH
                && (&one.target.url, &one.tags) == (&target.url, &record.tags)
                && one.target.unix_socket == target.unix_socket
        };
        if let Some(known) = now.labelled(&label).filter(same) {
            return Ok(Arc::clone(known));
        }
        let endpoint = maker.endpoint(target, OAUTH, &record.tags);
        let endpoint = endpoint.map_err(|error| Refusal::Failed(error.to_string()))?;
        let (label, origin) = (label.as_str(), endpoint.target.origin.to_string());
        log::info!(label = label, origin = origin.as_str(), reason = reason.as_str(); "harpoon host auto-registered");
        Ok(endpoint)
    }
}

/// Whether a host is an address or has a dot in its name.
fn has_domain(origin: &Origin) -> bool {
    origin.host.contains(['.', ':'])
}

/// What the documents name, in the order of registration.
fn records(source: &Place, resource: &Resource, server: Option<&AuthServer>) -> Vec<Record> {
    const RESOURCE_TAG: &str = "protected-resource-metadata";
    const SERVER_TAG: &str = "auth-server-metadata";
    // The issuer that was asked for: what the document calls itself may be anything.
    let issuer_path = server.map(|server| server.asked.place.url.path().trim_end_matches('/'));
    let record = |role: &'static str, url: &str, tags: &[&str]| {
        let place = Place::learned(url);
        // Another program may be an authorization server's neighbour behind one socket.
        let below = place.as_ref().and_then(|place| place.url.path().strip_prefix(issuer_path?));
        let below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let shares_socket = tags.first() == Some(&RESOURCE_TAG) || role == SERVER_TAG || below;
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Record { role, url: url.to_owned(), place, shares_socket, tags }
    };
    let mut all = vec![record(RESOURCE, &resource.resource, &[RESOURCE_TAG, "resource"])];
    if let Some(issuer) = &resource.issuer {
        all.push(record("prmd-auth-server", &issuer.text, &[RESOURCE_TAG, "authorization-server"]));
    }
    all.push(record(SOURCE, &source.url.to_string(), &[RESOURCE_TAG, "source-url"]));
    // It was read because its issuer is trusted. What it names lies with it, or is named by the operator too.
    if let Some(server) = server {
        let group = format!("group=auth-server:{}:0", crypto::fingerprint(&server.issuer));
        all.push(record(SERVER_TAG, &server.place.url.to_string(), &[SERVER_TAG, &group]));
        all.push(record("issuer", &server.issuer, &[SERVER_TAG, "issuer", &group]));
        for (role, url) in &server.endpoints {
            all.extend(url.iter().map(|url| record(role, url, &[SERVER_TAG, role, &group])));
        }
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
