//! Target of a channel whose server speaks HTTP.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::Method;

use crate::config::{self, Channel};
use crate::net::{Client, Error, Kind, Net};
use crate::ops::metrics::{Destination, Metrics};
use crate::relay::command::{Body, Command, Deadline};
use crate::relay::failure::{Class, Failure};
use crate::relay::headers::{self, ReplyHeaders};
use crate::relay::mcp_headers;
use crate::relay::message::{self, Message};
use crate::relay::port::{Call, Outcome, Sink, Target};
use crate::relay::queue::LISTENERS;
use crate::relay::revision::VERSION_HEADER;
use crate::relay::stop::Stop;
use crate::sync;

use super::exchange::Exchange;
use super::upstream::{Purpose, Upstream};

/// How long a server may take to acknowledge what expects no answer.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// MCP server over HTTP. What its calls need is shared with them, because a call outlives the lock under
/// which it was admitted, and ends with what it began with.
pub struct HttpTarget {
    channel: Channel,
    upstream: Mutex<Arc<Upstream>>,
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
        let [calls, subscriptions] = clients(net, mcp, server)?;
        let upstream = Upstream {
            channel: channel.clone(),
            url: server.url.clone(),
            origin: server.origin.clone(),
            place: Destination::new("mcp", &server.origin),
            calls,
            subscriptions,
            budget: Arc::clone(net.budget()),
            metrics,
            stop,
            static_headers: mcp.extra_headers.clone(),
            probe_headers: mcp.discovery_extra_headers.clone(),
            forwarded: mcp.forward_headers.clone(),
        };
        Ok(HttpTarget { channel: channel.clone(), upstream: Mutex::new(Arc::new(upstream)) })
    }

    /// Calls from now on with the headers of these settings; and, with a `net`, on new connections, with its roots and
    /// proxies and the client certificate as it is now. When that fails, nothing has changed.
    pub fn renew(
        &self,
        net: Option<&Net>,
        mcp: &config::Mcp,
        server: &config::HttpServer,
    ) -> Result<(), Error> {
        let former = self.upstream();
        let mut next = Upstream::clone(&former);
        if let Some(net) = net {
            [next.calls, next.subscriptions] = clients(net, mcp, server)?;
            next.calls.replace(&former.calls);
            next.subscriptions.replace(&former.subscriptions);
        }
        next.static_headers.clone_from(&mcp.extra_headers);
        next.probe_headers.clone_from(&mcp.discovery_extra_headers);
        *sync::lock(&self.upstream) = Arc::new(next);
        Ok(())
    }

    /// What a request needs that begins now.
    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&sync::lock(&self.upstream))
    }

    /// The client that calls, for what the operator wants to know of its way.
    pub fn client(&self) -> Client {
        self.upstream().calls.clone()
    }

    /// The channel whose commands it runs.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// Clients for calls and for subscriptions.
fn clients(net: &Net, mcp: &config::Mcp, server: &config::HttpServer) -> Result<[Client; 2], Error> {
    // As many idle connections are kept as there are threads that call; the quick worker is one.
    let calls = net.mcp(server, &mcp.proxy, mcp.max_concurrent_requests + 1)?;
    Ok([calls, net.mcp(server, &mcp.proxy, LISTENERS)?])
}

impl Target for HttpTarget {
    /// Nothing to prepare: HTTP requests have no order among themselves.
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        Box::new(HttpCall { upstream: self.upstream(), command })
    }

    /// Cuts subscriptions at once: their callers get a failure and subscribe again, elsewhere.
    fn wind_down(&self) {
        self.upstream().subscriptions.shutdown();
    }

    /// Cuts the connections under the calls; each fails in its own thread and is answered there.
    fn stop(&self) {
        self.upstream().calls.shutdown();
    }
}

/// One command on its way to this server.
struct HttpCall {
    upstream: Arc<Upstream>,
    command: Arc<Command>,
}

impl Call for HttpCall {
    fn run(self: Box<Self>, deadline: Deadline, sink: &mut dyn Sink) -> Outcome {
        match &self.command.body {
            Body::Message(message) => self.forward(message, deadline, sink),
            Body::SessionTermination => self.terminate(deadline),
            // The relay answers what is unusable, and where discovery is built it answers that.
            Body::OauthDiscovery | Body::Unusable { .. } => {
                let why = "this build has no OAuth discovery (feature harpoon)";
                Outcome::Failed(Failure::new(Class::Internal, why))
            }
        }
    }
}

impl HttpCall {
    /// Posts the message as it came.
    fn forward(&self, message: &Message, deadline: Deadline, sink: &mut dyn Sink) -> Outcome {
        let upstream = &self.upstream;
        let is_request = message.kind() == message::Kind::Request;
        let purpose = if message.is_subscription() { Purpose::Subscription } else { Purpose::Call };
        // What expects no answer may not hold the one worker that is there for it.
        let deadline = if is_request { deadline } else { deadline.at_most(ACKNOWLEDGED_WITHIN) };
        let mut headers = headers::forwardable(&self.command.headers, upstream.forwarded.as_deref());
        // After filtering: what the caller was not allowed to send counts as not sent.
        mcp_headers::complete(&mut headers, message);
        let exchange = Exchange {
            upstream,
            purpose,
            message,
            id: message.id().unwrap_or_default(),
            headers,
            era: message.era(self.command.header(VERSION_HEADER.as_str())),
            deadline,
            began: Instant::now(),
        };
        let (headers, deadline) = (&exchange.headers, exchange.deadline.end());
        match upstream.send(purpose, Method::POST, headers, Some(message.text()), deadline) {
            // A server that was never reached has nothing to cancel.
            Err(error) => {
                let is_given_up = error.kind == Kind::Timeout && error.request_sent;
                exchange.end(Failure::transport(&error), is_given_up, sink)
            }
            Ok(reply) if is_request => exchange.answer(reply, sink),
            // A notification has done its work when it was written; its reply's body is not read. Any
            // status is handed on: what the product does about a refusal is its own affair.
            Ok(reply) => {
                Outcome::Done { status: reply.status, headers: ReplyHeaders::allowed(&reply.headers) }
            }
        }
    }

    /// Ends the caller's session. Any status is an answer: servers may refuse to end sessions (405).
    fn terminate(&self, deadline: Deadline) -> Outcome {
        let headers = headers::forwardable(&self.command.headers, self.upstream.forwarded.as_deref());
        match self.upstream.send(Purpose::Call, Method::DELETE, &headers, None, deadline.end()) {
            Ok(reply) => {
                Outcome::Done { status: reply.status, headers: ReplyHeaders::allowed(&reply.headers) }
            }
            Err(_) if deadline.is_expired() => Outcome::Failed(Failure::expired()),
            Err(error) => Outcome::Failed(Failure::transport(&error)),
        }
    }
}
