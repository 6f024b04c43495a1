//! An outbound-only agent that lets an OpenAI product call a private MCP server.
//!
//! It long-polls a control plane over HTTPS, forwards each JSON-RPC command to a server inside the
//! network, and posts the answer back. Nothing connects to it from outside. This page is the map of
//! the code; the protocol's details stand with the modules that speak it.
//!
//! # Programs and features
//!
//! `tunnel-clientd` is the service: what `run` does, and the guards of its children. `tunnel-client` holds all
//! commands for people, `run` among them. Without any feature this is the audited service. `page` adds `/ui`;
//! `harpoon` the endpoints that the product may call by name, and OAuth discovery, which finds such; `cage` the limits
//! that the service sets itself at its start; `operator` the commands; `dev` the servers for trying things out. `ring`
//! or `openssl` computes.
//!
//! # Rooms
//!
//! Arrows point one way. [`relay`] is the core: it knows neither the control plane nor any server. Servers and posts
//! come in through the traits of [`relay::port`], and so does the operator's policy; the poller hands commands to the relay's queue.
//!
//! | room | what it does | may use |
//! | --- | --- | --- |
//! | [`config`] | flags, environment and YAML become one validated [`config::Settings`] | nothing above it |
//! | [`net`] | makes every outbound connection | `config` |
//! | [`ops`] | what the operator sees: listener, readiness, metrics, log, signals | `config` |
//! | [`relay`] | commands, their order, their answers | `config`, `net`, `ops` |
//! | [`audit`] | takes down every command, in a chain of lines | `relay` and what it uses |
//! | [`plane`] | towards the control plane: poller, couriers, wire types | `relay` and what it uses |
//! | [`mcp`] | towards the private side: HTTP servers, stdio children, probes | `relay` and what it uses |
//! | [`pins`] | tools that the operator has accepted, and what servers offer since | `mcp` and what it uses |
//! | [`policy`] | judges commands by the operator's rules | `pins` and what it uses |
//! | `oauth` | finds the metadata of a protected server | `mcp` and what it uses |
//! | `harpoon` | calls HTTP endpoints that the operator has named | `oauth` and what it uses |
//! | `dev` | a local control plane and a stub MCP server | `harpoon`, `relay`, `config`, `ops` |
//! | `cage` | limits the process to what its settings need, for the rest of its life | `config` |
//! | [`service`] | puts the rooms together into a running tunnel, from settings to exit code | everything above |
//! | `doctor` | looks at a set-up before it runs, with the code that runs it | everything above |
//! | `cli` | commands | everything |
//!
//! Below all rooms stand modules that every room may use: `calendar` (dates as seconds), `crypto` (digests, random
//! numbers), `header_names` (which no caller may send), `secret`, `sync` (locks, threads), `text` (what is cut and escaped
//! before it is shown) and `url`.
//!
//! # Glossary
//!
//! * *tunnel*: the connection between one product and this network, known by its id.
//! * *control plane* (in code `plane`): the peer that is polled for commands and gets the answers.
//! * *command*: one item of a poll; *payload*: its JSON-RPC text; *span*: a byte range of a payload that is replaced.
//! * *channel*: the name by which a command chooses a server; *binding*: a channel with its server.
//! * *server*: a private MCP server; *target*: what runs the commands of a channel (HTTP server, child, Harpoon).
//! * *poller*, *worker*, *courier*: threads that poll, run commands, and post answers.
//! * *answer*: what is posted; *outcome*: how a command ended; *failure*: an outcome without a server's answer.
//! * *deadline*: the moment at which a wait ends; *budget*: a bound for bytes in flight.
//! * *prober*: asks servers whether they answer; *readiness*: the verdict on `/readyz`.
//! * *child*: a server process over stdio; *keeper*: the thread that keeps it running; *guard*: the process between
//!   us and a child; *era*: the revisions of MCP with a handshake, or those without.
//! * *policy*: the operator's rules of what callers may ask for; *judgement*: what they say about a command; *subject*:
//!   the tool, prompt or resource that a command names.
//! * *cage*: the limits that the process sets itself before its first thread.
//! * *drain*: the end of a tunnel, in which commands in flight are finished.
//! * *endpoint*: a URL that Harpoon may call; *profile*: a named YAML file; *setting*: one row of the table.
//!
//! # Threads
//!
//! Everything blocks, every wait has a bound, and no thread is started after the start except for name resolutions (at
//! most 4 at once, and 4 for endpoints), the first subscriptions, and the pipes of a child that is started again.
//! The servers of `dev` take a thread a connection.
//!
//! | thread | number | waits for | bound |
//! | --- | --- | --- | --- |
//! | main | 1 | signals, resting connections, the service manager | 5 s, or half of its watchdog's interval |
//! | poller | 1 | the control plane | poll time-out and guardrail |
//! | worker | N = `mcp.max-concurrent-requests`, 1 a further channel, and M | the queue, its server, then the control plane | its deadline, a poll's time a post |
//! | quick | 1 a channel | the queue, for what expects no answer | as a worker |
//! | listen | 4, each from its first subscription on | subscriptions | a day |
//! | deadlines | 1 | commands in the queue whose time ends there | the earliest of them |
//! | courier | M = min(N, 32) | answers that no worker posts, then the control plane | a poll's time a post |
//! | prober | 1 | its next round, then a server | 2 s a probe, 10 s a discovery |
//! | keeper | 2 a stdio channel, one an era | its child's end, then a backoff | 30 s between starts |
//! | stdio-writer, -reader, -stderr, -clock | 4 a running child | its pipes; its silence | its child's end |
//! | metadata | 1 | the control plane, once | a poll's time |
//! | health-listener | 1 | connections of the operator | 5 s each |
//! | health-calls | 0, or 8 with `harpoon.additional-transport` | a call from this host | 120 s |
//! | proxy-health | 0 or 1 | its interval, then proxies | 10 s a proxy |
//! | pins | 0, or 1 a channel with `policy.pins.mode: block` | a second, then a server's list of tools | 30 s a list |
//! | doctor, stdio-probe | in `doctor` alone: 2 a channel, 4 a child, 1 for OAuth | peers | 9.5 s in all |
//! | audit | 0 or 1 | records, then its file | none: it is told as unavailable after 5 s |
//! | drain | 1, at the end | the last answers | `process.drain-timeout` and 18 s |
//!
//! Stuck threads: every loop publishes by when its present wait must end ([`ops::heartbeat`]), or that it rests because
//! only new work ends the wait: poller, workers (quick and listen too), couriers, prober, pins, keepers, health-listener,
//! health-calls and proxy-health, and not audit, since a disk that hangs is no reason to end calls. While one is
//! overdue, main does not feed the service manager's watchdog. The pipes
//! of a child wait for that child alone; a call that needs an answer from there has a deadline.
//!
//! Queues: commands wait in [`relay::queue::Queue`] (`control-plane.max-inflight`), answers on the
//! couriers' list (M fresh ones, 4096 that are posted again), audit records on theirs (32 MiB, and then they are counted). When one of the first two is full, its feeder waits: in the end the
//! poller, which then does not poll. Large bodies of servers share one byte budget ([`net::Budget`]); no poll is made
//! while the commands in flight exceed as many bytes ([`relay::inflight`]).
//!
//! # What is absent on purpose
//!
//! * No inbound request causes an outbound one: what the listener is asked, it answers from memory. The one exception
//!   has to be asked for: `harpoon.additional-transport` lets programs of this host call what the product may call.
//!   The control plane chooses among what the operator has configured: servers by channel, endpoints by label. What
//!   the server behind `main` publishes of itself leads to its own origin, and to those that the operator names.
//! * No shell, no code loaded at run time (but for the modules of OpenSSL, in a build with it), no `unsafe`.
//! * No program is run but those that `mcp.command` names, each under this one as its guard, and by `tunnel-client`
//!   the operator's editor (`profiles edit`), `systemctl` and `journalctl` (`support`).
//! * No file is read or written but those that a setting or an option names, the folder of profiles, the system's roots,
//!   and what the kernel says in `/proc` of this process, its children, IPv6 and FIPS mode; and what OpenSSL reads. The cage holds it
//!   to their directories, unless a server over stdio would be held too.
//! * No redirect of the control plane is followed, none of a server leaves its origin, and one of an endpoint
//!   leads to another endpoint or nowhere.
//! * No secret is kept outside [`config::Secret`] and the headers made from it.

// The map is read in documentation of everything, private items included.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(any(all(feature = "ring", feature = "openssl"), not(any(feature = "ring", feature = "openssl"))))]
compile_error!(
    "exactly one of the features `ring` (a default) and `openssl` says where cryptography comes from: \
     --no-default-features --features openssl,..."
);

mod audit;
#[cfg(feature = "cage")]
mod cage;
mod calendar;
#[cfg(feature = "operator")]
mod cli;
mod config;
mod crypto;
#[cfg(feature = "dev")]
mod dev;
#[cfg(feature = "operator")]
mod doctor;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/targets/mod.rs"]
mod fuzz;
#[cfg(feature = "harpoon")]
mod harpoon;
mod header_names;
mod mcp;
mod net;
#[cfg(feature = "harpoon")]
mod oauth;
mod ops;
mod pins;
mod plane;
mod policy;
mod relay;
mod secret;
mod service;
#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;
mod sync;
mod text;
#[cfg(doc)]
#[doc = include_str!("threat-model.md")]
mod threat_model {}
mod url;

#[cfg(feature = "operator")]
pub use cli::main as operator;
#[cfg(fuzzing)]
pub use fuzz::{TARGETS, Target};
pub use service::daemon::main as daemon;

// What the tests of the manual and of the reading of messages look at.
pub use config::settings;
pub use relay::json::Span;
pub use relay::message::Message;

/// The name that this implementation goes by on every wire.
pub const CLIENT_NAME: &str = "tunnel-client-rs";

/// Features that this program was built with.
const FEATURES: &[&str] = &[
    #[cfg(feature = "operator")]
    "operator",
    #[cfg(feature = "harpoon")]
    "harpoon",
    #[cfg(feature = "page")]
    "page",
    #[cfg(feature = "cage")]
    "cage",
    #[cfg(feature = "dev")]
    "dev",
    #[cfg(feature = "openssl")]
    "openssl",
];

/// The same in words.
fn features() -> String {
    if FEATURES.is_empty() { "none".to_owned() } else { FEATURES.join(",") }
}

/// What this program was built from and with.
fn build() -> String {
    let libc = match () {
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "gnu") => "-gnu",
        () => "",
    };
    let (platform, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let commit = option_env!("TUNNEL_CLIENT_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    let features = features();
    format!("{VERSION} ({CLIENT_NAME}, {platform}-{os}{libc}, features: {features}, commit {commit})")
}

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Its `User-Agent`.
pub const USER_AGENT: &str = concat!("tunnel-client-rs/", env!("CARGO_PKG_VERSION"));
