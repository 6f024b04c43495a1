//! Settings of the commands for administrators: the way to the control plane, and a key.
//!
//! The way is that of `run`, from the same rows of the table with the same complaints. The key is another
//! one: it manages tunnels and must never reach a daemon, so it has its own flag and variable, no place in a
//! file, and is not known to any other command.

use std::time::Duration;

use ureq::http::HeaderMap;

use super::lookup::Lookup;
use super::{ControlPlane, Environment, Error, Flags, Network, Secret, plane, proxy};

/// Time-out of one request. A person waits for it.
const REQUEST_TIME: Duration = Duration::from_secs(30);

const VARIABLE: &str = "OPENAI_ADMIN_KEY";
const MISSING: &str = "admin key is required; set --admin-key or OPENAI_ADMIN_KEY";
const BOTH_MISSING: &str = "tunnel get requires a runtime or admin key; set CONTROL_PLANE_API_KEY, OPENAI_API_KEY, OPENAI_ADMIN_KEY, or --admin-key";

/// The way to the control plane, with an administrator's key.
pub struct Admin {
    /// Settings of every outbound connection.
    pub network: Network,
    /// Way to the control plane. It names no tunnel and is not polled; one exchange may take its
    /// `poll_timeout`.
    pub control_plane: ControlPlane,
    /// Warnings about the files that were read.
    pub warnings: Vec<String>,
}

impl Admin {
    /// Reads flags and variables; `runtime_key_will_do` for what the tunnel itself may ask.
    pub fn load(flags: &Flags, environment: &Environment, runtime_key_will_do: bool) -> Result<Admin, Error> {
        let lookup = Lookup::of(flags, environment, None, false);
        let network = Network::load(&lookup)?;
        let (certificate, key_file) = ("control-plane.client-cert", "control-plane.client-key");
        let identity = plane::identity(&lookup, certificate, key_file, "control-plane")?;
        let url_path = lookup.read("control-plane.url-path", |found| plane::url_path(found.text()))?;
        let organization =
            lookup.read("control-plane.organization-id", |found| plane::organization(found.text()))?;
        let origin = plane::origin(&lookup, identity.is_some())?;
        let control_plane = ControlPlane {
            origin,
            origin_label: lookup.giver(plane::BASE_URL_FLAG),
            url_path: url_path.unwrap_or_default(),
            tunnel_id: String::new(),
            organization_id: organization.filter(|id| !id.is_empty()),
            api_key: key(flags, &lookup, runtime_key_will_do)?,
            api_key_label: String::new(),
            identity,
            proxy: proxy::load(&lookup, "control-plane.http-proxy")?,
            max_inflight: 1,
            poll_timeout: REQUEST_TIME,
            initial_poll_timeout: REQUEST_TIME,
            response_timing: false,
            poll_guardrail: Duration::ZERO,
            poll_channels: Vec::new(),
            extra_headers: HeaderMap::new(),
        };
        plane::check_proxied_plaintext(&lookup, &control_plane, &network)?;
        Ok(Admin { network, control_plane, warnings: lookup.references.warnings.into_inner() })
    }
}

/// The id of a tunnel, which becomes a part of a path.
pub fn tunnel_id(text: &str) -> Result<String, Error> {
    let id = plane::tunnel_id(text).map_err(Error::invalid)?;
    id.ok_or_else(|| Error::invalid("tunnel ID is required"))
}

/// The key: an administrator's, or that of the tunnel where it will do. A mistake about it is said without the prefix
/// of settings, as only these commands know it.
fn key(flags: &Flags, lookup: &Lookup, runtime_key_will_do: bool) -> Result<Secret, Error> {
    let references = &lookup.references;
    let key = match (flags.last("admin-key"), references.environment.get(VARIABLE)) {
        (Some(text), _) => references.secret("admin-key", text),
        (None, Some(text)) if !text.is_empty() => references.value(VARIABLE, text),
        (None, _) if runtime_key_will_do => {
            let key = lookup.read("control-plane.api-key", |found| plane::api_key(lookup, found))?;
            let key = key.flatten().ok_or_else(|| Error::usage(BOTH_MISSING))?;
            return Ok(key);
        }
        (None, Some(_)) => return Err(Error::usage("OPENAI_ADMIN_KEY must be non-empty")),
        (None, None) => return Err(Error::usage(MISSING)),
    };
    let key = key.map_err(Error::usage)?;
    // Says nothing about the key, not even which character it was.
    let sound = plane::is_key(&key).then(|| Secret::new(key));
    sound.ok_or_else(|| Error::usage("admin key is malformed"))
}
