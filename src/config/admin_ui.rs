//! Page for people: who may look at it from other machines, and whether a browser was asked for.

use super::lookup::{Found, Lookup};
use super::section::section;
use super::{Error, Health, Secret, token};
use crate::url::host_and_port;

const REMOTE_FLAG: &str = "allow-remote-ui";
const TOKEN_FLAG: &str = "admin-ui.token";
const HOSTS_FLAG: &str = "admin-ui.allowed-host";

const IDLE: &str = "is of use only with allow-remote-ui";
const ON_SOCKET: &str =
    "has no effect on health.unix-socket: leave it out, and look at the page by tunnel-client ui or ssh -L";
const TOKEN_LACKS: &str =
    "needs admin-ui.token: file:PATH of 16 characters or more, as openssl rand -hex 16 makes them";
const HOSTS_LACK: &str =
    "needs admin-ui.allowed-host: what browsers will ask for, a name or address without a port";

section! {
    /// How the page for people is reached.
    AdminUi(lookup: &Lookup, health: &Health) {
        /// Token that is shown with each request, where other machines may look at the page; else nothing.
        token: Option<Secret> = lookup.read(TOKEN_FLAG, |found| token::read(lookup, found))?.flatten();
        /// Names and addresses by which they may ask for it, in lower case; then at least one.
        hosts: Vec<String> = lookup.read(HOSTS_FLAG, hosts)?.unwrap_or_default();
        /// Whether a browser was asked for, which a service has none of.
        asks_for_browser: bool = {
            check(lookup, health, token.is_some(), !hosts.is_empty())?;
            lookup.boolean("open-web-ui")?
        };
    }
}

/// Leave for other machines is whole, or there is nothing of it.
fn check(lookup: &Lookup, health: &Health, has_token: bool, has_hosts: bool) -> Result<(), Error> {
    let (flag, why) = match (lookup.boolean(REMOTE_FLAG)?, has_token, has_hosts) {
        (false, false, false) => return Ok(()),
        (false, has_token, _) => (if has_token { TOKEN_FLAG } else { HOSTS_FLAG }, IDLE),
        (true, ..) if health.unix_socket.is_some() => (REMOTE_FLAG, ON_SOCKET),
        (true, false, _) => (REMOTE_FLAG, TOKEN_LACKS),
        (true, true, false) => (REMOTE_FLAG, HOSTS_LACK),
        (true, true, true) => return Ok(()),
    };
    Err(lookup.refuse(flag, why))
}

/// Hosts as requests name them.
fn hosts(found: &Found) -> Result<Vec<String>, String> {
    let items = found.list().iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    let host = |item: &str| match host_and_port(item) {
        Ok((host, None)) if !item.ends_with(':') => Ok(host),
        _ => Err(format!("invalid {} {item:?}: expected a host without a port", found.name())),
    };
    items.map(host).collect()
}
