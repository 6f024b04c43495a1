//! Puts the rooms together into one running tunnel, and takes it apart again without losing answers.
//!
//! This is the only place that knows both sides. Everything shared is made here once and passed on; there
//! is no global state. Putting together fails with an [`Error`] before anything is dialled; taking apart
//! cannot fail, only run out of time, and then every unfinished command is answered as failed.

mod ways;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{self, Channel, Server, Settings, StdioServer};
use crate::harpoon::Harpoon;
use crate::net::{self, Budget, Net};
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Readiness;
use crate::plane::client::{Clients, Identity, Plane, SetupError};
use crate::plane::courier::{COURIERS_MAX, PostRoom};
use crate::plane::poller::Poller;
use crate::relay::inflight::InFlight;
use crate::relay::port::Target;
use crate::relay::queue::{LISTENERS, Queue};
use crate::relay::stop::{Phase, Stop};
use crate::relay::worker::Relay;
use crate::target::http::HttpTarget;
use crate::target::prober::Prober;
use crate::target::stdio::launch::{self, Launch};
use crate::target::stdio::{self, StdioTarget};

/// Stack of the threads that are not workers: a poll's body is decoded without recursion.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// How long answers of cut calls may take to be posted. Supervisors kill after their own bound, so the
/// sum of all waits is stated in [`Tunnel::drain_bound`] and in the unit that is shipped.
const LAST_POSTS_WAIT: Duration = Duration::from_secs(2);

/// Bounds of `X-Tunnel-MCP-Server-Info`, from the contract. Checked at start: a header above them would
/// make every poll fail.
const SERVER_INFO_CHANNELS_MAX: usize = 32;
const SERVER_INFO_BYTES_MAX: usize = 4096;

/// Connections of the poller's client: the poll itself and the metadata, which are asked for at once.
const POLL_CONNECTIONS: usize = 2;

/// A tunnel that polls, relays and answers. It lives as long as the process.
pub(crate) struct Tunnel {
    /// Its counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Its verdict.
    pub(crate) readiness: Arc<Readiness>,
    plane: Arc<Plane>,
    relay: Arc<Relay>,
    poller: Arc<Poller>,
    prober: Arc<Prober>,
    stop: Arc<Stop>,
    flight: InFlight,
    workers: usize,
    startup_wait: Duration,
    servers: Vec<Arc<HttpTarget>>,
    /// Only when endpoints are configured.
    harpoon: Option<Arc<Harpoon>>,
}

/// Why a tunnel could not be put together. Each text is a whole sentence for the one line on standard
/// error; none holds a secret, because none of its sources does.
#[derive(Debug)]
pub(crate) enum Error {
    /// Connections could not be prepared.
    Net(net::Error),
    /// The head of the requests could not be prepared.
    Plane(SetupError),
    /// A thread could not be started.
    Thread(io::Error),
    /// A setting asks for something that does not exist here.
    Unsupported(String),
    /// A server over stdio could not be started.
    Child(String),
}

impl Tunnel {
    /// Prepares everything; nothing is dialled and only the couriers run.
    pub(crate) fn prepare(settings: &Settings, net: &Net, instance_id: &str) -> Result<Tunnel, Error> {
        let workers = settings.mcp.max_concurrent_requests;
        let plane_settings = &settings.control_plane;
        let channels = channels(settings);
        let queue_capacity = plane_settings.max_inflight;
        let metrics = Arc::new(Metrics::new(&plane_settings.tunnel_id, queue_capacity, workers, &channels));
        let stop = Arc::new(Stop::default());
        let servers = servers(settings, net, &metrics, &stop)?;
        let harpoon = endpoints(settings, net, &metrics)?;
        // A poll that is held to its end must not look like a plane that is gone; a minute covers backoff.
        let window = plane_settings.poll_timeout + plane_settings.poll_guardrail + Duration::from_secs(60);
        let probed: Vec<Channel> = servers.iter().map(|server| server.channel().clone()).collect();
        let readiness = Arc::new(Readiness::new(window, &probed));

        let couriers = (2 * workers).min(COURIERS_MAX);
        let plane = Arc::new(plane(settings, net, instance_id, couriers, &metrics)?);

        let post_room =
            PostRoom::start(Arc::clone(&plane), couriers, Arc::clone(&metrics), Arc::clone(&stop))
                .map_err(Error::Thread)?;
        // The last thing that can fail: nothing has to be taken back when it does.
        let mut targets = children(settings, net.budget(), &metrics, &readiness)?;
        targets.extend(servers.iter().map(|server| (server.channel().clone(), as_target(server))));
        targets.extend(harpoon.iter().map(|harpoon| {
            let harpoon: Arc<dyn Target> = Arc::<Harpoon>::clone(harpoon);
            (Harpoon::channel(), harpoon)
        }));
        let flight = InFlight::default();
        let relay = Arc::new(Relay {
            queue: Queue::new(queue_capacity, workers, targets.len()),
            targets,
            allowed: plane_settings.poll_channels.clone(),
            outbox: post_room,
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
        });
        let poller = Arc::new(Poller::new(
            Arc::clone(&plane),
            Arc::clone(&relay),
            Arc::clone(&stop),
            flight.clone(),
            queue_capacity,
            plane_settings.poll_timeout,
        ));
        let prober = Arc::new(Prober::new(servers.clone(), Arc::clone(&readiness), Arc::clone(&stop)));
        Ok(Tunnel {
            metrics,
            readiness,
            plane,
            relay,
            poller,
            prober,
            stop,
            flight,
            workers,
            startup_wait: settings.mcp.startup_wait,
            servers,
            harpoon,
        })
    }

    /// Starts workers, prober, metadata and poller. The threads end with the process or by [`Tunnel::drain`].
    /// Workers come first: a command must find somebody, and a thread that cannot be started must fail
    /// the start before the first poll.
    pub(crate) fn start(&self) -> Result<(), Error> {
        self.relay.start(self.workers).map_err(Error::Thread)?;
        let (plane, readiness) = (Arc::clone(&self.plane), Arc::clone(&self.readiness));
        spawn("metadata", move || fetch_metadata(&plane, &readiness))?;
        let (poller, prober, wait) = (Arc::clone(&self.poller), Arc::clone(&self.prober), self.startup_wait);
        // The gate runs on the poller's thread: nothing else has to wait for the server.
        spawn("poller", move || {
            if !wait.is_zero() {
                prober.gate(wait);
            }
            poller.run();
        })?;
        let prober = Arc::clone(&self.prober);
        spawn("prober", move || prober.run())
    }

    /// Stops polling, finishes what is in flight within `time`, answers the rest as failed.
    ///
    /// The order matters. Subscriptions end first, or every drain would last until its bound. Then no new
    /// command comes in. Only when time is up are servers cut, so that their calls fail and their workers
    /// hand over an answer; posts are cut last of all.
    pub(crate) fn drain(&self, time: Duration) {
        let deadline = Instant::now() + time;
        self.stop.enter(Phase::Draining);
        for target in self.relay.targets.values() {
            target.wind_down();
        }
        log::info!("stopping control-plane poller");
        self.poller.stop();
        if !self.flight.wait_empty(deadline) {
            // In this order: cut calls must find their phase changed, or they would be resumed.
            log::warn!(commands = self.flight.now(); "commands did not finish before shutdown; answering them as failed");
            self.stop.enter(Phase::Cutting);
            self.plane.stop_notes();
            for target in self.relay.targets.values() {
                target.stop();
            }
            self.relay.give_up_waiting();
            self.flight.wait_empty(Instant::now() + LAST_POSTS_WAIT);
        }
        // Workers end when they find the queue closed and empty.
        self.relay.queue.close();
        // Children end last: until here a call may have needed one. All are asked before any is waited for.
        for target in self.relay.targets.values() {
            target.stop();
        }
        for target in self.relay.targets.values() {
            target.close();
        }
        self.stop.enter(Phase::Ended);
        self.plane.stop_posts();
    }

    /// How long [`Tunnel::drain`] takes at most.
    pub(crate) fn drain_bound(time: Duration) -> Duration {
        // The poller's last body, the last posts, the children, and a moment for the threads themselves. Each is
        // a bound of its own above; nothing else in a drain waits.
        time + Duration::from_secs(2) + LAST_POSTS_WAIT + stdio::END_MAX + Duration::from_secs(1)
    }
}

/// The control plane as this process talks to it; nothing is dialled yet.
pub(crate) fn plane(
    settings: &Settings,
    net: &Net,
    instance_id: &str,
    couriers: usize,
    metrics: &Arc<Metrics>,
) -> Result<Plane, Error> {
    let plane = &settings.control_plane;
    let clients = clients(net, plane, settings.mcp.max_concurrent_requests, couriers)?;
    let identity = Identity { instance_id, server_info: &server_info(settings)? };
    Plane::new(plane, clients, &identity, Arc::clone(metrics)).map_err(Error::Plane)
}

/// How the server of an entry is started, with what it may see of this process's environment.
pub(crate) fn launch(server: &StdioServer) -> Launch {
    let set = server.environment.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    Launch {
        argv: server.argv.clone(),
        environment: launch::environment(std::env::vars_os(), &server.pass, &set.collect::<Vec<_>>()),
        working_dir: server.working_dir.clone(),
    }
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

/// The channels that have a target. Their names become labels of metrics, so their number must be known.
fn channels(settings: &Settings) -> Vec<Channel> {
    let own = Some(Harpoon::channel()).filter(|_| !settings.harpoon.targets.is_empty());
    settings.mcp.bindings.iter().map(|binding| binding.channel.clone()).chain(own).collect()
}

/// The endpoints that the product may call; nothing without any, and then the channel does not exist.
fn endpoints(settings: &Settings, net: &Net, metrics: &Arc<Metrics>) -> Result<Option<Arc<Harpoon>>, Error> {
    if settings.harpoon.targets.is_empty() {
        return Ok(None);
    }
    let workers = settings.mcp.max_concurrent_requests;
    let harpoon = Harpoon::new(net, &settings.harpoon, workers, metrics);
    let harpoon = harpoon.map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(Some(Arc::new(harpoon)))
}

fn as_target(server: &Arc<HttpTarget>) -> Arc<dyn Target> {
    Arc::<HttpTarget>::clone(server)
}

/// Starts the servers over stdio, also of channels that are not polled, as the reference does.
fn children(
    settings: &Settings,
    budget: &Arc<Budget>,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
) -> Result<HashMap<Channel, Arc<dyn Target>>, Error> {
    let mut children: HashMap<Channel, Arc<dyn Target>> = HashMap::new();
    for binding in &settings.mcp.bindings {
        let Server::Stdio(server) = &binding.server else { continue };
        let ttl = settings.mcp.connection_max_ttl;
        let child = StdioTarget::start(&binding.channel, launch(server), ttl, budget, metrics, readiness);
        let channel = binding.channel.as_str();
        let child =
            child.map_err(|error| Error::Child(format!("mcp.command for channel \"{channel}\": {error}")))?;
        children.insert(binding.channel.clone(), Arc::new(child));
    }
    Ok(children)
}

/// The servers of all bindings, also of those whose channel is not polled: a start tells whether a
/// configuration works as a whole.
fn servers(
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
fn server_info(settings: &Settings) -> Result<String, Error> {
    let allowed = &settings.control_plane.poll_channels;
    let bound = settings.mcp.bindings.iter().map(|b| (&b.channel, matches!(b.server, Server::Stdio(_))));
    let own = Channel::harpoon();
    let own = (!settings.harpoon.targets.is_empty()).then_some((&own, true));
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

/// Asks once for the tunnel's name, for the log alone. Polling neither waits for it nor depends on it.
fn fetch_metadata(plane: &Plane, readiness: &Readiness) {
    match plane.metadata() {
        Ok(metadata) => {
            readiness.metadata_succeeded();
            log::info!(name = metadata.name.as_str(), description = metadata.description.as_str(); "tunnel metadata fetched");
        }
        Err(error) => {
            let error = error.to_string();
            log::warn!(error = error.as_str(); "tunnel metadata fetch failed");
        }
    }
}

/// Starts a thread that nobody joins: it ends with its phase, or with the process.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(body).map(drop).map_err(Error::Thread)
}

impl Error {
    /// Whether the settings are at fault, or what they name did not start.
    pub(crate) fn is_of_settings(&self) -> bool {
        !matches!(self, Error::Child(_) | Error::Thread(_))
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Error {
        Error::Net(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Net(error) => error.fmt(f),
            Error::Plane(error) => f.write_str(&error.0),
            Error::Thread(error) => write!(f, "start a thread: {error}"),
            Error::Unsupported(text) | Error::Child(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
