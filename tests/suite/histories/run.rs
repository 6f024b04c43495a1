//! One run: callers, a control plane, servers over HTTP and stdio, and fault proxies between all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::certs::Authority;
use crate::support::client::{Builder, Client};
use crate::support::command::Command;
use crate::support::fault_proxy::{Done, FaultProxy, Faults};
use crate::support::http::Request;
use crate::support::mcp::{Mcp, answer};
use crate::support::plane::{Handed, Plane, Posted};
use crate::support::proxy::{Manner, Proxy};
use crate::support::random::Random;
use crate::support::reply::{Reply, id_text, notification, raw_member, result_for};
use crate::support::stdio::Journal;

/// The channel of the server over stdio.
const FILES: &str = "files";

/// Callers of the server over HTTP, and of the one over stdio.
const CALLERS: [usize; 2] = [4, 2];

/// How often each of them speaks.
const TURNS: usize = 3;

/// How long a caller waits before it speaks again: some answers never come.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long the answers that are still due may take in a run that waits for them.
const SETTLE: Duration = Duration::from_millis(2500);

/// A command that a caller gave to the control plane.
#[derive(Clone)]
pub struct Sent {
    pub id: String,
    pub token: String,
    /// What its payload alone holds, and its answer.
    pub mark: String,
    /// Its JSON-RPC id; null where it has none.
    pub rpc_id: Value,
    pub is_stdio: bool,
    /// How many posts for it are refused before one is taken.
    pub refusals: usize,
}

/// What all parties saw.
#[derive(Clone)]
pub struct History {
    pub seed: u64,
    pub sent: Vec<Sent>,
    pub handed: Vec<Handed>,
    pub posts: Vec<Posted>,
    /// What the server over HTTP got: bodies, and sessions that ended.
    pub called: Vec<String>,
    /// What the server over stdio got, in order.
    pub written: Vec<String>,
    /// The audit file.
    pub records: Vec<Value>,
    /// What `audit verify` says of it, and how it ends.
    pub verified: Option<(Option<i32>, String)>,
    pub log: Vec<String>,
    pub code: Option<i32>,
    /// What was done to the connections to the control plane, and to others.
    pub done: Vec<Done>,
    pub done_elsewhere: usize,
    /// When the end was asked for.
    pub stopped: Instant,
}

/// Peers of one run, with their fault proxies.
struct Peers {
    plane: Plane,
    mcp: Mcp,
    _forward: Option<Proxy>,
    to_plane: FaultProxy,
    others: Vec<FaultProxy>,
    client: Client,
}

/// Does a run, with faults or in peace.
pub fn run(seed: u64, authority: &Authority, is_peaceful: bool) -> History {
    let mut random = Random::of(seed, "run", 0);
    let mut peers = start(seed, &mut random, authority);
    if is_peaceful {
        peers.calm();
    }
    let journal = Journal::new(peers.client.path("journal"));
    let halt = AtomicBool::new(false);
    // Most runs end by themselves, some in the middle of everything.
    let (is_cut, is_settled) = (random.chance(20) && !is_peaceful, random.chance(60) || is_peaceful);
    let cut_after = Duration::from_millis(random.below(900));
    let (sent, stopped) = std::thread::scope(|scope| {
        let callers = (0..CALLERS[0] + CALLERS[1]).map(|number| {
            let (plane, halt) = (&peers.plane, &halt);
            scope.spawn(move || call(seed, number, plane, halt))
        });
        let callers: Vec<_> = callers.collect();
        if is_cut {
            // Before that it ends by the signal itself.
            peers.client.wait_log(|line| line.contains("poller started"));
            std::thread::sleep(cut_after);
            halt.store(true, Ordering::SeqCst);
            peers.client.signal(Signal::SIGTERM);
        }
        let stopped = Instant::now();
        let sent: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        (sent, stopped)
    });
    if is_settled && !is_cut {
        peers.settle(&sent);
    }
    let stopped = if is_cut { stopped } else { Instant::now() };
    if !is_cut {
        peers.client.signal(Signal::SIGTERM);
    }
    std::thread::sleep(Duration::from_millis(random.below(300)));
    peers.calm();
    let code = peers.client.wait_exit().code();
    let file = peers.client.path("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    History {
        seed,
        sent: sent.into_iter().map(|(_, sent)| sent).collect(),
        handed: peers.plane.handed(),
        posts: peers.plane.posts(),
        called: peers.mcp.server.requests().iter().map(heard).collect(),
        written: journal.notes().into_iter().map(|note| note.text).collect(),
        records: text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect(),
        verified: cfg!(feature = "operator").then(|| crate::audit::verify(&[file.to_str().unwrap()])),
        log: peers.client.log().lines().map(str::to_owned).collect(),
        code,
        done: peers.to_plane.done(),
        done_elsewhere: peers.others.iter().map(|proxy| proxy.done().len()).sum(),
        stopped,
    }
}

/// What a server over HTTP heard of a command.
fn heard(request: &Request) -> String {
    match request.method.as_str() {
        "DELETE" => request.header("mcp-session-id").unwrap_or_default().to_owned(),
        _ => request.text(),
    }
}

/// Starts everything: by the seed with TLS or without, and with a proxy on the way to the server or without.
fn start(seed: u64, random: &mut Random, authority: &Authority) -> Peers {
    // A certificate names this host alone.
    let is_far = std::env::var_os("TUNNEL_CLIENT_FAULTS_AT").is_some();
    let (tls, forwards) = (random.chance(35) && !is_far, random.chance(40));
    let config = || tls.then(|| authority.server());
    let (plane, mcp) = (Plane::start_with(config()), Mcp::start_with(config()));
    mcp.hook(serve);
    let distance = random.pick(&[1000, 3000, 3000, 10_000]);
    let between = |name, port| FaultProxy::start(port, Some(Faults { seed, name, distance }));
    let to_plane = between("plane", plane.server.port());
    let to_server = between("server", mcp.server.port());
    let scheme = if tls { "https" } else { "http" };
    let builder = Builder::run(
        &format!("{scheme}://{}", to_plane.address()),
        &format!("{scheme}://{}/mcp", to_server.address()),
    );
    let journal = Journal::new(builder.path("journal"));
    let (command, file) = (journal.command("plain"), builder.path("audit.jsonl"));
    let mut builder = builder
        .flag("mcp.command", &format!("channel={FILES},command={command}"))
        .flag("control-plane.poll-timeout", "400ms")
        .flag("control-plane.poll-deadline-guardrail", "600ms")
        .flag("mcp.connection-max-ttl", "1500ms")
        .flag("mcp.max-concurrent-requests", random.pick(&["2", "4", "10"]))
        .flag("process.drain-timeout", "3s")
        .flag("ca-bundle", &authority.bundle())
        .flag("tls.roots", "none")
        .yaml(&format!("audit:\n  file: {file}\n"));
    let (mut others, mut forward) = (vec![to_server], None);
    if forwards {
        let proxy = Proxy::start(None, Manner::Open);
        let to_proxy = between("proxy", proxy.port());
        builder = builder.flag("mcp.http-proxy", &format!("http://{}", to_proxy.address()));
        others.push(to_proxy);
        forward = Some(proxy);
    }
    Peers { plane, mcp, _forward: forward, to_plane, others, client: builder.start() }
}

impl Peers {
    fn calm(&self) {
        self.to_plane.calm();
        self.others.iter().for_each(FaultProxy::calm);
    }

    /// Waits in peace for the answers that are still due.
    fn settle(&self, sent: &[(Command, Sent)]) {
        self.calm();
        let end = Instant::now() + SETTLE;
        for (command, _) in sent.iter().filter(|(command, _)| self.was_handed(command)) {
            self.plane.is_answered_by(command, end);
        }
    }

    fn was_handed(&self, command: &Command) -> bool {
        let quoted = format!("\"{}\"", command.id);
        self.plane.handed().iter().flat_map(|handed| &handed.commands).any(|text| text.contains(&quoted))
    }
}

/// A caller's life.
fn call(seed: u64, number: usize, plane: &Plane, halt: &AtomicBool) -> Vec<(Command, Sent)> {
    let mut random = Random::of(seed, "caller", number);
    let is_stdio = number >= CALLERS[0];
    let mut all = Vec::new();
    for turn in 0..TURNS {
        if halt.load(Ordering::SeqCst) {
            break;
        }
        let count = 1 + random.below(3);
        let fresh: Vec<_> = (0..count)
            .map(|part| command(&mut random, format!("mark-{seed}-{number}-{turn}-{part}."), is_stdio))
            .collect();
        for (command, sent) in &fresh {
            for _ in 0..sent.refusals {
                plane.answer_for(command, Reply::status(503));
            }
        }
        let commands: Vec<Command> = fresh.iter().map(|(command, _)| command.clone()).collect();
        plane.queue_all(&commands);
        let end = Instant::now() + PATIENCE;
        for command in &commands {
            plane.is_answered_by(command, end);
        }
        all.extend(fresh);
    }
    all
}

/// Something to ask.
fn command(random: &mut Random, mark: String, is_stdio: bool) -> (Command, Sent) {
    // Callers do not know of each other: their ids are alike.
    let id = random.below(3);
    let http = ["m/json", "m/json", "m/sse", "m/late", "m/error", "m/unavailable", "notifications/x", ""];
    let stdio = ["echo", "echo", "notify", "big", "notifications/x", "echo", "noisy", "exit"];
    let method = random.pick(if is_stdio { &stdio } else { &http });
    // A server that ends takes all calls with it; that may be seldom.
    let method = if method == "exit" && random.chance(70) { "echo" } else { method };
    let params = format!(r#"{{"n":"{mark}","bytes":20000}}"#);
    let is_request = !method.starts_with("notifications") && !method.is_empty();
    let mut command = match method {
        "" => Command::termination(&mark),
        _ if is_request => {
            Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
        }
        _ => Command::rpc(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)),
    };
    if is_stdio {
        command = command.channel(FILES);
    }
    if random.chance(15) {
        command = command.timeout("1s");
    }
    // The first post is refused, and that has to be the answer.
    let refusals = usize::from(!["m/sse", "notify"].contains(&method) && random.chance(10));
    let rpc_id = if is_request { Value::from(id) } else { Value::Null };
    let (id, token) = (command.id.clone(), command.token.clone());
    (command, Sent { id, token, mark, rpc_id, is_stdio, refusals })
}

/// What the server over HTTP answers; what is not said here it echoes.
fn serve(request: &Request) -> Option<Reply> {
    let params = raw_member(&request.body, "params").unwrap_or_default();
    let id = id_text(&request.body);
    match request.rpc_method().as_str() {
        "m/sse" => {
            let mark = request.json()["params"]["n"].clone();
            let said = |k: u64| notification("m/said", &serde_json::json!({ "n": mark, "k": k }));
            let stream = (1..4).fold(Reply::sse(), |stream, k| stream.event(said(k)));
            Some(stream.event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"echo":{params}}}}}"#)))
        }
        "m/error" => {
            let error = format!(r#"{{"code":-32001,"message":"no","data":{params}}}"#);
            Some(Reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)))
        }
        "m/late" => {
            // Time is the subject: answers come in another order.
            std::thread::sleep(Duration::from_millis(30));
            Some(result_for(&request.body, &params))
        }
        "m/unavailable" => Some(Reply::status(503)),
        _ => Some(answer(request)),
    }
}
