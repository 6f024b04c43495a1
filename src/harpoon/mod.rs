//! Calls HTTP endpoints that the operator has named, and nothing else: an MCP server inside this program.
//!
//! It is a target like any other, on a channel of its own that is served while there is at least one endpoint. Here
//! the outside chooses what is called, so the room is built around what it may choose: a label out of the
//! [`registry`], one of the methods that stand there, headers that pass the relay's list, a body within its
//! bound. Where that leads, with which added headers and through which proxy, stands in the configuration
//! alone, and no answer tells it.
//!
//! What a reviewer may rely on, and where it is held:
//!
//! - Only registered URLs are dialled, after a redirect too (`registry`, `exchange`), and none at an address
//!   that is never to be reached ([`crate::net`], as the connection is made).
//! - Headers that the operator adds go to their own endpoint; the caller neither sees nor replaces them, and a
//!   caller's credentials stay within one origin (`exchange`).
//! - Every call ends: by its own time, its command's, or with the process (`tools`, `stop`).
//! - Nothing is remembered between two commands, so two connectors can never meet (`server`); the sessions of
//!   programs of this host hold no more than a revision (`local`).
//!
//! A cancellation is accepted and changes nothing: ids of two connectors may be equal, and nothing says whose
//! call it names. What fails is an answer for the model, not a failure of the tunnel.

mod catalogue;
mod server;
mod strings;
mod template;
mod tools;

pub(crate) mod local;

pub(crate) mod history;

// An MCP server of our own, as the stub of `dev` is too.
pub mod mcp_server;
pub mod streamable_http;

mod arguments;
mod exchange;
mod rewrite;

pub mod registrar;

pub mod registry;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::config::{HarpoonTarget, Secret, Settings};
use crate::net::{self, Net};
use crate::ops::listener::calls::Offer;
use crate::ops::metrics::Metrics;
use crate::ops::redact::Redactor;
use crate::relay::command::{Body, Command, Deadline};
use crate::relay::failure::{Class, Failure};
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::Kind;
use crate::relay::port::{Call, Governor, Outcome, Sink, Target};
use crate::sync;
use streamable_http::Sessions;

use history::History;
use local::Local;
use registry::{CONFIGURED, Endpoint, Endpoints, OAUTH, Registry};
use template::Invocation;
#[cfg(any(test, fuzzing))]
pub(crate) use template::fuzz;
use tools::Tools;

/// Most connections of all endpoints together that rest. Each endpoint keeps its own, and only looks at them
/// when it is called: without a bound, a caller who asks all of them takes every descriptor there is.
const RESTING_MAX: usize = 256;

/// The endpoints behind the channel `harpoon`. Calls share what it holds, because they outlive the lock under
/// which they were admitted.
pub struct Harpoon {
    tools: Arc<Tools>,
    /// Held while endpoints are registered, so that none is made of what is not in force any more.
    pub(crate) maker: Arc<Mutex<Maker>>,
    token: Arc<Mutex<Option<Secret>>>,
}

/// What endpoints are made of.
pub(crate) struct Maker {
    net: Net,
    settings: Settings,
}

impl Maker {
    /// The way to one; nothing is dialled yet. As many connections of one endpoint rest as there are workers that
    /// call, unless there are many endpoints.
    fn endpoint(
        &self,
        target: HarpoonTarget,
        category: &'static str,
        tags: &[String],
    ) -> Result<Arc<Endpoint>, net::Error> {
        let Settings { harpoon, mcp, control_plane, .. } = &self.settings;
        let resting = mcp.max_concurrent_requests.min(RESTING_MAX / harpoon.targets.len().max(1));
        let client = self.net.harpoon(harpoon, &target, resting)?;
        let invocation = Invocation::of(&target, control_plane, harpoon.max_response_bytes);
        Ok(Arc::new(Endpoint { target, category, tags: tags.to_vec(), invocation, client }))
    }
}

impl Harpoon {
    /// Prepares the ways to all configured endpoints. The redactor is for what calls sent and received, where that
    /// is kept. Of the endpoints those are left that the operator's policy allows. Fails with a sentence without
    /// secrets.
    pub fn new(
        net: &Net,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        captures: Option<Arc<Redactor>>,
        governor: Option<Arc<dyn Governor>>,
    ) -> Result<Harpoon, String> {
        let tools = Tools {
            registry: Arc::new(Registry { governor, ..Registry::default() }),
            max_response_bytes: settings.harpoon.max_response_bytes,
            max_redirects: settings.harpoon.max_redirects,
            ttl: settings.mcp.connection_max_ttl,
            budget: Arc::clone(net.budget()),
            metrics: Arc::clone(metrics),
            history: History { captures, calls: Mutex::default() },
        };
        let maker = Arc::new(Mutex::new(Maker { net: net.clone(), settings: settings.clone() }));
        let harpoon = Harpoon { tools: Arc::new(tools), maker, token: Arc::default() };
        harpoon.renew(net, settings)?;
        Ok(harpoon)
    }

    /// Makes all endpoints anew, also those that were learned, and takes the token of these settings. Calls that run
    /// end with what they began with. When it fails, nothing has changed.
    pub fn renew(&self, net: &Net, settings: &Settings) -> Result<(), String> {
        let mut maker = sync::lock(&self.maker);
        let next = Maker { net: net.clone(), settings: settings.clone() };
        let made = |target: &HarpoonTarget, category, tags: &[String]| {
            let endpoint = next.endpoint(target.clone(), category, tags);
            endpoint.map_err(|error| format!("harpoon: target {:?}: {error}", target.label))
        };
        let configured = settings.harpoon.targets.iter().map(|target| made(target, CONFIGURED, &[]));
        let configured = configured.collect::<Result<_, String>>()?;
        let now = self.endpoints();
        let learned = now.all().iter().filter(|one| one.category == OAUTH);
        let learned =
            learned.map(|one| made(&one.target, OAUTH, &one.tags)).collect::<Result<_, String>>()?;
        self.tools.registry.replace(CONFIGURED, configured)?;
        self.tools.registry.replace(OAUTH, learned)?;
        sync::lock(&self.token).clone_from(&settings.harpoon.token);
        *maker = next;
        Ok(())
    }

    /// Where endpoints are registered.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.tools.registry
    }

    /// The same server for programs of this host, which show the token.
    pub(crate) fn offer(&self) -> Offer {
        let (sessions, count) = (Sessions::default(), AtomicU64::new(1));
        let local = Local { tools: Arc::clone(&self.tools), sessions, count };
        Offer { path: local::PATH, token: Arc::clone(&self.token), answering: Arc::new(local) }
    }

    /// The last calls that reached the network, newest first.
    #[cfg(feature = "page")]
    pub(crate) fn calls(&self) -> Vec<history::Record> {
        self.tools.history.latest()
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.tools.registry.now()
    }
}

impl Target for Harpoon {
    /// Nothing to prepare: calls have no order among themselves.
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        Box::new(HarpoonCall { tools: Arc::clone(&self.tools), command })
    }

    fn is_served(&self) -> bool {
        !self.endpoints().all().is_empty()
    }

    /// Nothing here goes on without end.
    fn wind_down(&self) {}

    /// Cuts the connections under the calls; each fails in its own thread and is answered there.
    fn stop(&self) {
        for endpoint in self.tools.registry.in_use() {
            endpoint.client.shutdown();
        }
    }
}

/// One command on its way.
struct HarpoonCall {
    tools: Arc<Tools>,
    command: Arc<Command>,
}

impl Call for HarpoonCall {
    fn run(self: Box<Self>, _: Deadline, _: &mut dyn Sink) -> Outcome {
        let headers = ReplyHeaders::default();
        match &self.command.body {
            Body::Message(message) if message.kind() == Kind::Request => {
                server::answer(&self.tools, &self.command, message)
            }
            Body::Message(_) => Outcome::Done { status: 200, headers },
            // There are no sessions.
            Body::SessionTermination => Outcome::Done { status: 405, headers },
            // The relay answers these itself.
            Body::OauthDiscovery | Body::Unusable { .. } => {
                Outcome::Failed(Failure::new(Class::Internal, "not a message"))
            }
        }
    }
}
