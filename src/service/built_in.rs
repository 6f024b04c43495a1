//! The seam for a server inside this program, beside those of the bindings.
//!
//! Feature `harpoon` has one. The assembly knows no more of it than stands here: on which channel it is, what the
//! settings promise of it, and a trait.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::{Channel, Settings};
#[cfg(feature = "harpoon")]
use crate::config::{HttpServer, Server};
use crate::net::{Client, Net};
#[cfg(feature = "harpoon")]
use crate::oauth::Register;
#[cfg(feature = "harpoon")]
use crate::ops::listener::calls::Starter;
use crate::relay::port::Target;

use super::error::Error;
#[cfg(feature = "page")]
use super::page::Page;

/// Server inside this program, which is served while it has endpoints.
pub(super) trait BuiltIn: Send + Sync {
    /// Runs the commands of its channel.
    fn target(&self) -> Arc<dyn Target>;

    /// Whether its channel is served now.
    fn served(&self) -> Arc<AtomicBool>;

    /// Takes what OAuth discovery finds of the server behind `main`.
    #[cfg(feature = "harpoon")]
    fn registrar(&self, settings: &Settings, server: &HttpServer) -> Box<dyn Register>;

    /// Makes its endpoints anew, of these settings. When that fails, nothing has changed.
    fn renew(&self, net: &Net, settings: &Settings) -> Result<(), Error>;

    /// How many endpoints it has now.
    fn count(&self) -> usize;

    /// Clients of the endpoints that it has now, one for each origin.
    fn endpoints(&self) -> Vec<Client>;

    /// Tells the log what may be called, and how each call travels.
    fn log(&self);

    /// What it offers to programs of this host.
    #[cfg(feature = "harpoon")]
    fn offer(&self) -> Option<Starter>;

    /// Writes its part of the operator's page.
    #[cfg(feature = "page")]
    fn show(&self, page: &mut Page<'_>);
}

/// What the settings promise of the server inside this program.
#[cfg_attr(not(feature = "harpoon"), allow(dead_code))]
pub(super) struct Promise {
    /// Its channel.
    pub(super) channel: Channel,
    /// Whether it has endpoints from the start; else discovery may find some.
    pub(super) is_configured: bool,
    /// Whether callers may send it what no dump may show.
    pub(super) is_secret: bool,
    /// Whether discovery may register endpoints.
    #[cfg(feature = "harpoon")]
    pub(super) registers: bool,
}

/// The promise; nothing where no endpoint can come to be, and then its channel does not exist.
#[cfg(feature = "harpoon")]
pub(super) fn promise(settings: &Settings) -> Option<Promise> {
    let channel = Channel::harpoon();
    let targets = &settings.harpoon.targets;
    let is_configured = !targets.is_empty();
    let is_secret = targets.iter().filter_map(|one| one.template.as_ref()).any(|one| one.headers.is_bound);
    let registers = discovered(settings).is_some() && settings.control_plane.is_polled(&channel);
    (is_configured || registers).then_some(Promise { channel, is_configured, is_secret, registers })
}

/// Without the feature nothing is promised.
#[cfg(not(feature = "harpoon"))]
pub(super) fn promise(_: &Settings) -> Option<Promise> {
    None
}

/// The server behind `main`, when it is one over HTTP and its channel is polled: then its metadata is looked for.
#[cfg(feature = "harpoon")]
pub(super) fn discovered(settings: &Settings) -> Option<&HttpServer> {
    let main = Channel::main();
    let mut bindings = settings.mcp.bindings.iter().filter(|binding| binding.channel == main);
    match &bindings.find(|_| settings.control_plane.is_polled(&main))?.server {
        Server::Http(server) => Some(server),
        Server::Stdio(_) => None,
    }
}
