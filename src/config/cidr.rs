//! Blocks of addresses, as `NO_PROXY` and `allowed_networks` write them.
//!
//! Both are read by the same code: two readings that differ by a bit would let through on one way what the other keeps out.
//! Knows no names and resolves none; what is no block is none, and its caller says so.

use std::net::IpAddr;

use crate::text;

/// `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// A block, or an address as a block of one. An IPv4 address that IPv6 maps is IPv4: it is the same
    /// machine. Bits below the prefix are allowed and mean nothing, as in Go.
    pub fn parse(text: &str) -> Option<Cidr> {
        let Some((network, prefix)) = text.split_once('/') else {
            let network: IpAddr = text.parse().ok()?;
            let network = network.to_canonical();
            return Some(Cidr { network, prefix_bits: width(network) });
        };
        let block = Cidr { network: network.parse().ok()?, prefix_bits: text::number(prefix)? };
        (block.prefix_bits <= width(block.network)).then_some(block)
    }

    /// A block that is known when this program is built. A prefix longer than the address covers nothing.
    #[cfg(feature = "harpoon")]
    pub(crate) const fn new(network: IpAddr, prefix_bits: u32) -> Cidr {
        Cidr { network, prefix_bits }
    }

    /// Whether the first bits agree. IPv4 written as IPv6 is IPv4 here too.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let differing = bits(address) ^ bits(self.network);
        // What differs is shifted out below the prefix; a prefix of none shifts everything out, where a
        // plain shift would overflow.
        let below = width(self.network).checked_sub(self.prefix_bits);
        address.is_ipv4() == self.network.is_ipv4()
            && below.is_some_and(|below| differing.checked_shr(below).is_none_or(|left| left == 0))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(block: &str, address: &str) -> bool {
        Cidr::parse(block).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn blocks_hold_their_addresses() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("10.1.2.3/8", "10.0.0.1"));
        assert!(holds("10.0.0.1", "10.0.0.1") && !holds("10.0.0.1", "10.0.0.2"));
        assert!(holds("::/0", "fe80::1") && holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe00::1"));
        assert!(holds("::ffff:10.0.0.1", "10.0.0.1"));
    }

    #[test]
    fn what_is_no_block_is_none() {
        for text in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/", "10.0/8", "ten.example/8"]
        {
            assert!(Cidr::parse(text).is_none(), "{text}");
        }
    }
}
