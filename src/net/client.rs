//! HTTP client of one purpose, on connections that are kept while they are busy.
//!
//! One absolute deadline bounds each request, reading of the body included. Redirects are not followed,
//! nothing is added to what the caller sends but `Host`, `Content-Length` and the URL's credentials.
//! A request is sent twice only when the caller allows it and a reused connection died in silence: a server
//! that drops idle connections may do so at the moment of sending, and then it has seen nothing. After the
//! first byte of a reply that is no longer so, and on a fresh connection it never was.
//!
//! It may not retry for any other reason; backing off is the caller's business.

use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderValue, Method, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};

use super::connection::HEAD_MAX_BYTES;
use super::dialer::Dialer;
use super::error::{Error, Kind};
use super::http_dump;
use super::loaded::Loaded;
use super::pool::{Idle, Lent, Pool};
use super::proxy;
use super::reply::Reply;
use super::request_state::RequestState;
use super::route::{Route, proxy_url};
use crate::config::{Origin, Secret};
use crate::{crypto, sync};

/// Sends requests for one purpose. Cheap to share behind an `Arc`; every thread that sends at the same time
/// has a connection of its own. Its copies share these; dropping the last one closes those that rest.
#[derive(Debug, Clone)]
pub struct Client {
    config: Config,
    /// Agents of the HTTP crate that no attempt uses; they keep nothing, but are costly to make. There are as many as
    /// ever were in use at once.
    agents: Arc<Mutex<Vec<(ureq::Agent, Lender)>>>,
    pub(super) dialer: Arc<Dialer>,
    /// The configured origin as requests spell it.
    usual: Option<Uri>,
    route: Route,
    authorization: Option<HeaderValue>,
    pool: Arc<Pool>,
    dump: bool,
}

/// HTTP request.
#[derive(Clone)]
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
    pub(super) fn new(dialer: Dialer, idle_max: usize, idle: Idle, dump: bool) -> Client {
        // No time-out: each wait on a connection ends at the deadline of its exchange.
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
            .build();
        let pool = dialer.shared.pools.add(idle, idle_max);
        let route = dialer.routes.describe(&dialer.origin);
        let usual = dialer.origin.to_string().parse().ok();
        let (agents, dialer) = (Arc::default(), Arc::new(dialer));
        Client { config, agents, dialer, usual, route, authorization: None, pool, dump }
    }

    /// The same, with these credentials of the configured URL.
    pub fn with_credentials(self, credentials: &Option<Secret>) -> Result<Client, Error> {
        Ok(Client { authorization: credentials.as_ref().map(basic).transpose()?, ..self })
    }

    /// Takes the place of a former client, to whose calls nothing happens; but a shutdown of this one ends them too.
    pub fn replace(&mut self, former: &Client) {
        former.retire();
        // Nobody else has a dialer that was made just now.
        if let Some(dialer) = Arc::get_mut(&mut self.dialer) {
            dialer.sockets = Arc::clone(&former.dialer.sockets);
        }
    }

    /// Closes the connections that rest. Those that are in use end with their exchange.
    pub fn retire(&self) {
        self.pool.close();
    }

    /// Sends one request and waits for the head of the reply.
    pub fn send(&self, mut request: Request<'_>) -> Result<Reply, Error> {
        let uri = request.uri;
        let origin = match &self.usual {
            // Reading it each time would cost a third of what sending does.
            Some(usual) if uri.scheme() == usual.scheme() && uri.authority() == usual.authority() => {
                self.dialer.origin.clone()
            }
            _ => Origin::of(uri).ok_or_else(|| {
                Error::new(Kind::InvalidRequest, "the URL is not an absolute http or https URL")
            })?,
        };
        self.complete(&mut request, &origin)?;
        if self.dump {
            http_dump::request(&request.method, request.uri, &request.headers, request.body);
        }
        // It is given away; only who may need it again pays for a copy.
        let spare = request.replay_when_stale.then(|| request.clone());
        let reply = match (self.attempt(request, &origin, self.pool.idle.age()), spare) {
            // No rested connection is good enough for the second attempt: the others are as old.
            (Err(error), Some(again)) if error.stale => self.attempt(again, &origin, Duration::ZERO),
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
        self.dialer.sockets.shutdown();
        self.pool.close();
    }

    /// Route of requests to the configured destination.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The certificate that the configured destination is shown.
    pub fn certificate(&self) -> Option<Loaded> {
        self.dialer.shown
    }

    /// Whether a proxy is asked to pass on each request to the configured destination, and so may answer in its place.
    #[cfg(feature = "operator")]
    pub fn is_forwarded(&self) -> bool {
        self.dialer.forwarder(&self.dialer.origin).is_some()
    }

    /// Version, cipher suite and key exchange of the last TLS handshake with a destination; empty before one.
    pub fn agreed(&self) -> String {
        sync::lock(&self.dialer.agreed).clone()
    }

    /// Connections opened so far.
    pub fn connections_opened(&self) -> u64 {
        self.dialer.opened.load(Ordering::Relaxed)
    }

    /// Names the proxy in use without revealing it: SHA-256 of its lower-cased `scheme://host:port`, in hex.
    pub fn proxy_id(&self) -> Option<String> {
        let url = proxy_url(self.dialer.proxy()?).to_ascii_lowercase();
        Some(crypto::sha256_hex(url.as_bytes()))
    }

    /// Adds the headers that only this room knows. Credentials of the configured URL stay with its origin,
    /// whatever the caller asks for, and yield to what the caller brings.
    fn complete(&self, request: &mut Request<'_>, origin: &Origin) -> Result<(), Error> {
        let headers = &mut request.headers;
        if let Some(authorization) = &self.authorization {
            if !headers.contains_key(AUTHORIZATION) && *origin == self.dialer.origin {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
        }
        // One framing only, and ours: with another one the server would take the next request on this
        // connection for a body, or a part of this body for a request.
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
        // The body does not wait for a permission to send it; and a proxy's password is added by `proxy` alone.
        headers.remove(EXPECT);
        headers.remove(PROXY_AUTHORIZATION);
        let length: usize = request.body.unwrap_or_default().iter().map(|part| part.len()).sum();
        if takes_body(&request.method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        } else if length > 0 {
            // Framed or not, servers disagree about what such a body means; none of our callers has one.
            return Err(Error::new(Kind::InvalidRequest, "this method carries no body"));
        }
        Ok(())
    }

    fn attempt(&self, asked: Request<'_>, origin: &Origin, idle_age: Duration) -> Result<Reply, Error> {
        if asked.deadline <= Instant::now() {
            return Err(Error::new(Kind::Timeout, "timed out before the request was sent"));
        }
        let mut request = ureq::http::Request::new(());
        (*request.method_mut(), *request.headers_mut()) = (asked.method, asked.headers);
        *request.uri_mut() = asked.uri.clone();
        let state = RequestState::new(asked.deadline);
        let connection = match self.pool.take(origin, idle_age) {
            Some(mut connection) => {
                connection.reuse(Arc::clone(&state));
                Ok(connection)
            }
            None => self.dialer.open(origin, Arc::clone(&state)),
        };
        let answer = connection.and_then(|connection| {
            let (agent, lender) = sync::lock(&self.agents).pop().unwrap_or_else(|| {
                let lender = Lender::default();
                (ureq::Agent::with_parts(self.config.clone(), lender.clone(), lender.clone()), lender)
            });
            *sync::lock(&lender.0) = Some(Lent::new(connection, Arc::clone(&self.pool)));
            // The parts are copied straight into the output buffer, which is all the copying there is.
            let mut parts = Parts(&[], asked.body.unwrap_or_default());
            let answer = if takes_body(request.method()) {
                agent.run(request.map(|()| ureq::SendBody::from_reader(&mut parts)))
            } else {
                agent.run(request)
            };
            let answer = answer.map_err(|error| Error::from_ureq(error, &state))?;
            // After a failure it may hold the connection.
            sync::lock(&self.agents).push((agent, lender));
            Ok(answer)
        });
        let (head, body) = match answer {
            Ok(reply) => reply.into_parts(),
            // Any failure after a shutdown is its consequence, in every phase.
            Err(_) if self.dialer.sockets.is_closed() => return Err(Error::shutdown().sent(state.is_sent())),
            Err(error) => return Err(error),
        };
        self.pool.idle.learn(&head.headers);
        let dump = self.dump && http_dump::response(head.status.as_u16(), &head.headers);
        Ok(Reply::new(head.status.as_u16(), head.headers, body.into_reader(), state, dump))
    }
}

/// Connector and resolver of the HTTP crate: the connection for the next attempt was put here.
#[derive(Debug, Clone, Default)]
struct Lender(Arc<Mutex<Option<Lent>>>);

impl Connector for Lender {
    type Out = Lent;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Lent>, ureq::Error> {
        Ok(sync::lock(&self.0).take())
    }
}

/// Body of a request: what is left of a part, and the parts behind it.
struct Parts<'a>(&'a [u8], &'a [&'a [u8]]);

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let (true, [next, rest @ ..]) = (self.0.is_empty(), self.1) {
            (self.0, self.1) = (next, rest);
        }
        self.0.read(buffer)
    }
}

/// Resolves nothing: whether a name is resolved here or by a proxy is known to the dialer only.
impl Resolver for Lender {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

fn basic(credentials: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials.expose())))
        .map_err(|_| Error::setup("the URL's credentials cannot be sent"))?;
    // Marked for the dump, and for whoever else prints headers.
    value.set_sensitive(true);
    Ok(value)
}

/// The HTTP crate wants a body with these, if an empty one, and refuses it with the others.
fn takes_body(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}
