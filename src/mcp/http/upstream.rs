//! HTTP requests to one MCP server: headers, static headers, redirects.
//!
//! Here it is decided which credentials go where. A caller's stay within the configured origin, the
//! operator's static headers within the configured path too. A redirect that would lead elsewhere is not
//! followed; it comes back as the reply that it is, and the log names the origin it pointed to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::config::Channel;
use crate::net::{Budget, Client, Error, Reply, Request};
use crate::ops::metrics::{Destination, Metrics};
use crate::relay::stop::Stop;
use crate::url::{self, Origin};

/// Most redirects of one request; Python servers need one, for a slash.
const REDIRECTS_MAX: usize = 5;

/// The `Accept` of a message, unless the caller brings its own. Every revision asks for both.
const ACCEPT_BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// MCP server over HTTP: where it is, and what its calls and probes share. No `Debug`: static headers are often
/// credentials.
pub(super) struct Upstream {
    pub(super) channel: Channel,
    pub(super) url: Uri,
    pub(super) origin: Origin,
    /// The label under which requests are counted: the origin alone, since the path may be what guards it.
    pub(super) place: Destination,
    pub(super) calls: Client,
    /// Subscriptions have connections of their own, so that a stop can end them first.
    pub(super) subscriptions: Client,
    pub(super) ttl: Duration,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Arc<Stop>,
    /// Sent to the configured path only.
    pub(super) static_headers: HeaderMap,
    /// Sent with probes only; commands never carry them.
    pub(super) probe_headers: HeaderMap,
    /// The only headers of callers that pass, where there is such a list.
    pub(super) forwarded: Option<Vec<HeaderName>>,
}

/// What a request is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A command.
    Call,
    /// A command whose answer never ends by itself.
    Subscription,
    /// A message of our own. It takes the way that calls take, proxy and certificate included, or it would
    /// prove nothing about them; but it is not counted.
    Probe,
}

impl Upstream {
    /// Sends to the server and follows 307 and 308 within its origin; every other redirect comes
    /// back as it is. `headers` win over the static ones.
    ///
    /// All hops share one deadline. Each is a new request with the same bytes: a server that redirects has
    /// not run the message, so this is no second attempt.
    pub(super) fn send(
        &self,
        purpose: Purpose,
        method: Method,
        headers: &HeaderMap,
        body: Option<&str>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let client = if purpose == Purpose::Subscription { &self.subscriptions } else { &self.calls };
        let parts = body.map(|body| [body.as_bytes()]);
        let mut url = self.url.clone();
        let mut redirects = 0;
        loop {
            let started = Instant::now();
            let request = Request {
                method: method.clone(),
                uri: &url,
                headers: self.headers_for(purpose, &url, headers, body.is_some()),
                body: parts.as_ref().map(|parts| parts.as_slice()),
                deadline,
                // A POST may have been run; the others change nothing when they arrive twice.
                replay_when_stale: method == Method::GET,
            };
            let result = client.send(request);
            if purpose != Purpose::Probe {
                let status = result.as_ref().ok().map(|reply| reply.status);
                let bytes = body.map_or(0, str::len);
                self.metrics.http(&self.place, method.as_str(), status, started.elapsed(), bytes);
            }
            let reply = result?;
            match self.redirect(&reply, &url) {
                Some(next) if redirects < REDIRECTS_MAX => {
                    redirects += 1;
                    url = next;
                }
                _ => return Ok(reply),
            }
        }
    }

    /// Where a reply sends us, when we may go there. Origins are compared by scheme, host and port; the
    /// connection would go to the configured place anyway, but the headers say whom we think we talk to.
    fn redirect(&self, reply: &Reply, from: &Uri) -> Option<Uri> {
        if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = reply.headers.get(header::LOCATION)?.to_str().ok()?;
        let target = url::resolve(&from.to_string(), location).and_then(|to| url::named_by_peer(&to));
        let Some((to, origin)) = target else {
            log::warn!(status = reply.status; "redirect of the MCP server refused: its target is not a URL");
            return None;
        };
        // 301 to 303 would turn the POST into a GET, which answers nothing here.
        if matches!(reply.status, 307 | 308) && origin == self.origin {
            return Some(to);
        }
        let origin = origin.to_string();
        log::warn!(status = reply.status, to = origin.as_str(); "redirect of the MCP server refused");
        None
    }

    /// All headers of one request, later layers winning: ours, the operator's, the caller's, and last
    /// what describes the body that we send. `extend` replaces headers of the same name.
    fn headers_for(&self, purpose: Purpose, url: &Uri, headers: &HeaderMap, has_body: bool) -> HeaderMap {
        let mut all = HeaderMap::with_capacity(headers.len() + 8);
        all.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        // Static headers may hold credentials of one path, and other servers may live under other paths of one
        // origin; a trailing slash makes no other path.
        if url.path().trim_end_matches('/') == self.url.path().trim_end_matches('/') {
            all.extend(self.static_headers.clone());
        }
        if purpose == Purpose::Probe {
            all.extend(self.probe_headers.clone());
        }
        all.extend(headers.clone());
        // Nothing that DELETE could bring would be read, so it gets no `Accept`.
        if has_body {
            all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            all.entry(header::ACCEPT).or_insert(ACCEPT_BOTH);
        }
        all
    }
}
