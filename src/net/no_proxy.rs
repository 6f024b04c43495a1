//! `NO_PROXY`: destinations that no proxy is used for, as Go reads the list.
//!
//! Items are separated by commas: `*`, an address, a CIDR block, or a name; address and name may carry a
//! port. `example.com` covers its subdomains too, `.example.com` and `*.example.com` cover them alone.
//! It cannot fail: an item that means nothing matches nothing, and its destination stays behind the proxy.

use std::net::IpAddr;

use crate::config::Cidr;
use crate::text;

/// Parsed exceptions, each with its text.
#[derive(Debug)]
pub(super) struct NoProxy(Vec<(String, Item)>);

#[derive(Debug)]
enum Item {
    /// `*`
    Everything,
    /// `10.0.0.0/8`, for which ports do not apply; `10.0.0.1`, `[::1]:80`, which are blocks of one.
    Block { block: Cidr, port: Option<u16> },
    /// `.example.com` as a suffix; `itself` when `example.com` counts too.
    Name { suffix: String, itself: bool, port: Option<u16> },
}

impl NoProxy {
    /// Reads the list.
    pub(super) fn parse(list: &str) -> NoProxy {
        let items = list.split(',').map(str::trim);
        let parsed = |text: &str| Some((text.to_owned(), parse_item(&text.to_ascii_lowercase())?));
        NoProxy(items.filter_map(parsed).collect())
    }

    /// The first item by which `host` (without brackets) and `port` are reached without a proxy.
    pub(super) fn covering(&self, host: &str, port: u16) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        // Names are compared as written and never resolved: the proxy may be the only one who can.
        let address = address(&host);
        let mut items = self.0.iter();
        items.find(|(_, item)| item.covers(&host, address, port)).map(|(text, _)| text.as_str())
    }
}

/// Whether `host` names this machine. Proxies of the environment never apply to it: what they would reach
/// under this name is the proxy's own machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|address| address.is_loopback())
}

impl Item {
    /// `host` is in lower case; `address` is what it means when it is one.
    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let (matches, only) = match self {
            Item::Everything => (true, &None),
            Item::Block { block, port } => (address.is_some_and(|address| block.contains(address)), port),
            Item::Name { suffix, itself, port } => {
                let same = *itself && suffix.strip_prefix('.') == Some(host);
                (same || host.ends_with(suffix.as_str()), port)
            }
        };
        matches && only.is_none_or(|only| only == port)
    }
}

/// An item, trimmed and in lower case; `None` for one that is empty or makes no sense.
fn parse_item(item: &str) -> Option<Item> {
    if item == "*" {
        return Some(Item::Everything);
    }
    // Blocks first: their slash cannot be part of anything else.
    if item.contains('/') {
        return Cidr::parse(item).map(|block| Item::Block { block, port: None });
    }
    let (host, port) = match item.rsplit_once(':') {
        // An IPv6 address without brackets has colons of its own, and no port.
        Some((host, port)) if address(item).is_none() => (host, Some(text::number(port)?)),
        _ => (item, None),
    };
    if let Some(block) = Cidr::parse(bare(host)) {
        return Some(Item::Block { block, port });
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let name = host.strip_prefix('.').unwrap_or(host);
    let itself = name.len() == host.len();
    (!name.is_empty()).then(|| Item::Name { suffix: format!(".{name}"), itself, port })
}

/// An address, with or without brackets. IPv4 that IPv6 maps is IPv4: it is the same machine.
fn address(text: &str) -> Option<IpAddr> {
    bare(text).parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn bare(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, host: &str, port: u16) -> bool {
        NoProxy::parse(list).covering(host, port).is_some()
    }

    #[test]
    fn names() {
        assert!(covers("example.com", "example.com", 443));
        assert!(covers("example.com", "A.Example.com", 443));
        assert!(!covers("example.com", "badexample.com", 443));
        assert!(!covers(".example.com", "example.com", 443));
        assert!(covers(" .Example.com ,x", "a.example.com", 443));
        assert!(covers("*.example.com", "a.example.com", 443));
        assert!(!covers("*.example.com", "example.com", 443));
        assert!(covers("example.com:8443", "example.com", 8443));
        assert!(!covers("example.com:8443", "example.com", 443));
        assert!(!covers("example.com:http", "example.com", 80));
        assert!(!covers("example.com:+80", "example.com", 80));
        assert!(covers("*", "anything", 1));
        assert!(!covers("", "anything", 1));
        assert!(!covers(",.,*.,:80", "anything", 80));
    }

    #[test]
    fn addresses_and_blocks() {
        assert!(covers("10.0.0.1", "10.0.0.1", 1));
        assert!(!covers("10.0.0.1:2", "10.0.0.1", 1));
        assert!(covers("10.0.0.0/8", "10.9.8.7", 1));
        assert!(!covers("10.0.0.0/8", "11.0.0.1", 1));
        assert!(covers("0.0.0.0/0", "1.2.3.4", 1));
        assert!(!covers("0.0.0.0/0", "::1", 1));
        assert!(covers("::/0", "fe80::1", 1));
        assert!(covers("fd00::/8", "fd12::1", 1));
        assert!(covers("[::1]:80", "::1", 80));
        assert!(covers("::1", "::1", 80));
        assert!(covers("[::1]", "::1", 80));
        assert!(covers("::ffff:10.0.0.1", "10.0.0.1", 80));
        assert!(!covers("10.0.0.0/33", "10.0.0.1", 80));
        assert!(!covers("10.0.0.0/8", "ten.example.com", 80));
    }

    #[test]
    fn loopback() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example.com", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
