//! A small HTTP/1.1 server for this host: a thread for each connection, a handler for each request.
//!
//! It is meant for one user and a handful of programs, and bounded all the same: connections, heads,
//! bodies and times. No page of the web can reach it: requests from pages of other hosts are refused, and on
//! a loopback address also those that do not name one (DNS rebinding); it offers no CORS. Only the start can fail. Dropping a server ends it:
//! no thread of its connections is left, unless a handler does not look whether its peer is gone.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::reading::{End, Incoming, Reader, Refusal};
use super::reply::Exchange;
use super::stream::Stream;
use crate::config::ListenAddress;
use crate::ops::listener::bind::{SocketFile, bind_tcp, bind_unix};
use crate::ops::listener::http::is_from_here;
use crate::sync::{self, Condition};

pub(crate) use super::reply::{EventStream, Responder};
pub(crate) use crate::ops::listener::http::Request;

/// Connections at once; a quarter of the usual descriptors.
const CONNECTIONS_MAX: usize = 256;

/// How long nothing is accepted after accept failed, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a stop waits for handlers.
const JOIN_TIME: Duration = Duration::from_secs(5);

/// Answers requests. It is called on the connection's own thread and may wait there.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request; a responder that is dropped unused answers 500.
    fn handle(&self, request: Request, responder: Responder<'_>);
}

/// Where a server listens.
#[derive(Clone)]
pub(crate) enum Place {
    /// A TCP address, also by the name under which it was given; port 0 lets the system choose.
    Tcp(ListenAddress),
    /// A socket file, which must not be anybody else's.
    Unix(PathBuf),
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Place {
        Place::Tcp(ListenAddress { host: address.ip().to_string(), address })
    }
}

/// A running server.
pub(crate) struct Server {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    /// Closing it wakes the accepting thread and ends it.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    /// Removed when dropped.
    _socket: Option<SocketFile>,
}

/// What all threads of a server share.
struct Shared {
    handler: Arc<dyn Handler>,
    /// Who may ask.
    guard: Guard,
    connections: Mutex<HashMap<u64, Arc<Stream>>>,
    ended: Condition,
}

/// What keeps pages of the web out.
enum Guard {
    /// No browser opens a socket file.
    None,
    /// Any name may be ours, but only these pages: of this machine, or of this host.
    Origin(String),
    /// Requests name a loopback address, or this name of it.
    Loopback(String),
}

/// A bound socket of either kind.
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Binds and serves. `name` is that of its threads.
    pub(crate) fn start(name: &str, place: &Place, handler: Arc<dyn Handler>) -> io::Result<Server> {
        let (bound, address, socket, guard) = match place {
            Place::Tcp(listen) => {
                let (listener, ip, port) = bind_tcp(listen)?;
                let own = listen.host.clone();
                let guard =
                    if ip.to_canonical().is_loopback() { Guard::Loopback(own) } else { Guard::Origin(own) };
                (Bound::Tcp(listener), Some(SocketAddr::new(ip, port)), None, guard)
            }
            Place::Unix(path) => {
                let (listener, file) = bind_unix("unix socket", path)?;
                (Bound::Unix(listener), None, Some(file), Guard::None)
            }
        };
        let shared =
            Arc::new(Shared { handler, guard, connections: Mutex::default(), ended: Condition::default() });
        let (wake, woken) = UnixStream::pair()?;
        let (serving, own_name) = (Arc::clone(&shared), name.to_owned());
        let thread = sync::spawn(name, move || serving.serve(&bound, &woken, &own_name))?;
        Ok(Server { address, shared, wake: Some(wake), thread: Some(thread), _socket: socket })
    }

    /// The address that was bound; nothing for a socket file.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // It waits for nothing but its sockets, one of which has just closed.
            let _ = thread.join();
        }
        let connections = self.shared.connections();
        for stream in connections.values() {
            stream.shut_down();
        }
        drop(self.shared.ended.wait_while(connections, JOIN_TIME, |connections| !connections.is_empty()));
    }
}

impl Shared {
    /// Accepts until the other half of `woken` is closed.
    fn serve(self: &Arc<Self>, bound: &Bound, woken: &UnixStream, name: &str) {
        let mut number = 0;
        loop {
            let listener = match bound {
                Bound::Tcp(listener) => listener.as_fd(),
                Bound::Unix(listener) => listener.as_fd(),
            };
            let mut descriptors =
                [PollFd::new(woken.as_fd(), PollFlags::POLLIN), PollFd::new(listener, PollFlags::POLLIN)];
            let polled = poll(&mut descriptors, PollTimeout::NONE);
            let [stop, ready] = descriptors.map(|descriptor| descriptor.any().unwrap_or(false));
            if polled.is_ok() && stop {
                return;
            }
            if !ready {
                continue;
            }
            number += 1;
            match bound.accept() {
                Ok(stream) => self.take(number, stream, name),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// Gives a connection its thread, or refuses it. A connection that cannot be set up is dropped.
    fn take(self: &Arc<Self>, number: u64, stream: Stream, name: &str) {
        if stream.prepare().is_err() {
            return;
        }
        let stream = Arc::new(stream);
        {
            let mut connections = self.connections();
            if connections.len() >= CONNECTIONS_MAX {
                drop(connections);
                // It fits every socket buffer, so that nobody waits here.
                refuse(&stream, &Refusal(503, "too many connections"));
                return;
            }
            connections.insert(number, Arc::clone(&stream));
        }
        // Made here, so that the entry also goes when no thread can be started.
        let entry = Entry { shared: Arc::clone(self), number };
        let started = sync::spawn(name, move || {
            entry.shared.converse(&stream);
            stream.shut_down();
            drop(entry);
        });
        drop(started);
    }

    /// Answers the requests of one connection, one after the other.
    fn converse(&self, stream: &Arc<Stream>) {
        let mut reader = Reader::new(stream);
        loop {
            let Incoming { request, keep } = match reader.next(|request| self.guard.admit(request)) {
                Ok(incoming) => incoming,
                Err(End::Silent) => return,
                Err(End::Refused(refusal)) => {
                    refuse(stream, &refusal);
                    return stream.linger();
                }
            };
            let (head_only, old_version) = (request.method == "HEAD", request.old_version);
            let stream_of_reply = Arc::clone(stream);
            let mut exchange =
                Exchange { stream: stream_of_reply, head_only, old_version, answered: false, keep };
            self.handler.handle(request, Responder::new(&mut exchange));
            if !exchange.answered {
                return refuse(stream, &Refusal(500, "the request was not answered"));
            }
            if !exchange.keep {
                return stream.linger();
            }
        }
    }

    fn connections(&self) -> sync::Guard<'_, HashMap<u64, Arc<Stream>>> {
        sync::lock(&self.connections)
    }
}

/// A connection's place in the table, given back however its thread ends.
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.connections().remove(&self.number);
        self.shared.ended.notify_all();
    }
}

impl Guard {
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let all = |name| request.all(name).collect::<Vec<&str>>();
        let (admitted, text) = match self {
            Guard::None => (true, ""),
            Guard::Origin(own) => (
                is_from_here::<&str>(&[], &all("origin"), true, own),
                "this server does not answer to pages of other hosts",
            ),
            Guard::Loopback(own) => (
                is_from_here(&all("host"), &all("origin"), request.old_version, own),
                "this server answers only to requests for localhost or a loopback address",
            ),
        };
        if admitted { Ok(()) } else { Err(Refusal(403, text)) }
    }
}

impl Bound {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Bound::Tcp(listener) => Ok(Stream::Tcp(listener.accept()?.0)),
            Bound::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

/// Says no in plain text and announces the end of the connection.
fn refuse(stream: &Arc<Stream>, refusal: &Refusal) {
    let Refusal(status, text) = refusal;
    let mut exchange = Exchange {
        stream: Arc::clone(stream),
        head_only: false,
        old_version: false,
        answered: false,
        keep: false,
    };
    let plain = [("Content-Type", "text/plain; charset=utf-8")];
    Responder::new(&mut exchange).whole(*status, &plain, text.as_bytes());
}
