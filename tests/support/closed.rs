//! Ports at which nobody listens, and nobody will: a port that was merely let go soon belongs to another test.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, IntoRawFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

/// A port of loopback that refuses connections from now on.
pub fn port() -> u16 {
    reserve(0)
}

/// Lets the port of a listener be reserved while it still listens.
pub fn shared(listener: TcpListener) -> TcpListener {
    setsockopt(&listener, sockopt::ReusePort, &true).unwrap();
    listener
}

/// Keeps a port that was let go from the other tests; it refuses connections. Port 0: any.
pub fn reserve(port: u16) -> u16 {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    // Who comes back to the port on purpose may have it, and who still listens there has let it be shared.
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
    // Somebody may have been quicker, which is as it was without us.
    let _ = bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)));
    // Bound and not listening; it lasts as long as the tests do.
    getsockname::<SockaddrIn>(socket.into_raw_fd()).unwrap().port()
}
