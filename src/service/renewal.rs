//! Gives new settings to the connections of a running tunnel.
//!
//! Each purpose takes them whole, or fails and goes on as it was. What runs ends with what it began with; connections
//! that rest, and the TLS sessions behind them, end at once where a new `net` is given. What takes a restart is not
//! looked at: addresses, channels, counts.

use crate::config::Settings;
use crate::net::Net;
#[cfg(feature = "page")]
use crate::sync;

#[cfg(feature = "harpoon")]
use super::built_in::discovered;
use super::error::Error;
use super::parts;
use super::tunnel::Tunnel;

impl Tunnel {
    /// Has everything that talks to others do so by other settings and, where it `connects` anew, on connections of its
    /// own. Gives a complaint about each part that goes on as it was.
    pub(super) fn renew(&self, net: &Net, connects: bool, settings: &Settings) -> Vec<String> {
        let part = |renew: &dyn Fn(Option<&Net>) -> Result<(), Error>| {
            let why = renew(connects.then_some(net)).err()?;
            // Authorities are taken over where a certificate cannot be; keys and headers where neither can.
            let other =
                connects.then(|| renew(Some(&net.forgiving())).or_else(|_| renew(None)).err()).flatten();
            Some(other.unwrap_or(why).to_string())
        };
        let mut complaints: Vec<String> = part(&|net| self.renew_plane(net, settings)).into_iter().collect();
        for (channel, server) in settings.http_servers() {
            for target in self.servers.iter().filter(|target| target.channel() == channel) {
                let why = part(&|net| Ok(target.renew(net, &settings.mcp, server)?));
                complaints.extend(why.map(|why| format!("channel {}: {why}", channel.as_str())));
            }
        }
        #[cfg(feature = "harpoon")]
        if let Some((discovery, server)) = self.discovery.as_ref().zip(discovered(settings)) {
            let why = part(&|net| Ok(discovery.renew(net, &settings.mcp, server)?));
            // Most often it is the fault of the server itself.
            let why = why.map(|why| format!("channel main: {why}"));
            complaints.extend(why.filter(|why| !complaints.contains(why)));
        }
        #[cfg(feature = "page")]
        sync::lock(&self.shown).clone_from(&settings.shown);
        #[cfg(feature = "page")]
        if let (Some(guard), Some(token)) = (&self.guard, &settings.admin_ui.token) {
            guard.renew(token);
        }
        let failed = self.built_in.as_ref().and_then(|built_in| built_in.renew(net, settings).err());
        complaints.extend(failed.map(|error| error.to_string()));
        complaints
    }

    /// Renews the key and the headers of all requests to the control plane. Polls go on at once: what made the last one
    /// fail may be mended.
    fn renew_plane(&self, net: Option<&Net>, settings: &Settings) -> Result<(), Error> {
        let clients = net.map(|net| parts::clients(settings, net)).transpose()?;
        self.plane.renew(clients, &settings.control_plane).map_err(Error::Settings)?;
        self.poller.hurry();
        Ok(())
    }
}
