//! A control plane and an MCP server that do as little as possible themselves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::echo::OFFERS;
use super::tls::{self, Handshakes};

/// What the control plane hands out.
#[derive(Clone, Copy)]
pub struct Load {
    pub calls: usize,
    /// How many calls are open at once.
    pub callers: usize,
    pub tls: bool,
    /// Added to every reply of the control plane: a round trip of a real network.
    pub plane_delay: Duration,
}

impl Default for Load {
    fn default() -> Load {
        Load { calls: 0, callers: 0, tls: false, plane_delay: Duration::ZERO }
    }
}

/// How the MCP server answers a call.
#[derive(Clone, Copy)]
pub enum Style {
    /// A JSON result of about this many bytes.
    Json(usize),
    /// A stream with this many notifications and the result.
    Events(usize),
    /// A small JSON result after a while.
    Slow(Duration),
    /// Over stdio, by a process of its own: a small JSON result.
    Stdio,
}

pub struct Mcp {
    pub style: Style,
}

#[derive(Default)]
struct Progress {
    /// How many calls may be handed out.
    released: usize,
    handed_out: usize,
    open: usize,
    answered: usize,
    /// How many answers came a second time.
    doubled: usize,
    /// Which calls were answered, by the numbers in their ids.
    seen: Vec<bool>,
    first_poll: Option<Instant>,
    /// Polls that are held.
    polls: usize,
}

struct Plane {
    load: Load,
    progress: Mutex<Progress>,
    changed: Condvar,
    connections: AtomicUsize,
    errors: AtomicUsize,
    handshakes: Handshakes,
    stopped: AtomicBool,
}

pub struct Peers {
    plane: Arc<Plane>,
    plane_port: u16,
    mcp_port: u16,
    mcp_connections: Arc<AtomicUsize>,
    bundle: Option<PathBuf>,
}

impl Peers {
    pub fn start(load: Load, mcp: Mcp) -> Peers {
        let plane = Arc::new(Plane {
            load,
            progress: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            errors: AtomicUsize::new(0),
            handshakes: Handshakes::default(),
            stopped: AtomicBool::new(false),
        });
        let tls = load.tls.then(tls::server);
        let bundle = tls.as_ref().map(|(_, bundle)| bundle.clone());
        let config = tls.map(|(config, _)| config);
        let shared = Arc::clone(&plane);
        let plane_port = listen(move |stream| {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            match &config {
                None => shared.serve(stream),
                Some(config) => {
                    if let Some(stream) = shared.handshakes.accept(config, stream) {
                        shared.serve(stream);
                    }
                }
            }
        });
        let mcp_connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&mcp_connections);
        let style = mcp.style;
        let mcp_port = listen(move |stream| {
            counter.fetch_add(1, Ordering::Relaxed);
            serve_mcp(stream, style);
        });
        Peers { plane, plane_port, mcp_port, mcp_connections, bundle }
    }

    pub fn plane_url(&self) -> String {
        let scheme = if self.bundle.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.plane_port)
    }

    pub fn mcp_url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.mcp_port)
    }

    pub fn mcp_port(&self) -> u16 {
        self.mcp_port
    }

    pub fn ca_bundle(&self) -> Option<&PathBuf> {
        self.bundle.as_ref()
    }

    pub fn wait_first_poll(&self) -> Instant {
        let progress = self.plane.progress.lock().unwrap();
        let waited = self
            .plane
            .changed
            .wait_timeout_while(progress, Duration::from_secs(20), |p| p.first_poll.is_none());
        waited.unwrap().0.first_poll.expect("the client polls within 20 s")
    }

    /// Waits until so many clients poll.
    pub fn wait_pollers(&self, clients: usize) {
        let progress = self.plane.progress.lock().unwrap();
        let waits = |p: &mut Progress| p.polls < clients;
        let waited = self.plane.changed.wait_timeout_while(progress, Duration::from_secs(20), waits);
        assert!(!waited.unwrap().1.timed_out(), "{clients} clients poll within 20 s");
    }

    /// Hands out all calls of the load.
    pub fn go(&self) {
        self.release(self.plane.load.calls);
    }

    /// Hands out this many calls more.
    pub fn release(&self, calls: usize) {
        self.plane.progress.lock().unwrap().released += calls;
        self.plane.changed.notify_all();
    }

    /// Waits for the answers to all that was released, and tells how many have come in all.
    pub fn wait_done(&self, limit: Duration) -> usize {
        let progress = self.plane.progress.lock().unwrap();
        let waits = |p: &mut Progress| p.answered < p.released;
        self.plane.changed.wait_timeout_while(progress, limit, waits).unwrap().0.answered
    }

    pub fn errors(&self) -> usize {
        self.plane.errors.load(Ordering::Relaxed)
    }

    pub fn doubled(&self) -> usize {
        self.plane.progress.lock().unwrap().doubled
    }

    /// Handshakes at the control plane: full ones, and resumed ones.
    pub fn handshakes(&self) -> [usize; 2] {
        self.plane.handshakes.counts()
    }

    pub fn plane_connections(&self) -> usize {
        self.plane.connections.load(Ordering::Relaxed)
    }

    pub fn mcp_connections(&self) -> usize {
        self.mcp_connections.load(Ordering::Relaxed)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.plane.stopped.store(true, Ordering::Relaxed);
        self.plane.changed.notify_all();
    }
}

/// The body of a control plane's reply: to a poll, to a post that is taken, or the metadata.
pub fn plane_reply(line: &str, poll: impl FnOnce() -> String, take: impl FnOnce()) -> String {
    if line.contains("/poll?") {
        poll()
    } else if line.starts_with("POST") {
        take();
        "{\"status\":\"ok\"}".to_owned()
    } else {
        "{\"id\":\"t\",\"name\":\"bench\",\"description\":\"\"}".to_owned()
    }
}

impl Plane {
    fn serve(&self, stream: impl Read + Write) {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        while let Some((line, body)) = request(&mut stream) {
            let reply = plane_reply(&line, || self.poll(&line), || self.take(&body));
            if !self.load.plane_delay.is_zero() {
                thread::sleep(self.load.plane_delay);
            }
            if self.stopped.load(Ordering::Relaxed)
                || respond(stream.get_mut(), "application/json", reply.as_bytes()).is_err()
            {
                return;
            }
        }
    }

    fn poll(&self, line: &str) -> String {
        let limit: usize =
            line.split("limit=").nth(1).and_then(|rest| rest.split('&').next()).unwrap().parse().unwrap();
        let mut progress = self.progress.lock().unwrap();
        progress.first_poll.get_or_insert_with(Instant::now);
        let held = |p: &mut Progress| {
            !self.stopped.load(Ordering::Relaxed)
                && (p.open >= self.load.callers || p.handed_out >= p.released)
        };
        progress.polls += 1;
        self.changed.notify_all();
        let (mut progress, _) =
            self.changed.wait_timeout_while(progress, Duration::from_secs(30), held).unwrap();
        progress.polls -= 1;
        let room = self
            .load
            .callers
            .saturating_sub(progress.open)
            .min(progress.released - progress.handed_out)
            .min(limit);
        if self.stopped.load(Ordering::Relaxed) || progress.released == 0 {
            return "{\"commands\":[]}".into();
        }
        let commands: Vec<String> = (0..room)
            .map(|n| {
                let id = progress.handed_out + n;
                format!(
                    "{{\"command_type\":\"jsonrpc\",\"request_id\":\"req-{id}\",\"shard_token\":\"shard-{id}\",\"channel\":\"main\",\
                     \"headers\":{{\"mcp-session-id\":[\"s\"],\"mcp-protocol-version\":[\"2025-06-18\"]}},\"jsonrpc\":{{\"jsonrpc\":\"2.0\",\
                     \"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"text\":\"{}\"}}}}}}}}",
                    "x".repeat(1024)
                )
            })
            .collect();
        progress.handed_out += room;
        let handed_out = progress.handed_out;
        progress.seen.resize(handed_out, false);
        progress.open += room;
        format!("{{\"commands\":[{}]}}", commands.join(","))
    }

    fn take(&self, body: &[u8]) {
        let tail = String::from_utf8_lossy(&body[body.len().saturating_sub(200)..]).into_owned();
        if tail.contains("jsonrpc_notify") {
            return;
        }
        if !tail.contains("\"resp_code\":200") {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        let number = number(&body[..body.len().min(64)]);
        let mut progress = self.progress.lock().unwrap();
        if std::mem::replace(&mut progress.seen[number], true) {
            progress.doubled += 1;
            return;
        }
        progress.open -= 1;
        progress.answered += 1;
        self.changed.notify_all();
    }
}

/// The number in the id that an answer begins with.
fn number(start: &[u8]) -> usize {
    let text = String::from_utf8_lossy(start);
    let digits = text.split("\"req-").nth(1).and_then(|rest| rest.split('"').next());
    digits.and_then(|digits| digits.parse().ok()).expect("an id of ours")
}

fn serve_mcp(stream: impl Read + Write, style: Style) {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let filler = match style {
        Style::Json(bytes) => "y".repeat(bytes),
        Style::Events(_) | Style::Slow(_) | Style::Stdio => "y".repeat(1024),
    };
    while let Some((first, body)) = request(&mut stream) {
        // There is no metadata to discover.
        if first.starts_with("GET ") {
            let nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            match stream.get_mut().write_all(nothing) {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&body);
        let id =
            text.split("\"id\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap_or("null");
        let result = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"supportedVersions\":[\"2026-07-28\"],{OFFERS}\"content\":[{{\"type\":\"text\",\"text\":\"{filler}\"}}]}}}}"
        );
        let sent = match style {
            Style::Json(_) | Style::Stdio => respond(stream.get_mut(), "application/json", result.as_bytes()),
            Style::Slow(time) => {
                thread::sleep(time);
                respond(stream.get_mut(), "application/json", result.as_bytes())
            }
            Style::Events(count) => {
                let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n";
                let stream_body = format!("{}data: {result}\n\n", note.repeat(count));
                respond(stream.get_mut(), "text/event-stream", stream_body.as_bytes())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads one request: its first line and its body.
pub fn request(stream: &mut BufReader<impl Read>) -> Option<(String, Vec<u8>)> {
    request_seeing(stream, |_, _| ())
}

/// The same, and shows every header.
pub fn request_seeing(
    stream: &mut BufReader<impl Read>,
    mut see: impl FnMut(&str, &str),
) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    if stream.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            see(name, value.trim());
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, body))
}

pub fn respond(stream: &mut impl Write, content_type: &str, body: &[u8]) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    if body.len() < 64 * 1024 {
        stream.write_all(&[head.as_bytes(), body].concat())?;
    } else {
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
    }
    stream.flush()
}

/// Accepts connections on a free port for as long as the process lives; one thread each.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).expect("a TCP socket");
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    port
}
