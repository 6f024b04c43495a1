//! The operator's listener: `/healthz`, `/readyz`, `/metrics`, a page for people, and calls of programs of
//! this host where they are offered.
//!
//! One thread serves it, and no peer can hold that thread: all sockets are non-blocking, and the
//! thread waits in poll(2) for whichever can be read or written next. A connection that says
//! nothing costs an entry in a table of `MAX_CONNECTIONS` for at most five seconds; when the
//! table is full, the one that has waited longest makes room for a new one. A flood of half-open
//! connections therefore delays a scrape by no more than the time to accept them. Answers come from
//! memory; a call goes to the threads of `calls`, with its connection. Only the start can fail; running out of descriptors pauses accepting and is not an error.

pub mod bind;
#[cfg(feature = "harpoon")]
pub(crate) mod calls;
mod connection;
#[cfg(feature = "page")]
pub(crate) mod guard;
mod health;
pub(crate) mod http;
#[cfg(feature = "page")]
mod page;
#[cfg(any(feature = "harpoon", feature = "page"))]
mod token;

use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::descriptors;
use super::failure;
use super::health::SnapshotMaker;
use super::heartbeat::{Heartbeat, Heartbeats};
use super::metrics::Metrics;
use super::readiness::Readiness;
use crate::config;
use crate::sync;
use bind::{Bound, SocketFile, base_url, bind_tcp, bind_unix};
use connection::Connection;
use health::Health;
use http::{Reply, Request};

#[cfg(feature = "page")]
use guard::Guard;
#[cfg(feature = "page")]
pub(crate) use page::{Made, PageMaker, SupportMaker};

/// Connections at once, at most: above what monitoring opens, below a quarter of the usual 1024 descriptors. Where
/// the process may have fewer, a quarter of those: the rest is for answers.
const MAX_CONNECTIONS: usize = 240;

/// Pause after a failed accept. When descriptors have run out, the waiting
/// connection stays readable, and asking again at once would burn a processor.
const PAUSE: Duration = Duration::from_millis(200);

/// The body of a reply about a path where nothing is.
const NOT_FOUND: &str = "404 page not found\n";

/// Optional services of the listener, from rooms that it does not know.
#[derive(Default)]
pub(crate) struct Extras {
    /// Makes the page for people, out of memory.
    #[cfg(feature = "page")]
    pub(crate) page: Option<PageMaker>,
    /// Makes a text for support, out of memory.
    #[cfg(feature = "page")]
    pub(crate) support: Option<SupportMaker>,
    /// Guards it, where other machines may look at it.
    #[cfg(feature = "page")]
    pub(crate) guard: Option<Arc<Guard>>,
    /// Starts the threads for calls of programs of this host.
    #[cfg(feature = "harpoon")]
    pub(crate) offer: Option<calls::Starter>,
    /// Looks at the parts of the program, out of memory.
    pub(crate) health: Option<SnapshotMaker>,
}

/// The running listener.
#[derive(Debug)]
pub struct Listener {
    base_url: String,
    /// Whether there is a page for people.
    #[cfg(feature = "page")]
    has_page: bool,
    /// Closing it wakes the thread and ends it.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    /// Removed when dropped.
    _socket: Option<SocketFile>,
}

impl Listener {
    /// Binds and serves. Fails when the address or the socket path cannot be had.
    pub(crate) fn start(
        health: &config::Health,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
        heartbeats: &Heartbeats,
        mut extras: Extras,
    ) -> io::Result<Listener> {
        let (bound, base_url, local_name, socket) = open(health)?;
        let failed = |cause| failure("start health listener thread", cause);
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        let take = extras.health.take();
        // Other machines get health and metrics and nothing else, but for a page that has a guard.
        #[cfg(any(feature = "harpoon", feature = "page"))]
        let is_near = socket.is_some() || local_name.is_some();
        #[cfg(feature = "page")]
        let page = extras.page.filter(|_| is_near || extras.guard.is_some());
        #[cfg(feature = "page")]
        let has_page = page.is_some();
        let pages = Pages {
            metrics,
            readiness,
            local_name,
            is_unix: health.unix_socket.is_some(),
            health: Health { take, shows_details: health.show_details },
            #[cfg(feature = "page")]
            page: page::Page::new(page, extras.support, extras.guard),
            #[cfg(feature = "harpoon")]
            calls: extras
                .offer
                .filter(|_| is_near)
                .map(|offer| offer(heartbeats))
                .transpose()
                .map_err(failed)?,
        };
        let mut server = Server {
            bound,
            woken,
            pages,
            connections: Vec::new(),
            connections_max: descriptors::quarter().clamp(1, MAX_CONNECTIONS),
            paused_until: None,
        };
        let heartbeat = heartbeats.add("health-listener");
        let thread = sync::spawn("health-listener", move || server.run(&heartbeat)).map_err(failed)?;
        Ok(Listener {
            base_url,
            #[cfg(feature = "page")]
            has_page,
            wake: Some(wake),
            thread: Some(thread),
            _socket: socket,
        })
    }

    /// The URL under which the listener is reached.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Where the page for people is, if there is one.
    #[cfg(feature = "page")]
    pub fn page_url(&self) -> Option<String> {
        self.has_page.then(|| format!("{}/ui", self.base_url))
    }
}

/// Stops serving and removes the socket file, also when a start fails later, so that it leaves neither a
/// thread nor a socket file behind. The file goes last, with the fields.
impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // It answers from memory and never waits for a peer, so this ends at once.
            let _ = thread.join();
        }
    }
}

/// State of the listener's thread.
struct Server {
    bound: Bound,
    /// Reports the end of the other half, which means stop: poll(2) waits on descriptors only, and a
    /// closed one cannot be missed as a flag could be.
    woken: UnixStream,
    pages: Pages,
    /// Oldest first.
    connections: Vec<Connection>,
    connections_max: usize,
    /// Nothing is accepted before; set after a failed accept, cleared by one that works.
    paused_until: Option<Instant>,
}

impl Server {
    /// Moves every connection on by as much as its socket allows, drops those that are done or out
    /// of time, then accepts. Existing connections come first, so that newcomers cannot starve them.
    fn run(&mut self, heartbeat: &Heartbeat) {
        loop {
            heartbeat.rest();
            let Some((acceptable, ready)) = self.wait() else {
                return;
            };
            let now = Instant::now();
            // Nothing in a round waits, so that a round needs no time of its own.
            heartbeat.until(now);
            for (connection, ready) in mem::take(&mut self.connections).into_iter().zip(ready) {
                let kept = if ready { self.pages.serve(connection, now) } else { Some(connection) };
                self.connections.extend(kept.filter(|connection| now < connection.deadline));
            }
            if acceptable {
                self.accept(now);
            }
        }
    }

    /// Waits for the next thing to do: whether a connection can be accepted, and which can go on.
    /// `None` when the listener is to stop.
    fn wait(&self) -> Option<(bool, Vec<bool>)> {
        let now = Instant::now();
        let paused = self.paused_until.filter(|until| now < *until);
        let deadlines = self.connections.iter().map(|connection| connection.deadline).chain(paused);
        let timeout = deadlines.min().map_or(PollTimeout::NONE, |deadline| {
            // A millisecond more: waking just before a deadline would find nothing to do.
            let left = deadline.saturating_duration_since(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let accept_events = if paused.is_some() { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut descriptors = Vec::with_capacity(self.connections.len() + 2);
        descriptors.push(PollFd::new(self.woken.as_fd(), PollFlags::POLLIN));
        descriptors.push(PollFd::new(self.bound.as_fd(), accept_events));
        descriptors.extend(self.connections.iter().map(Connection::interest));
        // An interrupted wait reports nothing ready, and the next round waits again.
        if poll(&mut descriptors, timeout).is_err_and(|error| error != Errno::EINTR) {
            thread::sleep(PAUSE); // out of memory: asking again at once would not help
        }
        let mut ready = descriptors.iter().map(|descriptor| descriptor.any().unwrap_or(false));
        let stop = ready.next().unwrap_or(true);
        let acceptable = ready.next().unwrap_or(false) && paused.is_none();
        if stop { None } else { Some((acceptable, ready.collect())) }
    }

    /// Accepts what is waiting, at most a table full a round, so that the others are served too. No
    /// failure of accept ends the listener: most are about one peer, the rest pass with time.
    fn accept(&mut self, now: Instant) {
        let room = self.connections_max;
        // Calls have left the table and keep their descriptors: a flood needs no token, so it cannot end them.
        #[cfg(feature = "harpoon")]
        let room = room.saturating_sub(self.pages.calls.as_ref().map_or(0, |calls| calls.running())).max(1);
        for _ in 0..self.connections_max {
            match self.bound.accept() {
                Ok((stream, peer)) => {
                    self.paused_until = None;
                    // The oldest has had the longest time to speak. Refusing newcomers instead would
                    // let whoever holds the table open keep the supervisor out.
                    if self.connections.len() >= room {
                        self.connections.remove(0);
                    }
                    self.connections.push(Connection::new(stream, peer, now));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    // Once for each shortage, and not five times a second.
                    if self.paused_until.is_none() {
                        log::warn!(error = super::os_text(&error).as_str(); "health listener cannot accept");
                    }
                    self.paused_until = Some(now + PAUSE);
                    return;
                }
            }
        }
    }
}

/// Binds: the socket, its URL, its name where only this machine reaches it over TCP, and its file.
fn open(health: &config::Health) -> io::Result<(Bound, String, Option<String>, Option<SocketFile>)> {
    if let Some(path) = &health.unix_socket {
        let (listener, file) = bind_unix("health unix socket", path)?;
        let name = URL_SAFE_NO_PAD.encode(path.as_os_str().as_encoded_bytes());
        return Ok((Bound::Unix(listener), format!("http+unix://{name}"), None, Some(file)));
    }
    let bound = bind_tcp(&health.listen);
    let (listener, ip, port) = bound.map_err(|error| {
        io::Error::other(format!("{error}; choose another with --health.listen-addr HOST:PORT"))
    })?;
    let host = &health.listen.host;
    let local_name = ip.to_canonical().is_loopback().then(|| host.clone());
    Ok((Bound::Tcp(listener), base_url(host, ip, port), local_name, None))
}

/// Sources of the pages.
struct Pages {
    metrics: Arc<Metrics>,
    /// Asked anew for each request; the verdict is kept in memory there.
    readiness: Arc<Readiness>,
    /// The configured host of a listener that only this machine reaches over TCP, and then browsers
    /// are among its peers. No browser opens a socket file, and a listener for other machines cannot
    /// know its names.
    local_name: Option<String>,
    is_unix: bool,
    health: Health,
    #[cfg(feature = "page")]
    page: page::Page,
    #[cfg(feature = "harpoon")]
    calls: Option<Box<calls::Threads>>,
}

impl Pages {
    /// Moves a connection on. Nothing is left of one that has ended, or that is a call's from now on.
    fn serve(&self, mut connection: Connection, now: Instant) -> Option<Connection> {
        match connection.advance(now) {
            Ok(None) => {}
            Ok(Some(request)) => {
                let refusal = self.refusal(&request);
                #[cfg(feature = "page")]
                let refusal = match self.page.guard_of(&request) {
                    Some(guard) => guard.refusal(&request, connection.peer, now),
                    None => refusal,
                };
                #[cfg(feature = "harpoon")]
                let refusal = match self.calls.as_ref().filter(|calls| calls.offer.path == request.path) {
                    Some(calls) if refusal.is_none() => match calls.admit(&request) {
                        Err(refusal) => Some(refusal),
                        Ok(length) => {
                            calls.hand_over(connection.stream, request, length);
                            return None;
                        }
                    },
                    _ => refusal,
                };
                let reply = refusal.unwrap_or_else(|| self.answer(&request, connection.peer.is_loopback()));
                connection.send(now, reply.bytes(request.method == "HEAD"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
        Some(connection)
    }

    /// Why a request is not answered at all.
    fn refusal(&self, request: &Request) -> Option<Reply> {
        if self.local_name.as_ref().is_some_and(|name| !request.is_from_here(name)) {
            let text = "This listener answers only to requests for localhost or a loopback address.";
            return Some(Reply::text(403, text));
        }
        let text = "This listener answers no requests of other sites.";
        request.is_of_another_site().then(|| Reply::text(403, text))
    }

    /// Paths are exact: nothing is decoded, joined or looked up on a disk, so there is nothing to
    /// traverse.
    fn answer(&self, request: &Request, is_near: bool) -> Reply {
        let none = || Reply::text(404, NOT_FOUND);
        match request.path.as_str() {
            "/healthz" => Reply::text(200, "live"),
            // The reason is the whole body: that is what `curl` and probes log.
            "/readyz" => {
                let (ready, text) = self.readiness.verdict();
                Reply::text(if ready { 200 } else { 503 }, text)
            }
            // Its `readiness` sample is the same verdict that `/readyz` would give.
            "/metrics" => {
                let body = self.metrics.render(&self.readiness);
                let content_type = "text/plain; version=0.0.4; charset=utf-8";
                Reply { content_type, ..Reply::text(200, body) }
            }
            path if path == "/health" || path.starts_with("/health/") => {
                let name = self.local_name.as_deref().unwrap_or_default();
                self.health.reply(request, is_near && (self.is_unix || request.is_from_here(name)))
            }
            #[cfg(feature = "page")]
            "/ui" | "/ui/" => self.page.reply(request).unwrap_or_else(none),
            #[cfg(feature = "page")]
            "/ui/support.txt" => self.page.support().unwrap_or_else(none),
            #[cfg(feature = "page")]
            "/" => self.page.way().unwrap_or_else(none),
            _ => none(),
        }
    }
}

#[cfg(test)]
mod tests;
