//! Guard of the page for people, where other machines may look at it.
//!
//! A request has to name the page as the operator allows, to show the token, and to come from no other site. Whoever
//! guesses gets few tries a minute; those are counted for each address by itself, so that nobody shuts the page for
//! others. A proxy in front makes one address of all its peers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{Reply, Request};
use super::token::is_bearer_or_password;
use crate::config::{AdminUi, Secret};
use crate::sync;

/// Wrong tokens of an address that are looked at within a minute, a slip of the fingers of several people.
const FAILURES_MAX: u32 = 20;

/// How long they are counted.
const FAILURES_TIME: Duration = Duration::from_secs(60);

/// Addresses for which they are counted at once; of more the one whose minute began first is forgotten.
const PEERS_MAX: usize = 256;

/// Guard with the token that holds now.
pub(crate) struct Guard {
    token: Mutex<Secret>,
    hosts: Vec<String>,
    /// By address when the first of its wrong tokens was shown, and how many were.
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Guard {
    /// Where other machines may look at the page.
    pub(crate) fn of(AdminUi { token, hosts, .. }: &AdminUi) -> Option<Arc<Guard>> {
        let token = Mutex::new(token.clone()?);
        Some(Arc::new(Guard { token, hosts: hosts.clone(), failures: Mutex::default() }))
    }

    /// Takes another token from now on.
    pub(crate) fn renew(&self, token: &Secret) {
        sync::lock(&self.token).clone_from(token);
    }

    /// Why a request for the page is refused at this moment.
    pub(super) fn refusal(&self, request: &Request, peer: IpAddr, now: Instant) -> Option<Reply> {
        if !self.hosts.iter().any(|host| request.is_from_here(host)) || request.is_of_another_site() {
            return Some(Reply::text(
                403,
                "This page answers to admin_ui.allowed_hosts, and to no other site.",
            ));
        }
        let (peer, mut failures) = (counted(peer), sync::lock(&self.failures));
        failures.retain(|_, (since, _)| now.saturating_duration_since(*since) < FAILURES_TIME);
        let (since, count) = failures.get(&peer).copied().unwrap_or((now, 0));
        if count == FAILURES_MAX {
            return Some(Reply::text(429, "Too many wrong tokens: try again in a minute."));
        }
        if is_bearer_or_password(request, &sync::lock(&self.token)) {
            return None;
        }
        // A browser asks without one first.
        if request.all("authorization").next().is_some() {
            if failures.is_empty() {
                let peer = peer.to_string();
                log::warn!(peer = peer.as_str(); "a wrong token was shown for /ui; {FAILURES_MAX} of an address within a minute are looked at");
            }
            failures.insert(peer, (since, count + 1));
            let first = failures.iter().min_by_key(|(_, (since, _))| *since).map(|(peer, _)| *peer);
            first.filter(|_| failures.len() > PEERS_MAX).and_then(|first| failures.remove(&first));
        }
        let mut reply = Reply::text(401, "Show the token: as password of any user, or as Bearer.");
        reply.headers.push(("WWW-Authenticate", "Basic realm=\"tunnel-client\"".to_owned()));
        Some(reply)
    }
}

/// The address that a peer is counted by: whoever has one of IPv6 has 64 bits of them.
fn counted(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn status(guard: &Guard, headers: &[(&str, &str)], now: Instant) -> u16 {
        status_of(guard, PEER, headers, now)
    }

    fn status_of(guard: &Guard, peer: IpAddr, headers: &[(&str, &str)], now: Instant) -> u16 {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = Request { headers: headers.collect(), ..Request::default() };
        guard.refusal(&request, peer, now).map_or(200, |reply| reply.status)
    }

    fn guard() -> Arc<Guard> {
        let token = Some(Secret::new("0123456789abcdef".to_owned()));
        let hosts = vec!["box.example".to_owned(), "192.0.2.1".to_owned()];
        Guard::of(&AdminUi { token, hosts, asks_for_browser: false }).unwrap()
    }

    #[test]
    fn name_site_and_token_have_to_be_right() {
        let (guard, now) = (guard(), Instant::now());
        let good = ("authorization", "Bearer 0123456789abcdef");
        let (host, site) = (("host", "box.example:8080"), ("sec-fetch-site", "cross-site"));
        for (headers, wanted) in [
            (vec![host, good], 200),
            (vec![("host", "192.0.2.1"), good], 200),
            (vec![("host", "localhost:1"), good], 200),
            (vec![host, ("origin", "http://box.example:8080"), good], 200),
            (vec![host, site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), good], 200),
            (vec![host, site, good], 403),
            (vec![host, ("origin", "http://evil.example"), good], 403),
            (vec![("host", "evil.example"), good], 403),
            (vec![good], 403),
            (vec![host], 401),
            (vec![host, ("authorization", "Bearer wrong")], 401),
        ] {
            assert_eq!(status(&guard, &headers, now), wanted, "{headers:?}");
        }
        guard.renew(&Secret::new("another token 0123".to_owned()));
        assert_eq!(status(&guard, &[host, good], now), 401);
    }

    #[test]
    fn guesses_are_few() {
        let (guard, now, host) = (guard(), Instant::now(), ("host", "box.example"));
        let shown = |text: &str, after: u64| {
            status(&guard, &[host, ("authorization", text)], now + Duration::from_secs(after))
        };
        // Browsers ask without a token first, as often as they like.
        assert!((0..100).all(|_| status(&guard, &[host], now) == 401));
        assert!((0..20).all(|number| shown("Bearer wrong", number) == 401));
        for text in ["Bearer wrong", "Bearer 0123456789abcdef"] {
            assert_eq!((shown(text, 20), shown(text, 59)), (429, 429), "{text}");
        }
        assert_eq!((shown("Bearer 0123456789abcdef", 60), shown("Bearer wrong", 60)), (200, 401));
    }

    /// A stranger does not keep out others, and has no more tries by more addresses of one network.
    #[test]
    fn guesses_are_counted_for_each_address() {
        let (guard, now, host) = (guard(), Instant::now(), ("host", "box.example"));
        let shown = |peer: &str, text: &str| {
            status_of(&guard, peer.parse().unwrap(), &[host, ("authorization", text)], now)
        };
        let good = "Bearer 0123456789abcdef";
        for number in 0..20 {
            assert_eq!(shown("192.0.2.7", "Bearer wrong"), 401);
            assert_eq!(shown(&format!("2001:db8::{number}"), "Bearer wrong"), 401);
        }
        for (peer, wanted) in [
            ("192.0.2.7", 429),
            ("192.0.2.8", 200),
            ("127.0.0.1", 200),
            ("2001:db8::ffff:1", 429),
            ("2001:db8:0:1::1", 200),
        ] {
            assert_eq!(shown(peer, good), wanted, "{peer}");
        }
        for number in 0..2 * PEERS_MAX {
            let peer = format!("10.0.{}.{}", number / 256, number % 256);
            assert_eq!((shown(&peer, "Bearer wrong"), shown(&peer, good)), (401, 200), "{peer}");
        }
        assert_eq!(sync::lock(&guard.failures).len(), PEERS_MAX);
    }
}
