//! `NO_PROXY` and blocks of addresses, against a list that is read word by word and bits that are compared one by one.

use std::net::IpAddr;

use super::list::{NoProxy, is_loopback};
use crate::config::Cidr;
use crate::fuzz::bytes::Bytes;

/// Lines: the list, a host, a port, a block.
pub fn run(data: &[u8]) {
    let lines = Bytes(data).lines();
    let [list, host, port, block] = [0, 1, 2, 3].map(|at| lines.get(at).copied().unwrap_or_default());
    let port = port.parse().unwrap_or(443);
    let items = list.split(',').map(str::trim);
    let expected =
        items.clone().find(|item| covers(&item.to_ascii_lowercase(), &host.to_ascii_lowercase(), port));
    assert_eq!(NoProxy::parse(list).covering(host, port), expected, "{list} {host} {port}");
    if let Some(address) = address(host) {
        let within = Cidr::parse(block).map(|block| block.contains(address));
        assert_eq!(within, within_block(block, address), "{block} {address}");
        assert_eq!(is_loopback(host), address.to_canonical().is_loopback());
    } else {
        assert_eq!(is_loopback(host), host.eq_ignore_ascii_case("localhost"));
        assert_eq!(Cidr::parse(block).is_some(), within_block(block, IpAddr::from([0, 0, 0, 0])).is_some());
    }
}

fn bare(text: &str) -> &str {
    match text.len() > 1 && text.starts_with('[') && text.ends_with(']') {
        true => &text[1..text.len() - 1],
        false => text,
    }
}

/// Addresses are read by the standard library on both sides.
fn address(text: &str) -> Option<IpAddr> {
    bare(text).parse().ok()
}

/// The bits of an address, the first one first. IPv4 written as IPv6 is IPv4.
fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// Whether an address is within a block; `None` for what is no block.
fn within_block(block: &str, address: IpAddr) -> Option<bool> {
    let Some(slash) = block.find('/') else {
        let one: IpAddr = block.parse().ok()?;
        return Some(bits(one) == bits(address));
    };
    let (network, digits) = (block[..slash].parse::<IpAddr>().ok()?, &block[slash + 1..]);
    let width = if network.is_ipv4() { 32 } else { 128 };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let prefix = digits.trim_start_matches('0');
    let prefix: usize = if prefix.is_empty() { 0 } else { prefix.parse().ok()? };
    if prefix > width {
        return None;
    }
    // A network that is written as IPv6 is not folded: its prefix counts bits of IPv6.
    let own: Vec<bool> = match network {
        IpAddr::V4(_) => bits(network),
        IpAddr::V6(network) => (0..128).map(|bit| network.to_bits() >> (127 - bit) & 1 == 1).collect(),
    };
    let other = bits(address);
    Some(own.len() == other.len() && own[..prefix] == other[..prefix])
}

/// Whether one item, in lower case, covers a host.
fn covers(item: &str, host: &str, port: u16) -> bool {
    if item == "*" {
        return true;
    }
    if item.contains('/') {
        return address(host).and_then(|address| within_block(item, address)) == Some(true);
    }
    let colon = item.rfind(':').filter(|_| address(item).is_none());
    let (name, only) = colon.map_or((item, None), |colon| (&item[..colon], Some(&item[colon + 1..])));
    if let Some(only) = only {
        let plain = !only.is_empty() && only.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || only.trim_start_matches('0') != port.to_string().trim_start_matches('0') {
            return false;
        }
    }
    if let Some(own) = address(name) {
        return address(host).is_some_and(|host| bits(own) == bits(host));
    }
    let subdomains = |name: &str| host.len() > name.len() && host.ends_with(&format!(".{name}"));
    if let Some(name) = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        // With the star and a dot too many nothing but the dot is taken away.
        return !name.is_empty() && host.ends_with(&format!(".{name}"));
    }
    !name.is_empty() && (host == name || subdomains(name))
}
