//! Validates the `control-plane.*` settings, in the order in which mistakes are reported.
//!
//! These values become parts of a request line or of a header, together with the API key:
//! each grammar is as narrow as the contract allows, so that no setting can add to a request what
//! it is not. Opens nothing; fails with the text of the reference client wherever that has one.

use std::time::Duration;

use ureq::http::HeaderMap;

use super::lookup::{Found, Giver, Lookup};
use super::reference::{self, References, is_reference};
use super::section::section;
use super::settings::{KEY_FLAG, TUNNEL_ID_FLAG};
use super::{Channel, Environment, Error, Identity, Network, Origin, Proxy, Secret, headers, proxy};
use crate::url::Url;

/// Default host of clients that show a certificate, as in the reference client:
/// this one asks for it. A host that somebody named is left alone.
const MTLS_BASE_URL: &str = "https://mtls.api.openai.com";

/// The guardrail pays for slow networks, not for slow servers.
const POLL_GUARDRAIL_LIMIT: Duration = Duration::from_secs(60);

/// Load balancers cut what is silent for longer, and until then a dead connection would go unseen.
const POLL_TOTAL_MAX: Duration = Duration::from_secs(600);

/// The letters and digits at the end of a tunnel's id, as the control plane makes them.
const TUNNEL_ID_BYTES: usize = 32;
/// Those of a namespace, which may stand before them.
const NAMESPACE_BYTES: usize = 4;

/// The channel of the endpoints that this program itself calls.
pub(crate) const RESERVED_CHANNEL: &str = "harpoon";

/// The setting that says where the control plane is.
pub(super) const BASE_URL_FLAG: &str = "control-plane.base-url";

/// The setting that says how long a poll may be held.
const TIMEOUT_FLAG: &str = "control-plane.poll-timeout";

/// The setting whose items other settings must agree with.
pub(super) const POLL_CHANNEL_FLAG: &str = "control-plane.poll-channel";

const TUNNEL_ID_MISSING: &str =
    "tunnel ID is required; set --control-plane.tunnel-id or CONTROL_PLANE_TUNNEL_ID";
const TUNNEL_ID_ADVICE: &str =
    "create or look up a tunnel at https://platform.openai.com/settings/organization/tunnels";
const API_KEY_MISSING: &str = "control plane API key is required; set --control-plane.api-key (env:/file:) or CONTROL_PLANE_API_KEY or OPENAI_API_KEY";
const API_KEY_ADVICE: &str =
    "create a runtime API key at https://platform.openai.com/settings/organization/api-keys";
section! {
    /// Settings of the control plane, in the order in which mistakes are reported.
    ControlPlane(lookup: &Lookup) {
        /// Client certificate for the control plane.
        identity: Option<Identity> =
            identity(lookup, "control-plane.client-cert", "control-plane.client-key", "control-plane")?;
        /// Scheme, host and port; path discarded; already switched to the mTLS host where that applies.
        origin: Origin = origin(lookup, identity.is_some())?;
        /// Source of the origin, and of the value that it hides, in words for people.
        #[cfg(feature = "operator")]
        origin_label: String = lookup.giver(BASE_URL_FLAG);
        /// Prefix before `/v1/`, empty or starting with `/` and not ending with it.
        url_path: String = lookup.read("control-plane.url-path", |found| url_path(found.text()))?.unwrap_or_default();
        /// `tunnel_`, perhaps a namespace of 4 and `_`, and 32 lower-case letters or digits.
        tunnel_id: String = {
            let id = lookup.read("control-plane.tunnel-id", |found| tunnel_id(found.text()))?.flatten();
            id.ok_or_else(|| Error::invalid(TUNNEL_ID_MISSING).of(TUNNEL_ID_FLAG).advise(TUNNEL_ID_ADVICE))?
        };
        /// Sent as `OpenAI-Organization` when set.
        organization_id: Option<String> = {
            let id = lookup.read("control-plane.organization-id", |found| organization(found.text()))?;
            id.filter(|id| !id.is_empty())
        };
        /// Size of the local queue, 1 to 10 000.
        max_inflight: usize = lookup.integer("control-plane.max-inflight")?;
        /// How long the plane may hold a poll.
        poll_timeout: Duration = lookup.duration(TIMEOUT_FLAG)?;
        /// What is added to it before the poll is given up.
        poll_guardrail: Duration = guardrail(lookup, poll_timeout)?;
        /// The channels asked for, sorted; empty means all.
        poll_channels: Vec<Channel> =
            lookup.read(POLL_CHANNEL_FLAG, |found| poll_channels(found.list()))?.unwrap_or_default();
        /// The runtime API key; empty where only everything else is checked.
        api_key: Secret = if lookup.keyless {
            Secret::new(String::new())
        } else {
            let key = lookup.read(KEY_FLAG, |found| api_key(lookup, found))?.flatten();
            key.ok_or_else(|| Error::invalid(API_KEY_MISSING).of(KEY_FLAG).advise(API_KEY_ADVICE))?
        };
        /// Source of the key in words for people (`env:CONTROL_PLANE_API_KEY`), never the key.
        api_key_label: String = if lookup.keyless {
            String::new()
        } else {
            lookup.read(KEY_FLAG, |found| Ok(key_label(found)))?.unwrap_or_default()
        };
        /// `control-plane.http-proxy`.
        proxy: Option<Proxy> = proxy::load(lookup, "control-plane.http-proxy")?;
        /// The most that the first poll of a process asks for.
        initial_poll_timeout: Duration = lookup.duration("control-plane.initial-poll-timeout")?;
        /// Whether answers tell how long their servers took.
        response_timing: bool = lookup.boolean("control-plane.response-timing")?;
        /// Added to every request, never replacing what the client itself sends.
        extra_headers: HeaderMap = headers::load(lookup, "control-plane.extra-headers", headers::RESERVED)?;
    }
}

/// Plain http is fine on loopback because nothing leaves the machine. A configured proxy takes it out
/// again, key included: then it needs the same insistence as any other plain http.
pub(crate) fn check_proxied_plaintext(
    lookup: &Lookup,
    plane: &ControlPlane,
    network: &Network,
) -> Result<(), Error> {
    let proxied = plane.proxy.is_some() || network.proxy.is_some();
    if plane.origin.tls || !proxied || lookup.boolean("control-plane.allow-plaintext-http")? {
        return Ok(());
    }
    let what = "http through a proxy would send the API key in plain text; use https, or insist with \
                --control-plane.allow-plaintext-http (control_plane.allow_plaintext_http in YAML)";
    Err(lookup.fault(BASE_URL_FLAG, &format!("invalid {BASE_URL_FLAG}: {what}")))
}

/// A certificate and its key: both or neither. Whether they are PEM, and belong together, `net`
/// finds out when it reads them.
pub(crate) fn identity(
    lookup: &Lookup,
    certificate: &str,
    key: &str,
    who: &str,
) -> Result<Option<Identity>, Error> {
    let (given, what) = match (lookup.path(certificate)?, lookup.path(key)?) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => return Ok(Some(Identity { certificate, key })),
        (Some(_), None) => (certificate, "client key path is required when certificate path is set"),
        (None, Some(_)) => (key, "client certificate path is required when key path is set"),
    };
    Err(lookup.fault(given, &format!("invalid {who} client certificate configuration: {what}")))
}

/// Origin of the control plane, one for every header and log line: a host root, on https unless somebody insists. A path
/// in the URL is dropped, as the reference does; `url-path` is what adds one. Credentials are
/// refused and not dropped, since they could only stand where somebody believes them to be sent.
pub(super) fn origin(lookup: &Lookup, has_identity: bool) -> Result<Origin, Error> {
    // Asked for first, so that a word that is no boolean is refused with https, too.
    let insists = lookup.boolean("control-plane.allow-plaintext-http")?;
    let origin = lookup.read(BASE_URL_FLAG, |found| {
        let text = found.text().trim();
        let is_default = text.trim_end_matches('/') == found.row.default;
        let text = if has_identity && is_default { MTLS_BASE_URL } else { text };
        if Url::parse(text).is_ok_and(|url| url.has_path()) {
            let what = format!(
                "{}: the path behind the host is not used; control-plane.url-path places one before /v1/",
                found.label()
            );
            lookup.references.warnings.borrow_mut().push(what);
        }
        base_url(text, insists).map_err(|what| format!("invalid {BASE_URL_FLAG}: {what}"))
    })?;
    origin.ok_or_else(|| Error::invalid(format!("{BASE_URL_FLAG} has no default")))
}

/// Checks a URL of the control plane; plain http beyond this host is for those who insist.
pub(crate) fn base_url(text: &str, insists: bool) -> Result<Origin, &'static str> {
    let url = Url::parse(text)?;
    match url.origin()? {
        _ if url.credentials.is_some() => Err("must not contain credentials"),
        origin if !origin.tls && !origin.is_loopback() && !insists => {
            Err("http would send the API key in plain text; use https, or insist with \
             --control-plane.allow-plaintext-http (control_plane.allow_plaintext_http in YAML)")
        }
        origin => Ok(origin),
    }
}

/// The prefix before `/v1/`, without a trailing slash. It is pasted into request lines, so it may
/// hold nothing that would end a path.
pub(crate) fn url_path(text: &str) -> Result<String, String> {
    let path = text.trim();
    let wrong = if path.contains("://") || path.contains(['?', '#']) || path.starts_with("//") {
        "must be a URL path without scheme, host, query, or fragment"
    } else if !path.is_empty() && !path.starts_with('/') {
        "must start with '/'"
    } else if !path.chars().all(|c| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c)) {
        "contains characters that must be percent-encoded"
    } else {
        return Ok(path.trim_end_matches('/').to_string());
    };
    Err(format!("invalid control-plane.url-path: {wrong}"))
}

/// The id becomes a path segment. What could change the path is refused with a sentence of its
/// own before the exact form is checked.
pub(crate) fn tunnel_id(id: &str) -> Result<Option<String>, String> {
    if id.is_empty() {
        return Ok(None);
    }
    // What Go leaves as it is in a path segment.
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.~$&+=:@".contains(c);
    let has = |bytes: usize, part: &str| {
        part.len() == bytes && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let parts = id.strip_prefix("tunnel_").unwrap_or_default();
    let (namespace, own) = parts.split_once('_').map_or((None, parts), |(space, own)| (Some(space), own));
    let wrong = if id.trim() != id {
        "be safe for use as a URL path parameter; it begins or ends with a blank"
    } else if id == "." || id == ".." || !id.chars().all(safe) {
        "be safe for use as a URL path parameter"
    } else if !has(TUNNEL_ID_BYTES, own) || !namespace.is_none_or(|space| has(NAMESPACE_BYTES, space)) {
        "match tunnel_<32 lowercase letters or digits>, or tunnel_<4>_<32> with a namespace"
    } else {
        return Ok(Some(id.to_string()));
    };
    Err(format!("invalid tunnel ID {id:?}: must {wrong}"))
}

/// The organization, which becomes a header value. A line break has a text of its own because it
/// is what an attempt to add a header would look like.
pub(super) fn organization(text: &str) -> Result<String, String> {
    let wrong = if text.contains(['\r', '\n']) {
        "cannot contain header line breaks"
    } else if !text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        "cannot be sent as a header"
    } else {
        return Ok(text.trim().to_string());
    };
    Err(format!("control-plane.organization-id {wrong}"))
}

/// What may pass between the end of a poll and its being given up, so that it ends before anything on the way loses
/// patience with a silent connection. It is checked against its own bound first, so that the sum is blamed only on two
/// that are legal.
fn guardrail(lookup: &Lookup, timeout: Duration) -> Result<Duration, Error> {
    const FLAG: &str = "control-plane.poll-deadline-guardrail";
    let guardrail = lookup.duration(FLAG)?;
    if guardrail >= POLL_GUARDRAIL_LIMIT {
        return Err(lookup.refuse(FLAG, "must be less than 1m0s"));
    }
    if timeout.saturating_add(guardrail) > POLL_TOTAL_MAX {
        return Err(lookup.refuse(TIMEOUT_FLAG, &format!("plus {FLAG} must be less than or equal to 10m0s")));
    }
    Ok(guardrail)
}

/// The allowlist, sorted. It must be written canonically, so that nobody believes to have
/// excluded a channel by a spelling that means another one.
fn poll_channels(items: &[String]) -> Result<Vec<Channel>, String> {
    const FLAG: &str = POLL_CHANNEL_FLAG;
    let mut channels = Vec::new();
    for text in items {
        if text.trim().is_empty() {
            return Err(format!("{FLAG} contains an empty channel"));
        }
        let channel = Channel::parse(text)
            .ok_or_else(|| format!("invalid {FLAG} {text:?}: invalid channel {text:?}"))?;
        if channel.as_str() != text {
            return Err(format!("{FLAG} {text:?} is not canonical; use {:?}", channel.as_str()));
        }
        if channels.contains(&channel) {
            return Err(format!("duplicate {FLAG} {text:?}"));
        }
        channels.push(channel);
    }
    // An empty list would be sent as none, and none means every channel.
    if channels.is_empty() {
        return Err(format!("{FLAG} must contain at least one channel"));
    }
    // Sorted, for they become part of a URL that should not change with the order of a list.
    channels.sort();
    Ok(channels)
}

/// The key; `None` for an empty text.
pub(super) fn api_key(lookup: &Lookup, found: &Found) -> Result<Option<Secret>, String> {
    let (references, text) = (&lookup.references, found.text());
    let key = match found.giver {
        _ if text.is_empty() => return Ok(None),
        Giver::Flag | Giver::Table => references.secret(KEY_FLAG, text)?,
        // Taken as it is, white space included, so that a pasted line ending is noticed.
        Giver::Environment(_) if !is_reference(text) => text.to_string(),
        Giver::Environment(_) | Giver::File(..) => references.value(found.label(), text)?,
    };
    sound_key(key, &key_label(found)).map(Some)
}

/// Where the key came from: the reference, or the name of the setting that held the key itself.
fn key_label(found: &Found) -> String {
    match found.giver {
        _ if is_reference(found.text()) => found.text().trim().to_string(),
        Giver::Environment(name) => format!("env:{name}"),
        _ => found.label().to_string(),
    }
}

impl ControlPlane {
    /// Whether commands of this channel are asked for.
    pub(crate) fn is_polled(&self, channel: &Channel) -> bool {
        self.poll_channels.is_empty() || self.poll_channels.contains(channel)
    }

    /// Tells whether a key of this label stands in a file.
    pub fn key_is_in_file(label: &str) -> bool {
        matches!(reference::split(label), Some(("file", _)))
    }

    /// The key that stands now in the file of this label, read by the rules of the start.
    pub fn key_of_file(label: &str) -> Result<Secret, String> {
        let environment = Environment::of_process().map_err(|error| error.to_string())?;
        sound_key(References::new(&environment).value(KEY_FLAG, label)?, label)
    }
}

/// Checks a key. Says nothing of what is in it, not even which character it was.
fn sound_key(key: String, label: &str) -> Result<Secret, String> {
    let what = if is_key(&key) {
        return Ok(Secret::new(key));
    } else if key.trim().contains(['\r', '\n']) {
        "it has more than one line"
    } else if key.trim() != key {
        "it begins or ends with a blank or a line ending"
    } else {
        "keys have letters, digits, - and _ alone"
    };
    Err(format!("control plane API key is malformed: {label}: {what}"))
}

/// The alphabet of the keys that are issued. It also keeps the header in one piece.
pub(super) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
