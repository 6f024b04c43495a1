//! Sockets against loopback peers: deadlines, silence, and what came meanwhile.

use super::*;
use nix::sys::socket::{Backlog, SockaddrIn, SockaddrStorage};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

impl Socket {
    /// The liveness that the kernel has in force.
    pub(in crate::net) fn in_force(&self) -> Liveness {
        let socket = &self.handle.socket;
        assert!(getsockopt(socket, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(socket, sockopt::TcpKeepCount).unwrap(), PROBES);
        Liveness {
            silence_ms: getsockopt(socket, sockopt::TcpUserTimeout).unwrap(),
            probe_after_s: getsockopt(socket, sockopt::TcpKeepIdle).unwrap(),
            probe_every_s: getsockopt(socket, sockopt::TcpKeepInterval).unwrap(),
        }
    }
}

#[test]
fn time_outs_are_armed_only_when_they_no_longer_fit() {
    let mut armed = Duration::ZERO;
    let mut calls = Vec::new();
    for left in [60_000, 59_990, 60_000, 55_000, 50_000, 60_000, 10_000, 900, 800] {
        let wait = fitting(armed, Duration::from_millis(left));
        if wait != armed {
            calls.push((left, wait.as_millis()));
        }
        armed = wait;
    }
    assert_eq!(
        calls,
        [(60_000, 52_500), (50_000, 43_750), (60_000, 52_500), (10_000, 8_750), (900, 900), (800, 800)]
    );
}

/// A socket of ours and its other side, whose window is small.
fn pair(liveness: Liveness) -> (Socket, TcpStream) {
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::RcvBuf, &4096).unwrap();
    socket::bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    socket::listen(&fd, Backlog::new(1).unwrap()).unwrap();
    let listener = TcpListener::from(fd);
    let address = SockaddrStorage::from(listener.local_addr().unwrap());
    let socket = Socket::open(&address, liveness).unwrap();
    socket.begin(&address).unwrap();
    let other = listener.accept().unwrap().0;
    socket.settle().unwrap();
    (socket, other)
}

#[test]
fn a_peer_that_is_alive_and_does_not_read_is_not_dead() {
    // The kernel's clock for a closed window has steps of 200 ms; its limit is passed several times over.
    let (mut socket, other) = pair(Liveness { silence_ms: 200, ..PLANE });
    socket.deadline = Instant::now() + Duration::from_secs(60);
    socket.write_all(&[0; ONE_WINDOW_BYTES + 1]).unwrap();
    socket.deadline = Instant::now() + Duration::from_millis(1500);
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (io::ErrorKind::TimedOut, None));
    // With the next exchange the limit is back.
    socket.renew();
    assert_eq!(socket.in_force().silence_ms, 200);
    drop(other);
}

#[test]
fn what_came_in_time_is_read_however_late() {
    let (mut socket, mut other) = pair(SERVER);
    let past = Instant::now();
    let mut buffer = [0; 4];
    for (bytes, found) in [("ab", Some(2)), ("", None), ("c", Some(1))] {
        other.write_all(bytes.as_bytes()).unwrap();
        while !bytes.is_empty() && socket.is_silent() {}
        socket.deadline = past;
        assert_eq!(socket.read(&mut buffer).ok(), found, "{bytes:?}");
    }
    // After a stop of the process the rest may still be on its way; that it comes at last is no reply.
    let Some(long_past) = past.checked_sub(2 * STOPPED_MIN) else { return };
    socket.deadline = long_past;
    other.write_all(b"d").unwrap();
    while socket.is_silent() {}
    assert_eq!(socket.read(&mut buffer).unwrap(), 1);
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        other.write_all(b"ef").unwrap();
        other
    });
    assert_eq!(socket.read(&mut buffer).unwrap(), 2);
    socket.late_until = Some(past);
    writer.join().unwrap().write_all(b"g").unwrap();
    assert_eq!(socket.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_full_backlog_is_left_at_the_deadline_and_at_shutdown() {
    let path = std::env::temp_dir().join(format!("tunnel-client-backlog-{}", std::process::id()));
    let _earlier_run = std::fs::remove_file(&path);
    let _listener = UnixListener::bind(&path).unwrap();
    let address = UnixAddr::new(&path).unwrap();
    let connect = |wait_ms| {
        let mut socket = Socket::open(&address, SERVER).unwrap();
        let done = socket.connect(&address, Instant::now() + Duration::from_millis(wait_ms));
        (socket, done)
    };
    let mut waiting = Vec::new();
    let error = loop {
        match connect(100) {
            (socket, Ok(())) => waiting.push(socket),
            (_, Err(error)) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let mut socket = Socket::open(&address, SERVER).unwrap();
    socket.handle.shutdown();
    let error = socket.connect(&address, Instant::now() + Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    std::fs::remove_file(&path).unwrap();
}
