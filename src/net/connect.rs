//! Opens connections: socket, then the proxy's part, then TLS, all under one deadline.
//!
//! The connector that the HTTP crate is given. A client certificate is shown to the configured origin alone;
//! proxies and other origins meet a TLS setup that has none. Whatever fails here failed before any byte of
//! the request was sent, so every error keeps `request_sent` false and the caller may try again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use nix::sys::socket::{SockaddrLike, SockaddrStorage, UnixAddr};
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};

use super::error::{Error, Kind};
use super::guard::Guard;
use super::patience::Patience;
use super::resolve::Names;
use super::roots::{self, Roots};
use super::route::{Routes, Way, authority, proxy_url};
use super::socket::{Handle, Socket};
use super::transport::{Connection, Wire};
use super::{proxy, tls};
use crate::config::{Network, Origin, Proxy};

/// What every purpose shares.
#[derive(Debug)]
pub(super) struct Shared {
    /// The settings.
    pub(super) network: Network,
    /// Everything cryptographic.
    pub(super) provider: Arc<CryptoProvider>,
    /// The certificates of `ca-bundle`.
    pub(super) bundle: Vec<CertificateDer<'static>>,
    /// Name resolution of what the settings name.
    pub(super) names: Names,
    /// The same where the outside has a say in what is called: names that hang hold up nobody else.
    pub(super) guarded_names: Names,
    /// Loaded when the first purpose needs TLS: a plain-http set-up never reads 150 certificates.
    pub(super) trust: OnceLock<Trust>,
}

/// Whom TLS trusts.
#[derive(Debug)]
pub(super) struct Trust {
    /// The authorities.
    pub(super) roots: Roots,
    /// For everybody who is not shown a client certificate: proxies, and origins of purposes without one.
    anonymous: tls::Setup,
}

/// Opens the connections of one purpose. It keeps none: those that rest belong to the HTTP crate's pool, which
/// tells destinations apart by scheme, host and port. All threads of the purpose share it.
#[derive(Debug)]
pub(super) struct Dialer {
    shared: Arc<Shared>,
    origin: Origin,
    routes: Routes,
    guard: Guard,
    /// For the configured origin alone, when the purpose has a client certificate.
    identified: Option<tls::Setup>,
    opened: AtomicU64,
    patience: Arc<Patience>,
}

/// Takes the handle of a socket, so that a shutdown can end what happens on it. It fails once the agent was
/// shut down.
pub(super) type Register<'a> = &'a dyn Fn(Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error>;

impl Shared {
    /// Loads the roots once. Two threads may do so at the same time; the first result is kept.
    fn trust(&self) -> Result<&Trust, Error> {
        if let Some(trust) = self.trust.get() {
            return Ok(trust);
        }
        let roots = roots::load(&self.network, &self.bundle)?;
        let anonymous = tls::Setup::new(&self.provider, &roots.store, &self.bundle, None)?;
        Ok(self.trust.get_or_init(|| Trust { roots, anonymous }))
    }
}

impl Dialer {
    /// Prepares what the configured origin needs, so that an unusable setting is found at start. An identity
    /// for an origin without TLS was checked by its reader, and is dropped here: nobody will ask for it.
    pub(super) fn new(
        shared: Arc<Shared>,
        origin: Origin,
        routes: Routes,
        identity: Option<Arc<SingleCertAndKey>>,
    ) -> Result<Dialer, Error> {
        let identified = match identity {
            Some(_) if origin.tls => {
                let roots = &shared.trust()?.roots.store;
                Some(tls::Setup::new(&shared.provider, roots, &shared.bundle, identity)?)
            }
            _ => None,
        };
        let (opened, patience) = (AtomicU64::new(0), Arc::default());
        let guard = Guard::Open;
        let dialer = Dialer { shared, origin, routes, guard, identified, opened, patience };
        if dialer.origin.tls || dialer.proxy().is_some_and(|proxy| proxy.tls) {
            dialer.shared.trust()?;
        }
        Ok(dialer)
    }

    /// The same, for a purpose that may not reach everything. What can be judged without dialling is.
    pub(super) fn guarded(mut self, guard: Guard) -> Result<Dialer, Error> {
        guard.permits(&self.origin, self.routes.way(&self.origin))?;
        self.guard = guard;
        Ok(self)
    }

    /// The configured origin.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How destinations are reached.
    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The proxy on the way to the configured origin; other origins may have another way.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        match self.routes.way(&self.origin) {
            Way::Proxy(proxy, _) => Some(proxy),
            Way::Direct(_) | Way::Unix(_) => None,
        }
    }

    /// Who cuts waits short on connections from here.
    pub(super) fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Opens a connection to `destination`: it is the same path for requests of every purpose, and the only
    /// one.
    pub(super) fn open(
        &self,
        destination: &Origin,
        deadline: Instant,
        register: Register<'_>,
    ) -> Result<Connection, Error> {
        let way = self.routes.way(destination);
        self.guard.permits(destination, way)?;
        let mut wire = match way {
            Way::Direct(_) => {
                let (host, port) = (&destination.host, destination.port);
                let names = match self.guard {
                    Guard::Open => &self.shared.names,
                    Guard::Target(..) | Guard::Learned(_) => &self.shared.guarded_names,
                };
                let addresses = names.resolve(host, port, deadline)?;
                self.guard.admits(destination, addresses.iter().map(SocketAddr::ip))?;
                // Dialled as judged: asked again, the name could be somebody else.
                reach(host, port, &addresses, deadline, register)?
            }
            Way::Unix(path) => {
                let peer = format!("unix socket {}", path.display());
                let address = UnixAddr::new(path).map_err(|cause| Error::connecting(&peer, &cause.into()))?;
                Wire::Plain(connected(&peer, &address, deadline, register)?)
            }
            Way::Proxy(proxy, _) => {
                // The proxy resolves the destination's name; this host may not be able to.
                let wire = self.tcp(&proxy.host, proxy.port, deadline, register)?;
                self.tunnel(wire, proxy, destination)?
            }
        };
        if destination.tls {
            // Redirects and discovery may lead elsewhere; who asks there does not get the certificate.
            let setup = match &self.identified {
                Some(identified) if *destination == self.origin => identified,
                _ => &self.shared.trust()?.anonymous,
            };
            wire = setup.handshake(&destination.host, wire)?;
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection::new(wire, destination.tls, Arc::clone(&self.patience)))
    }

    /// Connects to a host that the settings name.
    pub(super) fn tcp(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        register: Register<'_>,
    ) -> Result<Wire, Error> {
        reach(host, port, &self.shared.names.resolve(host, port, deadline)?, deadline, register)
    }

    /// Makes a connection to `proxy` one to `destination`. What the proxy answers is the last that it may say
    /// in clear about an `https` destination; from there on it only carries.
    pub(super) fn tunnel(&self, mut wire: Wire, proxy: &Proxy, destination: &Origin) -> Result<Wire, Error> {
        // The proxy is a stranger to the destination: it is verified, and learns nothing of the identity.
        if proxy.tls {
            let setup = &self.shared.trust()?.anonymous;
            wire = setup
                .handshake(&proxy.host, wire)
                .map_err(|error| error.about(&format!("proxy {}", proxy_url(proxy))))?;
        }
        proxy::connect(&mut wire, proxy, &authority(&destination.host, destination.port))?;
        Ok(wire)
    }
}

/// Connects to one address of `host` after another; each has an equal share of the time that is left,
/// so that a host whose first address swallows packets is still reached through its second.
fn reach(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    deadline: Instant,
    register: Register<'_>,
) -> Result<Wire, Error> {
    let peer = authority(host, port);
    let mut failure = Error::new(Kind::Dns, format!("resolve {host}: no address"));
    let mut sharers = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    // Every failure goes on to the next address: a host may be unreachable over IPv6 only, or this
    // machine may have no IPv6 at all, which already fails when the socket is made.
    for address in addresses {
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / sharers.max(1);
        sharers -= 1;
        match connected(&peer, &SockaddrStorage::from(*address), share, register) {
            Ok(mut socket) => {
                socket.set_deadline(deadline);
                return Ok(Wire::Plain(socket));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A socket connected to `address`. It is registered before it connects: a shutdown that comes earlier makes
/// `register` fail, one that comes later finds the handle, so none is missed.
fn connected(
    peer: &str,
    address: &dyn SockaddrLike,
    deadline: Instant,
    register: Register<'_>,
) -> Result<Socket, Error> {
    let mut socket = Socket::open(address).map_err(|cause| Error::connecting(peer, &cause))?;
    let handle: Weak<Handle> = Arc::downgrade(socket.handle());
    register(handle).map_err(Error::from_ureq)?;
    socket.connect(address, deadline).map_err(|cause| Error::connecting(peer, &cause))?;
    Ok(socket)
}

/// The connector and resolver that the HTTP crate sees. It calls with the request's own deadline, on the
/// thread that sends.
#[derive(Debug)]
pub(super) struct Dial(pub(super) Arc<Dialer>);

impl Connector for Dial {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let destination = Origin::of(details.uri)
            .ok_or_else(|| Error::new(Kind::InvalidRequest, "the URL is neither http nor https"))?;
        let deadline = super::client::after(*details.timeout.after);
        Ok(Some(self.0.open(&destination, deadline, &*details.register_shutdown)?))
    }
}

impl Resolver for Dial {
    /// Nothing: whether a name is resolved here or by a proxy is known to the connector only.
    fn resolve(
        &self,
        _uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
