//! Faults of the control plane: restarts, refusals, resets, and stops under load. No answer may be lost.
//!
//! `cargo bench --bench relay -- faults` prints a row a fault and fails when a command whose poll reply was written
//! whole got no answer that the plane took. It ends by itself, in five minutes as a rule.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::peers::{Load, Mcp, Peers, Style, plane_reply, request, respond};
use super::process::Client;

/// Commands a second.
const RATE: f64 = 200.0;
/// How long the server takes: so many commands of that rate are open when the plane goes away.
const WORK: Duration = Duration::from_millis(100);
const WORKERS: &str = "--mcp.max-concurrent-requests=64";
/// How long the last answers may take, beyond the longest wait between two attempts.
const SETTLE: Duration = Duration::from_secs(90);
/// How long a poll is held.
const HOLD: Duration = Duration::from_secs(25);
const STOPS: usize = 50;

/// What the plane does.
#[derive(Clone, Copy, Default)]
struct Fault {
    /// Every second post is answered with this.
    refuses: Option<u16>,
    /// Of three posts one is cut before it is taken, and one after.
    cuts: bool,
    /// Half of a round trip.
    way: Duration,
}

#[derive(Default)]
struct Ledger {
    /// How often each command was answered.
    ends: Vec<u32>,
    /// Whether its poll reply was written whole.
    handed: Vec<bool>,
    failed: usize,
    posts: usize,
    /// No more commands from this number on.
    last: usize,
    began: Option<Instant>,
    away: bool,
    connections: Vec<TcpStream>,
}

struct Plane {
    fault: Fault,
    ledger: Mutex<Ledger>,
    changed: Condvar,
}

/// A plane on its port, which stays its own while it is away.
struct Site {
    plane: Arc<Plane>,
    port: u16,
}

/// Runs all rows.
pub fn run() -> ExitCode {
    println!(
        "{:<14} {:>8} {:>9} {:>6} {:>8} {:>8} {:>7}",
        "fault", "handed", "answered", "lost", "doubled", "failed", "s"
    );
    let ms = Duration::from_millis;
    let mut lost = 0;
    for gap in [200, 500, 1000, 2000, 5000, 10_000, 30_000] {
        lost +=
            row(&format!("away {} s", gap as f64 / 1000.0), Fault::default(), 1000, &[(ms(1500), ms(gap))]);
    }
    for gap in [200, 1000, 2000] {
        let restarts = [(ms(3000 - gap), ms(gap)); 5];
        lost += row(&format!("restarts {} s", gap as f64 / 1000.0), Fault::default(), 2000, &restarts);
    }
    lost += row("half 503", Fault { refuses: Some(503), ..Fault::default() }, 1000, &[]);
    lost += row("resets", Fault { cuts: true, ..Fault::default() }, 1000, &[]);
    lost += stops();
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One fault: after each time the plane is away for a while.
fn row(name: &str, fault: Fault, commands: usize, absences: &[(Duration, Duration)]) -> usize {
    let began = Instant::now();
    let site = Site::start(fault, commands);
    let peers = Peers::start(Load::default(), Mcp { style: Style::Slow(WORK) });
    let server = format!("--mcp.server-url={}", peers.mcp_url());
    let client = Client::launch(&site.url(), &[&server, WORKERS]);
    for (after, gap) in absences {
        thread::sleep(*after);
        site.leave();
        thread::sleep(*gap);
        site.come_back();
    }
    site.settle(Duration::from_secs_f64(commands as f64 / RATE) + SETTLE);
    client.end();
    site.print(name, began)
}

/// The client is stopped while calls pass, again and again.
fn stops() -> usize {
    let (began, mut total, mut bad) = (Instant::now(), [0; 4], 0);
    for _ in 0..STOPS {
        let site = Site::start(Fault { way: Duration::from_millis(20), ..Fault::default() }, usize::MAX);
        let peers = Peers::start(Load::default(), Mcp { style: Style::Slow(Duration::from_millis(5)) });
        let server = format!("--mcp.server-url={}", peers.mcp_url());
        let client = Client::launch(&site.url(), &[&server, WORKERS]);
        thread::sleep(Duration::from_millis(1000));
        bad += usize::from(!client.end().success());
        site.leave();
        let counts = site.counts();
        total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [handed, answered, doubled, failed] = total;
    print_row(&format!("{STOPS} stops"), total, began);
    if bad > 0 {
        println!("{bad} of {STOPS} did not end with exit code 0");
    }
    assert!(doubled + failed <= handed);
    handed - answered + bad
}

fn print_row(name: &str, [handed, answered, doubled, failed]: [usize; 4], began: Instant) {
    let lost = handed - answered;
    let seconds = began.elapsed().as_secs_f64();
    println!("{name:<14} {handed:>8} {answered:>9} {lost:>6} {doubled:>8} {failed:>8} {seconds:>7.1}");
}

impl Site {
    fn start(fault: Fault, last: usize) -> Site {
        let ledger = Mutex::new(Ledger { last, ..Ledger::default() });
        let plane = Arc::new(Plane { fault, ledger, changed: Condvar::new() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        plane.listen(listener);
        Site { plane, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Refuses connections, and cuts those that there are.
    fn leave(&self) {
        let mut ledger = self.plane.ledger();
        ledger.away = true;
        for connection in ledger.connections.drain(..) {
            // One that its thread has closed is gone already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(ledger);
        self.plane.changed.notify_all();
        // The listener is polled, so that its port is free soon.
        thread::sleep(Duration::from_millis(20));
    }

    fn come_back(&self) {
        self.plane.ledger().away = false;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port of before");
        self.plane.listen(listener);
    }

    /// Waits until everything is handed out and answered.
    fn settle(&self, bound: Duration) {
        let is_open = |ledger: &mut Ledger| {
            let mut ends = ledger.handed.iter().zip(&ledger.ends);
            ledger.handed.len() < ledger.last || ends.any(|(handed, ends)| *handed && *ends == 0)
        };
        drop(self.plane.changed.wait_timeout_while(self.plane.ledger(), bound, is_open).unwrap());
    }

    fn counts(&self) -> [usize; 4] {
        let ledger = self.plane.ledger();
        let handed: Vec<u32> = ledger
            .handed
            .iter()
            .zip(&ledger.ends)
            .filter(|(handed, _)| **handed)
            .map(|(_, ends)| *ends)
            .collect();
        let answered = handed.iter().filter(|ends| **ends > 0).count();
        let doubled = handed.iter().filter(|ends| **ends > 1).count();
        [handed.len(), answered, doubled, ledger.failed]
    }

    fn print(&self, name: &str, began: Instant) -> usize {
        let counts = self.counts();
        print_row(name, counts, began);
        counts[0] - counts[1]
    }
}

impl Plane {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Accepts until the plane is away.
    fn listen(self: &Arc<Plane>, listener: TcpListener) {
        listener.set_nonblocking(true).expect("a socket");
        let plane = Arc::clone(self);
        thread::spawn(move || {
            while !plane.ledger().away {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).expect("a socket");
                stream.set_nodelay(true).expect("a TCP socket");
                let plane = Arc::clone(&plane);
                plane.ledger().connections.push(stream.try_clone().expect("a descriptor"));
                thread::spawn(move || plane.serve(stream));
            }
        });
    }

    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        while let Some((line, body)) = request(&mut stream) {
            thread::sleep(self.fault.way);
            let (mut commands, mut status) = (0..0, Some(200));
            let reply = plane_reply(
                &line,
                || {
                    commands = self.poll(&line);
                    let list: Vec<String> = commands.clone().map(command).collect();
                    format!("{{\"commands\":[{}]}}", list.join(","))
                },
                || status = self.take(&body),
            );
            thread::sleep(self.fault.way);
            let sent = match status {
                Some(200) => respond(stream.get_mut(), "application/json", reply.as_bytes()),
                Some(status) => {
                    write!(stream.get_mut(), "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
                }
                None => return self.close(stream.get_ref()),
            };
            // What is on a long way when the client goes counts: the plane cannot know.
            if sent.is_err() && self.fault.way.is_zero() {
                commands.for_each(|number| self.ledger().handed[number] = false);
            }
            if sent.is_err() {
                return;
            }
        }
    }

    fn close(&self, stream: &TcpStream) {
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Hands out what is due, at the latest after a while nothing.
    fn poll(&self, line: &str) -> std::ops::Range<usize> {
        let limit = line.split("limit=").nth(1).and_then(|rest| rest.split('&').next());
        let limit: usize = limit.and_then(|text| text.parse().ok()).expect("a limit");
        let end = Instant::now() + HOLD;
        let mut ledger = self.ledger();
        loop {
            let began = *ledger.began.get_or_insert_with(Instant::now);
            let first = ledger.handed.len();
            let due = (began.elapsed().as_secs_f64() * RATE) as usize;
            let count = due.min(ledger.last).saturating_sub(first).min(limit);
            if ledger.away || Instant::now() > end {
                return first..first;
            }
            if count > 0 {
                ledger.handed.resize(first + count, true);
                ledger.ends.resize(first + count, 0);
                return first..first + count;
            }
            ledger = self.changed.wait_timeout(ledger, Duration::from_millis(5)).unwrap().0;
        }
    }

    /// The status of the reply to a post; nothing where there is none.
    fn take(&self, body: &[u8]) -> Option<u16> {
        let post: Value = serde_json::from_slice(body).expect("a post is JSON");
        let id = post["request_id"].as_str().and_then(|id| id.strip_prefix("req-"));
        let number: usize = id.and_then(|id| id.parse().ok()).expect("a request id of ours");
        let mut ledger = self.ledger();
        ledger.posts += 1;
        let turn = ledger.posts;
        match self.fault.refuses {
            Some(status) if turn % 2 == 0 => return Some(status),
            _ => {}
        }
        if self.fault.cuts && turn % 3 == 0 {
            return None;
        }
        ledger.ends[number] += 1;
        ledger.failed += usize::from(post["resp_code"] != 200);
        self.changed.notify_all();
        if self.fault.cuts && turn % 3 == 1 { None } else { Some(200) }
    }
}

fn command(number: usize) -> String {
    format!(
        "{{\"command_type\":\"jsonrpc\",\"request_id\":\"req-{number}\",\"shard_token\":\"shard\",\"channel\":\"main\",\
         \"headers\":{{\"mcp-session-id\":[\"s\"],\"mcp-protocol-version\":[\"2025-06-18\"]}},\
         \"jsonrpc\":{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\"}}}}}}"
    )
}
