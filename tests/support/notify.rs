//! A service manager's socket, as systemd names it in `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use super::BOUND;

/// A socket, and what has come so far.
pub struct Notifications {
    socket: UnixDatagram,
    lines: Vec<String>,
    waited: usize,
}

impl Notifications {
    /// At a path.
    pub fn at(path: &Path) -> Notifications {
        Notifications::over(UnixDatagram::bind(path).unwrap())
    }

    /// Under an abstract name.
    pub fn named(name: &str) -> Notifications {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Notifications::over(UnixDatagram::bind_addr(&address).unwrap())
    }

    fn over(socket: UnixDatagram) -> Notifications {
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Notifications { socket, lines: Vec::new(), waited: 0 }
    }

    /// Waits for a line behind the last one that was waited for, and returns it.
    pub fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + BOUND;
        loop {
            if let Some(at) = self.lines[self.waited..].iter().position(|line| wanted(line)) {
                self.waited += at + 1;
                return self.lines[self.waited - 1].clone();
            }
            assert!(Instant::now() < end, "the line did not come: {:?}", self.lines);
            self.receive();
        }
    }

    /// Every line so far.
    pub fn lines(&mut self) -> &[String] {
        while self.receive() {}
        &self.lines
    }

    /// Takes one datagram; false when none came. None has more than a few hundred bytes, or a line of its own
    /// choosing.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let Ok(count) = self.socket.recv(&mut bytes) else { return false };
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        for line in text.lines() {
            let known = ["READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1"].contains(&line)
                || ["STATUS=", "MONOTONIC_USEC="].iter().any(|known| line.starts_with(known));
            assert!(known && !line.contains(char::is_control), "{line:?}");
            self.lines.push(line.to_owned());
        }
        true
    }
}
