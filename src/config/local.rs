//! Validates what concerns this host: network, log, listener, process files, and the settings
//! whose features are not here.
//!
//! Opens none of the files and sockets that it reads about. The one thing that may take time is
//! the name of a listener, which the system's resolver is asked for; that is given up after a while.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sync;

use super::document::Raw;
use super::lookup::{Found, Lookup};
use super::settings::{Kind, ROWS, Row, Status};
use super::{Error, Health, ListenAddress, Log, LogFormat, Network, Process, Roots, proxy, trust, value};

/// A unit's stop time-out is rarely longer, and nobody waits longer for a restart.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Time-out of resolving the listener's name. A second name server is asked after 5 s.
const RESOLVE_TIME: Duration = Duration::from_secs(6);

/// Settings of every outbound connection. The variables of OpenSSL and of proxies are read here,
/// with the settings, so that `net` depends on nothing but what it is handed; what the bundles
/// hold, and that they are there, it finds out when it builds its roots.
pub(crate) fn network(lookup: &Lookup) -> Result<Network, Error> {
    let environment = lookup.references.environment;
    Ok(Network {
        ca_bundle: lookup.path("ca-bundle")?,
        roots: lookup.read("tls.roots", |found| roots(found.text()))?.unwrap_or_default(),
        ssl_cert_file: environment.filled("SSL_CERT_FILE").map(PathBuf::from),
        ssl_cert_dir: environment.filled("SSL_CERT_DIR").map(str::to_string),
        proxy: proxy::load(lookup, "http-proxy")?,
        environment: proxy::environment(lookup)?,
        body_budget_bytes: lookup.integer("mcp.body-budget-bytes")?,
    })
}

/// Level, format and file of the log. Without a format only plain lines are written, for people
/// who try the program out; what asks for more has to say in which form, as in the reference.
pub(crate) fn log(lookup: &Lookup) -> Result<Log, Error> {
    let file = lookup.plain_path("log.file")?;
    let implied = if file.is_some() { LogFormat::StructText } else { LogFormat::Unset };
    let format = lookup.read("log.format", |found| log_format(found.text()))?.unwrap_or(implied);
    let threshold = lookup.read("log.level", |found| {
        let text = found.text();
        match value::level(text) {
            Ok(threshold) if threshold != 0 && format == LogFormat::Unset => {
                Err("log level requires 'struct-text' or 'json' log format: add --log.format struct-text"
                    .into())
            }
            level => level.map_err(|fault| format!("parse log level {text:?}: {fault}")),
        }
    })?;
    Ok(Log {
        level: value::level_filter(threshold.unwrap_or_default()),
        format,
        file,
        http_raw_unsafe: lookup.boolean("log.http-raw-unsafe")?,
        on_stderr: format == LogFormat::Unset,
    })
}

/// Settings of the operator's listener. The address is checked even if a socket takes its place:
/// it would otherwise fail on the day on which the socket is taken out.
pub(crate) fn health(lookup: &Lookup) -> Result<Health, Error> {
    Ok(Health {
        listen: listen(lookup, "health.listen-addr")?,
        unix_socket: lookup.plain_path("health.unix-socket")?,
        url_file: lookup.plain_path("health.url-file")?,
        show_details: lookup.boolean("health.show-details")?,
    })
}

/// An address to listen on.
pub(crate) fn listen(lookup: &Lookup, flag: &str) -> Result<ListenAddress, Error> {
    let listen = lookup.read(flag, |found| {
        let text = found.text().trim();
        ListenAddress::parse(text).map_err(|why| format!("invalid {flag} {text:?}: {why}"))
    })?;
    listen.ok_or_else(|| Error::invalid(format!("{flag} has no default")))
}

/// Process files and shutdown. The bound of the drain stands here and not in the table because it
/// is said in the words of durations. Directories in which others could exchange what is written are named.
pub(crate) fn process(lookup: &Lookup, log: &Log, health: &Health) -> Result<Process, Error> {
    const FLAG: &str = "process.drain-timeout";
    let drain_timeout = lookup.duration(FLAG)?;
    if drain_timeout > DRAIN_MAX {
        return Err(lookup.refuse(FLAG, "must be less than or equal to 10m0s"));
    }
    let pid_file = lookup.plain_path("pid.file")?;
    let written = [&log.file, &health.url_file, &health.unix_socket, &pid_file];
    lookup.references.warn(written.into_iter().flatten().filter_map(|path| trust::beside(path)));
    Ok(Process { pid_file, drain_timeout })
}

/// Refuses settings that have no effect, unless they leave the feature off or merely tune it: a setting
/// that is accepted and then ignored would let people believe that it works.
pub(crate) fn absent_features(lookup: &Lookup) -> Result<(), Error> {
    for row in ROWS.iter().filter(|row| !row.is_live()) {
        let Some(found) = lookup.given(row) else { continue };
        let what = match row.feature {
            _ if row.status == Status::Never => "is not supported".to_owned(),
            _ if leaves_off(lookup, row, &found)? => continue,
            Some(feature) if !feature.is_built() => {
                format!("is not available in this build, which has no {}; remove it", feature.name())
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
        (_, Raw::Text(_)) => true,
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
