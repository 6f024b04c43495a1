//! The parts of a tunnel, made from the settings: connections, servers, discovery.
//!
//! Each is made at start, and some of it again when files have changed; nothing is dialled, and only servers over stdio are started. It fails before a
//! command was polled.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::audit::Audit;
use crate::config::{self, Channel, Server, Settings, StdioServer};
use crate::mcp::http::HttpTarget;
use crate::mcp::prober::{Prober, Search};
use crate::mcp::stdio::launch::{self, Launch};
use crate::mcp::stdio::{self, StdioTarget};
use crate::net::Net;
#[cfg(feature = "harpoon")]
use crate::oauth::{Discovery, Protected};
use crate::ops::heartbeat::Heartbeats;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::ops::redact::Redactor;
use crate::pins::{self, Watch};
use crate::plane::client::{Clients, Plane};
use crate::plane::courier::{self, COURIERS_MAX, Couriers};
use crate::plane::poll_wait::PollWait;
use crate::plane::poller::{self, Poller};
use crate::plane::server_info::{self, Declaration, ServerInfo};
use crate::policy::Policy;
use crate::relay::calls::Calls;
use crate::relay::inflight::InFlight;
use crate::relay::port::{Governor, Recorder, Target};
use crate::relay::queue::{LISTENERS, Queue};
use crate::relay::stop::Stop;
use crate::relay::trace;
use crate::relay::worker::Relay;

#[cfg(feature = "harpoon")]
use super::built_in::discovered;
use super::built_in::{BuiltIn, promise};
use super::error::Error;

/// Connections of the poller's client: the poll itself and the metadata, which are asked for at once.
const POLL_CONNECTIONS: usize = 2;

/// What the parts of one tunnel share.
pub(crate) struct Shared<'a> {
    pub(super) settings: &'a Settings,
    pub(super) net: &'a Net,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// What watches the tools of servers, where the operator has accepted some.
    pub(super) watch: Option<Arc<Watch>>,
    pub(super) heartbeats: Heartbeats,
    pub(super) stop: Arc<Stop>,
    /// The operator's policy, where there is one.
    pub(super) policy: Option<Arc<Policy>>,
    /// What cleans records and payloads that are kept.
    pub(super) redactor: Option<Arc<Redactor>>,
}

impl<'a> Shared<'a> {
    /// Starts the counts and the verdict of a tunnel.
    pub(crate) fn new(settings: &'a Settings, net: &'a Net) -> Shared<'a> {
        let plane = &settings.control_plane;
        // Names of channels become labels of metrics; only configured ones do, so their number is known.
        let bindings = settings.mcp.bindings.iter();
        let channels = bindings.clone().map(|binding| binding.channel.clone());
        let channels: Vec<Channel> =
            channels.chain(promise(settings).map(|promise| promise.channel)).collect();
        let workers = settings.mcp.max_concurrent_requests;
        let metrics = Arc::new(Metrics::new(&plane.tunnel_id, plane.max_inflight, workers, &channels));
        // A poll that is held to its end must not look like a plane that is gone; a minute covers backoff.
        let window = plane.poll_timeout + plane.poll_guardrail + Duration::from_secs(60);
        // The servers whose channels are not polled get no command, so they are not probed either.
        let probed =
            bindings.filter(|one| matches!(one.server, Server::Http(_)) && plane.is_polled(&one.channel));
        let probed: Vec<Channel> = probed.map(|binding| binding.channel.clone()).collect();
        let readiness = Arc::new(Readiness::new(window, &probed));
        let watched =
            settings.mcp.bindings.iter().map(|one| one.channel.clone()).filter(|one| plane.is_polled(one));
        let pins = settings.policy.as_ref().and_then(|policy| Some((policy.enforces, policy.pins.as_ref()?)));
        let watch = pins
            .map(|(enforces, pins)| Arc::new(Watch::new(pins.mode, enforces, watched, &metrics, &readiness)));
        let policy = settings
            .policy
            .as_ref()
            .map(|policy| Arc::new(Policy::new(policy, channels, watch.clone(), Arc::clone(&metrics))));
        let (heartbeats, stop, redactor) = Default::default();
        Shared { settings, net, policy, metrics, readiness, watch, heartbeats, stop, redactor }
    }

    /// What judges commands, where the operator has a policy.
    pub(super) fn governor(&self) -> Option<Arc<dyn Governor>> {
        self.policy.as_ref().map(|policy| -> Arc<dyn Governor> { Arc::<Policy>::clone(policy) })
    }

    /// How many threads post answers at most at once, workers and couriers.
    pub(super) fn couriers(settings: &Settings) -> usize {
        (2 * settings.mcp.max_concurrent_requests).min(COURIERS_MAX)
    }

    /// How many of them are workers.
    pub(super) fn posting(settings: &Settings) -> usize {
        Self::couriers(settings) / 2
    }

    /// Reads what the operator has accepted of tools.
    pub(super) fn read_pins(&self) -> Result<(), Error> {
        let pins = self.settings.policy.as_ref().and_then(|policy| policy.pins.as_ref());
        let Some((pins, watch)) = pins.zip(self.watch.as_ref()) else { return Ok(()) };
        watch.read(&pins.file).map_err(|error| Error::Settings(pins::unread(&pins.file, &error)))
    }

    /// The HTTP servers of all bindings, also of those whose channel is not polled: a start tells whether a
    /// configuration works as a whole.
    pub(crate) fn servers(&self) -> Result<Vec<Arc<HttpTarget>>, Error> {
        let mut servers = Vec::new();
        for binding in &self.settings.mcp.bindings {
            // The others start later: a configuration that is wrong elsewhere starts no program.
            if let Server::Http(server) = &binding.server {
                let (metrics, stop) = (Arc::clone(&self.metrics), Arc::clone(&self.stop));
                let (net, mcp) = (self.net, &self.settings.mcp);
                servers.push(Arc::new(HttpTarget::new(net, mcp, &binding.channel, server, metrics, stop)?));
            }
        }
        Ok(servers)
    }

    /// Starts the servers over stdio, also of channels that are not polled, as the reference does.
    pub(crate) fn children(&self) -> Result<Vec<Arc<StdioTarget>>, Error> {
        let shared = stdio::Shared {
            silence: self.settings.mcp.stdio_silence,
            budget: Arc::clone(self.net.budget()),
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
            guards: Arc::default(),
        };
        let mut children = Vec::new();
        for binding in &self.settings.mcp.bindings {
            let Server::Stdio(server) = &binding.server else { continue };
            let child = StdioTarget::start(&binding.channel, &launch(server), &shared, &self.heartbeats);
            let channel = binding.channel.as_str();
            let failed = |error| Error::System(format!("mcp.command for channel \"{channel}\": {error}"));
            children.push(Arc::new(child.map_err(failed)?));
        }
        Ok(children)
    }

    /// The server inside this program that was promised.
    #[cfg_attr(not(feature = "harpoon"), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    pub(super) fn built_in(&self) -> Result<Option<Arc<dyn BuiltIn>>, Error> {
        #[cfg(feature = "harpoon")]
        if promise(self.settings).is_some() {
            return super::endpoints::prepare(self).map(Some);
        }
        Ok(None)
    }

    /// Discovery for the server behind `main`, which registers what it finds with the server inside this program.
    #[cfg(feature = "harpoon")]
    pub(super) fn discovery(
        &self,
        built_in: Option<&Arc<dyn BuiltIn>>,
    ) -> Result<Option<Arc<Discovery>>, Error> {
        let settings = self.settings;
        let Some(server) = discovered(settings) else { return Ok(None) };
        let registers = promise(settings).is_some_and(|promise| promise.registers);
        let registrar = built_in.filter(|_| registers).map(|one| one.registrar(settings, server));
        let discovery = Discovery::new(self.net, &settings.mcp, server, registrar, &self.readiness)?;
        Ok(Some(Arc::new(discovery)))
    }

    /// Has the server behind `main` answer for its discovery as well.
    #[cfg(feature = "harpoon")]
    pub(super) fn protect(
        &self,
        built_in: Option<&Arc<dyn BuiltIn>>,
        servers: &[Arc<HttpTarget>],
        targets: &mut BTreeMap<Channel, Arc<dyn Target>>,
    ) -> Result<Option<Arc<Discovery>>, Error> {
        let Some(discovery) = self.discovery(built_in)? else { return Ok(None) };
        for server in servers.iter().filter(|server| *server.channel() == Channel::main()) {
            let main = Protected { server: Arc::clone(server), discovery: Arc::clone(&discovery) };
            targets.insert(Channel::main(), Arc::new(main));
        }
        Ok(Some(discovery))
    }

    /// Probes the servers that are polled, and searches for metadata beside.
    pub(super) fn prober(&self, servers: &[Arc<HttpTarget>], search: Option<Search>) -> Prober {
        let plane = &self.settings.control_plane;
        let polled = servers.iter().filter(|server| plane.is_polled(server.channel())).cloned().collect();
        Prober::new(polled, search, Arc::clone(&self.readiness), Arc::clone(&self.stop))
    }

    /// The control plane as this process talks to it; nothing is dialled yet. While `late` is set, the channel of
    /// the server inside this program is declared too.
    pub(crate) fn plane(&self, instance_id: &str, late: Arc<AtomicBool>) -> Result<Plane, Error> {
        let (plane, clients) = (&self.settings.control_plane, clients(self.settings, self.net)?);
        let info = self.server_info(late)?;
        let (metrics, redactor) = (Arc::clone(&self.metrics), self.redactor.clone());
        let budget = self.settings.network.body_budget_bytes;
        Plane::new(plane, clients, instance_id, info, metrics, redactor, budget).map_err(Error::Settings)
    }

    /// What the channels declare, in the order of configuration: those of the bindings, and the one that may come
    /// later.
    fn server_info(&self, late: Arc<AtomicBool>) -> Result<ServerInfo, Error> {
        let polled = |one: &Declaration| self.settings.control_plane.is_polled(&one.channel);
        let bound = self.settings.mcp.bindings.iter().map(|binding| Declaration {
            channel: binding.channel.clone(),
            #[cfg(feature = "dev")]
            stateless: self.settings.mcp.stub.as_ref().is_some_and(|stub| stub.stateless)
                && binding.channel == Channel::main(),
            #[cfg(not(feature = "dev"))]
            stateless: false,
            // A child answers through this process alone.
            proc_affinity: matches!(binding.server, Server::Stdio(_)),
        });
        let bound: Vec<Declaration> = bound.filter(polled).collect();
        let promise = promise(self.settings);
        let built_in = promise.iter().map(|promise| Declaration {
            channel: promise.channel.clone(),
            stateless: true,
            proc_affinity: true,
        });
        let all: Vec<Declaration> = bound.iter().cloned().chain(built_in.filter(polled)).collect();
        let all = match server_info::header(&all) {
            // What is configured must be declared; what may be found stays out where everything is taken.
            Err(_) if promise.is_some_and(|promise| !promise.is_configured) => server_info::header(&bound),
            all => all,
        };
        let all = all.map_err(Error::Settings)?;
        // A server inside this program that is alone is there from the start.
        let fixed = if bound.is_empty() { Ok(all.clone()) } else { server_info::header(&bound) };
        Ok(ServerInfo { fixed: fixed.map_err(Error::Settings)?, all, late })
    }

    /// The audit record, where one is wanted.
    pub(super) fn audit(&self, instance: &str) -> Result<Option<Arc<Audit>>, Error> {
        let asked = self.settings.audit.as_ref().zip(self.redactor.as_ref());
        let Some((settings, redactor)) = asked else { return Ok(None) };
        let tunnel = &self.settings.control_plane.tunnel_id;
        let audit = Audit::start(settings, instance, tunnel, &self.metrics, redactor);
        let audit = audit.map_err(Error::System)?;
        if let Some(watch) = &self.watch {
            // There is one audit a process.
            let _ = watch.audit.set(Arc::clone(&audit));
        }
        let asked = Arc::clone(&audit);
        self.readiness.ask(Box::new(move || asked.fault().map(|why| format!("audit unavailable: {why}"))));
        Ok(Some(audit))
    }

    /// The core, which no thread runs yet. Its workers are for `counted` channels.
    pub(super) fn relay(
        &self,
        targets: BTreeMap<Channel, Arc<dyn Target>>,
        counted: usize,
        couriers: &Arc<Couriers>,
        audit: Option<&Arc<Audit>>,
    ) -> Relay {
        let (mcp, plane) = (&self.settings.mcp, &self.settings.control_plane);
        // Where the operator's own headers bring a trace context, two would contradict each other.
        let has_own = trace::NAMES.iter().any(|name| mcp.extra_headers.contains_key(*name));
        Relay {
            queue: Queue::new(plane.max_inflight, mcp.max_concurrent_requests, counted, &self.metrics),
            targets,
            allowed: plane.poll_channels.clone(),
            outbox: Arc::<Couriers>::clone(couriers),
            governor: self.governor(),
            recorder: audit.map(|audit| -> Arc<dyn Recorder> { Arc::<Audit>::clone(audit) }),
            call_max: mcp.connection_max_ttl,
            calls: Calls::new(Arc::clone(&self.metrics)),
            forwards_trace: mcp.forward_trace_context && !has_own,
            tells_timing: plane.response_timing,
            listeners: Mutex::new((0..LISTENERS).map(|_| Arc::new(self.heartbeats.add("listen"))).collect()),
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
        }
    }

    /// The couriers, running.
    pub(super) fn post_room(&self, plane: &Arc<Plane>) -> Result<Arc<Couriers>, Error> {
        let settings = self.settings;
        let parts = courier::Parts {
            plane: Arc::<Plane>::clone(plane),
            couriers: Self::couriers(settings) - Self::posting(settings),
            posting: Self::posting(settings),
            patience: settings.mcp.connection_max_ttl,
            bytes_max: settings.network.body_budget_bytes,
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
            stop: Arc::clone(&self.stop),
        };
        Couriers::start(parts, &self.heartbeats).map_err(Error::thread)
    }

    /// The poller. It does not run yet.
    pub(super) fn poller(&self, plane: &Arc<Plane>, relay: &Arc<Relay>, flight: &InFlight) -> Poller {
        let settings = &self.settings.control_plane;
        Poller::new(poller::Parts {
            plane: Arc::<Plane>::clone(plane),
            relay: Arc::clone(relay),
            stop: Arc::clone(&self.stop),
            flight: flight.clone(),
            capacity: settings.max_inflight,
            bytes_max: self.settings.network.body_budget_bytes,
            wait: PollWait::new(settings, plane.clients().polls.route().proxy.is_some()),
        })
    }
}

/// The connections to the control plane; nothing is dialled yet.
pub(super) fn clients(settings: &Settings, net: &Net) -> Result<Clients, Error> {
    let plane = &settings.control_plane;
    // Each channel may have a worker of its own besides.
    let workers = settings.mcp.max_concurrent_requests + settings.mcp.bindings.len();
    // As many connections of each kind as there are threads that use them: with fewer, busy ones would be
    // closed after each use, and a TLS handshake costs more than a call.
    // What a poll brings is not for any log: commands, and tokens that say where to ask.
    let quiet = net.clone().dumping(false);
    let is_secret = promise(settings).is_some_and(|promise| promise.is_secret);
    let net = if is_secret { &quiet } else { net };
    Ok(Clients {
        polls: quiet.control_plane(plane, POLL_CONNECTIONS)?,
        notes: net.control_plane(plane, workers + LISTENERS)?,
        answers: net.control_plane(plane, Shared::couriers(settings))?,
    })
}

/// Discovery as a tunnel prepares it, for a search of its own: what that registers, nobody calls.
#[cfg(feature = "operator")]
pub(crate) fn lone_discovery(settings: &Settings, net: &Net) -> Result<Option<Arc<Discovery>>, Error> {
    let shared = Shared::new(settings, net);
    shared.discovery(shared.built_in()?.as_ref())
}

/// How the server of an entry is started, with what it may see of this process's environment.
pub(crate) fn launch(server: &StdioServer) -> Launch {
    let set = server.environment.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    Launch {
        argv: server.argv.clone(),
        environment: launch::environment(std::env::vars_os(), &server.pass, &set.collect::<Vec<_>>()),
        withheld: withheld(server),
        working_dir: server.working_dir.clone(),
    }
}

/// The variables of this process that a server does not get, in order; our own settings are none that it could need.
fn withheld(server: &StdioServer) -> Vec<String> {
    let own = |name: &str| config::settings::ROWS.iter().any(|row| row.env.contains(&name));
    let set = |name: &str| server.environment.iter().any(|(known, _)| known == name);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| !launch::is_passed(name, &server.pass) && !set(name) && !own(name)).collect();
    names.sort();
    names
}
