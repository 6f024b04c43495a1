//! Checks of the way to a destination, for diagnosis and metrics.
//!
//! A proxy is asked by a TCP connection, then by CONNECT to the destination, or for plain http by a request in absolute
//! form. A check consists of the same steps as a real connection, credentials and TLS included, and the connection is
//! closed at once. Nothing depends on its result. The destination sees a connection without a request; or nothing; or,
//! behind a proxy that passes on what it should answer, an OPTIONS.

use std::time::{Duration, Instant};

use super::client::Client;
use super::error::Error;
use super::proxy;
#[cfg(feature = "operator")]
use super::request_state::RequestState;

/// Bounds each step. A proxy that needs longer is unhealthy to the people behind it.
const STEP_TIME: Duration = Duration::from_secs(5);

/// Longest time of a whole check.
pub const CHECK_MAX: Duration = Duration::from_secs(10);

/// Result of the check of a proxy.
#[derive(Debug)]
pub struct ProxyCheck {
    /// Duration of the TCP connection.
    pub tcp: Duration,
    /// Duration of the proxy's answer; nothing when there was no connection.
    pub connect: Option<Duration>,
    /// Why the last of these steps failed.
    pub failure: Option<Error>,
}

impl Client {
    /// Checks the proxy on the way to the configured destination; `None` when there is none. Takes up to
    /// [`CHECK_MAX`].
    pub fn check_proxy(&self) -> Option<ProxyCheck> {
        let (dialer, origin) = (&self.dialer, &self.dialer.origin);
        let proxy = dialer.proxy()?;
        let began = Instant::now();
        let opened = dialer.reach_proxy(proxy, began + STEP_TIME);
        let tcp = began.elapsed();
        let wire = match opened {
            Ok(wire) => wire,
            Err(error) => return Some(ProxyCheck { tcp, connect: None, failure: Some(error) }),
        };
        let began = Instant::now();
        let passed = dialer.pass_proxy(wire, proxy, origin, began + STEP_TIME);
        let asked = passed.and_then(|mut wire| match dialer.forwarder(origin) {
            Some(_) => proxy::ask(&mut wire, proxy, origin),
            None => Ok(()),
        });
        Some(ProxyCheck { tcp, connect: Some(began.elapsed()), failure: asked.err() })
    }

    /// Opens a connection to the configured destination, as a request would, and closes it unused. Fails as a
    /// request does that is not sent.
    #[cfg(feature = "operator")]
    pub fn check_connection(&self, deadline: Instant) -> Result<(), Error> {
        self.dialer.open(&self.dialer.origin, RequestState::new(deadline)).map(drop)
    }
}
