//! Validates what concerns this host: network, log, listener, process files, and the settings
//! whose features are not here.
//!
//! Opens none of the files and sockets that it reads about. The one thing that may take time is
//! the name of a listener, which the system's resolver is asked for; that is given up after a while.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use crate::sync;

#[cfg(feature = "cage")]
use super::CageMode;
#[cfg(feature = "operator")]
use super::document;
use super::document::Raw;
use super::lookup::{Found, Lookup};
use super::section::section;
use super::settings::{Feature, Kind, ROWS, Row, Status};
#[cfg(feature = "operator")]
use super::{Environment, Flags, profile};
use super::{EnvironmentProxies, Error, ListenAddress, LogFormat, Proxy, Roots, proxy, trust, value};

/// A unit's stop time-out is rarely longer, and nobody waits longer for a restart.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Where the packaged units put their sockets, each in a directory of the profile's name.
#[cfg(feature = "operator")]
const UNIT_SOCKETS: &str = "/run/tunnel-client";

/// The word by which a setting asks for its feature whatever happens.
const REQUIRE: &str = "require";

/// Time-out of resolving the listener's name. A second name server is asked after 5 s.
const RESOLVE_TIME: Duration = Duration::from_secs(6);

section! {
    /// Settings of every outbound connection. The default is what holds where no setting was read. The variables of
    /// OpenSSL and of proxies are read here, with the settings, so that `net` depends on nothing but what it is
    /// handed; what the bundles hold, and that they are there, it finds out when it builds its roots.
    #[derive(Default)]
    Network(lookup: &Lookup) {
        /// PEM bundle added to the roots (`ca-bundle`).
        ca_bundle: Option<PathBuf> = lookup.path("ca-bundle")?;
        /// Which roots are used (`tls.roots`).
        roots: Roots = lookup.read("tls.roots", |found| roots(found.text()))?.unwrap_or_default();
        /// Whether nothing may start where cryptography is not FIPS's (`tls.require-fips`).
        require_fips: bool = lookup.boolean("tls.require-fips")?;
        /// `SSL_CERT_FILE`, when set and not empty.
        ssl_cert_file: Option<PathBuf> = lookup.references.environment.filled("SSL_CERT_FILE").map(PathBuf::from);
        /// `SSL_CERT_DIR`, when set and not empty (a colon-separated list).
        ssl_cert_dir: Option<String> = lookup.references.environment.filled("SSL_CERT_DIR").map(str::to_string);
        /// The global proxy (`http-proxy`).
        proxy: Option<Proxy> = proxy::load(lookup, "http-proxy")?;
        /// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
        environment: EnvironmentProxies = proxy::environment(lookup)?;
        /// Bytes of large bodies that may be held at once (`mcp.body-budget-bytes`).
        body_budget_bytes: usize = lookup.integer("mcp.body-budget-bytes")?;
    }
}

section! {
    /// Settings of the log. Without a format only plain lines are written, for people who try the program out; what
    /// asks for more has to say in which form, as in the reference.
    Log(lookup: &Lookup) {
        /// Append here (0600) instead of standard output.
        file: Option<PathBuf> = lookup.plain_path("log.file")?;
        /// The line format.
        format: LogFormat = {
            let implied = if file.is_some() { LogFormat::StructText } else { LogFormat::Unset };
            lookup.read("log.format", |found| log_format(found.text()))?.unwrap_or(implied)
        };
        /// Least level that is written.
        level: LevelFilter = {
            let threshold = lookup.read("log.level", |found| threshold(found.text(), format))?;
            value::level_filter(threshold.unwrap_or_default())
        };
        /// `log.http-raw-unsafe`: with level debug, whole requests and replies are dumped.
        http_raw_unsafe: bool = lookup.boolean("log.http-raw-unsafe")?;
        /// Lines without a file go to standard error in every format: a command's output is on the other.
        on_stderr: bool = format == LogFormat::Unset;
    }
}

section! {
    /// Settings of the operator's listener. The address is checked even if a socket takes its place: it would
    /// otherwise fail on the day on which the socket is taken out.
    Health(lookup: &Lookup) {
        /// TCP address, ignored while a socket is set. Host and port as written, and resolved.
        listen: ListenAddress = lookup.listen.map_or_else(|| listen(lookup, "health.listen-addr"), |known| Ok(known.clone()))?;
        /// Unix socket to listen on instead.
        unix_socket: Option<PathBuf> = lookup.plain_path("health.unix-socket")?;
        /// File that receives the listener's URL.
        url_file: Option<PathBuf> = lookup.plain_path("health.url-file")?;
        /// Whether `/health` may show what components are doing.
        show_details: bool = lookup.boolean("health.show-details")?;
    }
}

#[cfg(feature = "operator")]
impl Health {
    /// This section alone, without the secrets of the others: whoever asks a tunnel may not be its user.
    /// A profile without a socket is that of the packaged unit where this has made one of the profile's name.
    pub(crate) fn of_listener(flags: &Flags, environment: &Environment) -> Result<Health, Error> {
        let path = profile::select(flags, environment)?.path;
        let file = path.as_deref().map(document::read).transpose()?;
        let mut health = Health::load(&Lookup::of(flags, environment, file.as_ref(), true))?;
        let name = path.as_ref().and_then(|path| path.file_stem());
        let of_unit = name.map(|name| Path::new(UNIT_SOCKETS).join(name).join("health.sock"));
        health.unix_socket = health.unix_socket.or(of_unit.filter(|path| path.exists()));
        Ok(health)
    }
}

section! {
    /// Process files and shutdown.
    Process(lookup: &Lookup) {
        /// How long commands in flight may take after a stop signal (`process.drain-timeout`).
        drain_timeout: Duration = drain_timeout(lookup)?;
        /// File that receives the process id.
        pid_file: Option<PathBuf> = lookup.plain_path("pid.file")?;
        /// Limits that the process sets itself (`process.cage`).
        #[cfg(feature = "cage")]
        cage: CageMode = lookup.read("process.cage", |found| cage(found.text()))?.unwrap_or(CageMode::Auto);
    }
}

/// An address to listen on.
pub(crate) fn listen(lookup: &Lookup, flag: &str) -> Result<ListenAddress, Error> {
    let listen = lookup.read(flag, |found| {
        let text = found.text().trim();
        ListenAddress::parse(text).map_err(|why| format!("invalid {flag} {text:?}: {why}"))
    })?;
    listen.ok_or_else(|| Error::invalid(format!("{flag} has no default")))
}

/// The bound of the drain stands here and not in the table because it is said in the words of durations.
fn drain_timeout(lookup: &Lookup) -> Result<Duration, Error> {
    const FLAG: &str = "process.drain-timeout";
    match lookup.duration(FLAG)? {
        time if time > DRAIN_MAX => Err(lookup.refuse(FLAG, "must be less than or equal to 10m0s")),
        time => Ok(time),
    }
}

/// Names directories in which others could exchange what is written.
pub(crate) fn look_beside(lookup: &Lookup, log: &Log, health: &Health, process: &Process) {
    let written = [&log.file, &health.url_file, &health.unix_socket, &process.pid_file];
    lookup.references.warn(written.into_iter().flatten().filter_map(|path| trust::beside(path)));
}

/// A level on the scale of `value::level`.
fn threshold(text: &str, format: LogFormat) -> Result<i64, String> {
    match value::level(text) {
        Ok(threshold) if threshold != 0 && format == LogFormat::Unset => {
            Err("log level requires 'struct-text' or 'json' log format: add --log.format struct-text".into())
        }
        level => level.map_err(|fault| format!("parse log level {text:?}: {fault}")),
    }
}

/// Refuses settings that have no effect, unless they leave the feature off or merely tune it: a setting
/// that is accepted and then ignored would let people believe that it works.
pub(crate) fn absent_features(lookup: &Lookup) -> Result<(), Error> {
    for row in ROWS.iter().filter(|row| !row.is_live()) {
        let Some(found) = lookup.given(row) else { continue };
        let what = match row.feature {
            _ if row.status == Status::Never => "is not supported".to_owned(),
            _ if leaves_off(lookup, row, &found)? => continue,
            Some(Feature { name, is_built: false }) => {
                format!("is not available in this build, which has no {name}; remove it")
            }
            _ => "is not available in this version; remove it".to_owned(),
        };
        return Err(found.fault(&format!("{} {what}", found.label())));
    }
    Ok(())
}

/// Tells whether a value keeps an absent feature off. Profiles of the reference client often spell defaults out, and
/// those are no reason to refuse them. A number is checked all the same, so that the feature will not come with
/// errors. A proxy or a secret is more than that: who sets one relies on it.
fn leaves_off(lookup: &Lookup, row: &Row, found: &Found) -> Result<bool, Error> {
    Ok(match (row.kind, &found.raw) {
        (Kind::Boolean, _) => lookup.boolean(row.flag)? == (row.default == "true"),
        (Kind::Integer { .. }, _) => lookup.integer(row.flag).map(|_| true)?,
        (Kind::Proxy | Kind::Secret, Raw::Text(text)) => text.trim().is_empty(),
        (_, Raw::Text(text)) => text.trim() != REQUIRE,
        (_, Raw::Tree(_)) => true,
        (_, Raw::List(items)) => items.iter().all(|item| item.trim().is_empty()),
        (_, Raw::Map(pairs)) => pairs.is_empty(),
        (_, Raw::Entries(entries)) => entries.is_empty(),
    })
}

/// A line format, in any case.
fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "struct-text" => Ok(LogFormat::StructText),
        "json" => Ok(LogFormat::Json),
        _ => {
            Err(format!("unsupported log format {text:?}: supported formats are \"struct-text\" or \"json\""))
        }
    }
}

/// The forced source of trust. There is no word for the automatic choice, so that a file that
/// names one always means the same roots on every host.
fn roots(text: &str) -> Result<Roots, String> {
    match text.trim() {
        "system" => Ok(Roots::System),
        "webpki" => Ok(Roots::Webpki),
        "none" => Ok(Roots::None),
        _ => Err(format!(
            "unsupported tls.roots {text:?}: supported values are \"system\", \"webpki\" or \"none\""
        )),
    }
}

/// Limits that the process sets itself.
#[cfg(feature = "cage")]
fn cage(text: &str) -> Result<CageMode, String> {
    match text.trim() {
        "auto" => Ok(CageMode::Auto),
        REQUIRE => Ok(CageMode::Require),
        "off" => Ok(CageMode::Off),
        _ => Err(format!(
            "unsupported process.cage {text:?}: supported values are \"auto\", \"require\" or \"off\""
        )),
    }
}

impl ListenAddress {
    /// `host:port`, `[v6]:port` or `:port`; a host name is resolved once.
    pub(crate) fn parse(text: &str) -> Result<ListenAddress, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected host:port")?;
        // Zero is legal: the system chooses, and the URL file says what it chose.
        let port: u16 = port.parse().map_err(|_| "the port must be a number up to 65535")?;
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or("expected [address]:port")?,
            None if host.contains(':') => return Err("an IPv6 address needs brackets".into()),
            None => host,
        };
        let address = if bare.is_empty() {
            any_address(port)
        } else {
            // As in Go, a name with both kinds of address means the older kind.
            resolve(bare, port)?
                .into_iter()
                .min_by_key(SocketAddr::is_ipv6)
                .ok_or("the host has no address")?
        };
        Ok(ListenAddress { host: bare.to_string(), address })
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let found = move || Ok((name.as_str(), port).to_socket_addrs()?.collect());
    sync::run_within("resolve", RESOLVE_TIME, found).map_err(|cause| match cause.kind() {
        io::ErrorKind::TimedOut => format!("the name was not resolved within {} s", RESOLVE_TIME.as_secs()),
        _ => cause.to_string(),
    })
}

/// All addresses of both families; of one, where the kernel knows no IPv6.
fn any_address(port: u16) -> SocketAddr {
    if Path::new("/proc/net/if_inet6").exists() {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_resolved() {
        assert!(resolve("localhost", 7).unwrap().iter().all(|address| address.ip().is_loopback()));
        assert_eq!(resolve("::1", 7).unwrap(), ["[::1]:7".parse().unwrap()]);
    }
}
