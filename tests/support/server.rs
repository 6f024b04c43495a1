//! The loop that every scripted server shares: accept, read, log, ask the script, write.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::BOUND;
use super::closed;
use super::http::{Request, read_request};
use super::reply::{Ended, Reply};
use super::stream::{Cut, Listener, Stream};

/// Turns a request into an answer. It may block; it is called on the connection's own thread.
pub type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A server on loopback or on a socket file.
pub struct Server {
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
    script: Script,
    address: Option<SocketAddr>,
    socket: Option<std::path::PathBuf>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    live: AtomicUsize,
    log: Mutex<Log>,
    changed: Condvar,
    cuts: Mutex<Vec<Cut>>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    abandoned: Vec<Instant>,
}

impl Server {
    /// Listens on 127.0.0.1, port 0.
    pub fn start(tls: Option<Arc<ServerConfig>>, script: Script) -> Server {
        let listener = closed::shared(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = Some(listener.local_addr().unwrap());
        let shared = Arc::default();
        let mut server = Server { shared, tls, script, address, socket: None, acceptor: None };
        server.run(Listener::Tcp(listener));
        server
    }

    /// Listens on a socket file.
    pub fn start_unix(path: &Path, script: Script) -> Server {
        let listener = UnixListener::bind(path).unwrap();
        let socket = Some(path.to_owned());
        let shared = Arc::default();
        let mut server = Server { shared, tls: None, script, address: None, socket, acceptor: None };
        server.run(Listener::Unix(listener, path.to_owned()));
        server
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.expect("a TCP server").port()
    }

    /// `http://127.0.0.1:PORT` or `https://…`.
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().requests.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// When clients left before their answer was complete.
    pub fn abandoned(&self) -> Vec<Instant> {
        self.shared.log.lock().unwrap().abandoned.clone()
    }

    /// Waits until `count` clients have left early and returns those instants.
    pub fn wait_abandoned(&self, count: usize) -> Vec<Instant> {
        self.wait(&format!("{count} abandoned answers"), |log| {
            (log.abandoned.len() >= count).then(|| log.abandoned.clone())
        })
    }

    /// Waits until `count` requests match, and returns them.
    pub fn wait_requests(&self, count: usize, matches: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.wait(&format!("{count} requests"), |log| {
            let found: Vec<_> = log.requests.iter().filter(|r| matches(r)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Log) -> Option<T>) -> T {
        let end = Instant::now() + BOUND;
        let mut log = self.shared.log.lock().unwrap();
        loop {
            if let Some(found) = look(&log) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen: Vec<_> = log.requests.iter().map(Request::dump).collect();
                drop(log);
                panic!("waited in vain for {what}; requests seen:\n{}", seen.join("\n---\n"));
            }
            log = self.shared.changed.wait_timeout(log, left).unwrap().0;
        }
    }

    /// Cuts every open connection and goes on serving.
    pub fn cut_connections(&self) {
        for cut in self.shared.cuts.lock().unwrap().drain(..) {
            cut.now();
        }
    }

    /// Stops listening and cuts every connection. Its port goes on refusing connections.
    pub fn stop(&mut self) {
        // First the reservation, so that the port is free for nobody in between.
        if let Some(address) = self.address {
            closed::reserve(address.port());
        }
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The acceptor sits in accept: one connection of our own lets it see the flag.
        if let Some(address) = self.address {
            let _ = TcpStream::connect(address);
        }
        if let Some(socket) = &self.socket {
            let _ = UnixStream::connect(socket);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut_connections();
    }

    /// Waits until no connection of before is being served any more.
    pub fn wait_idle(&self) {
        let end = Instant::now() + BOUND;
        while self.shared.live.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Listens again on the port it had; logs and script are kept.
    pub fn restart(&mut self) {
        let address = self.address.expect("a TCP server");
        let end = Instant::now() + BOUND;
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break closed::shared(listener),
                Err(error) => assert!(Instant::now() < end, "port is not free again: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.shared.stop.store(false, Ordering::SeqCst);
        self.run(Listener::Tcp(listener));
    }

    fn run(&mut self, listener: Listener) {
        let shared = Arc::clone(&self.shared);
        let tls = self.tls.clone();
        let script = Arc::clone(&self.script);
        self.acceptor = Some(std::thread::spawn(move || {
            while let Ok((stream, cut)) = listener.accept() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                shared.cuts.lock().unwrap().push(cut);
                let (shared, tls, script) = (Arc::clone(&shared), tls.clone(), Arc::clone(&script));
                shared.live.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    serve(stream, number, tls.as_ref(), &script, &shared);
                    shared.live.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

fn serve(
    mut stream: Stream,
    number: usize,
    tls: Option<&Arc<ServerConfig>>,
    script: &Script,
    shared: &Shared,
) {
    if let Some(config) = tls {
        match stream.secure(config) {
            Ok(secured) => stream = secured,
            Err(_) => return,
        }
    }
    let stopped = || shared.stop.load(Ordering::SeqCst);
    let peer = stream.tcp_handle().map(Arc::new);
    while let Ok(Some(mut request)) = read_request(&mut stream, number) {
        if stopped() {
            return;
        }
        request.peer = peer.as_ref().map(Arc::downgrade).unwrap_or_default();
        shared.log.lock().unwrap().requests.push(request.clone());
        shared.changed.notify_all();
        let reply = script(&request);
        if request.last_byte_queued && !reply.resets() && stream.read_exact(&mut [0_u8; 1]).is_err() {
            break;
        }
        let ended = reply.write(&mut stream, &stopped).unwrap_or(Ended::Abandoned);
        if ended == Ended::Abandoned {
            shared.log.lock().unwrap().abandoned.push(Instant::now());
            shared.changed.notify_all();
        }
        let last = request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if ended != Ended::Kept || last {
            drop(peer);
            return close(stream, ended, shared);
        }
    }
    drop(peer);
    close(stream, Ended::Closed, shared);
}

/// Ends one connection. A reset needs every handle gone while a byte is still unread.
fn close(mut stream: Stream, ended: Ended, shared: &Shared) {
    if let Stream::Tls(tls) = &mut stream {
        tls.conn.send_close_notify();
        let _ = tls.conn.complete_io(&mut tls.sock);
    }
    let peer = match &stream {
        Stream::Tcp(tcp) => tcp.peer_addr().ok(),
        Stream::Tls(tls) => tls.sock.peer_addr().ok(),
        Stream::Unix(_) => None,
    };
    let mut cuts = shared.cuts.lock().unwrap();
    cuts.retain(|cut| match cut {
        Cut::Tcp(tcp) => tcp.peer_addr().is_ok_and(|p| Some(p) != peer),
        Cut::Unix(_) => true,
    });
    if ended == Ended::Closed {
        if let Stream::Unix(unix) = &stream {
            let _ = unix.shutdown(std::net::Shutdown::Both);
        }
    }
    drop(stream);
}
