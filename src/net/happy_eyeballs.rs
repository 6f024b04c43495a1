//! Happy Eyeballs (RFC 8305): connects to the first address of a host that answers, on the caller's thread.
//!
//! Families alternate, beginning with the one that worked last. A new attempt begins every 250 ms, and at once
//! when one fails, while the earlier ones go on; the first connection wins and the others are closed. A host
//! whose one family is silent costs a quarter of a second, and only once. No address is dialled but those given:
//! they were judged. It fails as the attempts did, or at the deadline.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::SockaddrStorage;

use super::error::{Error, Kind, Phase};
use super::socket::{Liveness, Socket, Sockets};

/// Time that an attempt has before the next one joins it; the value that the RFC recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The address family that connected last. The threads of a client share it.
#[derive(Debug, Default)]
pub(super) struct Family(AtomicU8);

/// Race of connection attempts to the addresses of one host.
pub(super) struct Race<'a> {
    /// Host and port, for texts.
    pub(super) peer: &'a str,
    /// The system's favourite comes first.
    pub(super) addresses: &'a [SocketAddr],
    pub(super) family: &'a Family,
    pub(super) sockets: &'a Sockets,
    pub(super) liveness: Liveness,
    pub(super) deadline: Instant,
}

impl Race<'_> {
    /// Connects to the first address that answers.
    pub(super) fn run(&self) -> Result<Socket, Error> {
        let mut waiting = self.family.order(self.addresses).into_iter();
        let mut running: Vec<(SocketAddr, Socket)> = Vec::new();
        let mut failure = Error::new(Kind::Dns, format!("resolve {}: no address", self.peer));
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if running.is_empty() || now >= next {
                match waiting.next() {
                    Some(address) => match self.begin(address) {
                        Ok((socket, true)) => return Ok(self.won(address, socket)),
                        Ok((socket, false)) => {
                            running.push((address, socket));
                            next = now + ATTEMPT_DELAY;
                        }
                        Err(cause) => {
                            failure = clearer(failure, self.failed(cause));
                            continue;
                        }
                    },
                    None if running.is_empty() => return Err(failure),
                    None => next = self.deadline,
                }
            }
            if now >= self.deadline {
                return Err(self.failed(io::ErrorKind::TimedOut.into()));
            }
            let ready = wait(&running, next.min(self.deadline)).map_err(|cause| self.failed(cause))?;
            for index in (0..running.len()).rev().filter(|index| ready.contains(index)) {
                let (address, socket) = running.remove(index);
                match socket.settle() {
                    Ok(()) => return Ok(self.won(address, socket)),
                    Err(cause) => failure = clearer(failure, self.failed(cause)),
                }
                next = now;
            }
        }
    }

    /// Begins one attempt; true when it has succeeded already. A machine without IPv6 fails here.
    fn begin(&self, address: SocketAddr) -> io::Result<(Socket, bool)> {
        let address = SockaddrStorage::from(address);
        let socket = self.sockets.open(&address, self.liveness)?;
        let is_connected = socket.begin(&address)?;
        if is_connected {
            socket.settle()?;
        }
        Ok((socket, is_connected))
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::io(Phase::Connect, self.peer, cause)
    }

    fn won(&self, address: SocketAddr, mut socket: Socket) -> Socket {
        self.family.remember(address);
        socket.deadline = self.deadline;
        socket
    }
}

impl Family {
    /// The addresses in the order in which they are tried. Within a family the system's order stays.
    fn order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let first = match self.0.load(Ordering::Relaxed) {
            0 => addresses.first().is_some_and(SocketAddr::is_ipv6),
            family => family == 6,
        };
        let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
            addresses.iter().partition(|address| address.is_ipv6() == first);
        let longest = first.len().max(second.len());
        (0..longest).flat_map(|index| [first.get(index), second.get(index)]).flatten().copied().collect()
    }

    fn remember(&self, address: SocketAddr) {
        self.0.store(if address.is_ipv6() { 6 } else { 4 }, Ordering::Relaxed);
    }
}

/// Waits until an attempt has an outcome, at most until `end`; the places of those that have one. A shutdown just
/// before a `connect` leaves no trace that `poll` could see, so it is asked for; it ends all attempts.
fn wait(running: &[(SocketAddr, Socket)], end: Instant) -> io::Result<Vec<usize>> {
    if running.iter().any(|(_, socket)| socket.handle.is_closed()) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // Rounded up, so that the last fraction of a millisecond is not spent spinning.
    let left_ms = end.saturating_duration_since(Instant::now()).as_millis().saturating_add(1);
    let mut watched: Vec<PollFd<'_>> =
        running.iter().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
    match poll(&mut watched, PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)) {
        Err(Errno::EINTR) => Ok(Vec::new()),
        outcome => {
            outcome?;
            let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
            Ok(watched.iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(index, _)| index).collect())
        }
    }
}

/// The failure that tells more: a host that refused is there, whatever its other addresses are.
fn clearer(first: Error, second: Error) -> Error {
    if first.kind == Kind::Refused { first } else { second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::SERVER;
    use crate::net::tests::peers::full_listener_at;
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    /// An IPv6 address that is silent: its listener takes no more connections.
    fn silent() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
        let full = full_listener_at((Ipv6Addr::LOCALHOST, 0).into());
        (full.0.local_addr().unwrap(), full)
    }

    fn run(addresses: &[SocketAddr], family: &Family, wait: Duration) -> Result<Duration, Error> {
        let (began, peer, sockets) = (Instant::now(), "host:1", &Sockets::default());
        let race = Race { peer, addresses, family, sockets, liveness: SERVER, deadline: began + wait };
        race.run().map(|_| began.elapsed())
    }

    #[test]
    fn a_silent_family_costs_a_moment_and_only_once() {
        let (silent, _full) = silent();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [silent, silent, listener.local_addr().unwrap()];
        let family = Family::default();
        let first = run(&addresses, &family, Duration::from_secs(60)).unwrap();
        assert!(first >= ATTEMPT_DELAY && first < Duration::from_secs(5), "{first:?}");
        assert_eq!(family.order(&addresses), [addresses[2], silent, silent]);
        // Alone it is waited for until the deadline, and no longer.
        let error = run(&addresses[..2], &family, 2 * ATTEMPT_DELAY).unwrap_err();
        assert_eq!((error.kind, error.request_sent), (Kind::Timeout, false));
    }

    #[test]
    fn earlier_attempts_go_on_beside_the_later_ones() {
        let (silent, (listener, filling)) = silent();
        let waker = std::thread::spawn(move || {
            std::thread::sleep(2 * ATTEMPT_DELAY);
            // There is room again, which the kernel's next SYN finds.
            drop(filling);
            while listener.accept().is_ok() {}
        });
        let other: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let took = run(&[silent, other], &Family::default(), Duration::from_secs(60)).unwrap();
        assert!(took > ATTEMPT_DELAY, "{took:?}");
        drop(waker);
    }

    #[test]
    fn a_refusal_begins_the_next_attempt_at_once_and_is_what_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
        let mut addresses = vec![closed; 40];
        let error = run(&addresses, &Family::default(), Duration::from_secs(60)).unwrap_err();
        assert_eq!((error.kind, error.request_sent), (Kind::Refused, false));
        addresses.push(listener.local_addr().unwrap());
        let took = run(&addresses, &Family::default(), Duration::from_secs(60)).unwrap();
        assert!(took < 20 * ATTEMPT_DELAY, "{took:?}");
    }

    #[test]
    fn families_alternate() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(|a| a.parse().unwrap());
        let [a, b, c, d, e]: [SocketAddr; 5] = all;
        let family = Family::default();
        assert_eq!(family.order(&all), [a, d, b, e, c]);
        family.remember(e);
        assert_eq!(family.order(&all), [d, a, e, b, c]);
    }
}
