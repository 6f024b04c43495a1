//! Guard of the page for people, where other machines may look at it.
//!
//! A request has to name the page as the operator allows, to show the token, and to come from no other site. Whoever
//! guesses gets few tries a minute; those are counted for everybody together, because a proxy in front makes one peer of
//! all. A flood of guesses therefore shuts the page, and nothing else of the listener.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{Reply, Request};
use super::token::is_bearer_or_password;
use crate::config::{AdminUi, Secret};
use crate::sync;

/// Wrong tokens that are looked at within a minute, a slip of the fingers of several people.
const FAILURES_MAX: u32 = 20;

/// How long they are counted.
const FAILURES_TIME: Duration = Duration::from_secs(60);

/// Guard with the token that holds now.
pub(crate) struct Guard {
    token: Mutex<Secret>,
    hosts: Vec<String>,
    /// When the first of the wrong tokens was shown, and how many were.
    failures: Mutex<Option<(Instant, u32)>>,
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
    pub(super) fn refusal(&self, request: &Request, now: Instant) -> Option<Reply> {
        if !self.hosts.iter().any(|host| request.is_from_here(host)) || request.is_of_another_site() {
            return Some(Reply::text(
                403,
                "This page answers to admin_ui.allowed_hosts, and to no other site.",
            ));
        }
        let mut failures = sync::lock(&self.failures);
        *failures = failures.filter(|(since, _)| now.saturating_duration_since(*since) < FAILURES_TIME);
        let (since, count) = failures.unwrap_or((now, 0));
        if count == FAILURES_MAX {
            return Some(Reply::text(429, "Too many wrong tokens: try again in a minute."));
        }
        if is_bearer_or_password(request, &sync::lock(&self.token)) {
            return None;
        }
        // A browser asks without one first.
        if request.all("authorization").next().is_some() {
            *failures = Some((since, count + 1));
            if count == 0 {
                log::warn!("a wrong token was shown for /ui; {FAILURES_MAX} within a minute are looked at");
            }
        }
        let mut reply = Reply::text(401, "Show the token: as password of any user, or as Bearer.");
        reply.headers.push(("WWW-Authenticate", "Basic realm=\"tunnel-client\"".to_owned()));
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, headers: &[(&str, &str)], now: Instant) -> u16 {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = Request { headers: headers.collect(), ..Request::default() };
        guard.refusal(&request, now).map_or(200, |reply| reply.status)
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
}
