//! Name resolution beside the caller, because the system's resolver knows no deadline.
//!
//! At most [`RESOLUTIONS_MAX`] helper threads of one [`Names`] exist at a time; who finds them busy waits, and gives up at its
//! deadline. An abandoned helper ends when the system answers; it holds nothing but the name. A shutdown does
//! not end a wait here: there is no socket yet, and the deadline does. Failure is `Kind::Dns`.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use crate::sync;

use super::budget::Budget;
use super::error::{Error, Phase};

/// A resolver that hangs may hold this many threads and no more.
const RESOLUTIONS_MAX: usize = 4;
/// More addresses of one family than this are not tried: each takes a socket. The other family gets its turn.
const FAMILY_MAX: usize = 8;

/// Name resolution, with a budget of helper threads, which its copies share.
#[derive(Debug, Clone)]
pub(super) struct Names {
    helpers: Arc<Budget>,
    /// Addresses of every name.
    #[cfg(test)]
    pub(super) fixed: Option<Vec<IpAddr>>,
}

impl Names {
    pub(super) fn new() -> Names {
        Names {
            helpers: Budget::new(RESOLUTIONS_MAX),
            #[cfg(test)]
            fixed: None,
        }
    }

    /// Resolution whose helpers are all busy for ever.
    #[cfg(all(test, feature = "harpoon"))]
    pub(super) fn hanging() -> Names {
        Names { helpers: Budget::new(0), fixed: None }
    }

    /// The addresses of `host` (without brackets). The system decides about their order, and may give the
    /// same host other addresses next time: nothing is kept, because connections are.
    pub(super) fn resolve(&self, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        #[cfg(test)]
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.iter().map(|address| SocketAddr::new(*address, port)).collect());
        }
        let failed = |cause| Error::io(Phase::Resolve, host, cause);
        let slot = self.helpers.reserve(1, deadline);
        let slot = slot.ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?;
        let name = host.to_owned();
        let left = deadline.saturating_duration_since(Instant::now());
        let found = sync::run_within("resolve", left, move || {
            // The slot travels along: an abandoned resolution counts until the system answers.
            let _slot = slot;
            (name.as_str(), port).to_socket_addrs().map(few)
        });
        found.map_err(failed)
    }
}

/// The addresses that are tried, in their order.
fn few(all: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut four, mut six) = (0, 0);
    let is_tried = |address: &SocketAddr| {
        let count = if address.is_ipv6() { &mut six } else { &mut four };
        *count += 1;
        *count <= FAMILY_MAX
    };
    all.filter(is_tried).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Kind;
    use std::time::Duration;

    #[test]
    fn literals_need_no_thread_and_slots_come_back() {
        let names = Names::new();
        let soon = Instant::now() + Duration::from_secs(20);
        assert_eq!(names.resolve("::1", 7, soon).unwrap(), ["[::1]:7".parse().unwrap()]);
        for _ in 0..2 * RESOLUTIONS_MAX {
            assert!(!names.resolve("localhost", 7, soon).unwrap().is_empty());
        }
        let held: Vec<_> = (0..RESOLUTIONS_MAX).map(|_| names.helpers.reserve(1, soon).unwrap()).collect();
        assert!(names.helpers.reserve(1, Instant::now()).is_none(), "one more at once");
        assert_eq!(names.resolve("localhost", 7, Instant::now()).unwrap_err().kind, Kind::Dns);
        drop(held);
        assert!(names.resolve("localhost", 7, soon).is_ok());
    }

    #[test]
    fn many_addresses_of_one_family_leave_room_for_the_other() {
        let six: Vec<SocketAddr> = (1..=40).map(|n| format!("[2001:db8::{n}]:1").parse().unwrap()).collect();
        let four: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let found = few(six.iter().copied().chain([four]));
        assert_eq!((found.len(), found.first(), found.last()), (FAMILY_MAX + 1, six.first(), Some(&four)));
    }
}
