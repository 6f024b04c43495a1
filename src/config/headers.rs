//! Header lists: `Name: value` items, and maps of them in YAML.
//!
//! Values may be secrets. They are marked sensitive, so that not even `Debug` prints them, and no
//! error text repeats one. Names and values are checked here, once, so that nothing that is set
//! can break a request apart later.

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::Error;
use super::document::Raw;
use super::lookup::Lookup;

/// Headers in which the client names itself; an operator may not set them. (`plane` would send its
/// own values all the same; the refusal is for the person who expects another outcome.)
pub(crate) const RESERVED: &str = "authorization accept user-agent x-tunnel-client-name x-tunnel-client-version \
    x-tunnel-client-wire-protocol-version x-tunnel-mcp-server-info";

/// More stand in no request, and servers refuse fewer.
const HEADERS_MAX: usize = 256;

/// The headers of a setting, with references resolved and without the reserved names. MCP servers
/// reserve none: which names may go there besides those of a command, `target` decides.
pub(crate) fn load(lookup: &Lookup, flag: &str, reserved: &str) -> Result<HeaderMap, Error> {
    let headers = lookup.read(flag, |found| {
        let pairs: Vec<(&str, &str)> = match &found.raw {
            Raw::Map(_) => found.raw.pairs(),
            // An item without a colon may be a secret by itself, so it is not quoted.
            _ => {
                let pairs = found.list().iter().map(|item| item.split_once(':'));
                pairs.collect::<Option<_>>().ok_or("invalid header: expected 'Key: Value'")?
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            add(lookup, flag, &mut headers, name.trim(), value.trim())?;
        }
        let is_reserved = |name: &&str| reserved.split(' ').any(|known| known == *name);
        match headers.keys().map(HeaderName::as_str).find(is_reserved) {
            Some(name) => Err(format!(
                "{flag} {:?} cannot override control-plane authentication or client metadata headers",
                canonical(name)
            )),
            None => Ok(headers),
        }
    })?;
    Ok(headers.unwrap_or_default())
}

/// Names of headers, when a list of them was set; an empty list is one.
pub(crate) fn names(lookup: &Lookup, flag: &str) -> Result<Option<Vec<HeaderName>>, Error> {
    lookup.read(flag, |found| {
        let names = found.list().iter().map(|name| name.trim()).map(|name| {
            name.parse().map_err(|_| format!("{flag} contains invalid HTTP header name {name:?}"))
        });
        names.collect()
    })
}

/// Adds one header. Spellings that differ in case name one header: equal values collapse, and
/// different ones are refused, since which of them won would depend on their order.
pub(crate) fn add(
    lookup: &Lookup,
    flag: &str,
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
) -> Result<(), String> {
    if name.is_empty() {
        return Err("invalid header: key cannot be empty".into());
    }
    if value.is_empty() {
        return Err(format!("invalid header value for {name:?}: value cannot be empty"));
    }
    if value.contains(['\r', '\n']) {
        return Err(format!("invalid header value for {name:?}: value cannot contain CR or LF"));
    }
    // Before the reference is resolved, so that its source can be named as people know it.
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{flag} contains invalid HTTP header name {name:?}"))?;
    let shown = canonical(header.as_str());
    let text = lookup.references.value(&format!("{flag}.{shown}"), value)?;
    // Refuses control characters, whatever the text came from.
    let mut value = HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| format!("{flag} contains invalid HTTP header value for {shown:?}"))?;
    value.set_sensitive(true);
    if headers.get(&header).is_some_and(|present| *present != value) {
        return Err(format!("{flag} contains conflicting values for case-insensitive HTTP header {shown:?}"));
    }
    if headers.len() >= HEADERS_MAX && !headers.contains_key(&header) {
        return Err(format!("{flag} contains more than {HEADERS_MAX} headers"));
    }
    headers.insert(header, value);
    Ok(())
}

/// `x-some-name` as `X-Some-Name`, which is how people read header names.
fn canonical(name: &str) -> String {
    let mut starts = true;
    let letters = name.chars().map(|c| {
        let shown = if starts { c.to_ascii_uppercase() } else { c };
        starts = c == '-';
        shown
    });
    letters.collect()
}
