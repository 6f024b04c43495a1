//! The soak: a steady mixed load for as long as asked, while servers, children and the plane fail all the time.
//!
//! `cargo bench --bench relay -- soak SECONDS`. Every third second two servers over stdio are killed: that of the
//! channel `main`, whose restarts soon wait longer and longer, and one of the others in turn, each of which
//! lives for over a minute, so that its restart is a first one again. At the same time the plane refuses posts or
//! polls or hangs up on everybody, or the server over HTTP hangs up, each for a second. Every command whose poll
//! reply was written whole must be answered; once, unless the plane hung up on the reply to its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::echo;
use super::peers::{listen, plane_reply, request, respond};
use super::process::Client;

/// Channels besides `main`.
const CHANNELS: usize = 21;
const KILL_EVERY: Duration = Duration::from_secs(3);
/// Commands a second, and how many may be open.
const RATE: f64 = 200.0;
const CALLERS: usize = 8;
/// The channel of the server over HTTP, and which share of the commands is for it.
const HTTP: &str = "h";
const HTTP_SHARE: usize = 10;
/// How long a fault lasts.
const FAULT: Duration = Duration::from_millis(1200);
/// One command in so many is for `main`, where it may have to wait long.
const MAIN_SHARE: usize = 401;
/// For so long before a kill, all commands are slow ones for the server that will die: it dies busy.
const AIM: Duration = Duration::from_millis(150);
const LARGE: usize = 1024 * 1024;

/// Who fails.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Posts are answered 503.
    Posts,
    /// Polls are answered 503.
    Polls,
    /// The plane hangs up.
    Plane,
    /// The server over HTTP hangs up.
    Server,
}

const FAULTS: [Fault; 4] = [Fault::Posts, Fault::Plane, Fault::Polls, Fault::Server];

/// What became of the commands; the index of a command is its number.
#[derive(Default)]
struct Ledger {
    ends: Vec<u32>,
    /// Commands whose poll reply could not be written.
    unheard: BTreeSet<usize>,
    /// Answers whose reply could not be written: they come again.
    untold: BTreeSet<usize>,
    fault: Option<Fault>,
    connections: Vec<TcpStream>,
    open: usize,
    /// The channel whose server is about to be killed.
    aim: Option<usize>,
    results: usize,
    notes: usize,
    wrong: usize,
    failures: BTreeMap<String, usize>,
}

struct Plane {
    ledger: Mutex<Ledger>,
    changed: Condvar,
    began: Instant,
    stopped: AtomicBool,
}

/// Runs the soak and prints its line.
pub fn run(length: Duration) -> ExitCode {
    let plane = Arc::new(Plane {
        ledger: Mutex::default(),
        changed: Condvar::new(),
        began: Instant::now(),
        stopped: AtomicBool::new(false),
    });
    let shared = Arc::clone(&plane);
    let port = listen(move |stream| shared.serve(stream));
    let shared = Arc::clone(&plane);
    let http = listen(move |stream| shared.serve_http(stream));
    let mark = format!("soak-{}", std::process::id());
    let mut flags = flags(&mark);
    flags.push(format!("--mcp.server-url=channel={HTTP},url=http://127.0.0.1:{http}/mcp"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let client = Client::launch(&format!("http://127.0.0.1:{port}"), &flags);
    thread::sleep(Duration::from_secs(2));
    let sizes = || (client.memory_mb().0, client.count("fd"), client.count("task"));
    let before = sizes();
    let deaths = kill_for(length, &mark, &plane);
    plane.settle();
    // Time for restarts, so that what is counted is what it was at first, and for second answers.
    thread::sleep(Duration::from_secs(2));
    let after = sizes();
    let status = client.end();
    let left = processes(&mark).len();
    let ledger = plane.ledger.lock().unwrap();
    let numbered = || ledger.ends.iter().enumerate();
    let lost = numbered().filter(|(n, ends)| **ends == 0 && !ledger.unheard.contains(n)).count();
    let twice = numbered().filter(|(n, ends)| **ends > 1 && !ledger.untold.contains(n)).count();
    println!(
        "soak {} s: calls {} ({} never arrived), answered {}, notifications {}, failed {:?}, wrong {}, lost {lost}, twice {twice}, \
         deaths {deaths}, {status}, processes left {left}, rss {:.1} -> {:.1} MB, fds {} -> {}, threads {} -> {}",
        length.as_secs(),
        ledger.ends.len(),
        ledger.unheard.len(),
        ledger.results,
        ledger.notes,
        ledger.failures,
        ledger.wrong,
        before.0,
        after.0,
        before.1,
        after.1,
        before.2,
        after.2,
    );
    let good = lost + twice + left + ledger.wrong == 0 && status.success();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn flags(mark: &str) -> Vec<String> {
    let others =
        (0..CHANNELS).map(|n| format!("channel=c{n},command={}", echo::command(&format!("{mark} c{n}"))));
    let main = echo::command(&format!("{mark} main"));
    std::iter::once(main).chain(others).map(|entry| format!("--mcp.command={entry}")).collect()
}

/// Kills servers for so long and tells how many.
fn kill_for(length: Duration, mark: &str, plane: &Plane) -> usize {
    let (began, mut deaths) = (Instant::now(), 0);
    for round in 0.. {
        thread::sleep((KILL_EVERY - FAULT).min(length.saturating_sub(began.elapsed())));
        if began.elapsed() >= length {
            break;
        }
        plane.ledger.lock().unwrap().aim = Some(round % CHANNELS);
        plane.begin(FAULTS[round % FAULTS.len()]);
        thread::sleep(AIM);
        let other = format!("c{}", round % CHANNELS);
        for (pid, arguments) in processes(mark) {
            let is_server = arguments.get(1).is_some_and(|word| word == echo::ARGUMENT);
            let channel = arguments.last().map_or("", String::as_str);
            if is_server && (channel == "main" || channel == other) {
                deaths += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
            }
        }
        plane.ledger.lock().unwrap().aim = None;
        thread::sleep(FAULT.saturating_sub(AIM));
        plane.ledger.lock().unwrap().fault = None;
    }
    deaths
}

/// The servers and guards of this mark, with their arguments. The client has the mark only within a word.
fn processes(mark: &str) -> Vec<(i32, Vec<String>)> {
    let process = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let arguments: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        arguments.iter().any(|word| word == mark).then_some((pid, arguments))
    };
    fs::read_dir("/proc").expect("/proc").flatten().filter_map(process).collect()
}

impl Plane {
    /// Begins a fault; whoever hangs up does so at once.
    fn begin(&self, fault: Fault) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.fault = Some(fault);
        if fault == Fault::Plane {
            for connection in ledger.connections.drain(..) {
                // One that its thread has closed is gone already.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    fn fails(&self, fault: Fault) -> bool {
        self.ledger.lock().unwrap().fault == Some(fault)
    }

    fn serve(&self, stream: TcpStream) {
        self.ledger.lock().unwrap().connections.push(stream.try_clone().expect("a descriptor"));
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        while let Some((line, body)) = request(&mut stream) {
            let refusal = if line.starts_with("POST") { Fault::Posts } else { Fault::Polls };
            if self.fails(Fault::Plane) {
                // The list holds the connection as well, so that letting go of it does not close it.
                let _ = stream.get_ref().shutdown(Shutdown::Both);
                return;
            }
            if self.fails(refusal) {
                let refused = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
                if stream.get_mut().write_all(refused).is_err() {
                    return;
                }
                continue;
            }
            let (mut handed, mut taken) = (0..0, None);
            let poll = || {
                let (numbers, text) = self.poll(&line);
                handed = numbers;
                text
            };
            let reply = plane_reply(&line, poll, || taken = self.take(&body));
            if respond(stream.get_mut(), "application/json", reply.as_bytes()).is_err() {
                let mut ledger = self.ledger.lock().unwrap();
                ledger.open -= handed.len();
                ledger.unheard.extend(handed);
                ledger.untold.extend(taken);
                return;
            }
        }
    }

    /// The server over HTTP: it echoes the number of a call.
    fn serve_http(&self, stream: TcpStream) {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        while let Some((line, body)) = request(&mut stream) {
            if self.fails(Fault::Server) {
                return;
            }
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (id, n) = (&message["id"], &message["params"]["n"]);
            let sent = if line.starts_with("POST") && id.is_null() {
                stream.get_mut().write_all(b"HTTP/1.1 202 Taken\r\nContent-Length: 0\r\n\r\n")
            } else if line.starts_with("POST") {
                let result = json!({"n": n, "supportedVersions": ["2026-07-28"]});
                let reply = json!({"jsonrpc": "2.0", "id": id, "result": result});
                respond(stream.get_mut(), "application/json", reply.to_string().as_bytes())
            } else {
                stream.get_mut().write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Hands out what is due, at the latest after a while nothing; tells their numbers.
    fn poll(&self, line: &str) -> (Range<usize>, String) {
        let limit = line.split("limit=").nth(1).and_then(|rest| rest.split('&').next());
        let limit: usize = limit.and_then(|text| text.parse().ok()).expect("a limit");
        let end = Instant::now() + Duration::from_secs(25);
        let mut ledger = self.ledger.lock().unwrap();
        loop {
            let due = (self.began.elapsed().as_secs_f64() * RATE) as usize;
            let room = (CALLERS - ledger.open).min(due.saturating_sub(ledger.ends.len())).min(limit);
            let stopped = self.stopped.load(Ordering::Relaxed);
            if stopped || room > 0 || Instant::now() > end {
                let first = ledger.ends.len();
                let last = if stopped { first } else { first + room };
                ledger.ends.resize(last, 0);
                ledger.open += last - first;
                let commands: Vec<String> = (first..last).map(|n| command(n, ledger.aim)).collect();
                if stopped {
                    // The client polls again at once.
                    drop(ledger);
                    thread::sleep(Duration::from_millis(100));
                }
                return (first..last, format!("{{\"commands\":[{}]}}", commands.join(",")));
            }
            ledger = self.changed.wait_timeout(ledger, Duration::from_millis(5)).unwrap().0;
        }
    }

    /// Takes an answer and tells the number of its command.
    fn take(&self, body: &[u8]) -> Option<usize> {
        let post: Value = serde_json::from_slice(body).expect("a post is JSON");
        let mut ledger = self.ledger.lock().unwrap();
        if post["resp_type"] == "jsonrpc_notify" {
            ledger.notes += 1;
            return None;
        }
        let id = post["request_id"].as_str().and_then(|id| id.strip_prefix("req-"));
        let n: usize = id.and_then(|id| id.parse().ok()).expect("a request id of ours");
        ledger.ends[n] += 1;
        if ledger.ends[n] > 1 {
            return Some(n);
        }
        // One whose poll reply broke off near its end may be answered all the same.
        if !ledger.unheard.contains(&n) {
            ledger.open -= 1;
        }
        let answer = &post["resp_json"];
        let source = &answer["error"]["data"]["tunnel_failure"]["source"];
        if let Some(source) = source.as_str() {
            *ledger.failures.entry(source.to_owned()).or_default() += 1;
        } else if post["resp_type"] == "notify_ack" || (answer["id"] == n && answer["result"]["n"] == n) {
            ledger.results += 1;
        } else {
            ledger.wrong += 1;
        }
        self.changed.notify_all();
        Some(n)
    }

    /// Hands out nothing more and waits for what is open.
    fn settle(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let ledger = self.ledger.lock().unwrap();
        let open = |ledger: &mut Ledger| ledger.open > 0;
        drop(self.changed.wait_timeout_while(ledger, Duration::from_secs(30), open).unwrap());
    }
}

/// The command of this number: in forty, one with a large answer, four with progress, four notifications.
fn command(n: usize, aim: Option<usize>) -> String {
    let channel = match aim {
        _ if n % MAIN_SHARE == 0 => "main".to_owned(),
        None if n % HTTP_SHARE == 0 => HTTP.to_owned(),
        _ => format!("c{}", aim.unwrap_or(n % CHANNELS)),
    };
    let wait = if aim.is_some() { 20 } else { 0 };
    let params = match n % 40 {
        1 => format!("\"n\":{n},\"bytes\":{LARGE}"),
        2..6 => format!("\"n\":{n},\"_meta\":{{\"progressToken\":{n}}}"),
        _ => format!("\"n\":{n},\"text\":\"{}\"", "x".repeat(512)),
    };
    let message = match n % 40 {
        6..10 => "\"method\":\"notifications/roots/list_changed\"".to_owned(),
        _ => format!("\"id\":{n},\"method\":\"tools/call\",\"params\":{{\"wait\":{wait},{params}}}"),
    };
    format!(
        "{{\"command_type\":\"jsonrpc\",\"request_id\":\"req-{n}\",\"shard_token\":\"shard-{n}\",\"channel\":\"{channel}\",\
         \"headers\":{{\"mcp-protocol-version\":[\"2025-06-18\"]}},\"jsonrpc\":{{\"jsonrpc\":\"2.0\",{message}}}}}"
    )
}
