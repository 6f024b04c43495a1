//! A control plane, the scripted stdio server, and a client between them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::BOUND;
use super::client::{Builder, Client};
use super::command::Command;
use super::plane::{Plane, Posted};

/// The program of the scripted server, which plain `cargo test` builds beside the client.
pub fn program() -> String {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tunnel-clientd"));
    let path = beside.with_file_name("examples").join("stdio-server");
    assert!(path.exists(), "`cargo build --example stdio-server` makes {}", path.display());
    path.to_str().unwrap().to_owned()
}

/// What one process of the server noted: a line that it received, or an event of its own in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The process.
    pub pid: i32,
    /// The line.
    pub text: String,
}

impl Note {
    /// The line as a message; null for an event.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Its method, or the event.
    pub fn word(&self) -> String {
        self.json()["method"].as_str().map_or_else(|| self.text.clone(), str::to_owned)
    }
}

/// What a server wrote down, and the processes that write it. Its path stands in the arguments of all of them.
#[derive(Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// The journal of this name in a client's directory.
    pub fn new(path: impl Into<PathBuf>) -> Journal {
        Journal(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The command line of a server in this mode.
    pub fn command(&self, mode: &str) -> String {
        format!("{} {mode} {}", program(), self.0.display())
    }

    /// Lets a server go on that waits for its gate.
    pub fn open_gate(&self) {
        std::fs::write(format!("{}.gate", self.0.display()), "").unwrap();
    }

    /// Holds a server up again that waits for its gate.
    pub fn close_gate(&self) {
        std::fs::remove_file(format!("{}.gate", self.0.display())).unwrap();
    }

    /// Everything so far.
    pub fn notes(&self) -> Vec<Note> {
        let text = std::fs::read(&self.0).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let note = |line: &str| {
            let (pid, text) = line.split_once(' ')?;
            Some(Note { pid: pid.parse().ok()?, text: text.to_owned() })
        };
        whole.lines().filter_map(note).collect()
    }

    /// All notes of this method or event.
    pub fn of(&self, word: &str) -> Vec<Note> {
        self.notes().into_iter().filter(|note| note.word() == word).collect()
    }

    /// Methods and events in order, without handshakes.
    pub fn words(&self) -> Vec<String> {
        let words = self.notes().into_iter().map(|note| note.word());
        words.filter(|word| word != "initialize" && word != "notifications/initialized").collect()
    }

    /// Waits until `count` notes of this method or event are there.
    pub fn wait(&self, word: &str, count: usize) -> Vec<Note> {
        let end = Instant::now() + BOUND;
        loop {
            let found = self.of(word);
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < end, "{count} `{word}` did not come: {:?}", self.notes());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The processes of the servers and their guards that live now; the client is none of them.
    pub fn processes(&self) -> Vec<i32> {
        let marker = self.path();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.split('\0').any(|argument| argument == marker)
        };
        pids.filter(ours).collect()
    }

    /// Waits until no process is left.
    pub fn wait_gone(&self) {
        let end = Instant::now() + BOUND;
        while !self.processes().is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}\n{:?}", self.processes(), self.notes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Fields drop in order: the client first, then its peers.
pub struct Rig {
    /// The client.
    pub client: Client,
    /// What the server behind `main` received.
    pub journal: Journal,
    /// The control plane.
    pub plane: Plane,
}

impl Rig {
    /// A server in this mode behind `main`.
    pub fn start(mode: &str) -> Rig {
        Rig::with(mode, |builder| builder)
    }

    /// The same; `adjust` changes how the client is started.
    pub fn with(mode: &str, adjust: impl FnOnce(Builder) -> Builder) -> Rig {
        Rig::bound(|builder, journal| adjust(builder.flag("mcp.command", &journal.command(mode))))
    }

    /// A client whose servers are bound by `bind`, which gets the journal for them.
    pub fn bound(bind: impl FnOnce(Builder, &Journal) -> Builder) -> Rig {
        let plane = Plane::start();
        let builder = Builder::without_server(&plane.server.origin());
        let journal = Journal::new(builder.path("journal"));
        let client = bind(builder, &journal).start();
        Rig { client, journal, plane }
    }

    /// Another journal in the same directory.
    pub fn journal_named(&self, name: &str) -> Journal {
        Journal::new(self.client.path(name))
    }

    /// Queues one command and waits for its terminal answer.
    pub fn send(&self, command: &Command) -> Posted {
        self.plane.queue(command);
        self.plane.wait_answer(command)
    }

    /// Calls a method with these members of `params` and returns its answer.
    pub fn call(&self, method: &str, params: &str) -> Posted {
        self.send(&call(method, "1", params))
    }

    /// Queues a call and waits until it has reached the server.
    pub fn begin(&self, command: &Command, method: &str) {
        let before = self.journal.of(method).len();
        self.plane.queue(command);
        self.journal.wait(method, before + 1);
    }

    /// Proves that service goes on: a plain call is answered by the server.
    pub fn assert_alive(&self) {
        let answer = self.call("echo", r#""n":"alive""#);
        assert_eq!(answer.code(), 200, "{}", answer.request.text());
        assert_eq!(answer.payload()["result"]["n"], "alive");
    }

    /// Opens a session as a product does.
    pub fn open(&self) -> Posted {
        let answer = self.send(&initialize("0"));
        let initialized = Command::notification("notifications/initialized");
        assert_eq!(self.send(&initialized).code(), 200);
        answer
    }

    /// The process that serves now: the one of the newest start.
    pub fn server_pid(&self) -> i32 {
        self.journal.wait("(start)", 1).last().unwrap().pid
    }

    /// Kills the present process of the server.
    pub fn kill_server(&self) {
        kill(Pid::from_raw(self.server_pid()), Signal::SIGKILL).unwrap();
    }

    /// Waits until `/readyz` answers with this status, and returns its text.
    pub fn wait_ready(&mut self, status: u16) -> String {
        self.client.wait_get("/readyz", |answer| answer.status == status).body
    }

    /// Waits until the sum of all metric samples whose lines contain `part` is at least `least`.
    pub fn wait_metric(&mut self, part: &str, least: f64) {
        let end = Instant::now() + BOUND;
        loop {
            let text = self.client.get("/metrics").body;
            let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(part));
            let lines: Vec<&str> = lines.collect();
            let values = lines.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            if values.sum::<f64>() >= least {
                return;
            }
            assert!(Instant::now() < end, "`{part}` stays below {least}: {lines:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A request for a method; `id` is JSON text and `params` are members.
pub fn call(method: &str, id: &str, params: &str) -> Command {
    Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#))
}

/// An `initialize` as products send it.
pub fn initialize(id: &str) -> Command {
    let params =
        r#""protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"product","version":"1"}"#;
    call("initialize", id, params)
}

/// A cancellation of the call with this id.
pub fn cancel(id: &str) -> Command {
    let params = format!(r#"{{"requestId":{id}}}"#);
    Command::rpc(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#))
}
