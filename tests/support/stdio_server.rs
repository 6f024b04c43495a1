//! A scripted server over stdio that behaves as badly as its mode and its callers ask.
//!
//! `stdio-server <mode> <journal> [anything…]`. The mode is the conduct of the process ([`Mode`]), the method of a request
//! the conduct of that one call ([`Server::request`]). Every process appends to the journal what it receives, each line
//! after its process id, and its own events in brackets. Calls are held until a message lets them go, a start for a file.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a server of the tests fails by panicking"
)]

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpgid, setpgid, setsid};
use serde_json::{Map, Value, json};

/// Members of `_meta`: by one a message belongs to the newer era, the other names a subscription.
const CLAIM: &str = "io.modelcontextprotocol/protocolVersion";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The conduct of a process. Whatever is not said here is as in a good server.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Good.
    Plain,
    /// Ends with status 1 before it has read anything, until the gate file exists.
    Down,
    /// Ends on the first method that it does not know, as several SDKs do.
    Fragile,
    /// Answers nothing at all.
    Mute,
    /// Answers no message of the newer era.
    Deaf,
    /// Serves the era of its first message and refuses the other.
    Locked,
    /// Silent before a handshake; refuses a second one, and answers a ping with noise.
    Strict,
    /// Reads nothing until the gate file exists.
    Slow,
    /// Runs on at the end of its input; ends on TERM.
    IgnoresEof,
    /// Runs on at the end of its input and on TERM.
    Stubborn,
    /// Does nothing; what a server leaves behind.
    Sleeper,
}

fn mode(name: &str) -> Mode {
    match name {
        "plain" => Mode::Plain,
        "down" => Mode::Down,
        "fragile" => Mode::Fragile,
        "mute" => Mode::Mute,
        "deaf" => Mode::Deaf,
        "locked" => Mode::Locked,
        "strict" => Mode::Strict,
        "slow" => Mode::Slow,
        "ignores-eof" => Mode::IgnoresEof,
        "stubborn" => Mode::Stubborn,
        "sleeper" => Mode::Sleeper,
        other => panic!("no mode {other}"),
    }
}

struct Server {
    mode: Mode,
    journal: PathBuf,
    /// The signals that were blocked when this process began.
    inherited_mask: String,
    /// Requests that wait for a message.
    held: Vec<Value>,
    /// The call during which this server asked its client, and what came back.
    asking: Option<(Value, Map<String, Value>)>,
    opened: bool,
    modern: Option<bool>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mode = mode(&arguments[1]);
    let journal = PathBuf::from(&arguments[2]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
    watch_term(mode, &journal);
    if arguments.get(3).is_some_and(|how| how == "detached") {
        setsid().unwrap();
    }
    note(&journal, "(start)");
    let gate = PathBuf::from(format!("{}.gate", journal.display()));
    match mode {
        Mode::Down if !gate.exists() => std::process::exit(1),
        Mode::Slow => {
            while !gate.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        Mode::Sleeper => rest(),
        _ => {}
    }
    let mut server = Server {
        mode,
        journal,
        inherited_mask: mask,
        held: Vec::new(),
        asking: None,
        opened: false,
        modern: None,
    };
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        note(&server.journal, &line);
        server.take(&serde_json::from_str(&line).unwrap());
    }
    note(&server.journal, "(eof)");
    if matches!(mode, Mode::IgnoresEof | Mode::Stubborn) {
        rest();
    }
}

/// Notes a TERM, and ends as asked unless that is not the mode.
fn watch_term(mode: Mode, journal: &Path) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block().unwrap();
    let journal = journal.to_owned();
    std::thread::spawn(move || {
        loop {
            signals.wait().unwrap();
            note(&journal, "(term)");
            if mode != Mode::Stubborn {
                std::process::exit(0);
            }
        }
    });
}

/// Runs on without doing anything.
fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

/// One append a line, so that processes do not mix theirs. The journal may be gone at the end of a test.
fn note(journal: &Path, text: &str) {
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(journal) {
        let _ = file.write_all(format!("{} {text}\n", std::process::id()).as_bytes());
    }
}

/// Prints text as it is. Whoever reads may be gone.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn say(message: &Value) {
    print(&format!("{message}\n"));
}

fn result(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// An ordinary answer: it says which call it belongs to, and who gave it.
fn echo(request: &Value) -> Value {
    let (method, n) = (&request["method"], &request["params"]["n"]);
    result(&request["id"], &json!({ "echo": method, "n": n, "pid": std::process::id() }))
}

fn refuse(request: &Value, code: i32) {
    say(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": code, "message": "refused" } }));
}

impl Server {
    fn take(&mut self, message: &Value) {
        let Some(method) = message["method"].as_str() else { return self.answer(message) };
        let modern = message["params"]["_meta"].get(CLAIM).is_some() || method == "server/discover";
        match self.mode {
            Mode::Mute => return,
            Mode::Deaf if modern => return,
            Mode::Fragile if !matches!(method, "initialize" | "notifications/initialized" | "tools/list") => {
                std::process::exit(1);
            }
            // A cancellation need not say which era it belongs to.
            Mode::Locked if method == "notifications/cancelled" => {}
            Mode::Locked if *self.modern.get_or_insert(modern) != modern => {
                return refuse(message, if modern { -32600 } else { -32022 });
            }
            _ => {}
        }
        if message.get("id").is_some() {
            self.request(method, message);
        } else {
            self.notified(method, message);
        }
    }

    fn request(&mut self, method: &str, request: &Value) {
        let (id, params) = (&request["id"], &request["params"]);
        match method {
            _ if params["show"].is_object() => say(&result(id, &params["show"])),
            "initialize" => self.initialize(request),
            _ if method == "never" || (self.mode == Mode::Strict && !self.opened) => {}
            // Held until a `release`, an `answer-one` or a cancellation.
            "late" => self.held.push(request.clone()),
            "subscriptions/listen" => {
                tagged("notifications/subscriptions/acknowledged", id);
                self.held.push(request.clone());
            }
            "tools/list" => {
                let list = std::fs::read(format!("{}.tools", self.journal.display())).unwrap_or_default();
                let tools = serde_json::from_slice(&list).unwrap_or(json!([{ "name": "look" }]));
                say(&result(id, &json!({ "echo": method, "tools": tools })));
            }
            "ping" if self.mode == Mode::Strict => print("not now\n"),
            "facts" => say(&result(id, &self.facts())),
            "exit" => std::process::exit(3),
            "half" => {
                print("{\"jsonrpc\":\"2.0\",\"id\":");
                std::process::exit(3);
            }
            "big" => {
                let text = "x".repeat(usize::try_from(params["bytes"].as_u64().unwrap()).unwrap());
                say(&result(id, &json!({ "text": text })));
            }
            "grandchild" | "detached" => self.leave_behind(method, request),
            "escape" => {
                setpgid(Pid::this(), getpgid(Some(Pid::parent())).unwrap()).unwrap();
                say(&echo(request));
            }
            "ask" => {
                self.asking = Some((request.clone(), Map::new()));
                say(&json!({ "jsonrpc": "2.0", "id": "s-1", "method": "ping" }));
                say(&json!({ "jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {} }));
            }
            // Almost as long as a line may be, and never ended.
            "half-line" => {
                print(&format!("{{\"result\":\"{}", "x".repeat(63 << 20)));
                note(&self.journal, "(half a line)");
                rest();
            }
            "stop-reading" => {
                say(&echo(request));
                rest();
            }
            "close-stdin" => {
                nix::unistd::dup2_stdin(OpenOptions::new().read(true).open("/dev/null").unwrap()).unwrap();
                note(&self.journal, "(stdin closed)");
                rest();
            }
            "close-stdout" => {
                nix::unistd::dup2_stdout(OpenOptions::new().write(true).open("/dev/null").unwrap()).unwrap();
                note(&self.journal, "(stdout closed)");
            }
            _ => spoken(method, request),
        }
    }

    fn initialize(&mut self, request: &Value) {
        if self.opened && self.mode == Mode::Strict {
            return refuse(request, -32600);
        }
        self.opened |= self.mode != Mode::Strict;
        let info = json!({ "name": "scripted", "version": "1" });
        let version = &request["params"]["protocolVersion"];
        let answer = json!({ "protocolVersion": version, "capabilities": {}, "serverInfo": info });
        say(&result(&request["id"], &answer));
    }

    fn notified(&mut self, method: &str, message: &Value) {
        match method {
            "notifications/initialized" => self.opened = true,
            "notifications/cancelled" => {
                let id = &message["params"]["requestId"];
                let held = std::mem::take(&mut self.held).into_iter();
                let (given_up, rest): (Vec<Value>, _) = held.partition(|request| request["id"] == *id);
                self.held = rest;
                for request in given_up {
                    say(&result(&request["id"], &json!({ "cancelled": true })));
                }
            }
            // Answers what is held, the last first, each after its progress.
            "release" => {
                for request in self.held.drain(..).rev() {
                    let token = &request["params"]["_meta"]["progressToken"];
                    if !token.is_null() {
                        let params = json!({ "progressToken": token, "progress": request["params"]["n"] });
                        say(&notification("notifications/progress", &params));
                    }
                    say(&echo(&request));
                }
            }
            "change" => {
                for request in &self.held {
                    tagged("notifications/tools/list_changed", &request["id"]);
                }
            }
            "close" => {
                for request in self.held.drain(..) {
                    say(&result(&request["id"], &json!({ "_meta": { SUBSCRIPTION: request["id"] } })));
                }
            }
            "tools-change" => say(&notification("notifications/tools/list_changed", &json!({}))),
            "talk" => say(&notification("notifications/message", &json!({ "data": "between calls" }))),
            _ => {}
        }
    }

    /// An answer to a request of this server.
    fn answer(&mut self, message: &Value) {
        let Some((request, answers)) = &mut self.asking else { return };
        answers.insert(message["id"].to_string(), message.clone());
        if answers.len() == 2 {
            say(&result(&request["id"], &Value::Object(std::mem::take(answers))));
            self.asking = None;
        }
    }

    fn facts(&self) -> Value {
        let environment: Map<String, Value> =
            std::env::vars().map(|(name, value)| (name, Value::String(value))).collect();
        json!({
            "arguments": std::env::args().collect::<Vec<String>>(),
            "environment": environment,
            "directory": std::env::current_dir().unwrap(),
            "blocked": self.inherited_mask,
            "pid": std::process::id(),
        })
    }

    /// Starts a process that holds our pipes and does not end by itself, be it in a session of its own.
    #[expect(clippy::zombie_processes, reason = "it is to outlive this one")]
    fn leave_behind(&self, how: &str, request: &Value) {
        let mut sleeper = std::process::Command::new(std::env::current_exe().unwrap());
        sleeper.arg("sleeper").arg(&self.journal).arg(how).spawn().unwrap();
        say(&echo(request));
    }
}

/// A notification of a subscription.
fn tagged(method: &str, id: &Value) {
    say(&notification(method, &json!({ "_meta": { SUBSCRIPTION: id } })));
}

/// Calls that are answered at once, each in its own way.
fn spoken(method: &str, request: &Value) {
    let answer = echo(request);
    match method {
        "twice" => return print(&format!("{answer}\n{answer}\n")),
        "strangers" => {
            for id in [json!(987_654), json!("tc-987654"), json!("who"), json!(1.5), Value::Null] {
                say(&result(&id, &json!("stranger")));
            }
        }
        "noisy" => {
            print(
                "starting up...\n\n\r\n{\"level\":30,\"msg\":\"log\"}\n[1,2]\n\"text\"\n\u{1b}[1mbold\u{1b}[0m\n",
            );
            return print(&format!("{{\"torn\":\n{answer}\nand on it goes {{\n"));
        }
        "pretty" => {
            let text = serde_json::to_string_pretty(&answer).unwrap();
            // One message a line is the rule: of these lines the last alone is one.
            return print(&format!("\n\n{}\r\n\r\n{answer}\r\n", text.replace('\n', "\r\n")));
        }
        "batch" => {
            return say(&json!([notification("notifications/message", &json!({ "data": "first" })), answer]));
        }
        "notify" => say(&notification("notifications/message", &json!({ "data": "during a call" }))),
        // One byte above the longest line that is taken.
        "endless" => print(&format!("{}x\n", "x".repeat(64 << 20))),
        "stderr" => eprintln!("{}", request["params"]["text"].as_str().unwrap()),
        // Lines of the caller's choice, with the id that the call has here.
        "recite" => {
            print(&request["params"]["text"].as_str().unwrap().replace("$ID", &request["id"].to_string()));
        }
        "flood" => {
            for number in 0..5_000 {
                eprintln!("line {number} of a flood that is longer than any pipe is deep");
            }
        }
        _ => {}
    }
    say(&answer);
}
