//! Decides which addresses may be dialled where the outside has a say in what is called.
//!
//! The control plane and MCP servers are named by the operator and not judged. Endpoints that the product
//! calls by name, and URLs that were learned, are: a name may resolve to anything, today's answer need not be
//! tomorrow's, and what answers on the addresses below hands out credentials to whoever asks. `dialer` asks
//! here between resolving and dialling, and dials what was judged: there is no second resolution to differ.
//!
//! It judges every address of a name that would be dialled, and one that is refused refuses them all: a name
//! with a public and a forbidden address is a trick, not a host with a fault. Decides from settings and
//! addresses alone; fails with [`Kind::AddressForbidden`], which names the host and never the address.
//!
//! A proxy resolves names where nobody here can see it, so only literals are judged then; a name that needs
//! a judgement, and what was learned and is not known from the settings, is not sent to a proxy at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{Error, Kind};
use super::route::{Way, proxy_url};
use crate::config::{Cidr, Origin};

/// Rules for the destinations of a purpose.
#[derive(Debug)]
pub(super) enum AddressGuard {
    /// Every address is allowed: the settings name the destination.
    Open,
    /// This origin alone is allowed; within these networks, when there are any.
    Target(Origin, Vec<Cidr>),
    /// Public addresses are allowed, and these origins as if they were targets.
    Learned(Vec<Origin>),
}

/// Never dialled, whatever a setting says. Addresses of metadata services change hands for tokens.
#[rustfmt::skip]
const NEVER: [(Cidr, &str); 15] = [
    // Connecting to it reaches this machine, in a spelling that a check for loopback misses.
    (v4([0, 0, 0, 0], 8), "unspecified"),
    // Link-local: 169.254.169.254 of nearly every cloud, .170.2 and .170.23 of container credentials.
    (v4([169, 254, 0, 0], 16), "link-local or metadata"),
    (v4([100, 100, 100, 200], 32), "metadata (Alibaba)"),
    (v4([168, 63, 129, 16], 32), "metadata (Azure)"),
    // Protocol assignments; 192.0.0.192 is the metadata service of Oracle's older instances.
    (v4([192, 0, 0, 0], 24), "reserved or metadata"),
    // No TCP connection has one peer there.
    (v4([224, 0, 0, 0], 4), "multicast"),
    // Never assigned; the last one is broadcast.
    (v4([240, 0, 0, 0], 4), "reserved or broadcast"),
    (v6([0; 8], 128), "unspecified"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    // Unique local ones that clouds took for themselves. Amazon's block holds ::254 and the credentials of
    // containers (::23), and nothing that a site could have put there.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), "metadata (Amazon)"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "metadata (Google)"),
    (v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), "metadata (Oracle)"),
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), "metadata (Scaleway)"),
    // Discards what it is sent.
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "reserved"),
];

/// Not dialled for a URL that was learned: whoever made the URL up may not be able to reach these, and would
/// have us do it. For targets they are the very purpose.
const PRIVATE: [Cidr; 9] = [
    v4([127, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    // Shared by carriers; overlay networks live there too.
    v4([100, 64, 0, 0], 10),
    // Benchmarks; some sites number their inner networks from it.
    v4([198, 18, 0, 0], 15),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    // Site-local: no longer given out, still routed where it was.
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
];

const fn v4([a, b, c, d]: [u8; 4], prefix_bits: u32) -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_bits)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix_bits: u32) -> Cidr {
    Cidr::new(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix_bits)
}

impl AddressGuard {
    /// Checks whether `destination` may be reached this way at all. Its addresses are judged later where they are
    /// resolved here, and now where they never will be. A unix socket has no address that could lie.
    pub(super) fn permits(&self, destination: &Origin, way: Way<'_>) -> Result<(), Error> {
        let host = &destination.host;
        match (self, way) {
            (AddressGuard::Target(origin, _), _) if origin != destination => {
                Err(refusal(host, "it is not the origin of this target"))
            }
            (AddressGuard::Open, _) | (_, Way::Unix(_)) => Ok(()),
            // Literals too: the network behind a proxy is not the one that this machine knows.
            (AddressGuard::Learned(exempt), Way::Proxy(..)) if !exempt.contains(destination) => {
                Err(refusal(host, "it was not configured, and lies behind a proxy"))
            }
            _ if host.parse::<IpAddr>().is_ok() => self.admits(destination, host.parse().ok()),
            (_, Way::Direct(_)) => Ok(()),
            (AddressGuard::Target(_, networks), Way::Proxy(proxy, _)) if !networks.is_empty() => {
                let proxy = proxy_url(proxy);
                let what = "which resolves the name; add the host to NO_PROXY, or remove allowed_networks";
                Err(Error::setup(format!(
                    "allowed_networks of {host} cannot be checked behind proxy {proxy}, {what}"
                )))
            }
            (_, Way::Proxy(..)) => Ok(()),
        }
    }

    /// Checks whether all of these addresses may be dialled for `destination`.
    pub(super) fn admits(
        &self,
        destination: &Origin,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Error> {
        let (learned, networks): (_, &[Cidr]) = match self {
            AddressGuard::Open => return Ok(()),
            AddressGuard::Target(_, networks) => (false, networks.as_slice()),
            AddressGuard::Learned(exempt) => (!exempt.contains(destination), [].as_slice()),
        };
        for address in addresses {
            if let Some(why) = forbidden(address, learned) {
                return Err(refusal(&destination.host, &format!("its address is never dialled ({why})")));
            }
            // Only the address itself: what a translator makes of another one, it does somewhere else.
            if !networks.is_empty() && !networks.iter().any(|network| network.contains(address)) {
                return Err(refusal(&destination.host, "its address is outside allowed_networks"));
            }
        }
        Ok(())
    }
}

fn refusal(host: &str, why: &str) -> Error {
    Error::new(Kind::AddressForbidden, format!("connect to {host}: {why}"))
}

/// Why an address is refused, be it itself or one that it carries.
fn forbidden(address: IpAddr, learned: bool) -> Option<&'static str> {
    let address = address.to_canonical();
    let carried = match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) => carried(address),
    };
    carried.into_iter().map(IpAddr::V4).chain([address]).find_map(|address| {
        let known = NEVER.iter().find(|(block, _)| block.contains(address));
        let private = learned && PRIVATE.iter().any(|block| block.contains(address));
        known.map(|(_, why)| *why).or(private.then_some("private, and not configured"))
    })
}

/// The IPv4 addresses that an IPv6 address may end at, after a translator or the end of a tunnel. The form
/// that the system itself maps is IPv4 by now.
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let [_, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        // Compatible, translated, and NAT64 at its well-known prefix.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            vec![joined(s6, s7)]
        }
        // NAT64 at a site's own prefix, whose length nobody tells: all four places of RFC 6052, which leave
        // out the byte in the middle. Where the address does not stand, there are zeros, and they count for
        // nothing.
        [0x64, 0xff9b, 1, ..] => {
            let readings = [
                joined(s3, s4 << 8 | s5 >> 8),
                joined(s3 << 8 | s4 & 0xff, s5),
                joined(s4 << 8 | s5 >> 8, s5 << 8 | s6 >> 8),
                joined(s6, s7),
            ];
            readings.into_iter().filter(|reading| !matches!(reading.octets(), [0, ..])).collect()
        }
        // 6to4.
        [0x2002, ..] => vec![joined(s1, s2)],
        // Teredo: its server, and its client with all bits turned.
        [0x2001, 0, ..] => vec![joined(s2, s3), joined(!s6, !s7)],
        // ISATAP, whose prefix is any.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![joined(s6, s7)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proxy;

    fn origin(text: &str) -> Origin {
        Origin::of(&text.parse().unwrap()).unwrap()
    }

    fn verdict(guard: &AddressGuard, host: &str, addresses: &[&str]) -> Result<(), Kind> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        guard.admits(&origin(&format!("https://{host}")), addresses).map_err(|error| error.kind)
    }

    fn target(networks: &[&str]) -> AddressGuard {
        let networks = networks.iter().map(|text| Cidr::parse(text).unwrap());
        AddressGuard::Target(origin("https://h"), networks.collect())
    }

    #[rustfmt::skip]
    const NEVER_DIALLED: [&str; 36] = [
        "0.0.0.0", "0.1.2.3", "169.254.0.1", "169.254.169.254", "169.254.170.2", "100.100.100.200",
        "168.63.129.16", "192.0.0.192", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "fe80::1", "febf::1", "ff02::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
        "fd00:c1::a9fe:a9fe", "fd00:42::42", "100::1",
        // Carried: mapped, compatible, translated, NAT64, 6to4, Teredo (client, server), ISATAP.
        "::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254", "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1", "2001:0:1:1::5601:5601", "2001:0:a9fe:a9fe::1", "2001:db8::5efe:a9fe:a9fe",
        "2001:db8::200:5efe:a9fe:a9fe",
        // NAT64 at a site's prefix: of 48, 56, 64 and 96 bits.
        "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1:0:a9:fea9:fe00:0",
        "64:ff9b:1::169.254.169.254", "64:ff9b:1:a9fe:a9:fe00:0:1",
    ];

    #[test]
    fn some_addresses_are_never_dialled() {
        let exempt = AddressGuard::Learned(vec![origin("https://h")]);
        for address in NEVER_DIALLED {
            for guard in
                [&target(&[]), &target(&["0.0.0.0/0", "::/0"]), &exempt, &AddressGuard::Learned(vec![])]
            {
                assert_eq!(verdict(guard, "h", &[address]), Err(Kind::AddressForbidden), "{address}");
            }
            assert_eq!(verdict(&AddressGuard::Open, "h", &[address]), Ok(()));
        }
        // Neighbours of them are.
        for address in
            ["1.0.0.1", "169.253.0.1", "100.100.100.201", "192.0.1.1", "223.255.255.255", "fec0::1"]
        {
            assert_eq!(verdict(&target(&[]), "h", &[address]), Ok(()), "{address}");
        }
    }

    #[test]
    fn private_ones_are_for_what_was_configured() {
        let learned = AddressGuard::Learned(vec![origin("https://known:8443")]);
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.1.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fd12::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::",
            "64:ff9b:1::10.0.0.5",
        ] {
            assert_eq!(verdict(&target(&[]), "h", &[address]), Ok(()), "{address}");
            assert_eq!(verdict(&learned, "h", &[address]), Err(Kind::AddressForbidden), "{address}");
            assert_eq!(verdict(&learned, "known", &[address]), Err(Kind::AddressForbidden), "another port");
            assert_eq!(verdict(&learned, "known:8443", &[address]), Ok(()), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "64:ff9b:1::1.1.1.1"]
        {
            assert_eq!(verdict(&learned, "h", &[address]), Ok(()), "{address}");
        }
    }

    #[test]
    fn one_refused_address_refuses_the_name() {
        let forbidden = Err(Kind::AddressForbidden);
        assert_eq!(verdict(&target(&[]), "h", &["10.0.0.1", "169.254.169.254"]), forbidden);
        let guard = target(&["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(verdict(&guard, "h", &["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"]), Ok(()));
        assert_eq!(verdict(&guard, "h", &["10.0.0.1", "11.0.0.1"]), forbidden);
        assert_eq!(verdict(&guard, "h", &["64:ff9b::10.0.0.1"]), forbidden);
        let error = guard.admits(&origin("https://h/"), ["9.9.9.9".parse().unwrap()]).unwrap_err();
        assert_eq!(error.to_string(), "connect to h: its address is outside allowed_networks");
    }

    #[test]
    fn a_proxy_gets_no_name_that_must_be_judged() {
        let proxy = Proxy { origin: origin("http://p:1"), credentials: None, label: String::new() };
        let permits =
            |guard: &AddressGuard, url: &str, way| guard.permits(&origin(url), way).map_err(|e| e.kind);
        let proxied = Way::Proxy(&proxy, "");
        let forbidden = Err(Kind::AddressForbidden);
        assert_eq!(permits(&target(&[]), "https://h", proxied), Ok(()));
        assert_eq!(permits(&target(&["10.0.0.0/8"]), "https://h", proxied), Err(Kind::Setup));
        assert_eq!(permits(&target(&["10.0.0.0/8"]), "https://h", Way::Direct("none")), Ok(()));
        assert_eq!(permits(&target(&[]), "https://h:1", Way::Direct("none")), forbidden);
        assert_eq!(permits(&target(&[]), "http://h", Way::Unix("/s".as_ref())), forbidden);
        let learned = AddressGuard::Learned(vec![origin("https://known")]);
        assert_eq!(permits(&learned, "https://h", proxied), forbidden);
        assert_eq!(permits(&learned, "https://known", proxied), Ok(()));
        for literal in ["https://169.254.169.254", "https://[fe80::1]", "https://10.0.0.1"] {
            assert_eq!(permits(&learned, literal, proxied), forbidden, "{literal}");
            assert_eq!(permits(&learned, literal, Way::Direct("none")), forbidden, "{literal}");
        }
        assert_eq!(permits(&learned, "https://1.1.1.1", Way::Direct("none")), Ok(()));
        assert_eq!(permits(&learned, "https://1.1.1.1", proxied), forbidden);
        let literal =
            AddressGuard::Learned(vec![origin("https://10.0.0.1"), origin("https://169.254.169.254")]);
        assert_eq!(permits(&literal, "https://10.0.0.1", proxied), Ok(()));
        assert_eq!(permits(&literal, "https://169.254.169.254", proxied), forbidden);
    }
}
