//! Puts the rooms together into one running tunnel, and takes it apart again without losing answers.
//!
//! This is the only place that knows both sides. Everything shared is made here once and passed on; there
//! is no global state. Putting together fails with an [`Error`] before anything is dialled; taking apart
//! cannot fail, only run out of time, and then every unfinished command is answered as failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::audit::{self, Audit};
#[cfg(feature = "page")]
use crate::config::shown::Shown;
use crate::config::{Channel, Server, Settings};
use crate::mcp::http::HttpTarget;
use crate::mcp::prober::Prober;
#[cfg(feature = "harpoon")]
use crate::mcp::prober::Search;
use crate::mcp::stdio::{self, StdioTarget};
use crate::net::Net;
#[cfg(feature = "harpoon")]
use crate::oauth::Discovery;
use crate::ops::heartbeat::Heartbeats;
#[cfg(feature = "page")]
use crate::ops::listener::guard::Guard;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::ops::redact::Redactor;
use crate::pins::{self, Watch};
use crate::plane::client::Plane;
use crate::plane::courier::Couriers;
use crate::plane::poller::Poller;
use crate::policy::Policy;
use crate::relay::inflight::InFlight;
use crate::relay::port::Target;
use crate::relay::stop::Stop;
use crate::relay::worker::Relay;
use crate::sync;

use super::built_in::{BuiltIn, promise};
use super::drain::{Drain, LAST_POSTS_WAIT};
use super::error::Error;
use super::parts::Shared;

/// A tunnel that polls, relays and answers. It lives as long as the process.
pub(crate) struct Tunnel {
    /// Its counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Its verdict.
    pub(crate) readiness: Arc<Readiness>,
    /// Whether its loops come back in time.
    pub(crate) heartbeats: Heartbeats,
    pub(super) plane: Arc<Plane>,
    pub(super) post_room: Arc<Couriers>,
    pub(super) relay: Arc<Relay>,
    pub(super) poller: Arc<Poller>,
    prober: Arc<Prober>,
    pub(super) watch: Option<Arc<Watch>>,
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) stop: Arc<Stop>,
    pub(super) flight: InFlight,
    pub(super) servers: Vec<Arc<HttpTarget>>,
    pub(super) children: Vec<Arc<StdioTarget>>,
    /// Only when it has endpoints, or may get some.
    pub(super) built_in: Option<Arc<dyn BuiltIn>>,
    /// Only where metadata of the server behind `main` is looked for.
    #[cfg(feature = "harpoon")]
    pub(super) discovery: Option<Arc<Discovery>>,
    /// Only when the operator wants a record of every command.
    pub(super) audit: Option<Arc<Audit>>,
    /// Guard of the page, where other machines may look at it.
    #[cfg(feature = "page")]
    pub(super) guard: Option<Arc<Guard>>,
    /// When it last tried to take over other settings, and whether it could.
    pub(super) last_reload: Mutex<Option<(Instant, bool)>>,
    /// The settings in force, for people.
    #[cfg(feature = "page")]
    pub(super) shown: Mutex<Vec<Shown>>,
}

impl Tunnel {
    /// Prepares everything; nothing is dialled and only the couriers run.
    pub(crate) fn prepare(
        settings: &Settings,
        net: &Net,
        instance_id: &str,
        redactor: &Arc<Redactor>,
    ) -> Result<Tunnel, Error> {
        let shared = Shared { redactor: Some(Arc::clone(redactor)), ..Shared::new(settings, net) };
        shared.read_pins()?;
        let (servers, built_in) = (shared.servers()?, shared.built_in()?);
        let mut targets: BTreeMap<Channel, Arc<dyn Target>> = BTreeMap::new();
        for server in &servers {
            targets.insert(server.channel().clone(), Arc::<HttpTarget>::clone(server));
        }
        #[cfg(feature = "harpoon")]
        let discovery = shared.protect(built_in.as_ref(), &servers, &mut targets)?;
        let search = None;
        #[cfg(feature = "harpoon")]
        let search = search.or(discovery.clone().map(|it| -> Search { Box::new(move |by| it.round(by)) }));
        let late = built_in.as_ref().map(|built_in| built_in.served()).unwrap_or_default();
        let plane = Arc::new(shared.plane(instance_id, late)?);
        let (post_room, audit) = (shared.post_room(&plane)?, shared.audit(instance_id)?);
        // The last thing that can fail: nothing has to be taken back when it does.
        let children = shared.children()?;
        for child in &children {
            targets.insert(child.channel().clone(), Arc::<StdioTarget>::clone(child));
        }
        let promise = promise(settings);
        // One that may come later leads where the first does: only the worker of every channel is kept for it.
        let counted = targets.len() + promise.iter().filter(|promise| promise.is_configured).count();
        targets.extend(promise.zip(built_in.as_ref()).map(|(it, by)| (it.channel, by.target())));
        let relay = Arc::new(shared.relay(targets, counted, &post_room, audit.as_ref()));
        let (flight, prober) = (InFlight::default(), Arc::new(shared.prober(&servers, search)));
        let poller = Arc::new(shared.poller(&plane, &relay, &flight));
        let Shared { metrics, readiness, heartbeats, stop, watch, policy, .. } = shared;
        Ok(Tunnel {
            metrics,
            readiness,
            heartbeats,
            plane,
            post_room,
            relay,
            poller,
            prober,
            watch,
            policy,
            stop,
            flight,
            servers,
            children,
            built_in,
            #[cfg(feature = "harpoon")]
            discovery,
            audit,
            #[cfg(feature = "page")]
            guard: Guard::of(&settings.admin_ui),
            last_reload: Mutex::default(),
            #[cfg(feature = "page")]
            shown: Mutex::new(settings.shown.clone()),
        })
    }

    /// Remembers a try to take over other settings.
    pub(super) fn reloaded(&self, is_good: bool) {
        self.metrics.reloaded(is_good);
        *sync::lock(&self.last_reload) = Some((sync::now(), is_good));
    }

    /// How many connections and pipes calls and answers may hold at once.
    pub(crate) fn connections(settings: &Settings) -> usize {
        /// Three pipes and the lifeline of its guard, for a child of each era.
        const PIPES: usize = 2 * 4;
        let bindings = &settings.mcp.bindings;
        let children = bindings.iter().filter(|one| matches!(one.server, Server::Stdio(_))).count();
        // Whoever calls a child holds no connection.
        let dials =
            children < bindings.len() || promise(settings).is_some_and(|promise| promise.is_configured);
        let dialled = if dials { settings.mcp.max_concurrent_requests } else { 0 };
        dialled + Shared::couriers(settings) + PIPES * children
    }

    /// Starts workers, prober, metadata and poller. The threads end with the process or by [`Tunnel::drain`].
    /// Workers come first: a command must find somebody, and a thread that cannot be started must fail
    /// the start before the first poll.
    pub(crate) fn start(&self, settings: &Settings) -> Result<(), Error> {
        let (calls, posts) = (settings.mcp.max_concurrent_requests, Shared::posting(settings));
        self.relay.start(calls, posts, &self.heartbeats).map_err(Error::thread)?;
        let (plane, readiness) = (Arc::clone(&self.plane), Arc::clone(&self.readiness));
        spawn("metadata", move || fetch_metadata(&plane, &readiness))?;
        let wait = settings.mcp.startup_wait;
        let (poller, prober) = (Arc::clone(&self.poller), Arc::clone(&self.prober));
        let (heartbeat, watch, stop) =
            (self.heartbeats.add("poller"), self.watch.clone(), Arc::clone(&self.stop));
        self.list_tools()?;
        // The gate runs on the poller's thread: nothing else has to wait for the server.
        spawn("poller", move || {
            if !wait.is_zero() {
                prober.gate(wait, &heartbeat);
            }
            if let Some(watch) = watch {
                watch.gate(&stop, &heartbeat);
            }
            poller.run(&heartbeat);
        })?;
        let (prober, heartbeat) = (Arc::clone(&self.prober), self.heartbeats.add("prober"));
        spawn("prober", move || prober.run(&heartbeat))
    }

    /// Starts what lists the tools of servers, where that is asked for.
    fn list_tools(&self) -> Result<(), Error> {
        let Some(watch) = self.watch.clone() else { return Ok(()) };
        let of_http =
            self.servers.iter().map(|one| (one.channel().clone(), pins::Server::Http(Arc::clone(one))));
        let of_stdio =
            self.children.iter().map(|one| (one.channel().clone(), pins::Server::Stdio(Arc::clone(one))));
        // Each by itself: no channel is left without service because the server of another one is slow.
        for (channel, server) in of_http.chain(of_stdio).filter(|(channel, _)| watch.blocks(channel)) {
            let (watch, stop, heartbeat) =
                (Arc::clone(&watch), Arc::clone(&self.stop), self.heartbeats.add("pins"));
            spawn("pins", move || watch.run(&channel, &server, &stop, &heartbeat))?;
        }
        Ok(())
    }

    /// Ends it within `time`, as [`Drain::run`] says.
    pub(crate) fn drain(&self, time: Duration) -> u64 {
        let Tunnel { plane, poller, relay, post_room, stop, flight, .. } = self;
        Drain { plane: &**plane, poller, relay, post_room, stop, flight }.run(time)
    }

    /// Ends servers over stdio that would outlive a process which does not wait for the end of a drain.
    pub(crate) fn leave(&self) {
        // Their guards are those of one tunnel.
        self.children.first().into_iter().for_each(|child| child.leave());
    }

    /// How long [`Tunnel::drain`] takes at most.
    pub(crate) fn drain_bound(time: Duration) -> Duration {
        // The poller's last body, the last posts, the children, a moment for the threads themselves, and the last
        // audit records. Each is a bound of its own above; nothing else in a drain waits.
        let last = LAST_POSTS_WAIT + stdio::END_MAX + audit::END_TIME;
        time + Duration::from_secs(2) + last + Duration::from_secs(1)
    }
}

/// Asks once for the tunnel's name, for the log alone. Polling neither waits for it nor depends on it.
fn fetch_metadata(plane: &Plane, readiness: &Readiness) {
    match plane.metadata() {
        Ok(metadata) => {
            readiness.metadata_succeeded();
            #[cfg(feature = "page")]
            readiness.named(&metadata.name);
            let tls = plane.clients().polls.agreed();
            log::info!(
                name = metadata.name.as_str(), description = metadata.description.as_str(), tls = tls.as_str();
                "tunnel metadata fetched"
            );
        }
        Err(error) => {
            let error = error.to_string();
            log::warn!(error = error.as_str(); "tunnel metadata fetch failed");
        }
    }
}

/// Starts a thread that nobody joins: it ends with its phase, or with the process.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    sync::spawn(name, body).map(drop).map_err(Error::thread)
}
