//! The parts of a tunnel, made from the settings: connections, servers, endpoints, discovery.
//!
//! Each is made once, at start; nothing is dialled, and only servers over stdio are started. It fails with the
//! tunnel's [`Error`], before a command was polled.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::{self, Channel, HttpServer, Server, Settings, StdioServer};
use crate::harpoon::Harpoon;
use crate::mcp::http::HttpTarget;
use crate::mcp::prober::{Prober, Search};
use crate::mcp::stdio::launch::{self, Launch};
use crate::mcp::stdio::{self, StdioTarget};
use crate::net::{self, Budget, Net};
use crate::oauth::{Discovery, Protected, Registrar};
use crate::ops::heartbeat::Heartbeats;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::ops::redact::Redactor;
use crate::plane::client::{Clients, Identity, Plane};
use crate::plane::courier::PostRoom;
use crate::relay::port::Target;
use crate::relay::queue::LISTENERS;
use crate::relay::stop::Stop;

use super::tunnel::Error;

/// Bounds of `X-Tunnel-MCP-Server-Info`, from the contract. Checked at start: a header above them would
/// make every poll fail.
const SERVER_INFO_CHANNELS_MAX: usize = 32;
const SERVER_INFO_BYTES_MAX: usize = 4096;

/// Connections of the poller's client: the poll itself and the metadata, which are asked for at once.
const POLL_CONNECTIONS: usize = 2;

/// The server behind `main`, when it is one over HTTP and its channel is polled: then its metadata is looked for.
fn discovered(settings: &Settings) -> Option<&HttpServer> {
    let main = Channel::main();
    let polled = &settings.control_plane.poll_channels;
    let mut bindings = settings.mcp.bindings.iter().filter(|binding| binding.channel == main);
    match &bindings.find(|_| polled.is_empty() || polled.contains(&main))?.server {
        Server::Http(server) => Some(server),
        Server::Stdio(_) => None,
    }
}

/// Whether endpoints that discovery finds can be called.
fn may_register(settings: &Settings) -> bool {
    let polled = &settings.control_plane.poll_channels;
    discovered(settings).is_some() && (polled.is_empty() || polled.contains(&Harpoon::channel()))
}

/// Whether endpoints may be called by name, now or later.
pub(super) fn may_call(settings: &Settings) -> bool {
    !settings.harpoon.targets.is_empty() || may_register(settings)
}

/// The endpoints that the product may call; nothing where none can come to be, and then the channel does not
/// exist.
pub(super) fn endpoints(
    settings: &Settings,
    net: &Net,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Harpoon>>, Error> {
    if !may_call(settings) {
        return Ok(None);
    }
    let captures = settings.harpoon.capture_payloads.then(|| Redactor::new(settings.secrets()));
    let harpoon = Harpoon::new(net, &settings.harpoon, &settings.mcp, metrics, captures);
    let harpoon = harpoon.map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(Some(Arc::new(harpoon)))
}

/// Discovery for the server behind `main`, which registers what it finds with `harpoon`.
pub(super) fn discovery(
    settings: &Settings,
    net: &Net,
    harpoon: Option<&Arc<Harpoon>>,
    readiness: &Arc<Readiness>,
) -> Result<Option<Arc<Discovery>>, Error> {
    let Some(server) = discovered(settings) else { return Ok(None) };
    let registrar = harpoon.filter(|_| may_register(settings)).map(|harpoon| Registrar {
        net: net.clone(),
        settings: settings.harpoon.clone(),
        registry: Arc::clone(harpoon.registry()),
        unix_socket: server.unix_socket.clone(),
        workers: settings.mcp.max_concurrent_requests,
    });
    Ok(Some(Arc::new(Discovery::new(net, &settings.mcp, server, registrar, readiness)?)))
}

/// Discovery as `Tunnel` prepares it, for a search of its own: what that registers, nobody
/// calls.
#[cfg(feature = "operator")]
pub(crate) fn lone_discovery(settings: &Settings, net: &Net) -> Result<Option<Arc<Discovery>>, Error> {
    let metrics = Arc::new(Metrics::new(&settings.control_plane.tunnel_id, 1, 1, &[]));
    let harpoon = endpoints(settings, net, &metrics)?;
    discovery(settings, net, harpoon.as_ref(), &Arc::new(readiness(&settings.control_plane, &[])))
}

/// The servers as the relay calls them; the one behind `main` together with its discovery.
pub(super) fn targets(
    servers: &[Arc<HttpTarget>],
    discovery: Option<&Arc<Discovery>>,
) -> impl Iterator<Item = (Channel, Arc<dyn Target>)> {
    servers.iter().map(move |server| {
        let (channel, server) = (server.channel().clone(), Arc::clone(server));
        let target: Arc<dyn Target> = match discovery.filter(|_| channel == Channel::main()) {
            Some(discovery) => Arc::new(Protected { server, discovery: Arc::clone(discovery) }),
            None => server,
        };
        (channel, target)
    })
}

/// What is called by name, as the relay calls it.
pub(super) fn late_target(harpoon: &Arc<Harpoon>) -> (Channel, Arc<dyn Target>) {
    let target: Arc<dyn Target> = Arc::<Harpoon>::clone(harpoon);
    (Harpoon::channel(), target)
}

/// Names of channels become labels of metrics; only configured ones do, so their number is known.
pub(super) fn channels(settings: &Settings) -> Vec<Channel> {
    let bound = settings.mcp.bindings.iter().map(|binding| binding.channel.clone());
    bound.chain(may_call(settings).then(Harpoon::channel)).collect()
}

/// What probes the servers that are polled, and searches for metadata beside.
pub(super) fn prober(
    plane: &config::ControlPlane,
    servers: &[Arc<HttpTarget>],
    discovery: Option<Arc<Discovery>>,
    readiness: &Arc<Readiness>,
    stop: &Arc<Stop>,
) -> Prober {
    let search = discovery.map(|discovery| -> Search { Box::new(move || discovery.round()) });
    Prober::new(polled(plane, servers), search, Arc::clone(readiness), Arc::clone(stop))
}

/// The servers whose channels are polled. The others get no command, so they are not probed either.
fn polled(plane: &config::ControlPlane, servers: &[Arc<HttpTarget>]) -> Vec<Arc<HttpTarget>> {
    let polled = &plane.poll_channels;
    let is_polled = |server: &&Arc<HttpTarget>| polled.is_empty() || polled.contains(server.channel());
    servers.iter().filter(is_polled).cloned().collect()
}

/// The verdict on a tunnel over these servers, of which those that are polled will be probed.
pub(super) fn readiness(plane: &config::ControlPlane, servers: &[Arc<HttpTarget>]) -> Readiness {
    // A poll that is held to its end must not look like a plane that is gone; a minute covers backoff.
    let window = plane.poll_timeout + plane.poll_guardrail + Duration::from_secs(60);
    let probed = polled(plane, servers);
    let probed: Vec<Channel> = probed.iter().map(|server| server.channel().clone()).collect();
    Readiness::new(window, &probed)
}

/// The control plane as this process talks to it; nothing is dialled yet.
pub(crate) fn plane(
    settings: &Settings,
    net: &Net,
    instance_id: &str,
    couriers: usize,
    metrics: &Arc<Metrics>,
    served: &Arc<AtomicBool>,
) -> Result<Plane, Error> {
    let plane = &settings.control_plane;
    // Each channel may have a worker of its own besides.
    let workers = settings.mcp.max_concurrent_requests + settings.mcp.bindings.len();
    let clients = clients(net, plane, workers, couriers)?;
    let (server_info, late) = (server_info(settings, false)?, server_info(settings, true));
    // What is configured must be declared; what may be found stays out where everything is taken.
    let late = match late {
        Err(_) if settings.harpoon.targets.is_empty() => server_info.clone(),
        late => late?,
    };
    let late_info = (late.as_str(), Arc::clone(served));
    let identity = Identity { instance_id, server_info: &server_info, late_info };
    Plane::new(plane, clients, &identity, Arc::clone(metrics)).map_err(Error::Plane)
}

/// The couriers, running.
pub(super) fn post_room(
    settings: &Settings,
    plane: &Arc<Plane>,
    couriers: usize,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    stop: &Arc<Stop>,
    heartbeats: &Heartbeats,
) -> Result<Arc<PostRoom>, Error> {
    let bounds = (couriers, settings.mcp.connection_max_ttl, settings.network.body_budget_bytes);
    let (metrics, readiness) = (Arc::clone(metrics), Arc::clone(readiness));
    PostRoom::start(Arc::clone(plane), bounds, metrics, readiness, Arc::clone(stop), heartbeats)
        .map_err(Error::Thread)
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

/// The connections to the control plane, as many of each kind as there are threads that use them: with
/// fewer, busy ones would be closed after each use, and a TLS handshake costs more than a call.
fn clients(
    net: &Net,
    plane: &config::ControlPlane,
    workers: usize,
    couriers: usize,
) -> Result<Clients, net::Error> {
    Ok(Clients {
        polls: net.control_plane(plane, POLL_CONNECTIONS)?,
        notes: net.control_plane(plane, workers + LISTENERS)?,
        answers: net.control_plane(plane, couriers)?,
    })
}

/// Starts the servers over stdio, also of channels that are not polled, as the reference does.
pub(super) fn children(
    settings: &Settings,
    budget: &Arc<Budget>,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    heartbeats: &Heartbeats,
) -> Result<Vec<Arc<StdioTarget>>, Error> {
    let shared = stdio::Shared {
        ttl: settings.mcp.connection_max_ttl,
        silence: settings.mcp.stdio_silence,
        budget: Arc::clone(budget),
        metrics: Arc::clone(metrics),
        readiness: Arc::clone(readiness),
        guards: Arc::default(),
    };
    let mut children = Vec::new();
    for binding in &settings.mcp.bindings {
        let Server::Stdio(server) = &binding.server else { continue };
        let child = StdioTarget::start(&binding.channel, launch(server), &shared, heartbeats);
        let channel = binding.channel.as_str();
        let child =
            child.map_err(|error| Error::Child(format!("mcp.command for channel \"{channel}\": {error}")))?;
        children.push(Arc::new(child));
    }
    Ok(children)
}

/// A server over stdio, as the relay calls it.
pub(super) fn child_target(child: &Arc<StdioTarget>) -> (Channel, Arc<dyn Target>) {
    let target: Arc<dyn Target> = Arc::<StdioTarget>::clone(child);
    (child.channel().clone(), target)
}

/// The servers of all bindings, also of those whose channel is not polled: a start tells whether a
/// configuration works as a whole.
pub(super) fn servers(
    settings: &Settings,
    net: &Net,
    metrics: &Arc<Metrics>,
    stop: &Arc<Stop>,
) -> Result<Vec<Arc<HttpTarget>>, Error> {
    let mut servers = Vec::new();
    for binding in &settings.mcp.bindings {
        match &binding.server {
            Server::Http(server) => {
                let (metrics, stop) = (Arc::clone(metrics), Arc::clone(stop));
                let target = HttpTarget::new(net, &settings.mcp, &binding.channel, server, metrics, stop)?;
                servers.push(Arc::new(target));
            }
            // Started later, by `children`: a configuration that is wrong elsewhere starts no program.
            Server::Stdio(_) => {}
        }
    }
    Ok(servers)
}

/// `X-Tunnel-MCP-Server-Info`: the channels that can be asked for, in the order of configuration. Names
/// only: neither where a server is nor what it can do is anybody's business before it is asked.
///
/// What may be called by name is declared `late`, while there is something to call.
fn server_info(settings: &Settings, late: bool) -> Result<String, Error> {
    let allowed = &settings.control_plane.poll_channels;
    let bound = settings.mcp.bindings.iter().map(|b| (&b.channel, matches!(b.server, Server::Stdio(_))));
    let own = Channel::harpoon();
    let own = (late && may_call(settings)).then_some((&own, true));
    let channels: Vec<String> = bound
        .chain(own)
        .filter(|(channel, _)| allowed.is_empty() || allowed.contains(channel))
        .map(|(channel, is_affine)| {
            // Channel names need no escaping. A child, as what is called by name, answers through us alone.
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
