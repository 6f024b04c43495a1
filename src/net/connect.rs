//! Opens connections: socket, then the proxy's part, then TLS, all under one deadline.
//!
//! The connector that the HTTP crate is given. A client certificate is shown to the configured origin alone;
//! proxies and other origins meet a TLS setup that has none. Whatever fails here failed before any byte of
//! the request was sent, so every error keeps `request_sent` false and the caller may try again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use nix::sys::socket::UnixAddr;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, ShutdownHandle};

use super::error::{Error, Kind};
use super::guard::Guard;
use super::happy_eyeballs::{Family, Race};
use super::patience::Patience;
use super::pool::{Lent, Pool, Pools};
use super::proxy::{self, Forwarding};
use super::resolve::Names;
use super::roots::{self, Roots};
use super::route::{Routes, Way, proxy_url};
use super::socket::{Handle, Liveness, PLANE, Socket};
use super::tls;
use super::transport::{Connection, Wire};
use crate::config::{Network, Origin, Proxy};
use crate::url::authority;

/// How long each step to a connection takes at most: connecting in all, the proxy's answer, a handshake. The kernel
/// finds a dead peer, but a proxy that is alive hides one from it, and so does whoever accepts and then says nothing.
const STEP_MAX: Duration = Duration::from_secs(10);

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
    /// What rests of all clients.
    pub(super) pools: Arc<Pools>,
}

/// Whom TLS trusts.
#[derive(Debug)]
pub(super) struct Trust {
    /// The authorities.
    pub(super) roots: Roots,
    /// For everybody who is not shown a client certificate: proxies, and origins of purposes without one.
    anonymous: tls::Setup,
}

/// Opens the connections of one purpose. It keeps none. All threads of the purpose share it.
#[derive(Debug)]
pub(super) struct Dialer {
    shared: Arc<Shared>,
    origin: Origin,
    routes: Routes,
    guard: Guard,
    /// For the configured origin alone, when the purpose has a client certificate.
    identified: Option<tls::Setup>,
    liveness: Liveness,
    /// What connected last.
    family: Family,
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
        liveness: Liveness,
    ) -> Result<Dialer, Error> {
        let identified = match identity {
            Some(_) if origin.tls => {
                let roots = &shared.trust()?.roots.store;
                Some(tls::Setup::new(&shared.provider, roots, &shared.bundle, identity)?)
            }
            _ => None,
        };
        let (family, opened, patience) = (Family::default(), AtomicU64::new(0), Arc::default());
        let guard = Guard::Open;
        let dialer = Dialer { shared, origin, routes, guard, identified, liveness, family, opened, patience };
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

    /// Where connections rest.
    pub(super) fn pools(&self) -> &Arc<Pools> {
        &self.shared.pools
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
        let mut forwarding = None;
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
                self.reach((host, port), &addresses, self.liveness, deadline, register)?
            }
            Way::Unix(path) => Wire::Plain(to_unix(path, step(deadline), register)?),
            Way::Proxy(proxy, _) => {
                // The proxy resolves the destination's name; this host may not be able to.
                let wire = self.to_proxy(proxy, deadline, register)?;
                let mut wire = self.secure_proxy(wire, proxy, deadline)?;
                if self.forwarder(destination).is_some() {
                    forwarding = Some(Forwarding::new(proxy, destination));
                } else {
                    proxy::connect(&mut wire, proxy, destination)?;
                }
                wire
            }
        };
        if destination.tls {
            // Redirects and discovery may lead elsewhere; who asks there does not get the certificate.
            let setup = match &self.identified {
                Some(identified) if *destination == self.origin => identified,
                _ => &self.shared.trust()?.anonymous,
            };
            wire.socket().set_deadline(step(deadline));
            wire = setup.handshake(&destination.host, wire)?;
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection::new(wire, destination.clone(), forwarding, Arc::clone(&self.patience)))
    }

    /// Connects to a proxy. Whatever fails is said to be the proxy's: it is not the host that was meant.
    pub(super) fn to_proxy(
        &self,
        proxy: &Proxy,
        deadline: Instant,
        register: Register<'_>,
    ) -> Result<Wire, Error> {
        let addresses = self.shared.names.resolve(&proxy.host, proxy.port, deadline);
        let reach = |addresses: Vec<SocketAddr>| {
            self.reach((&proxy.host, proxy.port), &addresses, PLANE, deadline, register)
        };
        addresses.and_then(reach).map_err(|error| error.about_proxy(&proxy_url(proxy)))
    }

    /// Connects to one of these addresses.
    fn reach(
        &self,
        (host, port): (&str, u16),
        addresses: &[SocketAddr],
        liveness: Liveness,
        deadline: Instant,
        register: Register<'_>,
    ) -> Result<Wire, Error> {
        let (peer, family, deadline) = (&authority(host, port), &self.family, step(deadline));
        Ok(Wire::Plain(Race { peer, addresses, family, liveness, deadline }.run(register)?))
    }

    /// Speaks TLS with a proxy that wants it. The proxy is a stranger to the destination: it is verified, and
    /// learns nothing of the identity. What is asked of it next is another step.
    pub(super) fn secure_proxy(
        &self,
        mut wire: Wire,
        proxy: &Proxy,
        deadline: Instant,
    ) -> Result<Wire, Error> {
        if proxy.tls {
            let setup = &self.shared.trust()?.anonymous;
            wire.socket().set_deadline(step(deadline));
            wire =
                setup.handshake(&proxy.host, wire).map_err(|error| error.about_proxy(&proxy_url(proxy)))?;
        }
        wire.socket().set_deadline(step(deadline));
        Ok(wire)
    }

    /// The proxy that is asked for each request to `destination`, in absolute form: for plain http, unless the
    /// outside chooses what is called. To all others a proxy only carries, and what it answers to CONNECT is
    /// the last that it may say.
    pub(super) fn forwarder(&self, destination: &Origin) -> Option<&Proxy> {
        match (destination.tls, &self.guard, self.routes.way(destination)) {
            (false, Guard::Open, Way::Proxy(proxy, _)) => Some(proxy),
            _ => None,
        }
    }
}

/// When the next step must be done.
fn step(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + STEP_MAX)
}

/// Connects to a unix socket. It is registered before, as in [`Race::run`].
fn to_unix(path: &Path, deadline: Instant, register: Register<'_>) -> Result<Socket, Error> {
    let peer = format!("unix socket {}", path.display());
    let failed = |cause| Error::connecting(&peer, &cause);
    let address = UnixAddr::new(path).map_err(|cause| failed(cause.into()))?;
    let mut socket = Socket::open(&address, PLANE).map_err(failed)?;
    let handle: Weak<Handle> = Arc::downgrade(socket.handle());
    register(handle).map_err(Error::from_ureq)?;
    socket.connect(&address, deadline).map_err(failed)?;
    Ok(socket)
}

/// The connector and resolver that the HTTP crate sees. It calls with the request's own deadline, on the
/// thread that sends.
#[derive(Debug)]
pub(super) struct Dial {
    /// Opens connections.
    pub(super) dialer: Arc<Dialer>,
    /// Has those that rest.
    pub(super) pool: Arc<Pool>,
}

impl Connector for Dial {
    type Out = Lent;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Lent>, ureq::Error> {
        let destination = Origin::of(details.uri)
            .ok_or_else(|| Error::new(Kind::InvalidRequest, "the URL is neither http nor https"))?;
        let connection = match self.pool.take(&destination, details.config.max_idle_age()) {
            Some(connection) => connection,
            None => {
                let deadline = super::client::deadline(details.timeout);
                self.dialer.open(&destination, deadline, &*details.register_shutdown)?
            }
        };
        Ok(Some(Lent::new(connection, Arc::clone(&self.pool))))
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
