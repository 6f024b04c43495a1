//! A Streamable HTTP server as a target: one POST a command, no session of our own.
//!
//! The caller's headers carry session, revision and credentials; nothing is remembered between two
//! commands, so two callers can never meet in one session. A command that fails costs itself alone.

mod call;
pub mod exchange;
pub mod probe;
pub mod reply;
pub mod sse;
mod streaming;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, Method};

use crate::config::{self, Channel};
use crate::net::{Budget, Client, Error, Net, Reply};
use crate::ops::metrics::Metrics;
use crate::relay::command::{Body, Command, SUBSCRIPTION_TTL};
use crate::relay::failure::{Class, Failure};
use crate::relay::headers::{self, ReplyHeaders};
use crate::relay::mcp_headers;
use crate::relay::message::{self, Message};
use crate::relay::port::{Call, Outcome, Sink, Target};
use crate::relay::queue::LISTENERS;
use crate::relay::revision::VERSION_HEADER;
use crate::relay::stop::Stop;

use call::Exchange;
use exchange::Address;

/// Largest message of a subscription: it tells that something changed, and it may wait for a day.
const SUBSCRIPTION_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// How long a server may take to acknowledge what expects no answer.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// A Streamable HTTP server behind one channel. What its calls need is shared with them, because a
/// call outlives the lock under which it was admitted.
pub struct HttpTarget {
    shared: Arc<Shared>,
}

/// What calls and probes of one server share.
pub(super) struct Shared {
    pub(super) channel: Channel,
    pub(super) address: Address,
    pub(super) calls: Client,
    /// Subscriptions have connections of their own, so that a stop can end them first.
    pub(super) subscriptions: Client,
    pub(super) ttl: Duration,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Arc<Stop>,
    /// Sent with probes only; commands never carry them.
    pub(super) probe_headers: HeaderMap,
    /// The only headers of callers that pass, where there is such a list.
    forwarded: Option<Vec<HeaderName>>,
}

impl HttpTarget {
    /// Prepares the connections of one binding. Nothing is dialled yet, but certificates and keys are read
    /// here, so that a wrong one ends the start.
    pub fn new(
        net: &Net,
        mcp: &config::Mcp,
        channel: &Channel,
        server: &config::HttpServer,
        metrics: Arc<Metrics>,
        stop: Arc<Stop>,
    ) -> Result<HttpTarget, Error> {
        // As many idle connections are kept as there are threads that call; the quick worker is one.
        let calls = net.mcp(mcp, server, mcp.max_concurrent_requests + 1)?;
        Ok(HttpTarget {
            shared: Arc::new(Shared {
                channel: channel.clone(),
                address: Address::new(server, mcp.extra_headers.clone()),
                calls,
                subscriptions: net.mcp(mcp, server, LISTENERS)?,
                ttl: mcp.connection_max_ttl,
                budget: Arc::clone(net.budget()),
                metrics,
                stop,
                probe_headers: mcp.discovery_extra_headers.clone(),
                forwarded: mcp.forward_headers.clone(),
            }),
        })
    }

    /// The client that calls, for what the operator wants to know of its way.
    pub fn client(&self) -> &Client {
        &self.shared.calls
    }

    /// Its channel.
    pub fn channel(&self) -> &Channel {
        &self.shared.channel
    }

    /// Sends a message of our own, with the headers that probes carry; `headers` win over them. It takes
    /// the way that calls take, proxy and certificate included, or it would prove nothing about them.
    pub(super) fn send_probe(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Option<&str>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let shared = &*self.shared;
        let mut all = shared.probe_headers.clone();
        exchange::overlay(&mut all, headers);
        shared.address.exchange(&shared.calls, None, method, &all, body.map(str::as_bytes), deadline)
    }

    /// The budget that its replies are read under.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }
}

impl Shared {
    /// Sends on behalf of a command, and counts it.
    pub(super) fn exchange(
        &self,
        client: &Client,
        method: &Method,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        self.address.exchange(client, Some(&self.metrics), method, headers, body, deadline)
    }
}

impl Target for HttpTarget {
    /// Nothing to prepare: HTTP requests have no order among themselves.
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        Box::new(HttpCall { shared: Arc::clone(&self.shared), command })
    }

    fn call_max(&self) -> Duration {
        self.shared.ttl
    }

    /// Cuts subscriptions at once: their callers get a failure and subscribe again, elsewhere.
    fn wind_down(&self) {
        self.shared.subscriptions.shutdown();
    }

    /// Cuts the connections under the calls; each fails in its own thread and is answered there.
    fn stop(&self) {
        self.shared.calls.shutdown();
    }
}

/// One command on its way to this server.
struct HttpCall {
    shared: Arc<Shared>,
    command: Arc<Command>,
}

impl Call for HttpCall {
    fn run(self: Box<Self>, sink: &mut dyn Sink) -> Outcome {
        match &self.command.body {
            Body::Message(message) => self.forward(message, sink),
            Body::SessionTermination => self.terminate(),
            // The relay answers these itself.
            Body::OauthDiscovery | Body::Unusable { .. } => {
                Outcome::Failed(Failure::new(Class::Internal, "not a message"))
            }
        }
    }
}

impl HttpCall {
    /// Posts the message as it came.
    fn forward(&self, message: &Message, sink: &mut dyn Sink) -> Outcome {
        let shared = &*self.shared;
        let era = message.era(self.command.header(VERSION_HEADER.as_str()));
        let subscription = self.command.is_subscription();
        let (ttl, client, event_bytes_max) = if subscription {
            (SUBSCRIPTION_TTL, &shared.subscriptions, SUBSCRIPTION_EVENT_BYTES_MAX)
        } else {
            // What expects no answer may not hold the one worker that is there for it.
            let answered = message.kind() == message::Kind::Request;
            let ttl = if answered { shared.ttl } else { shared.ttl.min(ACKNOWLEDGED_WITHIN) };
            (ttl, &shared.calls, sse::EVENT_BYTES_MAX)
        };
        let deadline = self.command.deadline(ttl);
        let mut headers = headers::forwardable(&self.command.headers, shared.forwarded.as_deref());
        // After filtering: what the caller was not allowed to send counts as not sent.
        mcp_headers::complete(&mut headers, message);
        let id = message.id().unwrap_or_default();
        let exchange = Exchange { shared, client, message, id, headers, era, deadline, event_bytes_max };
        match exchange.post(message.text(), deadline.end()) {
            Err(error) => exchange.broken(&error),
            Ok(reply) if message.kind() == message::Kind::Request => exchange.answer(reply, sink),
            // A notification has done its work when it was written; its reply's body is not read. Any
            // status is handed on: what the product does about a refusal is its own affair.
            Ok(reply) => {
                Outcome::Acknowledged { status: reply.status, headers: ReplyHeaders::allowed(&reply.headers) }
            }
        }
    }

    /// Ends the caller's session. Any status is an answer: servers may refuse to end sessions (405).
    fn terminate(&self) -> Outcome {
        let shared = &*self.shared;
        let headers = headers::forwardable(&self.command.headers, shared.forwarded.as_deref());
        let deadline = self.command.deadline(shared.ttl);
        match shared.exchange(&shared.calls, &Method::DELETE, &headers, None, deadline.end()) {
            Ok(reply) => {
                Outcome::Terminated { status: reply.status, headers: ReplyHeaders::allowed(&reply.headers) }
            }
            Err(_) if deadline.is_silent() => Outcome::Expired,
            Err(error) => Outcome::Failed(Failure::transport(&error)),
        }
    }
}
