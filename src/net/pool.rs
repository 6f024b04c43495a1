//! Connection pool: connections that rest between two requests, and what closes them.
//!
//! A server drops idle connections after a time of its own, and a request sent at that moment is lost. So
//! connections towards servers whose time is unknown rest shortly, and a server that names its time is
//! believed, up to our own bound. A wrong time costs a new connection or a lost request, nothing else.
//!
//! The HTTP crate keeps none: its pool closes a connection only when the next request comes, and a peer that has
//! gone takes all of them with it. Here a thread that is awake anyway looks now and then, and what one connection
//! finds out of its peer is true of the others that have rested since before.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName};
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::connection::{Connection, IoBuffers};
use super::error::{Error, Kind};
use crate::config::Origin;
use crate::{sync, text};

/// Time that a connection towards the plane may rest. Load balancers drop after 60 s.
pub(super) const PLANE_IDLE: Duration = Duration::from_secs(50);
/// Time that a connection towards an MCP server may rest. Servers commonly drop after 5 s (Node, uvicorn).
pub(super) const MCP_IDLE: Duration = Duration::from_secs(4);
/// No connection rests longer than this, whatever a server promises.
const IDLE_MAX: Duration = PLANE_IDLE;

/// The connections of one client that rest. Its threads share it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) idle: Idle,
    /// Number that may rest; with one more the oldest is closed.
    most: AtomicUsize,
    /// The one that was used last comes last, and is taken first: the others can grow old then.
    resting: Mutex<Vec<Connection>>,
    all: Arc<Pools>,
}

/// A connection in the hands of the HTTP crate, on loan from a pool that it goes back to.
#[derive(Debug)]
pub(super) struct Lent {
    /// Nothing once it went back; the HTTP crate drops the rest then.
    connection: Option<Connection>,
    pool: Arc<Pool>,
    /// Empty buffers, for the HTTP crate to find then.
    nothing: IoBuffers,
}

/// The pools of all clients.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<Vec<Weak<Pool>>>);

impl Pools {
    /// A new pool. It leaves with its last user.
    pub(super) fn add(self: &Arc<Pools>, idle: Idle, most: usize) -> Arc<Pool> {
        let pool =
            Arc::new(Pool { idle, most: most.into(), resting: Mutex::default(), all: Arc::clone(self) });
        let mut all = sync::lock(&self.0);
        // Before it grows: there may be ten thousand endpoints with a pool each.
        if all.len() == all.capacity() {
            all.retain(|pool| pool.strong_count() > 0);
        }
        all.push(Arc::downgrade(&pool));
        pool
    }

    /// Closes what has rested for its time, and what its peer has closed.
    pub(super) fn sweep(&self) {
        for pool in self.present() {
            let age = pool.idle.age();
            sync::lock(&pool.resting).retain_mut(|connection| connection.is_fresh(age));
        }
    }

    /// Closes the connections to `destination` that were not used since `before`: one of that age is dead.
    fn distrust(&self, destination: &Origin, before: Instant) {
        for pool in self.present() {
            sync::lock(&pool.resting).retain(|connection| {
                connection.destination != *destination || connection.rests_since > before
            });
        }
    }

    fn present(&self) -> Vec<Arc<Pool>> {
        sync::lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Pool {
    /// A connection to `destination` that has rested for less than `age` and is still there. Those that are not
    /// are closed.
    pub(super) fn take(&self, destination: &Origin, age: Duration) -> Option<Connection> {
        loop {
            let mut connection = {
                let mut resting = sync::lock(&self.resting);
                let place = resting.iter().rposition(|resting| resting.destination == *destination)?;
                resting.remove(place)
            };
            if connection.is_fresh(age) {
                return Some(connection);
            }
        }
    }

    /// Lets a connection rest whose exchange has ended well.
    pub(super) fn put(&self, mut connection: Connection) {
        if !connection.rest() {
            return;
        }
        let mut resting = sync::lock(&self.resting);
        resting.push(connection);
        let oldest = (resting.len() > self.most.load(Ordering::Relaxed)).then(|| resting.remove(0));
        // Closed outside the lock, which the next request waits for.
        drop(resting);
        drop(oldest);
    }

    /// Closes what rests, and lets nothing rest any more.
    pub(super) fn close(&self) {
        let mut resting = sync::lock(&self.resting);
        self.most.store(0, Ordering::Relaxed);
        resting.clear();
    }
}

impl Lent {
    /// Lends `connection`, which belongs to `pool`.
    pub(super) fn new(connection: Connection, pool: Arc<Pool>) -> Lent {
        Lent { connection: Some(connection), pool, nothing: IoBuffers::default() }
    }

    /// Does a part of an exchange. What fails on this connection may be in store for those that rest.
    fn work<T>(&mut self, part: impl FnOnce(&mut Connection) -> Result<T, Error>) -> Result<T, ureq::Error> {
        let Some(connection) = &mut self.connection else {
            return Err(Error::new(Kind::ConnectionClosed, "the exchange is over").sent(true).into());
        };
        let outcome = part(connection);
        if let (Err(_), Some(before)) = (&outcome, connection.suspicion) {
            self.pool.all.distrust(&connection.destination, before);
        }
        Ok(outcome?)
    }
}

impl Transport for Lent {
    fn buffers(&mut self) -> &mut dyn Buffers {
        match &mut self.connection {
            Some(connection) => &mut connection.buffers,
            None => &mut self.nothing,
        }
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.work(|connection| connection.transmit_output(amount))
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.work(Connection::await_input)
    }

    /// Asked once, at the proper end of an exchange: the connection goes back, and to the HTTP crate it is closed.
    fn is_open(&mut self) -> bool {
        if let Some(connection) = self.connection.take() {
            self.pool.put(connection);
        }
        false
    }

    /// Of the destination itself. The HTTP crate refuses to send an `https` request where this is false.
    fn is_tls(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.destination.tls)
    }
}

/// Time that connections of one purpose may rest.
#[derive(Debug)]
pub(super) struct Idle {
    unnamed: Duration,
    /// Time that the last reply's `Keep-Alive` named, in milliseconds; 0 for none.
    named_ms: AtomicU64,
}

impl Idle {
    /// Connections may rest for `unnamed` where the server names no time.
    pub(super) fn new(unnamed: Duration) -> Idle {
        Idle { unnamed, named_ms: AtomicU64::new(0) }
    }

    /// Longest time that a connection may have rested to be used now.
    pub(super) fn age(&self) -> Duration {
        match self.named_ms.load(Ordering::Relaxed) {
            0 => self.unnamed,
            named_ms => Duration::from_millis(named_ms),
        }
    }

    /// Takes what the server says, less a second: its clock started before ours.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        let named = headers.get(const { HeaderName::from_static("keep-alive") });
        let mut items = named.and_then(|value| value.to_str().ok()).unwrap_or_default().split(',');
        let named = items.find_map(|item| text::number(item.trim().strip_prefix("timeout=")?.trim()));
        let limit = named.map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_MAX));
        // One millisecond stands for "never reuse": zero says that nothing was named.
        let wanted = limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(0).max(1));
        // The value seldom changes; a store each time would take the cache line from the other threads.
        if self.named_ms.load(Ordering::Relaxed) != wanted {
            self.named_ms.store(wanted, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn the_server_names_the_idle_time() {
        let idle = Idle::new(Duration::from_secs(4));
        let mut headers = HeaderMap::new();
        for (value, age_ms) in [
            ("timeout=5, max=100", 4000),
            ("max=3,timeout=900", 50_000),
            ("timeout=1", 1),
            ("timeout=+9", 4000),
        ] {
            headers.insert("keep-alive", HeaderValue::from_static(value));
            idle.learn(&headers);
            assert_eq!(idle.age(), Duration::from_millis(age_ms), "{value}");
        }
    }
}
