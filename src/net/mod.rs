//! Outbound connections: the one place that makes them.
//!
//! A [`Net`] is built from the settings, and anew when its files have changed; it hands out one [`Client`] a purpose. Everything that
//! differs between purposes (roots, client certificate, proxy, socket, idle time) is decided here.
//! It knows nothing of tunnels or MCP. It fails with an [`Error`] whose `kind` names the cause.
//!
//! What a reviewer may rely on, and where it is held:
//!
//! - Nothing listens here, and nothing is sent but what a caller asks for: no redirect is followed, no
//!   challenge answered, no cookie kept (`client`).
//! - A client certificate meets the configured origin alone; so do the credentials of its URL (`dialer`,
//!   `client`). Proxy credentials meet the proxy alone (`proxy`, which alone writes them).
//! - Where the outside chooses what is called, every address is judged before it is dialled, and what was judged
//!   is what is dialled (`address_guard`, `dialer`).
//! - Every peer's certificate is verified, a proxy's too, and again once it has ended; no setting turns that
//!   off (`tls`).
//! - Every wait ends at the caller's deadline, every buffer has a bound, and what peers say reaches a log only
//!   cut and without control characters (`socket`, `reply`, `error`).
//! - A request is sent again only when its caller allowed it and no byte of a reply had come (`connection`).
//!
//! A peer may be silent, slow, endless, or lie about lengths; it costs its caller the deadline and no more. A peer
//! that is not there any more is found by the kernel (`socket`), and what one connection learns of that, those that
//! rest share (`pool`).
//!
//! From a request to the wire: `client` sends it through the HTTP crate, which asks for a connection; that is one of
//! the `pool`, or a new one: `dialer` takes its `route`, resolves (`resolve`), asks the `address_guard`, opens a
//! `socket` to the address that answers first (`happy_eyeballs`), passes the `proxy`, speaks `tls` against the `roots`
//! on the `wire`, and makes a `connection` of it. Bodies come back by `reply`, under the `budget`.

mod client;
mod pool;
mod reply;
mod request_state;

mod budget;
#[cfg(any(test, feature = "operator"))]
mod certificate_fault;
mod error;

#[cfg(feature = "harpoon")]
mod address_guard;
mod dialer;
mod happy_eyeballs;
mod route;

mod connection;
mod no_proxy;
mod resolve;
mod socket;
mod wire;

mod loaded;
mod proxy;
mod tls;
mod validity;

mod client_certificate;
mod roots;

mod der;

mod check;
mod http_dump;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/net.rs"]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

#[cfg(feature = "operator")]
use std::path::Path;
#[cfg(feature = "operator")]
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "operator")]
use std::time::Duration;

use crate::config;
use crate::{crypto, sync};

pub use budget::{Budget, FREE_BYTES, Reservation};
#[cfg(any(test, feature = "operator"))]
pub use certificate_fault::CertificateFault;
pub use check::CHECK_MAX;
pub use client::{Client, Request};
#[cfg(feature = "operator")]
pub use der::Summary as Certificate;
pub use error::{Error, Kind, Source};
pub use loaded::Loaded;
pub use reply::Reply;
pub use roots::bundles;
#[cfg(feature = "operator")]
pub use validity::{Remaining, Validity};

#[cfg(feature = "harpoon")]
use address_guard::AddressGuard;
use client_certificate::Shown;
use dialer::{Dialer, Shared};
use pool::{Idle, MCP_IDLE, PLANE_IDLE};
use route::Routes;
use socket::{PLANE, SERVER};

/// Builds clients; holds the roots and the environment's proxies. Clients share these, the resolver's threads
/// and the budget, but no connections: each purpose can be ended without the others.
#[derive(Debug, Clone)]
pub struct Net {
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    dump: bool,
    forgives: bool,
}

/// Summaries of the PEM certificates of a file, in their order. Fails when it cannot be read.
#[cfg(feature = "operator")]
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let unreadable =
        |cause| Error::caused(Kind::Setup, &format!("read certificate {}", path.display()), cause);
    let found = roots::certificates(path).map_err(unreadable)?;
    Ok(found.iter().filter_map(|certificate| der::summarise(certificate)).collect())
}

impl Net {
    /// Reads the CA bundle. Fails when it holds no certificate, or cryptography is not what is required. The roots are
    /// read with the first client that needs them.
    pub fn new(network: &config::Network) -> Result<Net, Error> {
        let provider = crypto::provider();
        if network.require_fips {
            crypto::require_fips(&provider).map_err(Error::setup)?;
        }
        let shared = Shared {
            network: network.clone(),
            provider,
            bundle: roots::ca_bundle(network)?,
            names: resolve::Names::new(),
            #[cfg(feature = "harpoon")]
            guarded_names: resolve::Names::new(),
            trust: Arc::default(),
            pools: Arc::default(),
            usable: Arc::default(),
        };
        let budget = Budget::new(network.body_budget_bytes);
        Ok(Net { shared: Arc::new(shared), budget, dump: false, forgives: false })
    }

    /// What takes the place of this one: with these proxies, and with bundle and roots as their files are now. TLS
    /// sessions are forgotten; the resolver's threads, the budget and the sweep stay one. Fails as the start does.
    pub fn renewed(&self, network: &config::Network) -> Result<Net, Error> {
        let former = &self.shared;
        let shared = Shared {
            network: network.clone(),
            bundle: roots::ca_bundle(network)?,
            trust: Arc::default(),
            ..Shared::clone(former)
        };
        if let Some(trust) = former.trust.get() {
            // A bundle that is being replaced would else have everybody believed for a while.
            if shared.trust()?.roots.is_built_in && !trust.roots.is_built_in {
                return Err(Error::setup("the CA bundle of the system is gone or cannot be read"));
            }
        }
        Ok(Net { shared: Arc::new(shared), ..self.clone() })
    }

    /// Sets whether clients made from now on dump whole requests and replies at debug level.
    pub fn dumping(mut self, dump: bool) -> Net {
        self.dump = dump;
        self
    }

    /// The same, whose clients show the client certificate of before where the files of one cannot be used.
    pub fn forgiving(&self) -> Net {
        Net { forgives: true, ..self.clone() }
    }

    /// A client towards the control plane, keeping up to `idle_max` idle connections for 50 s. Fails when
    /// the certificate, its key or the roots cannot be used; nothing is dialled yet.
    pub fn control_plane(&self, plane: &config::ControlPlane, idle_max: usize) -> Result<Client, Error> {
        let routes = Routes::new(None, &[&plane.proxy], &self.shared.network);
        let identity = self.identity(plane.identity.as_ref(), "control-plane")?;
        let dialer = Dialer::new(&self.shared, &plane.origin, routes, identity, PLANE)?;
        Ok(Client::new(dialer, idle_max, Idle::new(PLANE_IDLE), self.dump))
    }

    /// A client towards one MCP server, keeping idle connections for 4 s unless the server names a time. The
    /// nearest proxy setting wins: the binding's, then the one for MCP, then the global one. Fails as above.
    pub fn mcp(
        &self,
        server: &config::HttpServer,
        proxy: &Option<config::Proxy>,
        idle_max: usize,
    ) -> Result<Client, Error> {
        let proxies = [&server.proxy, proxy];
        let routes = Routes::new(server.unix_socket.clone(), &proxies, &self.shared.network);
        let identity = self.identity(server.identity.as_ref(), "MCP")?;
        let dialer = Dialer::new(&self.shared, &server.origin, routes, identity, SERVER)?;
        Client::new(dialer, idle_max, Idle::new(MCP_IDLE), self.dump).with_credentials(&server.credentials)
    }

    /// A client towards one endpoint that the product may call by name, and towards its origin alone: another
    /// endpoint, be it the target of a redirect, has a client of its own. The address that the name resolves
    /// to is checked as it is dialled, see `address_guard`; a refusal is [`Kind::AddressForbidden`]. The nearest proxy
    /// setting wins: the one for these endpoints, then the global one. Fails as above, and when a check could
    /// not be made: a proxy would resolve a name that is to stay within `allowed_networks`.
    #[cfg(feature = "harpoon")]
    pub fn harpoon(
        &self,
        harpoon: &config::Harpoon,
        target: &config::HarpoonTarget,
        idle_max: usize,
    ) -> Result<Client, Error> {
        let routes = Routes::new(target.unix_socket.clone(), &[&harpoon.proxy], &self.shared.network);
        let guard = AddressGuard::Target(target.origin.clone(), target.allowed_networks.clone());
        let dialer = Dialer::new(&self.shared, &target.origin, routes, None, SERVER)?.guarded(guard)?;
        // What fills a template is a caller's, and the operator's headers are secrets: neither is dumped.
        let dump = self.dump && target.template.is_none();
        Ok(Client::new(dialer, idle_max, Idle::new(MCP_IDLE), dump))
    }

    /// A client towards an origin that was learned and not configured, such as one that a metadata document
    /// or a redirect names. Private and loopback addresses are refused too, unless the origin is one of
    /// `exempt`, which somebody configured: these are held to the rules of [`Net::harpoon`]. Behind a proxy,
    /// which would resolve the name out of our sight, none but the exempt are reached. `proxies` lists the
    /// purpose's own settings, nearest first; the global one comes last. Every destination of every request is
    /// judged by itself, so that following a redirect on this client is as safe as the first request.
    #[cfg(feature = "harpoon")]
    pub fn learned(
        &self,
        origin: &config::Origin,
        exempt: &[config::Origin],
        proxies: &[&Option<config::Proxy>],
        idle_max: usize,
    ) -> Result<Client, Error> {
        let routes = Routes::new(None, proxies, &self.shared.network);
        let guard = AddressGuard::Learned(exempt.to_vec());
        let dialer = Dialer::new(&self.shared, origin, routes, None, SERVER)?.guarded(guard)?;
        Ok(Client::new(dialer, idle_max, Idle::new(MCP_IDLE), self.dump))
    }

    /// A client towards the listener of a process of this program: straight, whatever proxies there are, for
    /// none of them could reach it, and without idle connections. It needs no settings, since whoever asks
    /// has none.
    #[cfg(feature = "operator")]
    pub fn operator(origin: &config::Origin, unix_socket: Option<PathBuf>) -> Result<Client, Error> {
        let net = Net::new(&config::Network::default())?;
        let routes = Routes::new(unix_socket, &[], &net.shared.network);
        let dialer = Dialer::new(&net.shared, origin, routes, None, SERVER)?;
        Ok(Client::new(dialer, 0, Idle::new(Duration::ZERO), false))
    }

    /// Closes the connections of all clients that have rested for their time, or whose peers closed them. To be
    /// called now and then: a connection that nobody takes looks at no clock.
    pub fn sweep(&self) {
        self.shared.pools.sweep();
    }

    /// The budget that large bodies are read under.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The certificates of `ca-bundle`.
    pub fn ca_bundle(&self) -> Option<Loaded> {
        self.shared.bundle.loaded
    }

    /// Number and source of the trusted roots, for the start-up log.
    pub fn roots_summary(&self) -> String {
        let trust = self.shared.trust.get();
        trust.map_or("not read: nothing uses TLS", |trust| &trust.roots.summary).to_owned()
    }

    /// The client certificate of a purpose; `whose` opens the text of a failure.
    fn identity(&self, identity: Option<&config::Identity>, whose: &str) -> Result<Option<Shown>, Error> {
        let Some(identity) = identity else { return Ok(None) };
        let mut usable = sync::lock(&self.shared.usable);
        match client_certificate::load(identity, whose, &self.shared.provider) {
            Ok(shown) => {
                usable.insert(identity.clone(), shown.clone());
                Ok(Some(shown))
            }
            Err(error) => {
                let last = usable.get(identity).filter(|_| self.forgives);
                Ok(Some(last.ok_or(error)?.clone()))
            }
        }
    }
}
