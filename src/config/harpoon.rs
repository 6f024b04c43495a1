//! Validates the `harpoon.*` settings: the endpoints that the product may call by name, and nothing else.
//!
//! The outside chooses among these, so a URL that could be read in two ways is refused here: what is compared
//! later is text. Opens nothing; fails with the text of the reference client wherever that has one. No text
//! repeats a query, or what could be credentials.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use regex_lite::{Regex, RegexBuilder};
use ureq::http::Method;

use super::endpoint::{self, HarpoonTarget, Rules};
use super::lookup::{Found, Lookup};
use super::section::section;
use super::{Error, Health, Proxy, Secret, proxy, token};

/// Which hosts of discovered URLs count as private. Names are compared and never resolved.
#[derive(Debug, Clone)]
pub struct HostRules {
    /// Lower-cased, each with a leading dot; the bare domain counts too.
    pub suffixes: Vec<String>,
    /// Matched in any case, anywhere in the name.
    pub regexes: Vec<Regex>,
    /// Whether `localhost` and loopback addresses do.
    pub loopback: bool,
    /// Whether addresses of RFC 1918 and unique local ones do.
    pub private: bool,
}

impl HostRules {
    /// Why a host counts as private, in the words of the reference client. Link-local addresses never do.
    pub(crate) fn reason(&self, host: &str) -> Option<String> {
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let is_private = address.is_some_and(|address| match address {
            IpAddr::V4(address) => address.is_private(),
            IpAddr::V6(address) => address.is_unique_local(),
        });
        let covers = |suffix: &&String| host.ends_with(*suffix) || suffix.strip_prefix('.') == Some(host);
        let matching = || self.regexes.iter().find(|regex| regex.is_match(host));
        match self.suffixes.iter().find(covers) {
            _ if self.loopback && is_loopback => Some("loopback".into()),
            _ if self.private && is_private => Some("private-ip".into()),
            Some(suffix) => Some(format!("suffix:{suffix}")),
            None => matching().map(|regex| format!("regex:{regex}")),
        }
    }
}

/// The names of a registry are kept in memory and compared with every body that comes back.
const TARGETS_MAX: usize = 10_000;

/// The one further way to reach these endpoints that the reference client has.
const TRANSPORT: &str = "http-streamable";

const TARGET_FLAG: &str = "harpoon.target";
const TRANSPORT_FLAG: &str = "harpoon.additional-transport";
const TOKEN_FLAG: &str = "harpoon.transport-token";

section! {
    /// The endpoints that the product may call by name, and how they are called.
    Harpoon(lookup: &Lookup) {
        /// Lets programs of this host call them too, over the operator's listener.
        over_http: bool = {
            let transports = lookup.read(TRANSPORT_FLAG, |found| {
                match items(found).find(|item| *item != TRANSPORT) {
                    Some(other) => Err(format!("unsupported harpoon transport {other:?}")),
                    None => Ok(items(found).next().is_some()),
                }
            });
            transports?.unwrap_or_default()
        };
        /// Which hosts of discovered URLs count as private.
        hosts: HostRules = HostRules {
            suffixes: lookup.read("harpoon.hosts-include-suffix", |found| items(found).map(suffix).collect())?.unwrap_or_default(),
            regexes: lookup.read("harpoon.hosts-include-regex", |found| items(found).map(regex).collect())?.unwrap_or_default(),
            loopback: lookup.boolean("harpoon.hosts-include-loopback")?,
            private: lookup.boolean("harpoon.hosts-include-private")?,
        };
        /// Allows `http` URLs, of targets and of redirects.
        allow_plaintext_http: bool = lookup.boolean("harpoon.allow-plaintext-http")?;
        /// The largest body that is handed on, 1 to 102 400.
        max_response_bytes: usize = lookup.integer("harpoon.max-response-bytes")?;
        /// Redirects that one call may follow; none at 0.
        max_redirects: usize = lookup.integer("harpoon.max-redirects")?;
        /// `harpoon.http-proxy`.
        proxy: Option<Proxy> = proxy::load(lookup, "harpoon.http-proxy")?;
        /// Token that those programs must show.
        token: Option<Secret> = lookup.read(TOKEN_FLAG, |found| token::read(lookup, found))?.flatten();
        /// Keeps in the record of the last calls what they sent and received.
        capture_payloads: bool = lookup.boolean("harpoon.capture-payloads")?;
        /// In the order given; labels are unique.
        targets: Vec<HarpoonTarget> = {
            let rules = Rules { allow_plaintext_http, max_response_bytes };
            let targets = lookup.read(TARGET_FLAG, |found| {
                let entries = endpoint::entries(found)?;
                let targets = entries.iter().map(|entry| endpoint::target(lookup, found, rules, entry));
                registered(targets.collect::<Result<_, _>>()?)
            });
            targets?.unwrap_or_default()
        };
    }
}

impl Harpoon {
    /// An endpoint that was learned: its URL is held to the same grammar, and there is nothing else to set.
    pub(crate) fn learned(
        &self,
        label: String,
        url: String,
        description: &str,
        methods: Vec<Method>,
    ) -> Result<HarpoonTarget, &'static str> {
        let rules = Rules {
            allow_plaintext_http: self.allow_plaintext_http,
            max_response_bytes: self.max_response_bytes,
        };
        let target = HarpoonTarget::at(label, url, rules)?;
        if !target.has_plain_path() {
            return Err("contains invalid path segments");
        }
        Ok(HarpoonTarget { description: description.to_owned(), methods, ..target })
    }
}

/// Checks that whoever can reach the listener may see and do what it is to offer. Every user of this host can
/// reach a TCP port of it; a socket file is its owner's.
pub(crate) fn check_listener(lookup: &Lookup, harpoon: &Harpoon, health: &Health) -> Result<(), Error> {
    let refused = |flag: &str, why: &str| Err(lookup.refuse(flag, why));
    if harpoon.capture_payloads && health.unix_socket.is_none() {
        let why = "needs health.unix-socket: a TCP port would show the payloads to every user of this host";
        return refused("harpoon.capture-payloads", why);
    }
    if !harpoon.over_http {
        let why = "is of use only with harpoon.additional-transport http-streamable";
        return harpoon.token.as_ref().map_or(Ok(()), |_| refused(TOKEN_FLAG, why));
    }
    if health.unix_socket.is_none() && !health.listen.address.ip().to_canonical().is_loopback() {
        let why =
            "needs a listener of this host alone: set health.unix-socket, or a loopback health.listen-addr";
        return refused(TRANSPORT_FLAG, why);
    }
    if health.unix_socket.is_none() && harpoon.token.is_none() {
        let why = "needs harpoon.transport-token on a TCP listener, which every user of this host can reach; \
                   set it, or health.unix-socket";
        return refused(TRANSPORT_FLAG, why);
    }
    Ok(())
}

/// Checks what must hold among targets: a label names one, and a URL is reached in one way. Two labels may
/// well share a URL.
fn registered(targets: Vec<HarpoonTarget>) -> Result<Vec<HarpoonTarget>, String> {
    if targets.len() > TARGETS_MAX {
        return Err(format!("harpoon: registry limit {TARGETS_MAX} exceeded"));
    }
    let mut labels = HashSet::new();
    let mut sockets: HashMap<String, &Option<PathBuf>> = HashMap::new();
    for target in &targets {
        if !labels.insert(&target.label) {
            return Err(format!("harpoon: duplicate target label {:?}", target.label));
        }
        // Callers reach a template by its label alone.
        if target.template.is_some() {
            continue;
        }
        // Scheme and host are in lower case in it.
        let known = sockets.insert(target.uri.to_string(), &target.unix_socket);
        if known.is_some_and(|known| *known != target.unix_socket) {
            let origin = target.origin.to_string();
            return Err(format!("harpoon: duplicate target url {origin:?} uses a different transport"));
        }
    }
    Ok(targets)
}

/// The items of a list that are not blank.
fn items<'f>(found: &'f Found) -> impl Iterator<Item = &'f str> {
    found.list().iter().map(|item| item.trim()).filter(|item| !item.is_empty())
}

/// A domain, whose leading dot may be left out.
fn suffix(text: &str) -> Result<String, String> {
    let domain = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_legal = |label: &str| !label.is_empty() && label.chars().all(legal);
    if !domain.split('.').all(is_legal) {
        let expected = "expected a domain such as .example.internal";
        return Err(format!("invalid harpoon host suffix {text:?}: {expected}"));
    }
    Ok(format!(".{domain}"))
}

/// A pattern for whole or partial names, as the reference has it: it is for its writer to anchor it.
fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).case_insensitive(true).build();
    built.map_err(|error| format!("invalid harpoon host regex {text:?}: {error}"))
}

#[cfg(test)]
mod tests;
