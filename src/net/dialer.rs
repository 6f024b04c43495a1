//! Dialer: opens connections by socket, then the proxy's part, then TLS, all under one deadline.
//!
//! A client certificate is shown to the configured origin alone; proxies and other origins meet a TLS setup that
//! has none. Whatever fails here failed before any byte of the request was sent, so every error keeps
//! `request_sent` false and the caller may try again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::socket::UnixAddr;
use rustls::crypto::CryptoProvider;

#[cfg(feature = "harpoon")]
use super::address_guard::AddressGuard;
use super::client_certificate::Shown;
use super::connection::Connection;
use super::error::{Error, Phase};
use super::happy_eyeballs::{Family, Race};
use super::loaded::Loaded;
use super::pool::Pools;
use super::proxy::{self, Forwarding};
use super::request_state::RequestState;
use super::resolve::Names;
use super::roots::{self, Bundle, Roots};
use super::route::{Routes, Way, proxy_url};
use super::socket::{Liveness, PLANE, Sockets};
use super::tls;
use super::wire::Wire;
use crate::config::{Identity, Network, Origin, Proxy};
use crate::sync;

/// Longest time of each step to a connection: connecting in all, the proxy's answer, a handshake. The kernel
/// finds a dead peer, but a proxy that is alive hides one from it, and so does whoever accepts and then says nothing.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Parts that all purposes share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) network: Network,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) bundle: Bundle,
    /// Resolves names that stand in the settings.
    pub(super) names: Names,
    /// Resolves names where the outside has a say in what is called: those that hang hold up nobody else.
    #[cfg(feature = "harpoon")]
    pub(super) guarded_names: Names,
    /// Loaded when the first purpose needs TLS: a plain-http set-up never reads 150 certificates.
    pub(super) trust: Arc<OnceLock<Trust>>,
    pub(super) pools: Arc<Pools>,
    /// Client certificates that could be used, each as it was read last.
    pub(super) usable: Arc<Mutex<BTreeMap<Identity, Shown>>>,
}

/// Trusted authorities.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) roots: Roots,
    /// For everybody who is not shown a client certificate: proxies, and origins of purposes without one.
    anonymous: tls::Setup,
}

/// Opens the connections of one purpose. It keeps none. All threads of the purpose share it.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) shared: Arc<Shared>,
    /// The configured origin.
    pub(super) origin: Origin,
    pub(super) routes: Routes,
    #[cfg(feature = "harpoon")]
    guard: AddressGuard,
    /// For the configured origin alone, when the purpose has a client certificate.
    identified: Option<tls::Setup>,
    /// That certificate.
    pub(super) shown: Option<Loaded>,
    liveness: Liveness,
    family: Family,
    /// Also those of the clients whose place this one took.
    pub(super) sockets: Arc<Sockets>,
    /// Connections opened so far.
    pub(super) opened: AtomicU64,
    /// What the last handshake with a destination agreed on; empty before one.
    pub(super) agreed: Mutex<String>,
}

impl Shared {
    /// Loads the roots once. Two threads may do so at the same time; the first result is kept.
    pub(super) fn trust(&self) -> Result<&Trust, Error> {
        if let Some(trust) = self.trust.get() {
            return Ok(trust);
        }
        let roots = roots::load(&self.network, &self.bundle.certificates)?;
        let anonymous = tls::Setup::new(&self.provider, &roots.store, &self.bundle.certificates, None)?;
        Ok(self.trust.get_or_init(|| Trust { roots, anonymous }))
    }
}

impl Dialer {
    /// Prepares what the configured origin needs, so that an unusable setting is found at start. An identity
    /// for an origin without TLS was checked by its reader, and is dropped here: nobody will ask for it.
    pub(super) fn new(
        shared: &Arc<Shared>,
        origin: &Origin,
        routes: Routes,
        identity: Option<Shown>,
        liveness: Liveness,
    ) -> Result<Dialer, Error> {
        let (identified, shown) = match identity {
            Some(Shown { certified, loaded }) if origin.tls => {
                let (roots, bundle) = (&shared.trust()?.roots.store, &shared.bundle.certificates);
                (Some(tls::Setup::new(&shared.provider, roots, bundle, Some(certified))?), loaded)
            }
            _ => (None, None),
        };
        let dialer = Dialer {
            shared: Arc::clone(shared),
            origin: origin.clone(),
            routes,
            #[cfg(feature = "harpoon")]
            guard: AddressGuard::Open,
            identified,
            shown,
            liveness,
            family: Family::default(),
            sockets: Arc::default(),
            opened: AtomicU64::new(0),
            agreed: Mutex::default(),
        };
        if dialer.origin.tls || dialer.proxy().is_some_and(|proxy| proxy.origin.tls) {
            dialer.shared.trust()?;
        }
        Ok(dialer)
    }

    /// Restricts the addresses that may be reached. It fails at once where no connection could ever be allowed.
    #[cfg(feature = "harpoon")]
    pub(super) fn guarded(mut self, guard: AddressGuard) -> Result<Dialer, Error> {
        guard.permits(&self.origin, self.routes.way(&self.origin))?;
        self.guard = guard;
        Ok(self)
    }

    /// The proxy on the way to the configured origin; other origins may have another way.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        match self.routes.way(&self.origin) {
            Way::Proxy(proxy, _) => Some(proxy),
            Way::Direct(_) | Way::Unix(_) => None,
        }
    }

    /// Opens a connection to `destination` for an exchange. It is the same path for requests of every purpose, and
    /// the only one.
    pub(super) fn open(&self, destination: &Origin, state: Arc<RequestState>) -> Result<Connection, Error> {
        let (way, deadline) = (self.routes.way(destination), state.deadline());
        #[cfg(feature = "harpoon")]
        self.guard.permits(destination, way)?;
        let mut wire = match way {
            Way::Direct(_) => {
                let names = &self.shared.names;
                #[cfg(feature = "harpoon")]
                let names = match self.guard {
                    AddressGuard::Open => names,
                    _ => &self.shared.guarded_names,
                };
                let addresses = names.resolve(&destination.host, destination.port, deadline)?;
                #[cfg(feature = "harpoon")]
                self.guard.admits(destination, addresses.iter().map(SocketAddr::ip))?;
                // Dialled as judged: asked again, the name could be somebody else.
                self.reach(&destination.authority(), &addresses, self.liveness, deadline)?
            }
            Way::Unix(path) => self.reach_unix(path, deadline)?,
            Way::Proxy(proxy, _) => {
                let wire = self.reach_proxy(proxy, deadline)?;
                self.pass_proxy(wire, proxy, destination, deadline)?
            }
        };
        if destination.tls {
            // Redirects and discovery may lead elsewhere; who asks there does not get the certificate.
            let setup = match &self.identified {
                Some(identified) if *destination == self.origin => identified,
                _ => &self.shared.trust()?.anonymous,
            };
            wire.socket().deadline = step(deadline);
            wire = setup.handshake(&destination.host, wire)?;
            if let Wire::Tls(tls) = &wire {
                *sync::lock(&self.agreed) = tls::agreed(&tls.session);
            }
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let forwarding = self.forwarder(destination).map(|proxy| Forwarding::new(proxy, destination));
        Ok(Connection::new(wire, destination.clone(), forwarding, state))
    }

    /// Connects to a proxy, which resolves the destination's name: this host may not be able to. Whatever fails is
    /// said to be the proxy's: it is not the host that was meant.
    pub(super) fn reach_proxy(&self, proxy: &Proxy, deadline: Instant) -> Result<Wire, Error> {
        let addresses = self.shared.names.resolve(&proxy.origin.host, proxy.origin.port, deadline);
        let peer = proxy.origin.authority();
        addresses
            .and_then(|addresses| self.reach(&peer, &addresses, PLANE, deadline))
            .map_err(|error| error.about_proxy(&proxy_url(proxy)))
    }

    /// Speaks TLS with a proxy that wants it, and has it open a tunnel to a destination that it is not to forward
    /// requests to. The proxy is a stranger to the destination: it is verified, and learns nothing of the identity.
    pub(super) fn pass_proxy(
        &self,
        mut wire: Wire,
        proxy: &Proxy,
        destination: &Origin,
        deadline: Instant,
    ) -> Result<Wire, Error> {
        if proxy.origin.tls {
            let setup = &self.shared.trust()?.anonymous;
            wire.socket().deadline = step(deadline);
            wire = setup
                .handshake(&proxy.origin.host, wire)
                .map_err(|error| error.about_proxy(&proxy_url(proxy)))?;
        }
        wire.socket().deadline = step(deadline);
        if self.forwarder(destination).is_none() {
            proxy::connect(&mut wire, proxy, destination)?;
        }
        Ok(wire)
    }

    /// The proxy that is asked for each request to `destination`, in absolute form: for plain http, unless the
    /// outside chooses what is called. To all others a proxy only carries, and what it answers to CONNECT is
    /// the last that it may say.
    pub(super) fn forwarder(&self, destination: &Origin) -> Option<&Proxy> {
        #[cfg(feature = "harpoon")]
        if !matches!(self.guard, AddressGuard::Open) {
            return None;
        }
        match self.routes.way(destination) {
            Way::Proxy(proxy, _) if !destination.tls => Some(proxy),
            _ => None,
        }
    }

    /// Connects to one of these addresses of `peer`.
    fn reach(
        &self,
        peer: &str,
        addresses: &[SocketAddr],
        liveness: Liveness,
        deadline: Instant,
    ) -> Result<Wire, Error> {
        let (family, sockets, deadline) = (&self.family, &self.sockets, step(deadline));
        Ok(Wire::Plain(Race { peer, addresses, family, sockets, liveness, deadline }.run()?))
    }

    fn reach_unix(&self, path: &Path, deadline: Instant) -> Result<Wire, Error> {
        let connect = || {
            let address = UnixAddr::new(path)?;
            let mut socket = self.sockets.open(&address, PLANE)?;
            socket.connect(&address, step(deadline))?;
            Ok(Wire::Plain(socket))
        };
        let peer = format!("unix socket {}", path.display());
        connect().map_err(|cause| Error::io(Phase::Connect, &peer, cause))
    }
}

/// When the next step must be done.
fn step(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + STEP_MAX)
}
