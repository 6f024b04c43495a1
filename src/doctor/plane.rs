//! The control plane: the way to it, and whether it knows this tunnel and this key.
//!
//! It is asked for the tunnel's metadata by the client that `run` polls with. Nothing is polled, so no
//! command is ever taken from a process that serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::crypto;
use crate::net::Net;
use crate::ops::shell_quoted;
use crate::plane::client::Plane;
use crate::plane::hints;
use crate::plane::refusal::{Refusal, StatusError};
use crate::service;

use super::advice::Destination;
use super::local::KEY;
use super::report::Check;

/// The id of the metadata check.
pub(super) const METADATA: &str = "control_plane_metadata";

/// Bounds the request; `run` gives it the time of a poll.
const METADATA_TIME: Duration = Duration::from_secs(7);

/// The client of `run`, with polls as short as a check may take: that bounds the metadata as well.
pub(super) fn prepare(settings: &Settings, net: &Net) -> Result<Plane, String> {
    let mut settings = settings.clone();
    let plane = &mut settings.control_plane;
    // The guardrail is what a slow network may add to a poll. Whoever waits for a report adds nothing.
    (plane.poll_timeout, plane.poll_guardrail) = (METADATA_TIME, Duration::ZERO);
    let instance_id = crypto::random_id().map_err(|error| error.to_string())?;
    service::Shared::new(&settings, net)
        .plane(&instance_id, Arc::default())
        .map_err(|error| error.to_string())
}

/// The destination in the words of its settings.
pub(super) fn destination<'a>(plane: &'a Plane, settings: &Settings) -> Destination<'a> {
    Destination {
        client: plane.clients().polls,
        setting: "control-plane.base-url",
        proxy: "control-plane.http-proxy",
        identity: "set control-plane.client-cert and control-plane.client-key",
        tls: settings.control_plane.origin.tls,
        socket: None,
    }
}

/// Asks for the tunnel's metadata.
pub(super) fn metadata(plane: &Plane, settings: &Settings) -> Check {
    let began = Instant::now();
    let wanted = settings.control_plane.tunnel_id.as_str();
    let to = destination(plane, settings);
    match plane.metadata() {
        // A status of success proves little: portals answer 200 to everything. The id is what nobody else
        // knows.
        Ok(found) if found.id == wanted => {
            let took = began.elapsed().as_millis();
            Check::pass(METADATA, format!("the key may use tunnel \"{}\"; answered in {took} ms", found.name))
        }
        Ok(found) => {
            impostor(&format!("the answer is of tunnel \"{}\", not of {wanted}", found.id), settings)
        }
        Err(Refusal::Transport(error)) => return to.failed(METADATA.into(), &error),
        Err(Refusal::Status(error)) if error.is_page => impostor(&described(&error), settings),
        Err(Refusal::Status(error)) if error.status < 300 => impostor(&error.message, settings),
        Err(Refusal::Status(error)) => refused(&error),
    }
    .evidence([to.way()])
}

/// Whether it can be connected to, where there is no key to ask with. No request is sent.
pub(super) fn reached(plane: &Plane, settings: &Settings) -> Check {
    let to = destination(plane, settings);
    match to.client.check_connection(Instant::now() + METADATA_TIME) {
        Ok(()) => Check::skip(METADATA, format!("blocked by {KEY}; connected to {}", to.way())),
        Err(error) => to.failed(METADATA.into(), &error),
    }
}

/// A success that is not the control plane's.
fn impostor(what: &str, settings: &Settings) -> Check {
    let plane = &settings.control_plane;
    // Without the key: a command that is copied into a ticket must not hold one, and who answers in place of
    // the plane answers without it too.
    let url = format!("{}{}/v1/tunnels/{}", plane.origin, plane.url_path, plane.tunnel_id);
    Check::fail(
        METADATA,
        format!("what answers is not the control plane: {what}"),
        "Something answers in its place, such as a portal or a proxy that rewrites pages.",
        [
            "check control-plane.base-url, control-plane.url-path and control-plane.tunnel-id".to_owned(),
            format!("see what answers: curl -sSi {}", shell_quoted(&url)),
        ],
    )
}

/// What was answered, in the words of the log, and what it says.
fn described(error: &StatusError) -> String {
    let mut text = error.to_string();
    for part in [error.code.as_deref().unwrap_or_default(), &error.message] {
        if !part.is_empty() {
            text.push_str(&format!(": {part}"));
        }
    }
    text
}

/// Any other status: who has to act depends on it.
fn refused(error: &StatusError) -> Check {
    let why = match error.status {
        300..=399 => "Redirects of the control plane are not followed, because the key would go along.",
        401 => "Without a key that is accepted nothing is polled.",
        403 => "The key is known, but this tunnel is not its to use.",
        404 => {
            "Nobody knows this tunnel under this key: the id is mistyped, or belongs to another organization."
        }
        407 => "A proxy on the way wants credentials.",
        429 => "The plane was reached and asks for fewer requests; run waits as it is told.",
        500.. => "The plane was reached and fails by itself; run keeps trying.",
        _ => "The control plane does not take this client's requests.",
    };
    // The hint of `run`'s own log comes first, so that both say the same of the same code. What follows is
    // only worth typing where a person asks.
    let mut next: Vec<&str> = vec![hints::of(error)];
    next.extend_from_slice(match error.status {
        300..=399 => &["check control-plane.base-url: it has to name the control plane itself"],
        401 => &[
            "make a runtime key at https://platform.openai.com/settings/organization/api-keys",
            "name it: --control-plane.api-key file:/path/to/key (or CONTROL_PLANE_API_KEY)",
        ],
        403 | 404 => &[
            "compare with https://platform.openai.com/settings/organization/tunnels",
            "where a key belongs to several organizations: --control-plane.organization-id org-...",
        ],
        429 | 500.. => &["ask again in a minute: tunnel-client doctor"],
        _ => &["check control-plane.base-url and control-plane.url-path"],
    });
    next.retain(|line| !line.is_empty());
    let summary = described(error);
    // What the plane's support asks for.
    let id = error.tunnel_request_id.iter().map(|id| format!("request id: {id}"));
    let wait = error.retry_after.iter().map(|wait| format!("asked to stay away for {} s", wait.as_secs()));
    Check::fail(METADATA, summary, why, next).evidence(id.chain(wait))
}
