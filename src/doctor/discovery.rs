//! OAuth discovery of the server behind `main`: the search that `run` makes, made once and shown.
//!
//! A server without OAuth is fine. What is found is registered as `run` registers it, but with endpoints that
//! nobody serves, so nothing can be called. Evidence is what each place answered, without queries. A server
//! that is not reached at all is the failure of another check, and not of this one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Channel, Server, Settings};
use crate::net::Net;
use crate::oauth::Discovery;
use crate::service;

use super::examination::{Examination, NOT_ASKED};
use super::report::Check;

/// The id of the check.
const METADATA: &str = "oauth_metadata";

/// When the search and what follows it has to be over: `run` gives both 5 s, and they seldom take one.
const SEARCH_TIME: Duration = Duration::from_secs(8);

/// Adds the check, where there is a server behind `main`.
pub(super) fn check(settings: &Settings, net: &Result<&Net, String>, all: &mut Examination, offline: bool) {
    let id = METADATA.to_owned();
    let main = settings.mcp.bindings.iter().find(|binding| binding.channel == Channel::main());
    let Some(main) = main else { return };
    if matches!(main.server, Server::Stdio(_)) {
        return all.now([Check::skip(id, "stdio targets do not expose OAuth metadata URLs")]);
    }
    let discovery = net.as_ref().map(|net| service::lone_discovery(settings, net));
    let (discovery, blocked) = match discovery {
        Ok(Ok(Some(discovery))) => (Some(discovery), offline.then(|| NOT_ASKED.to_owned())),
        Ok(Ok(None)) => (None, Some("not looked for: control-plane.poll-channel leaves main out".into())),
        // What cannot be prepared is the failure of the check that prepares it as well.
        Ok(Err(error)) => (None, Some(format!("blocked: {error}"))),
        Err(blocked) => (None, Some(blocked.clone())),
    };
    all.announce(id, blocked.as_deref());
    if let Some(discovery) = discovery {
        all.job(offline, move || vec![examined(&discovery)]);
    }
}

/// The verdict on one search.
fn examined(discovery: &Arc<Discovery>) -> Check {
    let (verdict, record) = discovery.examine(Instant::now() + SEARCH_TIME);
    let check = match (verdict, record.unread) {
        (Err(_), _) if record.unreached => Check::skip(METADATA, "blocked by mcp_server_reachable"),
        (Err(miss), _) => {
            let trust = miss.setting();
            let trust = trust.map(|setting| format!("if that origin is yours to trust, add {setting}"));
            let next = trust.unwrap_or_else(|| {
                "have the server answer there with JSON that names its resource, or with 404; if it asks \
                 something of every caller, there is mcp.discovery-extra-headers"
                    .into()
            });
            let why_it_matters =
                "run is not ready before this search succeeds, and callers are not told how to sign in.";
            Check::fail(METADATA, miss.to_string(), why_it_matters, [next])
        }
        (Ok(_), Some(why)) => {
            let next = "have the authorization server answer, then ask again: tunnel-client doctor";
            let why_it_matters =
                "The endpoints of the authorization server cannot be called until it answers.";
            Check::fail(METADATA, why, why_it_matters, [next])
        }
        (Ok(Some(summary)), None) => Check::pass(METADATA, summary),
        (Ok(None), None) => {
            let statuses: Vec<String> = record.absences.iter().map(u16::to_string).collect();
            let statuses = statuses.join(" or ");
            let summary = format!("OAuth metadata not advertised; all candidates returned HTTP {statuses}");
            Check::pass(METADATA, summary)
        }
    };
    check.evidence(record.steps)
}
