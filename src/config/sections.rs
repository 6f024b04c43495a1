//! Values of settings that have parts, as plain data.

use std::net::SocketAddr;
use std::path::PathBuf;

use ureq::http::Uri;

use super::{Channel, Origin, Secret};

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

/// `process.cage`: the limits that the process sets itself.
#[cfg(feature = "cage")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CageMode {
    /// As far as the kernel has them.
    Auto,
    /// Or no start.
    Require,
    /// None.
    Off,
}

/// A proxy that somebody configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// Scheme, host and port of its URL.
    pub origin: Origin,
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
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

/// `health.listen-addr` as written and as an address.
#[derive(Debug, Clone)]
pub struct ListenAddress {
    /// The host part as written; may be empty.
    pub host: String,
    /// Address that is bound.
    pub address: SocketAddr,
}
