//! A control plane and an MCP server that speak TLS, demand client certificates and note what each request came with.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::peers::{listen, plane_reply, request_seeing};
use super::rotate_files::{Material, generation, header, key};
use super::rotate_ledger::Ledger;

/// How long a poll is held.
const HOLD: Duration = Duration::from_secs(25);
/// The header of the MCP server, of which each rotation has another value.
pub const HEADER: &str = "x-rotated";

pub struct Peers {
    ledger: Mutex<Ledger>,
    changed: Condvar,
}

/// One of the two, as it shows itself now.
struct Side {
    pair: Material,
    /// The authority that it shows, how many client certificates it accepts of, and the first of them.
    shown: Mutex<Option<(Terms, Arc<ServerConfig>)>>,
}

/// Number of the authority that is shown; of all that there are; of those that clients may come from.
type Terms = (usize, usize, usize);

type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

impl Peers {
    /// With what is in force at first.
    pub fn new(ledger: Ledger) -> Arc<Peers> {
        Arc::new(Peers { ledger: Mutex::new(ledger), changed: Condvar::new() })
    }

    /// Ports of the control plane and of the server.
    pub fn listen(self: &Arc<Peers>) -> [u16; 2] {
        [Material::PlanePair, Material::McpPair].map(|pair| {
            let (peers, side) = (Arc::clone(self), Side { pair, shown: Mutex::default() });
            listen(move |stream| peers.serve(stream, &side))
        })
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Waits until the client has asked for something.
    pub fn wait_first_call(&self) {
        let none = |ledger: &mut Ledger| ledger.ends.is_empty();
        let waited = self.changed.wait_timeout_while(self.ledger(), Duration::from_secs(20), none).unwrap();
        assert!(!waited.1.timed_out(), "the client polls within 20 s");
    }

    /// Hands out nothing more and waits for what is open.
    pub fn settle(&self, bound: Duration) {
        let mut ledger = self.ledger();
        ledger.stopped = true;
        drop(self.changed.wait_timeout_while(ledger, bound, |ledger| ledger.open > 0).unwrap());
    }

    /// Answers one connection, until the client or another authority ends it.
    fn serve(&self, mut stream: TcpStream, side: &Side) {
        let (shown, config) = self.terms(side);
        let mut connection = ServerConnection::new(config).expect("a TLS session");
        let is_open = connection.complete_io(&mut stream).is_ok();
        self.ledger().handshakes[usize::from(is_open)] += 1;
        if !is_open {
            return;
        }
        let mut stream = BufReader::with_capacity(64 * 1024, StreamOwned::new(connection, stream));
        while self.reply(&mut stream, side, shown).is_some() {}
    }

    /// Answers one request; nothing when it was the last one.
    fn reply(&self, stream: &mut Stream, side: &Side, shown: usize) -> Option<()> {
        let (mut bearer, mut rotated) = (String::new(), String::new());
        let (line, body) = request_seeing(stream, |name, value| {
            if name.eq_ignore_ascii_case("authorization") {
                value.trim_start_matches("Bearer ").clone_into(&mut bearer);
            } else if name.eq_ignore_ascii_case(HEADER) {
                value.clone_into(&mut rotated);
            }
        })?;
        let certificates = stream.get_ref().conn.peer_certificates();
        let leaf = certificates.and_then(|chain| chain.first()).map(|leaf| leaf.as_ref());
        self.ledger().with_certificate(leaf, side.pair);
        let mut handed = 0..0;
        let (status, text) = match side.pair {
            Material::PlanePair => self.plane(&line, &body, &bearer, &mut handed),
            _ => self.server(&line, &body, &rotated),
        };
        let shown_now = self.ledger().shown();
        let close = if shown_now > shown { "Connection: close\r\n" } else { "" };
        let length = text.len();
        let reply = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n{close}Content-Length: {length}\r\n\r\n{text}"
        );
        let stream = stream.get_mut();
        if stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_err() {
            self.ledger().unheard(handed);
            return None;
        }
        close.is_empty().then_some(())
    }

    /// Status and body of a reply of the control plane.
    fn plane(&self, line: &str, body: &[u8], bearer: &str, handed: &mut Range<usize>) -> (u16, String) {
        if !self.ledger().takes_key(generation(bearer, key)) {
            return (401, json!({"error": {"code": "invalid_api_key", "message": "no"}}).to_string());
        }
        let poll = || {
            *handed = self.poll(line);
            let commands: Vec<String> = handed.clone().map(command).collect();
            format!("{{\"commands\":[{}]}}", commands.join(","))
        };
        (200, plane_reply(line, poll, || self.take(body)))
    }

    /// Status and body of a reply of the MCP server.
    fn server(&self, line: &str, body: &[u8], rotated: &str) -> (u16, String) {
        // There is no metadata to discover, and whoever looks for some need not say who it is.
        if line.starts_with("GET ") {
            return (404, String::new());
        }
        let Some(generation) = generation(rotated, header) else {
            *self.ledger().wrong.entry("header".to_owned()).or_default() += 1;
            return (401, String::new());
        };
        self.ledger().arrived(Material::Header, generation);
        let message: Value = serde_json::from_slice(body).unwrap_or_default();
        let (id, n) = (&message["id"], &message["params"]["n"]);
        if id.is_null() {
            return (202, String::new());
        }
        thread::sleep(n.as_u64().map_or(Duration::ZERO, work));
        let result = json!({"n": n, "supportedVersions": ["2026-07-28"]});
        (200, json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
    }

    /// Hands out what is due, at the latest after a while nothing.
    fn poll(&self, line: &str) -> Range<usize> {
        let limit = line.split("limit=").nth(1).and_then(|rest| rest.split('&').next());
        let limit: usize = limit.and_then(|text| text.parse().ok()).expect("a limit");
        let end = Instant::now() + HOLD;
        let mut ledger = self.ledger();
        ledger.polled();
        while Instant::now() < end {
            if ledger.stopped {
                // The client polls again at once.
                drop(ledger);
                thread::sleep(Duration::from_millis(100));
                return 0..0;
            }
            match ledger.hand_out(limit) {
                Ok(numbers) => {
                    self.changed.notify_all();
                    return numbers;
                }
                Err(time) => ledger = self.changed.wait_timeout(ledger, time).unwrap().0,
            }
        }
        0..0
    }

    fn take(&self, body: &[u8]) {
        let post: Value = serde_json::from_slice(body).expect("a post is JSON");
        let id = post["request_id"].as_str().and_then(|id| id.strip_prefix("req-"));
        let number: usize = id.and_then(|id| id.parse().ok()).expect("a request id of ours");
        self.ledger().answered(number, work(number as u64), &post);
        self.changed.notify_all();
    }

    /// What a side shows and accepts now, made anew when that has changed.
    fn terms(&self, side: &Side) -> (usize, Arc<ServerConfig>) {
        let mut ledger = self.ledger();
        let (shown, accepted) = (ledger.shown(), ledger.accepted(side.pair));
        let authority = Arc::clone(&ledger.authorities[shown]);
        let terms = (shown, ledger.authorities.len(), accepted.len());
        drop(ledger);
        let mut current = side.shown.lock().unwrap();
        if let Some((_, config)) = current.as_ref().filter(|(before, _)| *before == terms) {
            return (shown, Arc::clone(config));
        }
        let accepted: Vec<_> = accepted.iter().map(Arc::as_ref).collect();
        let config = authority.server_demanding_one_of(&accepted);
        *current = Some((terms, Arc::clone(&config)));
        (shown, config)
    }
}

/// How long the server takes for a call: one in fifty is there while much else changes.
fn work(number: u64) -> Duration {
    Duration::from_millis(if number % 50 == 0 { 1500 } else { 10 })
}

fn command(number: usize) -> String {
    let text = "x".repeat(512);
    format!(
        "{{\"command_type\":\"jsonrpc\",\"request_id\":\"req-{number}\",\"shard_token\":\"shard\",\"channel\":\"main\",\
         \"headers\":{{\"mcp-session-id\":[\"s\"],\"mcp-protocol-version\":[\"2025-06-18\"]}},\
         \"jsonrpc\":{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"n\":{number},\"arguments\":{{\"text\":\"{text}\"}}}}}}}}"
    )
}
