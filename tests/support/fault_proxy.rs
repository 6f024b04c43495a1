//! A TCP relay on loopback that treats connections badly, as a seed decides or at a moment that a test names.
//!
//! What a seed decides depends on the seed, the name of the proxy, the number of the connection and the bytes that it
//! has carried. Which of two connections comes first is the scheduler's, so a seed repeats the faults and not every
//! interleaving of them. The bytes of one TCP stream cannot change their order; here a connection lets another one
//! overtake it, and with it the exchanges change theirs.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::fault_plan::Plan;
pub use super::fault_plan::{Deed, Faults, Place, Way};

/// How long a connection waits for another one to overtake it.
const OVERTAKE_MAX: Duration = Duration::from_millis(60);

/// What takes the place of bytes, or comes unasked: no HTTP, no JSON and no TLS.
const GARBAGE: u8 = 0;

/// Something that was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// The connection, counted from 1.
    pub connection: usize,
    /// Its port towards the peer behind the proxy.
    pub port: u16,
    /// The way.
    pub way: Way,
    /// How many bytes had passed on it.
    pub after: u64,
    /// What.
    pub deed: Deed,
}

/// A proxy.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    faults: Option<Faults>,
    calm: AtomicBool,
    stop: AtomicBool,
    armed: Mutex<Option<(Vec<u8>, Place, Deed)>>,
    live: Mutex<HashMap<usize, Weak<Link>>>,
    done: Mutex<Vec<Done>>,
    /// How many times bytes were passed up, by the connection that was last.
    passed: Mutex<(u64, usize)>,
    changed: Condvar,
}

/// One connection. It ends when both of its threads have let go of it.
struct Link {
    number: usize,
    client: TcpStream,
    server: TcpStream,
    port: u16,
    ended: AtomicBool,
    /// Ways on which nothing passes any more.
    deaf: [AtomicBool; 2],
    /// What is to be done to the reply that comes next.
    strike: Mutex<Option<(Place, Deed)>>,
}

impl FaultProxy {
    /// In front of a port of this host. Without faults it does nothing by itself.
    pub fn start(port: u16, faults: Option<Faults>) -> FaultProxy {
        // The other side of a lossy link, see `tests/lossy.sh`.
        let host = std::env::var("TUNNEL_CLIENT_FAULTS_AT").unwrap_or("127.0.0.1".to_owned());
        let listener = TcpListener::bind((host.as_str(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: ([127, 0, 0, 1], port).into(),
            faults,
            calm: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            armed: Mutex::default(),
            live: Mutex::default(),
            done: Mutex::default(),
            passed: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept() {
                if own.stop.load(Ordering::SeqCst) {
                    return;
                }
                number += 1;
                own.carry(number, client);
            }
        });
        FaultProxy { address, shared, acceptor: Some(acceptor) }
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing more is done by itself. What was swallowed stays lost.
    pub fn calm(&self) {
        self.shared.calm.store(true, Ordering::SeqCst);
    }

    /// All that was done so far.
    pub fn done(&self) -> Vec<Done> {
        self.shared.done.lock().unwrap().clone()
    }

    /// Does this to the reply of the next request in which these bytes stand.
    pub fn arm(&self, request: &str, place: Place, deed: Deed) {
        *self.shared.armed.lock().unwrap() = Some((request.as_bytes().to_vec(), place, deed));
    }

    /// Whether what was armed has met its request.
    pub fn has_met(&self) -> bool {
        self.shared.armed.lock().unwrap().is_none()
    }

    /// Does this to all connections, which are at rest.
    pub fn strike(&self, deed: Deed) {
        let live: Vec<Arc<Link>> =
            self.shared.live.lock().unwrap().values().filter_map(Weak::upgrade).collect();
        for link in live {
            if deed == Deed::Forge {
                let _ = (&link.client).write_all(forged().as_bytes());
            } else {
                self.shared.break_off(&link, Way::Down, deed);
            }
            if deed == Deed::Swallow {
                link.deaf[0].store(true, Ordering::SeqCst);
            }
        }
    }
}

/// A reply that nobody asked for, to a call with the id 1.
pub fn forged() -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"echo":"forged"}}"#;
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.strike(Deed::Cut);
    }
}

impl Link {
    fn ends(&self, way: Way) -> (&TcpStream, &TcpStream) {
        match way {
            Way::Up => (&self.client, &self.server),
            Way::Down => (&self.server, &self.client),
        }
    }

    fn deaf(&self, way: Way) -> &AtomicBool {
        &self.deaf[usize::from(way == Way::Down)]
    }

    /// Ends both ways; each thread sees it when its read ends.
    fn end(&self, how: Shutdown) {
        self.ended.store(true, Ordering::SeqCst);
        // Who has gone already need not be told.
        let _ = (self.client.shutdown(how), self.server.shutdown(how));
    }
}

impl Shared {
    fn carry(self: &Arc<Shared>, number: usize, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let port = server.local_addr().unwrap().port();
        let (ended, deaf, strike) = (AtomicBool::new(false), Default::default(), Mutex::default());
        let link = Arc::new(Link { number, client, server, port, ended, deaf, strike });
        self.live.lock().unwrap().insert(number, Arc::downgrade(&link));
        for way in [Way::Up, Way::Down] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            std::thread::spawn(move || shared.pump(&link, way));
        }
    }

    /// Passes what comes on one way, until it ends.
    fn pump(&self, link: &Link, way: Way) {
        let mut plan = Plan::new(self.faults, link.number, way);
        let (mut from, mut to) = link.ends(way);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = match from.read(&mut buffer) {
                _ if link.ended.load(Ordering::SeqCst) => return,
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => return link.end(Shutdown::Both),
            };
            if way == Way::Up {
                self.look(link, &buffer[..count]);
            }
            let mut at = 0;
            while at < count {
                let left = count - at;
                let is_struck = way == Way::Down && link.strike.lock().unwrap().is_some();
                let (fit, deed) = match way {
                    _ if is_struck => plan.strike(&link.strike, &buffer[at..count]),
                    _ if self.calm.load(Ordering::SeqCst) => (left, None),
                    _ => plan.next(left),
                };
                let piece = &buffer[at..at + fit];
                at += fit;
                plan.passed += u64::try_from(fit).unwrap();
                if link.ended.load(Ordering::SeqCst) {
                    return;
                }
                if !link.deaf(way).load(Ordering::SeqCst) {
                    // In one piece with what it comes behind, as from a server that says too much.
                    let forged = if deed == Some(Deed::Forge) { forged() } else { String::new() };
                    if to.write_all(&[piece, forged.as_bytes()].concat()).is_err() {
                        return link.end(Shutdown::Both);
                    }
                    if way == Way::Up {
                        let mut passed = self.passed.lock().unwrap();
                        *passed = (passed.0 + 1, link.number);
                        self.changed.notify_all();
                    }
                }
                if let Some(deed) = deed {
                    self.note(link, way, plan.passed, deed);
                    match deed {
                        Deed::Delay(time) => std::thread::sleep(time),
                        Deed::Overtaken => self.wait_overtaken(link),
                        Deed::Pieces | Deed::Forge => {}
                        Deed::Garble => buffer[at..count].fill(GARBAGE),
                        Deed::Cut | Deed::HalfClose | Deed::Reset | Deed::Swallow => {
                            self.break_off(link, way, deed);
                            // A peer that a test silences hears nothing either.
                            link.deaf(Way::Up).fetch_or(is_struck && deed == Deed::Swallow, Ordering::SeqCst);
                        }
                    }
                }
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Notes that the request has come for which something is armed.
    fn look(&self, link: &Link, bytes: &[u8]) {
        let mut armed = self.armed.lock().unwrap();
        let meant = |(request, ..): &mut (Vec<u8>, Place, Deed)| {
            bytes.windows(request.len()).any(|window| window == request)
        };
        if let Some((_, place, deed)) = armed.take_if(meant) {
            *link.strike.lock().unwrap() = Some((place, deed));
        }
    }

    fn note(&self, link: &Link, way: Way, after: u64, deed: Deed) {
        let done = Done { connection: link.number, port: link.port, way, after, deed };
        self.done.lock().unwrap().push(done);
    }

    fn break_off(&self, link: &Link, way: Way, deed: Deed) {
        match deed {
            Deed::HalfClose => {
                link.deaf(way).store(true, Ordering::SeqCst);
                let _ = link.ends(way).1.shutdown(Shutdown::Write);
            }
            Deed::Swallow => link.deaf(way).store(true, Ordering::SeqCst),
            Deed::Reset => {
                // What is closed so has its peer reset; the last thread closes.
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                for end in [&link.client, &link.server] {
                    setsockopt(end, sockopt::Linger, &linger).unwrap();
                }
                link.end(Shutdown::Read);
            }
            _ => link.end(Shutdown::Both),
        }
    }

    /// Waits until another connection has passed something.
    fn wait_overtaken(&self, link: &Link) {
        let passed = self.passed.lock().unwrap();
        let before = passed.0;
        let alone = |passed: &mut (u64, usize)| passed.0 == before || passed.1 == link.number;
        drop(self.changed.wait_timeout_while(passed, OVERTAKE_MAX, alone).unwrap());
    }
}
