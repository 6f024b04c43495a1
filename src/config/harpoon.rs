//! Validates the `harpoon.*` settings: the endpoints that the product may call by name, and nothing else.
//!
//! The outside chooses among these, so a URL that could be read in two ways is refused here: what is compared
//! later is text. Opens nothing; fails with the text of the reference client wherever that has one. No text
//! repeats a query, or what could be credentials.

use std::path::PathBuf;

use regex_lite::Regex;
use ureq::http::{HeaderMap, Method, Uri};

use super::lookup::Lookup;
use super::{Cidr, Error, Origin, Proxy, proxy};

/// The endpoints that the product may call by name, and how they are called.
#[derive(Debug, Clone)]
pub struct Harpoon {
    /// In the order given; labels are unique.
    pub targets: Vec<HarpoonTarget>,
    /// Whether `http` URLs are allowed, of targets and of redirects.
    pub allow_plaintext_http: bool,
    /// The largest body that is handed on, 1 to 102 400.
    pub max_response_bytes: usize,
    /// How many redirects one call may follow; none at 0.
    pub max_redirects: usize,
    /// `harpoon.http-proxy`.
    pub proxy: Option<Proxy>,
    /// Which hosts of discovered URLs count as private.
    pub hosts: HostRules,
    /// `harpoon.capture-payloads`.
    pub capture_payloads: bool,
}

/// One endpoint: an exact URL with a name.
#[derive(Debug, Clone)]
pub struct HarpoonTarget {
    /// Its name towards the product: `[a-z0-9][a-z0-9_-]{0,63}`.
    pub label: String,
    /// Its URL as configured, ASCII, without credentials and fragment.
    pub url: String,
    /// The same, parsed.
    pub uri: Uri,
    /// The URL's origin.
    pub origin: Origin,
    /// Dial this socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// What the product is told of it; may be empty.
    pub description: String,
    /// What it may be called with: of GET, POST and PUT, in that order, at least one.
    pub methods: Vec<Method>,
    /// Sent with every call. The caller neither sees nor replaces them.
    pub headers: HeaderMap,
    /// The largest body that a caller may send.
    pub max_request_bytes: usize,
    /// Where its addresses must be; anywhere when empty.
    pub allowed_networks: Vec<Cidr>,
}

/// Which hosts of discovered URLs count as private. Names are compared and never resolved.
#[derive(Debug, Clone)]
pub struct HostRules {
    /// Lower-cased, each with a leading dot; the bare domain counts too.
    pub suffixes: Vec<String>,
    /// Tell nothing of case.
    pub regexes: Vec<Regex>,
    /// Whether `localhost` and loopback addresses do.
    pub loopback: bool,
    /// Whether addresses of RFC 1918 and unique local ones do.
    pub private: bool,
}

/// Validates all of it, targets first.
pub(crate) fn load(lookup: &Lookup) -> Result<Harpoon, Error> {
    Ok(Harpoon {
        targets: Vec::new(),
        allow_plaintext_http: lookup.boolean("harpoon.allow-plaintext-http")?,
        max_response_bytes: lookup.integer("harpoon.max-response-bytes")?,
        max_redirects: lookup.integer("harpoon.max-redirects")?,
        proxy: proxy::load(lookup, "harpoon.http-proxy")?,
        hosts: HostRules {
            suffixes: Vec::new(),
            regexes: Vec::new(),
            loopback: lookup.boolean("harpoon.hosts-include-loopback")?,
            private: lookup.boolean("harpoon.hosts-include-private")?,
        },
        capture_payloads: lookup.boolean("harpoon.capture-payloads")?,
    })
}
