//! A tunnel whose both ends are in this process: a local control plane and the relay that `run` would be.
//!
//! Only the control plane is another one; the relay is put together from settings as always, so that
//! profiles and bindings mean what they mean there. The relay has a listener of the plane to itself, which
//! callers cannot fill. It fails like any start, and when nothing has worked within a bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::LevelFilter;
use serde::Serialize;
use ureq::http::HeaderMap;

use crate::cli::Failure;
use crate::config::{Environment, Flags, LogFormat, Request, Settings};
use crate::dev::plane::{self, Plane};
use crate::dev::server::{Place, Server};
use crate::ops::listener::bind::base_url;
use crate::service::start::{Process, Service};

/// The tunnel that is served when nobody names one.
pub(in crate::cli) const TUNNEL_ID: &str = "tunnel_22222222222222222222222222222222";

/// What the relay shows to the plane, and nobody else ever sees.
const API_KEY: &str = "local-tunnel-client-dev-proxy";

/// How often a start looks whether it is over. Signals end the look early.
const LOOK: Duration = Duration::from_millis(10);

/// How long calls may take once the process is to end. Nobody waits long for a tool at a terminal.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What the relay is told besides the command's own settings; as flags, so that neither the environment nor
/// a profile says otherwise.
#[rustfmt::skip]
const FIXED: &[&str] = &[
    "--control-plane.allow-plaintext-http=true",
    // Shorter than a client may be silent before it counts as gone.
    "--control-plane.poll-timeout=5s",
    "--control-plane.poll-deadline-guardrail=5s",
];

/// How a tunnel is to be.
pub(in crate::cli) struct Options {
    /// Where callers find it.
    pub(in crate::cli) listen: Place,
    /// Its id.
    pub(in crate::cli) tunnel_id: String,
    /// Flags of `run` that name servers and profile.
    pub(in crate::cli) settings: Vec<String>,
    /// Nothing that the environment says about a tunnel counts.
    pub(in crate::cli) is_isolated: bool,
    /// It is up when a server has died at its start: whoever calls it learns that.
    pub(in crate::cli) takes_dead_servers: bool,
    /// What is logged where nobody asks for a log.
    pub(in crate::cli) log_level: LevelFilter,
    /// Where health is served; nowhere when there is none.
    pub(in crate::cli) health_listen: Option<String>,
    /// File that receives its URL.
    pub(in crate::cli) health_url_file: Option<PathBuf>,
    /// How long the start may take.
    pub(in crate::cli) readiness_timeout: Duration,
    /// How long a caller waits for an answer.
    pub(in crate::cli) response_timeout: Duration,
    /// For how long a silent relay counts as there.
    pub(in crate::cli) client_last_seen_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Options {
            listen: address.into(),
            tunnel_id: TUNNEL_ID.to_owned(),
            settings: Vec::new(),
            is_isolated: false,
            takes_dead_servers: false,
            log_level: LevelFilter::Warn,
            health_listen: None,
            health_url_file: None,
            readiness_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            client_last_seen_timeout: Duration::from_secs(20),
        }
    }
}

/// What one needs to connect. The member names and words are those of the reference.
#[derive(Serialize)]
pub(in crate::cli) struct Connection {
    tunnel_id: String,
    /// Where the MCP endpoint is; on a socket file the host means nothing.
    pub(in crate::cli) mcp_url: String,
    mcp_transport: &'static str,
    /// The socket file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) mcp_unix_socket: Option<String>,
    /// The path to ask for on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) mcp_url_path: Option<String>,
    control_plane_base_url: String,
    control_plane_transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health_url: Option<String>,
    backend: &'static str,
}

/// A running tunnel.
pub(in crate::cli) struct LocalTunnel {
    service: Service,
    plane: Arc<Plane>,
    connection: Connection,
    /// Of callers, and of the relay.
    _servers: [Server; 2],
}

impl LocalTunnel {
    /// Starts plane and relay, and waits until both work. `process` must have begun before any thread of
    /// the caller's.
    pub(in crate::cli) fn start(process: &Process, options: &Options) -> Result<LocalTunnel, Failure> {
        let plane = Plane::new(plane::Options {
            tunnel_id: Some(options.tunnel_id.clone()),
            api_key: Some(API_KEY.to_owned()),
            response_timeout: options.response_timeout,
            client_last_seen_timeout: options.client_last_seen_timeout,
            rehearsal: None,
        });
        let failed = |error| Failure(format!("start local control plane: {error}"));
        let private = Place::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let private = Server::start("local-plane", &private, Arc::<Plane>::clone(&plane)).map_err(failed)?;
        let public =
            Server::start("local-mcp", &options.listen, Arc::<Plane>::clone(&plane)).map_err(failed)?;
        let port = private.address().map(|address| address.port()).unwrap_or_default();
        let settings = settings(options, port)?;
        let service = Service::start(&settings, process, options.listens()).map_err(|unstarted| {
            let Failure(text) = unstarted.into();
            let text = text.strip_prefix("start tunnel-client: ").unwrap_or(&text);
            Failure(format!("start tunnel-client runtime: {text}"))
        })?;
        let connection = connection(options, &public, port, &service);
        let tunnel = LocalTunnel { service, plane, connection, _servers: [public, private] };
        match tunnel.wait_ready(process, options) {
            Ok(()) => Ok(tunnel),
            Err(failure) => {
                // Children of the tunnel must not outlive it, not even the process's last moments.
                tunnel.service.stop(Duration::ZERO, process);
                Err(failure)
            }
        }
    }

    /// The MCP endpoint.
    pub(in crate::cli) fn mcp_url(&self) -> &str {
        &self.connection.mcp_url
    }

    /// Where the relay says whether it is ready, when it was asked to.
    pub(in crate::cli) fn health_url(&self) -> Option<&str> {
        self.connection.health_url.as_deref()
    }

    /// Whether the relay is ready, and why not.
    pub(in crate::cli) fn verdict(&self) -> (bool, String) {
        self.service.tunnel.readiness.verdict()
    }

    /// All that one needs to connect.
    pub(in crate::cli) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Finishes what is in flight, then ends. False when it was cut short.
    pub(in crate::cli) fn stop(self, process: &Process) -> bool {
        // The listeners outlive the relay: its last answers go to them.
        self.service.stop(DRAIN_TIME, process)
    }

    /// Ends without waiting for what is in flight, when nobody is left who wants it.
    pub(in crate::cli) fn abandon(self, process: &Process) -> bool {
        self.service.stop(Duration::ZERO, process)
    }

    /// Every server was probed, with whatever result, children run, and the plane was polled.
    fn wait_ready(&self, process: &Process, options: &Options) -> Result<(), Failure> {
        let time = options.readiness_timeout;
        let end = Instant::now() + time;
        let readiness = &self.service.tunnel.readiness;
        loop {
            let (settled, polled) =
                (readiness.is_settled(options.takes_dead_servers), self.plane.was_polled());
            if settled && polled {
                return Ok(());
            }
            if Instant::now() >= end {
                let what = if settled { "tunnel-client poll" } else { "MCP probe" };
                let (_, verdict) = readiness.verdict();
                return Err(Failure(format!("wait for {what}: not done within {time:?}; {verdict}")));
            }
            if let Some(signal) = process.wait(Some(LOOK)) {
                return Err(Failure(format!("stopped by {} before the tunnel was ready", signal.as_str())));
            }
        }
    }
}

impl Options {
    fn listens(&self) -> bool {
        self.health_listen.is_some() || self.health_url_file.is_some()
    }
}

/// The settings of the relay: what `run` would make of servers and profile, except for the plane, the
/// listener and the files of a process, which are this command's.
fn settings(options: &Options, port: u16) -> Result<Settings, Failure> {
    let mut flags: Vec<String> = FIXED.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push(format!("--control-plane.base-url=http://127.0.0.1:{port}"));
    flags.push(format!("--control-plane.tunnel-id={}", options.tunnel_id));
    let health = options.health_listen.as_deref().unwrap_or("127.0.0.1:0");
    flags.push(format!("--health.listen-addr={health}"));
    flags.extend_from_slice(&options.settings);
    let Request::Run(flags) = Flags::parse(flags)? else {
        return Err(Failure("the settings of the tunnel ask for something else than a tunnel".into()));
    };
    let environment = Environment::of_process()?;
    let environment = if options.is_isolated { environment.without_settings() } else { environment };
    let environment = environment.with("CONTROL_PLANE_API_KEY", API_KEY);
    let mut settings = Settings::load(&flags, &environment)?;
    let plane = &mut settings.control_plane;
    (plane.identity, plane.proxy, plane.organization_id) = (None, None, None);
    (plane.url_path, plane.extra_headers) = (String::new(), HeaderMap::new());
    // No proxy could reach this host's loopback.
    settings.network.environment.no_proxy.push_str(&format!(",127.0.0.1:{port}"));
    settings.health.unix_socket = None;
    settings.health.url_file.clone_from(&options.health_url_file);
    settings.process.pid_file = None;
    settings.log.on_stderr = true;
    if settings.log.format == LogFormat::Unset {
        settings.log.level = options.log_level;
    }
    Ok(settings)
}

fn connection(options: &Options, public: &Server, port: u16, service: &Service) -> Connection {
    let path = format!("/v1/mcp/{}", options.tunnel_id);
    let (base, socket) = match (&options.listen, public.address()) {
        (Place::Tcp(listen), Some(bound)) => (base_url(&listen.host, bound.ip(), bound.port()), None),
        (Place::Unix(socket), _) => ("http://localhost".to_owned(), Some(socket.display().to_string())),
        (Place::Tcp(listen), None) => (base_url(&listen.host, listen.address.ip(), 0), None),
    };
    Connection {
        tunnel_id: options.tunnel_id.clone(),
        mcp_url: format!("{base}{path}"),
        mcp_transport: if socket.is_some() { "unix" } else { "tcp" },
        mcp_url_path: socket.is_some().then_some(path),
        mcp_unix_socket: socket,
        control_plane_base_url: format!("http://127.0.0.1:{port}"),
        control_plane_transport: "tcp",
        health_url: service.surface.listener.as_ref().map(|own| format!("{}/readyz", own.base_url())),
        backend: "go-in-memory",
    }
}
