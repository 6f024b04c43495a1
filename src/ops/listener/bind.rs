//! Binding the operator's listener: addresses, socket files, and the URL that names them.
//!
//! Nothing here serves; what a start would meet can be tried without leaving a trace. It fails when the
//! address is taken, or when a socket path belongs to somebody: another program's file is never removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, socket};
use nix::sys::stat::{Mode, fchmod};

use crate::config;
use crate::ops::failure;
use crate::url::authority;

/// Mode of a socket file: for its owner alone.
const PRIVATE_BITS: u32 = 0o600;

/// The socket file that was bound here, to be removed only while it is still the same one. A path
/// alone would not tell: a successor binds the same path while this process is still draining.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A bound socket of either kind.
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds an address; the error names it as the operator wrote it. Gives the address that was
/// really bound, which is what port 0 and host names leave open.
pub(crate) fn bind_tcp(listen: &config::ListenAddress) -> io::Result<(TcpListener, IpAddr, u16)> {
    let written = authority(&listen.host, listen.address.port());
    let bound = TcpListener::bind(listen.address).and_then(|listener| {
        lengthen(&listener)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address.ip(), address.port()))
    });
    bound.map_err(|cause| failure(format!("listen tcp {written}: bind"), cause))
}

/// Binds a socket file, private to the owner. What stands at the path is replaced only when it is a
/// socket on which nobody listens: the rest of a process that was killed. `what` is the socket's name in
/// complaints.
pub(crate) fn bind_unix(what: &str, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let shown = path.display();
    let failed = |cause| failure(format!("listen unix {shown}: bind"), cause);
    if stale(what, path)? {
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = private(path).map_err(failed)?;
    lengthen(&listener).and_then(|()| listener.set_nonblocking(true)).map_err(failed)?;
    let found = fs::symlink_metadata(path).map_err(failed)?;
    let file = SocketFile { path: path.into(), device: found.dev(), inode: found.ino() };
    Ok((listener, file))
}

/// A socket file of the owner alone on which nobody listens yet. The mask of the process is not touched: a server
/// over stdio that starts meanwhile would keep it.
fn private(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // On Linux the file gets the mode of the socket.
    fchmod(&socket, Mode::from_bits_truncate(PRIVATE_BITS))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // Where it does not, nobody could connect so far.
    if fs::symlink_metadata(path)?.mode() & 0o777 != PRIVATE_BITS {
        fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE_BITS))?;
    }
    Ok(UnixListener::from(socket))
}

/// Lets as many connections wait to be accepted as the system allows. The standard library's 128 are full after a
/// few milliseconds of a flood, and whoever comes then tries again a second later.
fn lengthen(listener: &impl AsFd) -> io::Result<()> {
    Ok(nix::sys::socket::listen(listener, Backlog::MAXALLOWABLE)?)
}

/// Tries what a start would do, and takes it back: says where the listener would stand. A socket file is
/// only looked at, because the rest of a dead process is not a test's to remove.
#[cfg(feature = "operator")]
pub fn try_bind(health: &config::Health) -> io::Result<String> {
    use nix::unistd::{AccessFlags, access};

    let Some(path) = &health.unix_socket else {
        let (_, ip, port) = bind_tcp(&health.listen)?;
        let place = match ip.to_canonical() {
            ip if ip.is_unspecified() => format!("all addresses of this host, port {port}"),
            _ => base_url(&health.listen.host, ip, port),
        };
        let open = match ip.to_canonical().is_loopback() {
            true => "",
            false => "; other machines may read health, readiness and metrics there",
        };
        let ephemeral = health.listen.address.port() == 0;
        return Ok(format!("{} {place}{open}", if ephemeral { "ephemeral bind ok on" } else { "will bind" }));
    };
    let shown = path.display();
    let stale = stale("health unix socket", path)?;
    UnixAddr::new(path).map_err(|cause| failure(format!("listen unix {shown}: bind"), cause))?;
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    access(parent, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|cause| failure(format!("listen unix {shown}: write to {}", parent.display()), cause))?;
    let rest = if stale { ", in place of one that nobody listens on any more" } else { "" };
    Ok(format!("will bind unix socket {shown}{rest}"))
}

/// True when a socket stands at the path and no process listens on it. Fails when anything else stands there.
fn stale(what: &str, path: &Path) -> io::Result<bool> {
    let shown = path.display();
    let failed = |cause| failure(format!("listen unix {shown}: bind"), cause);
    let refused = |why| Err(io::Error::other(format!("{what} path {shown} {why}")));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => refused("exists and is not a unix socket"),
        Ok(_) if is_alive(path).map_err(failed)? => refused("is already accepting connections"),
        Ok(_) => Ok(true),
    }
}

/// True when a process listens on a socket file. The one sign of death is a refusal. An owner whose
/// backlog is full still owns, and would hold a connection that waits; one that speaks datagrams,
/// or keeps us out, is an error.
fn is_alive(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Bound {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Bound::Tcp(listener) => listener.as_fd(),
            Bound::Unix(listener) => listener.as_fd(),
        }
    }

    /// Takes a connection that waits, non-blocking. It is a `UnixStream` in either case: that is `std`'s type for
    /// a connected socket, and what is done with it here is the same for all families of addresses. Tells the peer's
    /// address, which is loopback for a program of this host.
    pub(super) fn accept(&self) -> io::Result<(UnixStream, IpAddr)> {
        let (stream, peer) = match self {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                (UnixStream::from(OwnedFd::from(stream)), peer.ip().to_canonical())
            }
            Bound::Unix(listener) => (listener.accept()?.0, Ipv4Addr::LOCALHOST.into()),
        };
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }
}

/// Removes the file if it is still ours: by then a successor may have put its own there. Being
/// bound to the value, it also happens when a later step of the start fails.
impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            // It may be gone by now, which is as good; a stale one is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The URL for people and files: the host as configured, because that is the name by which they reach
/// it; else the address that was bound; and for all addresses the one that always is among them.
pub(crate) fn base_url(host: &str, ip: IpAddr, port: u16) -> String {
    let unspecified = |ip: IpAddr| ip.to_canonical().is_unspecified();
    let says_nothing = host.is_empty() || host.parse().is_ok_and(unspecified);
    let host = match (says_nothing, unspecified(ip)) {
        (false, _) => host.to_owned(),
        (true, false) => ip.to_string(),
        (true, true) => "localhost".into(),
    };
    format!("http://{}", authority(&host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn sockets_are_private_and_masks_are_left_alone() {
        let scratch = crate::ops::files::tests::Scratch::new("masks");
        let mask = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            status.lines().find(|line| line.starts_with("Umask:")).unwrap().to_owned()
        };
        let before = mask();
        std::thread::scope(|scope| {
            let binding = scope.spawn(|| {
                for _ in 0..2_000 {
                    let _bound = bind_unix("test", &scratch.0.join("socket")).unwrap();
                    assert_eq!(fs::metadata(scratch.0.join("socket")).unwrap().mode() & 0o777, 0o600);
                }
            });
            // A server over stdio that starts meanwhile would keep the other mask.
            while !binding.is_finished() {
                assert_eq!(mask(), before);
            }
        });
    }

    #[test]
    fn base_urls_name_a_host_that_can_be_reached() {
        let v4 = |a: [u8; 4]| IpAddr::from(a);
        for (host, ip, url) in [
            ("127.0.0.1", v4([127, 0, 0, 1]), "http://127.0.0.1:1"),
            ("box.example", v4([10, 0, 0, 1]), "http://box.example:1"),
            ("", v4([10, 0, 0, 1]), "http://10.0.0.1:1"),
            ("0.0.0.0", v4([0, 0, 0, 0]), "http://localhost:1"),
            ("::", Ipv6Addr::UNSPECIFIED.into(), "http://localhost:1"),
            ("", Ipv6Addr::UNSPECIFIED.into(), "http://localhost:1"),
            ("::1", Ipv6Addr::LOCALHOST.into(), "http://[::1]:1"),
            ("0.0.0.0", v4([10, 0, 0, 1]), "http://10.0.0.1:1"),
        ] {
            assert_eq!(base_url(host, ip, 1), url, "{host}");
        }
    }
}
