//! One HTTP exchange with an MCP server: headers, static headers, redirects.
//!
//! Here it is decided which credentials go where. A caller's stay within the configured origin, the
//! operator's static headers within the configured path too. A redirect that would lead elsewhere is not
//! followed; it comes back as the reply that it is, and the log names the origin it pointed to.

use std::time::Instant;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::config::{self, Origin};
use crate::net::{Client, Error, Reply, Request};
use crate::ops::metrics::{Destination, Metrics};
use crate::url;

/// Most redirects of one request; Python servers need one, for a slash.
const REDIRECTS_MAX: usize = 5;

/// The `Accept` of a message, unless the caller brings its own. Every revision asks for both.
const ACCEPT_BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Where a server is and what is sent along to it. No `Debug`: static headers are often credentials.
pub struct Address {
    url: Uri,
    origin: Origin,
    static_headers: HeaderMap,
    /// Where its exchanges are counted; its path may be what guards it.
    place: Destination,
}

impl Address {
    /// The configured address of a server, with headers for its own path only.
    pub fn new(server: &config::HttpServer, static_headers: HeaderMap) -> Address {
        let place = Destination::new("mcp", &server.origin);
        Address { url: server.url.clone(), origin: server.origin.clone(), static_headers, place }
    }

    /// Sends to the server and follows 307 and 308 within its origin; every other redirect comes
    /// back as it is. `headers` win over the static ones. Probes are not counted: they are ours.
    ///
    /// All hops share one deadline. Each is a new request with the same bytes: a server that redirects has
    /// not run the message, so this is no second attempt.
    pub fn exchange(
        &self,
        client: &Client,
        metrics: Option<&Metrics>,
        method: &Method,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let parts = body.map(|body| [body]);
        let mut url = self.url.clone();
        let mut redirects = 0;
        loop {
            let started = Instant::now();
            let request = Request {
                method: method.clone(),
                uri: &url,
                headers: self.headers_for(&url, headers, body.is_some()),
                body: parts.as_ref().map(|parts| parts.as_slice()),
                deadline,
                // A POST may have been run; the others change nothing when they arrive twice.
                replay_when_stale: *method == Method::GET,
            };
            let result = client.send(request);
            let status = result.as_ref().ok().map(|reply| reply.status);
            if let Some(metrics) = metrics {
                let bytes = body.map_or(0, <[u8]>::len);
                metrics.http(&self.place, method.as_str(), status, started.elapsed(), bytes);
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
    /// what describes the body that we send.
    fn headers_for(&self, url: &Uri, headers: &HeaderMap, has_body: bool) -> HeaderMap {
        let mut all = HeaderMap::with_capacity(headers.len() + 8);
        all.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        if same_path(url, &self.url) {
            overlay(&mut all, &self.static_headers);
        }
        overlay(&mut all, headers);
        if has_body {
            all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // DELETE gets none: nothing that it could bring would be read.
        if !all.contains_key(header::ACCEPT) && has_body {
            all.insert(header::ACCEPT, ACCEPT_BOTH);
        }
        all
    }
}

/// Lets every name of `over` take the place of the same name below, with all its values: the map lists
/// the values of one name one after another.
pub(super) fn overlay(under: &mut HeaderMap, over: &HeaderMap) {
    let mut last: Option<&HeaderName> = None;
    for (name, value) in over {
        if last == Some(name) {
            under.append(name, value.clone());
        } else {
            under.insert(name, value.clone());
        }
        last = Some(name);
    }
}

/// Static headers may hold credentials of one path; a trailing slash makes no other path. Other servers
/// may live under other paths of one origin.
fn same_path(left: &Uri, right: &Uri) -> bool {
    left.path().trim_end_matches('/') == right.path().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_headers_replace_earlier_names_with_all_their_values() {
        let mut under = HeaderMap::new();
        under.insert("x", HeaderValue::from_static("0"));
        let mut over = HeaderMap::new();
        over.append("x", HeaderValue::from_static("1"));
        over.append("x", HeaderValue::from_static("2"));
        overlay(&mut under, &over);
        assert_eq!(under.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
