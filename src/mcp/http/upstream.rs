//! HTTP requests to one MCP server: headers, static headers, redirects.
//!
//! Here it is decided which credentials go where. A caller's stay within the configured origin, the
//! operator's static headers within the configured path too. A redirect that would lead elsewhere is not
//! followed; it comes back as the reply that it is, and the log names the origin it pointed to.

use std::sync::Arc;
use std::time::Instant;

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
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) channel: Channel,
    pub(super) url: Uri,
    pub(super) origin: Origin,
    /// The label under which requests are counted: the origin alone, since the path may be what guards it.
    pub(super) place: Destination,
    pub(super) calls: Client,
    /// Subscriptions have connections of their own, so that a stop can end them first.
    pub(super) subscriptions: Client,
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

    /// Posts a message of ours on which nothing depends: what the server says to it changes nothing.
    pub(super) fn send_aside(&self, purpose: Purpose, headers: &HeaderMap, text: &str, deadline: Instant) {
        if let Err(error) = self.send(purpose, Method::POST, headers, Some(text), deadline) {
            let error = error.to_string();
            log::debug!(error = error.as_str(); "the server did not take a message about a call");
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

    /// All headers of one request. What describes the body that we send wins, then come the caller's, the operator's
    /// and ours.
    fn headers_for(&self, purpose: Purpose, url: &Uri, headers: &HeaderMap, has_body: bool) -> HeaderMap {
        let mut all = headers.clone();
        // Static headers may hold credentials of one path, and other servers may live under other paths of one
        // origin; a trailing slash makes no other path.
        let is_own = url.path().trim_end_matches('/') == self.url.path().trim_end_matches('/');
        let layers = [(purpose == Purpose::Probe, &self.probe_headers), (is_own, &self.static_headers)];
        for (_, layer) in layers.into_iter().filter(|(applies, _)| *applies) {
            for name in layer.keys().filter(|name| !all.contains_key(*name)).collect::<Vec<_>>() {
                all.extend(layer.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        all.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(crate::USER_AGENT));
        // Nothing that DELETE could bring would be read, so it gets no `Accept`.
        if has_body {
            all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            all.entry(header::ACCEPT).or_insert(ACCEPT_BOTH);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Server, Settings};
    use crate::mcp::http::HttpTarget;
    use crate::net::Net;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// From the weakest: ours, static, of probes, the caller's, those of the body. A name that a later one has is
    /// replaced with all its values.
    #[test]
    fn later_headers_replace_earlier_ones() {
        let environment = Environment::of([
            ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
            ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
            ("MCP_SERVER_URL", "http://h/mcp"),
        ]);
        let settings = Settings::load(&Flags::default(), &environment).unwrap();
        let net = Net::new(&settings.network).unwrap();
        let mut mcp = settings.mcp.clone();
        mcp.extra_headers = map(&[
            ("user-agent", "static"),
            ("content-type", "static"),
            ("one", "static 1"),
            ("one", "static 2"),
            ("two", "static 1"),
            ("two", "static 2"),
            ("three", "static 1"),
            ("three", "static 2"),
        ]);
        mcp.discovery_extra_headers = map(&[("two", "probe"), ("three", "probe")]);
        let Server::Http(server) = &mcp.bindings[0].server else { panic!() };
        let metrics = Arc::new(Metrics::new("t", 1, 1, &[]));
        let target = HttpTarget::new(&net, &mcp, &Channel::main(), server, metrics, Arc::default()).unwrap();
        let upstream = target.upstream();
        let callers = map(&[("three", "caller 1"), ("three", "caller 2"), ("content-type", "caller")]);

        let call = upstream.headers_for(Purpose::Call, &upstream.url, &callers, true);
        assert_eq!(values(&call, "user-agent"), ["static"]);
        assert_eq!(values(&call, "content-type"), ["application/json"]);
        assert_eq!(values(&call, "accept"), [ACCEPT_BOTH.to_str().unwrap()]);
        assert_eq!(values(&call, "one"), ["static 1", "static 2"]);
        assert_eq!(values(&call, "two"), ["static 1", "static 2"]);
        assert_eq!(values(&call, "three"), ["caller 1", "caller 2"]);

        let probe = upstream.headers_for(Purpose::Probe, &upstream.url, &callers, true);
        assert_eq!(values(&probe, "one"), ["static 1", "static 2"]);
        assert_eq!(values(&probe, "two"), ["probe"]);
        assert_eq!(values(&probe, "three"), ["caller 1", "caller 2"]);

        // A caller's own `Accept` stays; a request without a body gets none.
        let accept = map(&[("accept", "a"), ("accept", "b")]);
        let own = upstream.headers_for(Purpose::Call, &upstream.url, &accept, true);
        assert_eq!(values(&own, "accept"), ["a", "b"]);
        let bare = upstream.headers_for(Purpose::Call, &upstream.url, &HeaderMap::new(), false);
        assert!(!bare.contains_key("accept"));

        // Static headers belong to the configured path, those of probes to the server.
        for (url, is_own) in [("http://h/mcp/", true), ("http://h/other", false), ("http://h/mcp/x", false)] {
            let url: Uri = url.parse().unwrap();
            let sent = upstream.headers_for(Purpose::Probe, &url, &HeaderMap::new(), true);
            assert_eq!((sent.contains_key("one"), sent.contains_key("two")), (is_own, true), "{url}");
        }
    }
}
