//! Validated settings of each section, as plain data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, Uri};

use super::{Channel, Origin, Secret};

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
    #[cfg(feature = "operator")]
    pub origin_label: String,
    /// Prefix before `/v1/`, empty or starting with `/` and not ending with it.
    pub url_path: String,
    /// `tunnel_`, perhaps a namespace of 4 and `_`, and 32 lower-case letters or digits.
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
    /// The most that the first poll of a process asks for.
    pub initial_poll_timeout: Duration,
    /// What is added to it before the poll is given up.
    pub poll_guardrail: Duration,
    /// Whether answers tell how long their servers took.
    pub response_timing: bool,
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
    #[cfg(feature = "harpoon")]
    pub oauth_trusted_origins: Vec<Origin>,
    /// Whether trace contexts of commands go on to servers.
    pub forward_trace_context: bool,
    /// Whether somebody asked for `notifications/initialized`, which servers over stdio get in any case.
    pub stdio_send_initialized: bool,
    /// The stub that serves `main`.
    #[cfg(feature = "dev")]
    pub stub: Option<Stub>,
}

/// The stub server that was asked for.
#[cfg(feature = "dev")]
#[derive(Debug, Clone)]
pub struct Stub {
    /// Whether it speaks the revision without handshakes alone.
    pub stateless: bool,
    /// Address that it listens on.
    pub listen: SocketAddr,
    /// Socket file that it listens on instead.
    pub socket: Option<PathBuf>,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Whether it stands in the place of another server of `main`.
    pub replaces: bool,
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
    /// Whether `/health` may show what components are doing.
    pub show_details: bool,
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
