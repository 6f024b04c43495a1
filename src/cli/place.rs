//! Listener of a running tunnel, as flags name it, or as a profile does.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::settings::{Kind, Row};
use crate::config::{Environment, Flags, Health};
use crate::ops::listener::bind::base_url;

use super::Failure;
use super::health::peer::SOCKET_SCHEME;
use super::health::{content, locator, normalized};
use super::terminal::foreign;

/// Flags that name a listener.
#[rustfmt::skip]
pub(super) const OPTIONS: [Row; 3] = [
    Row::option("url", Kind::Text, "url", "",
        "Address of the listener: http://HOST:PORT or http+unix:///PATH/TO/SOCKET"),
    Row::option("unix-socket", Kind::Path, "path", "", "Unix socket of the listener"),
    Row::option("url-file", Kind::Path, "path", "", "File with that address, as health.url-file writes it"),
];

/// Settings that do so in their absence.
pub(super) const SETTINGS: &[&str] = &[
    "config",
    "profile",
    "profile-file",
    "profile-dir",
    "health.listen-addr",
    "health.unix-socket",
    "health.url-file",
];

/// An address as people read it: a socket by its path.
pub(super) fn shown(base: &str) -> String {
    let path = base.strip_prefix(SOCKET_SCHEME).and_then(|name| URL_SAFE_NO_PAD.decode(name).ok());
    let path = path.and_then(|path| String::from_utf8(path).ok());
    foreign(&path.map_or_else(|| base.to_owned(), |path| format!("{SOCKET_SCHEME}{path}")))
}

/// The address of a socket, as the URL file has it.
pub(super) fn of_socket(path: &Path) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    Ok(format!("{SOCKET_SCHEME}{}", URL_SAFE_NO_PAD.encode(path.as_os_str().as_encoded_bytes())))
}

/// The address of the listener, as the URL file has it.
pub(super) fn base(flags: &Flags) -> Result<String, Failure> {
    if OPTIONS.iter().any(|row| !flags.option(row.flag).is_empty()) {
        return locator(flags)?.1.map_err(Failure);
    }
    let health = Health::of_listener(flags, &Environment::of_process()?)?;
    let address = health.listen.address;
    match (&health.unix_socket, &health.url_file) {
        (Some(path), _) => of_socket(path).map_err(Failure),
        // The system chooses the port, and the file says which.
        (None, Some(path)) if address.port() == 0 => {
            content(&path.display().to_string()).and_then(|url| normalized(&url)).map_err(Failure)
        }
        _ => Ok(base_url(&health.listen.host, address.ip(), address.port())),
    }
}
