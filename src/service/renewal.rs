//! Gives new settings to the connections of a running tunnel.
//!
//! Each purpose takes them whole, or fails and goes on as it was. What runs ends with what it began with; connections
//! that rest, and the TLS sessions behind them, end at once where a new `net` is given. What takes a restart is not
//! looked at: addresses, channels, counts.

use crate::config::{Channel, Server, Settings};
use crate::net::{self, Net};

#[cfg(feature = "harpoon")]
use super::built_in::discovered;
use super::error::Error;
use super::parts;
use super::tunnel::Tunnel;

#[allow(dead_code)]
impl Tunnel {
    /// Renews the key and the headers of all requests to the control plane; with a `net` also the connections. Polls go
    /// on at once: what made the last one fail may be mended.
    pub(super) fn renew_plane(&self, net: Option<&Net>, settings: &Settings) -> Result<(), Error> {
        let clients = net.map(|net| parts::clients(settings, net)).transpose()?;
        self.plane.renew(clients, &settings.control_plane).map_err(Error::Settings)?;
        self.poller.hurry();
        Ok(())
    }

    /// Renews headers and credentials of each server over HTTP; with a `net` also its connections. Yields the channels
    /// whose servers go on as they were.
    pub(super) fn renew_servers(&self, net: Option<&Net>, settings: &Settings) -> Vec<(Channel, net::Error)> {
        let mut failed = Vec::new();
        for binding in &settings.mcp.bindings {
            let Server::Http(server) = &binding.server else { continue };
            for target in self.servers.iter().filter(|target| *target.channel() == binding.channel) {
                let renewed = target.renew(net, &settings.mcp, server);
                failed.extend(renewed.err().map(|error| (binding.channel.clone(), error)));
            }
        }
        failed
    }

    /// Renews the search for metadata, and the endpoints of the server inside this program.
    pub(super) fn renew_built_in(&self, net: &Net, settings: &Settings) -> Result<(), Error> {
        #[cfg(feature = "harpoon")]
        if let Some((discovery, server)) = self.discovery.as_ref().zip(discovered(settings)) {
            discovery.renew(net, &settings.mcp, server)?;
        }
        self.built_in.as_ref().map_or(Ok(()), |built_in| built_in.renew(net, settings))
    }
}
