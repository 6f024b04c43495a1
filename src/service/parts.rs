//! The parts of a tunnel, made from the settings: connections, servers, discovery.
//!
//! Each is made once, at start; nothing is dialled, and only servers over stdio are started. It fails before a
//! command was polled.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::{self, Channel, Server, Settings, StdioServer};
use crate::mcp::http::HttpTarget;
use crate::mcp::prober::{Prober, Search};
use crate::mcp::stdio::launch::{self, Launch};
use crate::mcp::stdio::{self, StdioTarget};
use crate::net::Net;
use crate::oauth::{Discovery, Protected};
use crate::ops::heartbeat::Heartbeats;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::plane::client::{Clients, Identity, Plane};
use crate::plane::courier::{self, COURIERS_MAX, Couriers};
use crate::plane::poller::{self, Poller};
use crate::relay::inflight::InFlight;
use crate::relay::port::Target;
use crate::relay::queue::LISTENERS;
use crate::relay::stop::Stop;
use crate::relay::worker::Relay;

use super::built_in::{BuiltIn, discovered, promise};
use super::error::Error;

/// Bounds of `X-Tunnel-MCP-Server-Info`, from the contract. Checked at start: a header above them would
/// make every poll fail.
const SERVER_INFO_CHANNELS_MAX: usize = 32;
const SERVER_INFO_BYTES_MAX: usize = 4096;

/// Connections of the poller's client: the poll itself and the metadata, which are asked for at once.
const POLL_CONNECTIONS: usize = 2;

/// What the parts of one tunnel share.
pub(crate) struct Shared<'a> {
    pub(super) settings: &'a Settings,
    pub(super) net: &'a Net,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) heartbeats: Heartbeats,
    pub(super) stop: Arc<Stop>,
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
        let metrics = Metrics::new(&plane.tunnel_id, plane.max_inflight, workers, &channels);
        // A poll that is held to its end must not look like a plane that is gone; a minute covers backoff.
        let window = plane.poll_timeout + plane.poll_guardrail + Duration::from_secs(60);
        // The servers whose channels are not polled get no command, so they are not probed either.
        let probed =
            bindings.filter(|one| matches!(one.server, Server::Http(_)) && plane.is_polled(&one.channel));
        let probed: Vec<Channel> = probed.map(|binding| binding.channel.clone()).collect();
        Shared {
            settings,
            net,
            metrics: Arc::new(metrics),
            readiness: Arc::new(Readiness::new(window, &probed)),
            heartbeats: Heartbeats::default(),
            stop: Arc::default(),
        }
    }

    /// How many threads post answers.
    pub(super) fn couriers(settings: &Settings) -> usize {
        (2 * settings.mcp.max_concurrent_requests).min(COURIERS_MAX)
    }

    /// The HTTP servers of all bindings, also of those whose channel is not polled: a start tells whether a
    /// configuration works as a whole.
    pub(super) fn servers(&self) -> Result<Vec<Arc<HttpTarget>>, Error> {
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
    pub(super) fn children(&self) -> Result<Vec<Arc<StdioTarget>>, Error> {
        let shared = stdio::Shared {
            ttl: self.settings.mcp.connection_max_ttl,
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
            let failed = |error| Error::Child(format!("mcp.command for channel \"{channel}\": {error}"));
            children.push(Arc::new(child.map_err(failed)?));
        }
        Ok(children)
    }

    /// The server inside this program that was promised.
    #[cfg_attr(not(feature = "harpoon"), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    pub(super) fn built_in(&self) -> Result<Option<Arc<dyn BuiltIn>>, Error> {
        #[cfg(feature = "harpoon")]
        if promise(self.settings).is_some() {
            return super::endpoints::prepare(self.settings, self.net, &self.metrics).map(Some);
        }
        Ok(None)
    }

    /// Discovery for the server behind `main`, which registers what it finds with the server inside this program.
    pub(super) fn discovery(
        &self,
        built_in: Option<&Arc<dyn BuiltIn>>,
    ) -> Result<Option<Arc<Discovery>>, Error> {
        let settings = self.settings;
        let Some(server) = discovered(settings) else { return Ok(None) };
        let registers = promise(settings).is_some_and(|promise| promise.registers);
        let registrar = built_in.filter(|_| registers).map(|one| one.registrar(settings, self.net, server));
        let discovery = Discovery::new(self.net, &settings.mcp, server, registrar, &self.readiness)?;
        Ok(Some(Arc::new(discovery)))
    }

    /// Probes the servers that are polled, and searches for metadata beside.
    pub(super) fn prober(&self, servers: &[Arc<HttpTarget>], discovery: Option<Arc<Discovery>>) -> Prober {
        let search = discovery.map(|discovery| -> Search { Box::new(move |pause| discovery.round(pause)) });
        let plane = &self.settings.control_plane;
        let polled = servers.iter().filter(|server| plane.is_polled(server.channel())).cloned().collect();
        Prober::new(polled, search, Arc::clone(&self.readiness), Arc::clone(&self.stop))
    }

    /// The control plane as this process talks to it; nothing is dialled yet. While `late` is set, the channel of
    /// the server inside this program is declared too.
    pub(crate) fn plane(&self, instance_id: &str, late: Arc<AtomicBool>) -> Result<Plane, Error> {
        let (settings, plane) = (self.settings, &self.settings.control_plane);
        // Each channel may have a worker of its own besides.
        let workers = settings.mcp.max_concurrent_requests + settings.mcp.bindings.len();
        // As many connections of each kind as there are threads that use them: with fewer, busy ones would be
        // closed after each use, and a TLS handshake costs more than a call.
        let clients = Clients {
            polls: self.net.control_plane(plane, POLL_CONNECTIONS)?,
            notes: self.net.control_plane(plane, workers + LISTENERS)?,
            answers: self.net.control_plane(plane, Self::couriers(settings))?,
        };
        let info = server_info(settings, None)?;
        let late_info = match promise(settings) {
            None => info.clone(),
            Some(promise) => match server_info(settings, Some(&promise.channel)) {
                // What is configured must be declared; what may be found stays out where everything is taken.
                Err(_) if !promise.is_configured => info.clone(),
                late => late?,
            },
        };
        let identity = Identity { instance_id, server_info: &info, late_info: (&late_info, late) };
        Plane::new(plane, clients, &identity, Arc::clone(&self.metrics)).map_err(Error::Plane)
    }

    /// The couriers, running.
    pub(super) fn post_room(&self, plane: &Arc<Plane>) -> Result<Arc<Couriers>, Error> {
        let settings = self.settings;
        let parts = courier::Parts {
            plane: Arc::<Plane>::clone(plane),
            couriers: Self::couriers(settings),
            patience: settings.mcp.connection_max_ttl,
            bytes_max: settings.network.body_budget_bytes,
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
            stop: Arc::clone(&self.stop),
        };
        Couriers::start(parts, &self.heartbeats).map_err(Error::Thread)
    }

    /// The poller. It does not run yet.
    pub(super) fn poller(&self, plane: &Arc<Plane>, relay: &Arc<Relay>, flight: &InFlight) -> Poller {
        Poller::new(poller::Parts {
            plane: Arc::<Plane>::clone(plane),
            relay: Arc::clone(relay),
            stop: Arc::clone(&self.stop),
            flight: flight.clone(),
            capacity: self.settings.control_plane.max_inflight,
            bytes_max: self.settings.network.body_budget_bytes,
            timeout: self.settings.control_plane.poll_timeout,
        })
    }
}

/// Discovery as a tunnel prepares it, for a search of its own: what that registers, nobody calls.
#[cfg(feature = "operator")]
pub(crate) fn lone_discovery(settings: &Settings, net: &Net) -> Result<Option<Arc<Discovery>>, Error> {
    let shared = Shared::new(settings, net);
    shared.discovery(shared.built_in()?.as_ref())
}

/// A server as the relay calls it; the one behind `main` together with its discovery.
pub(super) fn target(server: &Arc<HttpTarget>, discovery: Option<&Arc<Discovery>>) -> Arc<dyn Target> {
    let server = Arc::clone(server);
    match discovery.filter(|_| *server.channel() == Channel::main()) {
        Some(discovery) => Arc::new(Protected { server, discovery: Arc::clone(discovery) }),
        None => server,
    }
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

/// `X-Tunnel-MCP-Server-Info`: the channels that can be asked for, in the order of configuration. Names
/// only: neither where a server is nor what it can do is anybody's business before it is asked.
fn server_info(settings: &Settings, late: Option<&Channel>) -> Result<String, Error> {
    let bound = settings.mcp.bindings.iter().map(|b| (&b.channel, matches!(b.server, Server::Stdio(_))));
    let polled = bound.chain(late.map(|channel| (channel, true)));
    let polled = polled.filter(|(channel, _)| settings.control_plane.is_polled(channel));
    let channels: Vec<String> = polled
        .map(|(channel, is_affine)| {
            // Channel names need no escaping. A child, as the server inside this program, answers through us alone.
            let affinity = if is_affine { ",\"proc_affinity\":true" } else { "" };
            format!("{{\"name\":\"{}\"{affinity}}}", channel.as_str())
        })
        .collect();
    let info = format!("{{\"version\":1,\"channels\":[{}]}}", channels.join(","));
    if channels.len() > SERVER_INFO_CHANNELS_MAX || info.len() > SERVER_INFO_BYTES_MAX {
        let text =
            format!("at most {SERVER_INFO_CHANNELS_MAX} channels can be served; configure fewer bindings");
        return Err(Error::Unsupported(text));
    }
    Ok(info)
}
