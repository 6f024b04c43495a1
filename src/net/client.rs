//! Sends requests for one purpose, on connections that are kept while they are busy.
//!
//! One absolute deadline bounds each request, reading of the body included. Redirects are not followed,
//! nothing is added to what the caller sends but `Host`, `Content-Length` and the URL's credentials.
//! A request is sent twice only when the caller allows it and a reused connection died in silence: a server
//! that drops idle connections may do so at the moment of sending, and then it has seen nothing. After the
//! first byte of a reply that is no longer so, and on a fresh connection it never was.
//!
//! It may not retry for any other reason; backing off is the caller's business.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderValue, Method, Uri};
use ureq::unversioned::transport::NextTimeout;

use super::connect::{Dial, Dialer};
use super::error::{Error, Kind};
use super::pool::{Idle, Pool};
use super::proxy;
use super::raw;
use super::reply::Reply;
use super::route::{Route, proxy_url};
use crate::config::{Origin, Secret};
use crate::crypto;

/// The largest reply head that is accepted. Real ones are below 8 KiB; some gateways send large cookies.
pub(super) const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Stands for "no limit" where a finite time is needed. No request takes longer.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Sends requests for one purpose. Cheap to share behind an `Arc`; every thread that sends at the same time
/// has a connection of its own. Dropping it closes those that rest.
pub struct Client {
    agent: ureq::Agent,
    dialer: Arc<Dialer>,
    route: Route,
    authorization: Option<HeaderValue>,
    pool: Arc<Pool>,
    /// Set before the agent is shut down, so that whoever fails because of that finds it.
    closing: AtomicBool,
    dump: bool,
}

/// One request. Redirects are never followed here.
pub struct Request<'a> {
    /// Verb.
    pub method: Method,
    /// Absolute URL without userinfo.
    pub uri: &'a Uri,
    /// Exactly what is sent, besides `Host`, `Content-Length` and, when the client knows URL
    /// credentials and this map has none, `Authorization`.
    pub headers: HeaderMap,
    /// Parts of the body, sent one after another under one `Content-Length`. `None`: no body.
    pub body: Option<&'a [&'a [u8]]>,
    /// When to give up, connect, send, receive and body included.
    pub deadline: Instant,
    /// May be sent once more on a fresh connection when a reused one dies before the first byte of a reply.
    pub replay_when_stale: bool,
}

impl Client {
    pub(super) fn new(
        dialer: Dialer,
        idle_max: usize,
        idle: Idle,
        credentials: Option<&Secret>,
        dump: bool,
    ) -> Result<Client, Error> {
        let config = ureq::Agent::config_builder()
            // A status is an answer, and a redirect is the caller's decision.
            .http_status_as_error(false)
            .max_redirects(0)
            // Proxies are the dialer's; the crate would read the environment by itself.
            .proxy(None)
            // Empty means that no such header is added. A compressed reply, which nobody asks for, could be
            // small on the wire and have no bound when it is unpacked.
            .accept("")
            .accept_encoding("")
            .user_agent("")
            .max_response_header_size(HEAD_MAX_BYTES)
            // Connections rest in our own pool.
            .max_idle_connections(0)
            // Every request brings its own; this only holds if one ever did not.
            .timeout_global(Some(LONGEST_WAIT))
            .build();
        let authorization = credentials.map(basic).transpose()?;
        let dialer = Arc::new(dialer);
        let pool = dialer.pools().add(idle, idle_max);
        let dial = || Dial { dialer: Arc::clone(&dialer), pool: Arc::clone(&pool) };
        let agent = ureq::Agent::with_parts(config, dial(), dial());
        let route = dialer.routes().describe(dialer.origin());
        Ok(Client { agent, dialer, route, authorization, pool, closing: AtomicBool::new(false), dump })
    }

    /// Sends one request and waits for the head of the reply.
    pub fn send(&self, request: Request<'_>) -> Result<Reply, Error> {
        let Request { method, uri, mut headers, body, deadline, replay_when_stale } = request;
        let origin = Origin::of(uri).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, "the URL is not an absolute http or https URL")
        })?;
        self.complete(&mut headers, &method, &origin, body);
        if self.dump {
            raw::request(&method, uri, &headers, body.unwrap_or_default());
        }
        // Headers are given away with the request; only who may need them again pays for a copy.
        let spare = replay_when_stale.then(|| headers.clone());
        let first = self.attempt(&method, uri, headers, body, deadline, self.pool.idle().age());
        let reply = match (first, spare) {
            // No rested connection is good enough for the second attempt: the others are as old.
            (Err(error), Some(headers)) if error.stale => {
                self.attempt(&method, uri, headers, body, deadline, Duration::ZERO)
            }
            (outcome, _) => outcome,
        }?;
        // A proxy that forwards answers in the place of the destination when it cannot.
        let forwarder = if reply.status < 400 { None } else { self.dialer.forwarder(&origin) };
        match forwarder.and_then(|proxy| proxy::failure(proxy, &origin, reply.status, &reply.headers)) {
            Some(error) => Err(error),
            None => Ok(reply),
        }
    }

    /// Ends every connection at once, blocked calls included; later sends fail with [`Kind::Shutdown`].
    /// Only a name that is being resolved is waited for, until the request's own deadline.
    pub fn shutdown(&self) {
        self.closing.store(true, Ordering::Release);
        self.agent.clone().shutdown();
        self.pool.clear();
    }

    /// How requests to the configured destination travel.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Connections opened so far.
    pub fn connections_opened(&self) -> u64 {
        self.dialer.opened()
    }

    /// Names the proxy in use without revealing it: SHA-256 of its lower-cased `scheme://host:port`, in hex.
    pub fn proxy_id(&self) -> Option<String> {
        let url = proxy_url(self.dialer.proxy()?).to_ascii_lowercase();
        Some(crypto::sha256_hex(url.as_bytes()))
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Adds what only this room knows. Credentials of the configured URL stay with its origin, whatever the
    /// caller asks for, and yield to what the caller brings.
    fn complete(&self, headers: &mut HeaderMap, method: &Method, origin: &Origin, body: Option<&[&[u8]]>) {
        if let Some(authorization) = &self.authorization {
            if !headers.contains_key(AUTHORIZATION) && origin == self.dialer.origin() {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
        }
        // One framing only, and ours: with another one the server would take the next request on this
        // connection for a body, or a part of this body for a request.
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
        // The body is not held back for a leave; and a password of a proxy is `proxy`'s to add.
        headers.remove(EXPECT);
        headers.remove(PROXY_AUTHORIZATION);
        if takes_body(method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(total(body.unwrap_or_default())));
        }
    }

    fn attempt(
        &self,
        method: &Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Option<&[&[u8]]>,
        deadline: Instant,
        idle_age: Duration,
    ) -> Result<Reply, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Kind::Timeout, "the deadline passed before the request was sent"));
        }
        let mut parts = Parts(body.unwrap_or_default().iter(), &[]);
        // Framed or not, servers disagree about what such a body means; none of our callers has one.
        if !takes_body(method) && total(body.unwrap_or_default()) > 0 {
            return Err(Error::new(Kind::InvalidRequest, "this method carries no body"));
        }
        let mut request = ureq::http::Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        // The crate hands both on to the connector. Its own clock runs longer, see `deadline`.
        let timed = self.agent.configure_request(request).timeout_global(Some(left + LONGEST_WAIT));
        let request = timed.max_idle_age(idle_age).build();
        let answer = if takes_body(method) {
            // The parts are copied straight into the output buffer, which is all the copying there is.
            self.agent.run(request.map(|()| ureq::SendBody::from_reader(&mut parts)))
        } else {
            self.agent.run(request)
        };
        let reply = answer.map_err(|error| self.explain(error))?;
        let (head, body) = reply.into_parts();
        self.pool.idle().learn(&head.headers);
        let dump = self.dump && raw::response(head.status.as_u16(), &head.headers);
        Ok(Reply::new(head.status.as_u16(), head.headers, body.into_reader(), self.dialer.patience(), dump))
    }

    /// Whatever fails after a shutdown failed because of it, in whichever stage it was.
    fn explain(&self, error: ureq::Error) -> Error {
        let error = Error::from_ureq(error);
        if self.closing.load(Ordering::Acquire) {
            return Error::new(Kind::Shutdown, "the client was shut down").sent(error.request_sent);
        }
        error
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("route", &self.route).field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// When the present request must be done. The HTTP crate counts [`LONGEST_WAIT`] more than there is: it would
/// refuse to look at the socket once the time is over, and what had come in time, while the process was stopped,
/// would be thrown away. It writes "no limit" as a time that no `Instant` can be moved by.
pub(super) fn deadline(timeout: NextTimeout) -> Instant {
    Instant::now() + timeout.after.saturating_sub(LONGEST_WAIT).min(LONGEST_WAIT)
}

fn basic(credentials: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials.expose())))
        .map_err(|_| Error::new(Kind::Setup, "the URL's credentials cannot be sent"))?;
    // Marked for the dump, and for whoever else prints headers.
    value.set_sensitive(true);
    Ok(value)
}

/// The HTTP crate wants a body with these, if an empty one, and refuses it with the others.
fn takes_body(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

fn total(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Reads the parts of a body one after another; the second field is what is left of the present one.
struct Parts<'a>(std::slice::Iter<'a, &'a [u8]>, &'a [u8]);

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An empty part is skipped: a read of nothing would mean the end.
        while self.1.is_empty() {
            match self.0.next() {
                Some(part) => self.1 = part,
                None => return Ok(0),
            }
        }
        self.1.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_order_whatever_the_buffer() {
        for size in 1..12 {
            let parts: [&[u8]; 4] = [b"abc", b"", b"defgh", b"i"];
            let mut reader = Parts(parts.iter(), &[]);
            let mut all = Vec::new();
            let mut buffer = vec![0; size];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    count => all.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(all, b"abcdefghi");
        }
    }
}
