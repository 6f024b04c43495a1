//! Settings: what was typed, exported or written in a profile becomes one validated [`Settings`].
//!
//! This room reads files and environment variables and nothing else: it opens no connection and
//! starts no thread. It fails with an [`Error`] that says what was wrong, where, and what to do.
//!
//! Everything that it reads comes from the operator, who is trusted; what it guards against is mistakes. Three of
//! them matter most: a setting that is ignored in silence, a secret that ends in an error text, and a value that
//! means something else on the wire than it did on paper. So unknown names are errors, texts are quoted only where
//! they cannot hold a secret, and every value is parsed here, once, into a type that no other room checks again.

// The table, and what is typed against it.
pub mod settings;

mod environment;
mod error;
mod flags;
pub(crate) mod profile;

// The file, and who wins.
mod yaml;

mod document;
mod literal;
mod lookup;

// Checks of a file that is not used yet.
#[cfg(feature = "operator")]
pub(crate) mod draft;

// Grammars.
mod binding;
mod cidr;
#[cfg(feature = "harpoon")]
mod endpoint;
mod headers;
mod proxy;
mod reference;
pub(crate) mod trust;
mod value;

// Sections, each validated in one place.
mod plane;

#[cfg(feature = "operator")]
mod admin;
#[cfg(feature = "harpoon")]
mod harpoon;
mod local;
mod mcp;

// Settings whose values are secret.
mod secrets;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, Uri};

pub use crate::secret::Secret;
pub use crate::url::Origin;
#[cfg(feature = "operator")]
pub use admin::{Admin, tunnel_id};
pub use binding::Channel;
pub use cidr::Cidr;
pub use environment::Environment;
pub use error::{Error, ErrorKind};
#[cfg(feature = "operator")]
pub use flags::nearest;
pub use flags::{Flags, Request};
#[cfg(test)]
pub use harpoon::HostRules;
#[cfg(feature = "harpoon")]
pub use harpoon::{Harpoon, HarpoonTarget};
pub use profile::Source;

#[cfg(feature = "operator")]
pub(crate) use binding::arguments;
#[cfg(feature = "harpoon")]
pub(crate) use endpoint::learned as learned_target;
#[cfg(feature = "operator")]
pub(crate) use profile::select as select_source;
pub(crate) use reference::is_variable_name;
#[cfg(feature = "operator")]
pub(crate) use reference::read_text;
pub(crate) use value::unit_ns;

use lookup::Lookup;

/// The validated settings of one process. No field has a default left to apply.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Source of the YAML part.
    pub source: Source,
    /// Settings of every outbound connection.
    pub network: Network,
    /// Way to the control plane.
    pub control_plane: ControlPlane,
    /// The private MCP servers.
    pub mcp: Mcp,
    /// The endpoints that the product may call by name.
    #[cfg(feature = "harpoon")]
    pub harpoon: Harpoon,
    /// Settings of the log.
    pub log: Log,
    /// The operator's listener.
    pub health: Health,
    /// Process files and shutdown.
    pub process: Process,
    /// Interval of the checks of proxies (`proxy.check-interval`).
    pub proxy_check_interval: Duration,
    /// Warnings for the start, one sentence each.
    pub warnings: Vec<String>,
}

/// Settings of every outbound connection. The default is what holds where no setting was read.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// PEM bundle added to the roots (`ca-bundle`).
    pub ca_bundle: Option<PathBuf>,
    /// Which roots are used (`tls.roots`).
    pub roots: Roots,
    /// `SSL_CERT_FILE`, when set and not empty.
    pub ssl_cert_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, when set and not empty (a colon-separated list).
    pub ssl_cert_dir: Option<String>,
    /// The global proxy (`http-proxy`).
    pub proxy: Option<Proxy>,
    /// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    pub environment: EnvironmentProxies,
    /// Bytes of large bodies that may be held at once (`mcp.body-budget-bytes`).
    pub body_budget_bytes: usize,
}

/// `tls.roots`: where trust starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roots {
    /// `SSL_CERT_FILE`/`SSL_CERT_DIR`, else the system's bundle, else the built-in one.
    #[default]
    Automatic,
    /// The system's bundle only.
    System,
    /// The built-in Mozilla bundle only.
    Webpki,
    /// Nothing but `ca-bundle`.
    None,
}

/// A proxy that somebody configured.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// True for `https://` proxies.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port, filled in from the scheme when the URL had none.
    pub port: u16,
    /// `user:password` of the URL, percent-decoded.
    pub credentials: Option<Secret>,
    /// Its source: a flag name, an environment name, `env:VAR`.
    pub label: String,
}

/// The proxies of the environment, with their exceptions.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentProxies {
    /// For `http` destinations.
    pub http: Option<Proxy>,
    /// For `https` destinations.
    pub https: Option<Proxy>,
    /// `NO_PROXY` as written; honoured for explicit proxies too.
    pub no_proxy: String,
}

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Scheme, host and port; path discarded; already switched to the mTLS host where that applies.
    pub origin: Origin,
    /// Source of the origin, and of the value that it hides, in words for people.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub origin_label: String,
    /// Prefix before `/v1/`, empty or starting with `/` and not ending with it.
    pub url_path: String,
    /// `tunnel_` and 32 lower-case letters or digits.
    pub tunnel_id: String,
    /// Sent as `OpenAI-Organization` when set.
    pub organization_id: Option<String>,
    /// The runtime API key.
    pub api_key: Secret,
    /// Source of the key in words for people (`env:CONTROL_PLANE_API_KEY`), never the key.
    pub api_key_label: String,
    /// Client certificate for the control plane.
    pub identity: Option<Identity>,
    /// `control-plane.http-proxy`.
    pub proxy: Option<Proxy>,
    /// Size of the local queue, 1 to 10 000.
    pub max_inflight: usize,
    /// How long the plane may hold a poll.
    pub poll_timeout: Duration,
    /// What is added to it before the poll is given up.
    pub poll_guardrail: Duration,
    /// The channels asked for, sorted; empty means all.
    pub poll_channels: Vec<Channel>,
    /// Added to every request, never replacing what the client itself sends.
    pub extra_headers: HeaderMap,
}

impl ControlPlane {
    /// Whether commands of this channel are asked for.
    pub(crate) fn is_polled(&self, channel: &Channel) -> bool {
        self.poll_channels.is_empty() || self.poll_channels.contains(channel)
    }
}

/// The private MCP servers and how they are called.
#[derive(Debug, Clone)]
pub struct Mcp {
    /// Bindings of the channels, server entries first, in the order given.
    pub bindings: Vec<Binding>,
    /// Bounds one whole call (`mcp.connection-max-ttl`).
    pub connection_max_ttl: Duration,
    /// How long a server over stdio that owes answers may say nothing (`mcp.stdio-silence`).
    pub stdio_silence: Duration,
    /// How long the first poll may wait for a server that refuses connections; zero: not at all.
    pub startup_wait: Duration,
    /// Ordinary workers, 1 to 128.
    pub max_concurrent_requests: usize,
    /// `mcp.http-proxy`.
    pub proxy: Option<Proxy>,
    /// Sent to the configured origin and path only.
    pub extra_headers: HeaderMap,
    /// Sent with probes and discovery only.
    pub discovery_extra_headers: HeaderMap,
    /// The only headers of callers that pass, besides those of the protocol; `None` where all do that may.
    pub forward_headers: Option<Vec<HeaderName>>,
    /// Origins of others that OAuth discovery may ask, and register.
    pub oauth_trusted_origins: Vec<Origin>,
    /// The stub that serves `main`. Until it listens, the binding of `main` names the address that was asked for.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub stub: Option<Stub>,
}

/// The stub server of `embedded-mcp-stub`.
#[derive(Debug, Clone)]
pub struct Stub {
    /// Address that it listens on.
    pub listen: SocketAddr,
    /// The name that it gives itself.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub name: String,
    /// The version that it gives itself.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub version: String,
}

/// A channel and the server behind it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The channel's canonical name.
    pub channel: Channel,
    /// The server.
    pub server: Server,
}

/// The two kinds of MCP server.
#[derive(Debug, Clone)]
pub enum Server {
    /// Streamable HTTP.
    Http(HttpServer),
    /// A child process, as an argument vector; never a shell line.
    Stdio(StdioServer),
}

/// A Streamable HTTP server.
#[derive(Debug, Clone)]
pub struct HttpServer {
    /// The URL without userinfo.
    pub url: Uri,
    /// The URL's origin.
    pub origin: Origin,
    /// `user:password` of the URL, percent-decoded; sent as Basic unless a command brings its own.
    pub credentials: Option<Secret>,
    /// Dial this socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// This binding's own proxy.
    pub proxy: Option<Proxy>,
    /// Client certificate: the binding's own, else the default of `mcp.client-cert`.
    pub identity: Option<Identity>,
}

/// A server that is started and spoken to on its pipes.
#[derive(Debug, Clone)]
pub struct StdioServer {
    /// Program and arguments, at least one.
    pub argv: Vec<String>,
    /// Variables set for it alone, their references resolved.
    pub environment: Vec<(String, Secret)>,
    /// Names of our own variables that it may see besides the public ones.
    pub pass: Vec<String>,
    /// Working directory; our own otherwise.
    pub working_dir: Option<PathBuf>,
}

/// PEM files of a client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Least level that is written.
    pub level: log::LevelFilter,
    /// The line format.
    pub format: LogFormat,
    /// Append here (0600) instead of standard output.
    pub file: Option<PathBuf>,
    /// `log.http-raw-unsafe`: with level debug, whole requests and replies are dumped.
    pub http_raw_unsafe: bool,
    /// Lines without a file go to standard error in every format: a command's output is on the other.
    pub on_stderr: bool,
}

/// Line formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Nothing configured: plain lines on standard error.
    Unset,
    /// `time=… level=… msg=… key=value`.
    StructText,
    /// One JSON object a line.
    Json,
}

/// Settings of the operator's listener.
#[derive(Debug, Clone)]
pub struct Health {
    /// TCP address, ignored while a socket is set. Host and port as written, and resolved.
    pub listen: ListenAddress,
    /// Unix socket to listen on instead.
    pub unix_socket: Option<PathBuf>,
    /// File that receives the listener's URL.
    pub url_file: Option<PathBuf>,
}

/// `health.listen-addr` as written and as an address.
#[derive(Debug, Clone)]
pub struct ListenAddress {
    /// The host part as written; may be empty.
    pub host: String,
    /// Address that is bound.
    pub address: SocketAddr,
}

/// Process files and shutdown.
#[derive(Debug, Clone)]
pub struct Process {
    /// File that receives the process id.
    pub pid_file: Option<PathBuf>,
    /// How long commands in flight may take after a stop signal (`process.drain-timeout`).
    pub drain_timeout: Duration,
}

impl Settings {
    /// Reads and validates everything; the first mistake wins. The order of the sections is that
    /// of the reference client. Absent features come late, so that a profile that was written for
    /// it is first shown what is wrong for both programs; then the channels, which join two sections.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Settings, Error> {
        let source = profile::select(flags, environment)?;
        let settings = Settings::of(&source, flags, environment, false);
        settings.map_err(|error| profile::advise(error, &source, flags, environment))
    }

    /// Loads all but the API key, which is left empty, for checks of everything else.
    #[cfg(feature = "operator")]
    pub(crate) fn load_keyless(flags: &Flags, environment: &Environment) -> Result<Settings, Error> {
        Settings::of(&profile::select(flags, environment)?, flags, environment, true)
    }

    fn of(source: &Source, flags: &Flags, environment: &Environment, keyless: bool) -> Result<Self, Error> {
        let lookup = Lookup::open(flags, environment, source.path().map(Path::to_path_buf), keyless)?;
        let network = local::network(&lookup)?;
        let control_plane = plane::load(&lookup)?;
        let mcp = mcp::load(&lookup)?;
        let log = local::log(&lookup)?;
        #[cfg(feature = "harpoon")]
        let harpoon = harpoon::load(&lookup)?;
        local::absent_features(&lookup)?;
        #[cfg(feature = "harpoon")]
        let has_endpoints = Some(!harpoon.targets.is_empty());
        #[cfg(not(feature = "harpoon"))]
        let has_endpoints = None;
        plane::check_channels(&lookup, &control_plane, &mcp, has_endpoints)?;
        plane::check_proxied_plaintext(&lookup, &control_plane, &network)?;
        let health = local::health(&lookup)?;
        #[cfg(feature = "harpoon")]
        harpoon::check_listener(&lookup, &harpoon, &health)?;
        Ok(Settings {
            source: source.clone(),
            process: local::process(&lookup, &log, &health)?,
            network,
            control_plane,
            mcp,
            #[cfg(feature = "harpoon")]
            harpoon,
            log,
            health,
            proxy_check_interval: lookup.duration("proxy.check-interval")?,
            warnings: lookup.references.warnings.into_inner(),
        })
    }
}
