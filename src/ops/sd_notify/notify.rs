//! Datagrams to the service manager, as sd_notify(3) sends them.
//!
//! The socket is one that systemd names; nothing is read from it. Sending never waits, and a message that was
//! not taken is the caller's to send again: the first failure is logged, none ends anything.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A way to the service manager.
pub(super) struct Notify {
    address: SocketAddr,
    socket: UnixDatagram,
    complained: bool,
}

impl Notify {
    /// The socket at a path, or of an abstract name behind an `@`. Other kinds, which only machines have for
    /// each other, are refused.
    pub(super) fn to(place: &str) -> io::Result<Notify> {
        let address = match place.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if place.starts_with('/') => SocketAddr::from_pathname(place)?,
            None => return Err(io::Error::other("neither an absolute path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notify { address, socket, complained: false })
    }

    /// Sends lines of `NAME=value`; false when they were not taken. Connected anew for each, so that a
    /// manager which was started again is found.
    pub(super) fn send(&mut self, lines: &str) -> bool {
        let sent = self.socket.send_to_addr(lines.as_bytes(), &self.address);
        if let Err(error) = &sent {
            if !std::mem::replace(&mut self.complained, true) {
                log::warn!(error = crate::ops::os_text(error).as_str(); "the service manager cannot be told how this process is");
            }
        }
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::files::tests::Scratch;
    use std::time::{Duration, Instant};

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let scratch = Scratch::new("notify");
        let path = scratch.0.join("socket");
        let bound = UnixDatagram::bind(&path).unwrap();
        assert!(Notify::to(path.to_str().unwrap()).unwrap().send("READY=1"));
        assert_eq!(received(&bound), "READY=1");
        let name = format!("tunnel-client-notify-{}", std::process::id());
        let bound = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert!(Notify::to(&format!("@{name}")).unwrap().send("STOPPING=1\nSTATUS=x"));
        assert_eq!(received(&bound), "STOPPING=1\nSTATUS=x");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for place in ["relative", "vsock:2:1", "", &format!("/{}", "x".repeat(200)), &"@".repeat(200)] {
            assert!(Notify::to(place).is_err(), "{place}");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_listen_holds_nobody_up() {
        let scratch = Scratch::new("notify-full");
        let path = scratch.0.join("socket");
        let place = path.to_str().unwrap().to_owned();
        let mut notify = Notify::to(&place).unwrap();
        assert!(!notify.send("WATCHDOG=1"));
        let bound = UnixDatagram::bind(&path).unwrap();
        let began = Instant::now();
        // Its queue is full sooner or later, and has room again once somebody reads.
        while notify.send(&"x".repeat(1000)) {}
        assert!(began.elapsed() < Duration::from_secs(20));
        bound.set_nonblocking(true).unwrap();
        while bound.recv(&mut [0; 10]).is_ok() {}
        assert!(notify.send("WATCHDOG=1"));
    }
}
