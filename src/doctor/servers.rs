//! The MCP servers of all channels: the way to each, and whether it answers as one.
//!
//! HTTP servers are probed as `run` probes them. A stdio server is started for this alone and ended again.
//! No tool is called and nothing of a caller is sent.
//!
//! Sites are made once and asked twice, because the report lists what is bound before it lists what answers.
//! Their texts name programs and places, never arguments or queries. A server that cannot be reached is a
//! failed check of its own channel and stops no other one.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Binding, Channel, HttpServer, Server, Settings, StdioServer};
use crate::mcp::http::HttpTarget;
use crate::mcp::http::eras;
use crate::mcp::http::probe::{self, Finding};
use crate::mcp::stdio::launch::{self, Launch};
use crate::mcp::stdio::{self, Guards};
use crate::net::{Error, Net};
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Probe;
use crate::relay::revision::Era;
use crate::service;

use super::advice::Destination;
use super::examination::{Examination, NOT_ASKED, unusable};
use super::product;
use super::report::Check;

/// An answer that took longer is worth a word: callers may not wait as long.
const SLOW: Duration = Duration::from_secs(3);

/// How long a server over HTTP that was not there, or silent, is left alone before it is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// What to try where an answer may come later.
const MAY_BE_SLOW: &str =
    "it may just be slow to start (npx, uvx and JVMs fetch or compile first): give it time with --wait 60s";

/// What to do where two answers of a server do not fit each other.
const AT_ODDS: &str =
    "have the server give the same name, capabilities and revisions to server/discover and initialize";

/// What a failed handshake means to callers.
const WHY: &str = "Every call of this channel would fail.";

/// A channel and its server.
pub(super) struct Site<'a> {
    channel: &'a Channel,
    server: Kind<'a>,
}

/// What serves the channel. Of an HTTP server the client may be missing already, which its checks say.
enum Kind<'a> {
    Http(&'a HttpServer, Result<Arc<HttpTarget>, Trouble>),
    Stdio(&'a StdioServer),
}

/// Why a target could not be made: something before it, or its own settings.
enum Trouble {
    Blocked(String),
    Own(String),
}

impl<'a> Site<'a> {
    /// Prepares the connections of a server; none is opened.
    pub(super) fn new(binding: &'a Binding, settings: &Settings, net: &Result<&Net, String>) -> Site<'a> {
        let channel = &binding.channel;
        let target = |server| {
            let net = net.as_ref().map_err(|why| Trouble::Blocked(why.clone()))?;
            let metrics = Arc::new(Metrics::new(&settings.control_plane.tunnel_id, 1, 1, &[]));
            let target = HttpTarget::new(net, &settings.mcp, channel, server, metrics, Arc::default());
            target.map(Arc::new).map_err(|error| Trouble::Own(error.to_string()))
        };
        let server = match &binding.server {
            Server::Http(server) => Kind::Http(server, target(server)),
            Server::Stdio(server) => Kind::Stdio(server),
        };
        Site { channel, server }
    }

    /// The channel.
    pub(super) fn channel(&self) -> &Channel {
        self.channel
    }

    /// A server over HTTP that can be asked.
    pub(super) fn http(&self) -> Option<Arc<HttpTarget>> {
        match &self.server {
            Kind::Http(_, Ok(target)) => Some(Arc::clone(target)),
            _ => None,
        }
    }

    /// Whether it is the server of `main`.
    pub(super) fn is_main(&self) -> bool {
        *self.channel == Channel::main()
    }

    /// The id of a check; that of `main` has no suffix.
    fn id(&self, word: &str) -> String {
        if self.is_main() { word.to_owned() } else { format!("{word}:{}", self.channel.as_str()) }
    }

    /// What is bound to the channel, and whether it is there.
    pub(super) fn target(&self, all: &mut Examination, offline: bool) {
        let (id, reachable) = (self.id("mcp_target"), self.id("mcp_server_reachable"));
        match &self.server {
            Kind::Http(server, target) => {
                // The query may hold a key, so it is left out.
                all.now([Check::pass(id, format!("{}{}", server.origin, server.url.path()))]);
                let blocked = match target {
                    Err(Trouble::Blocked(why)) => Some(why.clone()),
                    Err(Trouble::Own(_)) => Some(format!("blocked by {}", self.id("mcp_route"))),
                    Ok(_) => offline.then(|| NOT_ASKED.to_owned()),
                };
                all.announce(reachable, blocked.as_deref());
            }
            Kind::Stdio(server) => {
                // Arguments are often secrets, so they are counted.
                let arguments = match server.argv.len().saturating_sub(1) {
                    1 => "1 argument".to_owned(),
                    count => format!("{count} arguments"),
                };
                let program = server.argv.first().map(String::as_str).unwrap_or_default();
                all.now([
                    Check::pass(id, format!("{} with {arguments}", launch::shown(program))),
                    self.executable(server),
                    Check::skip(reachable, "stdio targets are not probed over the network"),
                ]);
            }
        }
    }

    /// Whether the program of a stdio server can be started.
    fn executable(&self, server: &StdioServer) -> Check {
        let id = self.id("mcp_command_executable");
        match service::launch(server).check() {
            Ok(path) => Check::pass(id, path.display().to_string()),
            Err(fault) => {
                let next = ["correct mcp.command, its working_dir or the PATH that it sees, then ask again"];
                Check::fail(id, fault, WHY, next)
            }
        }
    }

    /// The way to it, and whether it answers as an MCP server.
    pub(super) fn handshake(&self, all: &mut Examination, offline: bool) {
        let (route, id) = (self.id("mcp_route"), self.id("mcp_handshake"));
        match &self.server {
            Kind::Http(server, Ok(target)) => {
                all.now([Check::pass(route, destination(target, server).way())]);
                all.proxy(self.id("mcp_proxy_reachable"), target.client(), offline);
                all.announce(id.clone(), offline.then_some(NOT_ASKED));
                let (target, server) = (Arc::clone(target), HttpServer::clone(server));
                let reachable = self.id("mcp_server_reachable");
                let until = all.wait.map(|wait| Instant::now() + wait);
                all.job(offline, move || http(&target, &server, until, reachable, id));
            }
            Kind::Http(_, Err(Trouble::Blocked(why))) => {
                all.now([Check::skip(route, why), Check::skip(id, why)]);
            }
            Kind::Http(_, Err(Trouble::Own(why))) => {
                all.now([unusable(&route, why), Check::skip(id, format!("blocked by {route}"))]);
            }
            Kind::Stdio(server) => {
                let launch = service::launch(server);
                // Said by the check before; a start that must fail would only bury that advice under the
                // system's words.
                if launch.check().is_err() {
                    let blocked = format!("blocked by {}", self.id("mcp_command_executable"));
                    return all.now([Check::skip(id, blocked)]);
                }
                all.announce(id.clone(), None);
                // A program of this machine, so it is started also when the network is to be left alone.
                let time = all.server_time();
                let guards = Arc::clone(&all.guards);
                all.job(false, move || vec![stdio(&launch, &guards, time, id)]);
            }
        }
    }
}

/// The destination in the words of its settings.
fn destination<'a>(target: &'a HttpTarget, server: &'a HttpServer) -> Destination<'a> {
    Destination {
        client: target.client(),
        setting: "mcp.server-url",
        proxy: "mcp.http-proxy",
        identity: "set mcp.client-cert and mcp.client-key",
        tls: server.origin.tls,
        socket: server.unix_socket.as_deref(),
    }
}

/// Reachability and handshake of an HTTP server, which are one exchange. With a time to wait, one that is not
/// there yet, or silent, is asked again.
fn http(
    target: &HttpTarget,
    server: &HttpServer,
    until: Option<Instant>,
    reachable: String,
    handshake: String,
) -> Vec<Check> {
    let to = destination(target, server);
    let began = Instant::now();
    let mut finding = probe::probe(target, None);
    let is_late = |finding: &Finding| finding.is_absent() || matches!(finding.probe, Probe::TimedOut(_));
    while is_late(&finding) && until.is_some_and(|until| Instant::now() + ASK_INTERVAL < until) {
        thread::sleep(ASK_INTERVAL);
        finding = probe::probe(target, None);
    }
    let took = began.elapsed();
    let failed = |id: String, error: &Error| {
        let check = to.failed(id, error);
        if is_late(&finding) && until.is_none() { check.step(MAY_BE_SLOW) } else { check }
    };
    let is_forwarded = target.client().is_forwarded();
    match &finding.error {
        // What was never sent, or failed at the proxy, says nothing about the server, so only the way has failed;
        // and a request that was sent proves the way, whatever became of it, unless a proxy was to pass it on.
        Some(error) if error.proxy || !error.request_sent || is_forwarded => {
            let blocked = format!("blocked by {reachable}");
            vec![failed(reachable, error), Check::skip(handshake, blocked)]
        }
        Some(error) => {
            vec![Check::pass(reachable, format!("connected to {}", to.way())), failed(handshake, error)]
        }
        None => vec![
            Check::pass(reachable, format!("answers over HTTP: {}", to.way())),
            answered(handshake, &finding, took, || eras::ask(target)).evidence([to.way()]),
        ],
    }
}

/// The verdict on an answer. A server that speaks MCP is asked both questions then, by `ask_both`.
fn answered(
    id: String,
    finding: &Finding,
    took: Duration,
    ask_both: impl FnOnce() -> [eras::Said; 2],
) -> Check {
    let why = match &finding.probe {
        Probe::Ready => {
            // Only after a good answer, so that a server in trouble is not asked twice.
            let said = ask_both();
            let both = finding.era == Some(Era::Modern) && product::opens(&said);
            let mut summary = spoken(finding.era, both, finding.server.as_deref(), took);
            let odds = product::contradictions(&said);
            // A pass all the same: not every product asks both.
            if !odds.is_empty() {
                summary.push_str(". WARNING: a product may refuse it with 424: ");
                summary.push_str(&odds.join("; "));
            }
            let passed = Check::pass(id, summary).evidence([product::conclusion(&said)]);
            return if odds.is_empty() { passed } else { passed.step(AT_ODDS) };
        }
        // Not a failure: credentials belong to callers and pass through the tunnel. A check that demanded
        // some would have people put theirs into the settings.
        Probe::AuthorizationRequired(text) => {
            return Check::pass(
                id,
                format!("requires authorization, which callers bring ({text}, {} ms)", took.as_millis()),
            );
        }
        Probe::TimedOut(why) | Probe::Failed(why) | Probe::WaitExpired(why) => why,
    };
    let next = [
        "check the path in mcp.server-url: most servers answer at /mcp alone",
        "see the server's own log; for what it may ask of every caller there are mcp.extra-headers",
    ];
    Check::fail(id, why, WHY, next)
}

/// How a server speaks, by the revisions that its documentation names. Its own name for itself is foreign
/// text; the report cuts and escapes it.
fn spoken(era: Option<Era>, both: bool, server: Option<&str>, took: Duration) -> String {
    let (legacy, modern) = (Era::Legacy.newest(), Era::Modern.newest());
    let how = match (era, both) {
        (_, true) => format!("with and without a handshake ({legacy} and {modern})"),
        (Some(Era::Modern), _) => format!("without a handshake ({modern})"),
        _ => format!("with a handshake ({legacy} and before)"),
    };
    let server = server.map(|server| format!("; it is {server}")).unwrap_or_default();
    let slow = if took > SLOW { ", which is slow: calls wait for it after each start" } else { "" };
    format!("speaks MCP {how}{server}; answered in {} ms{slow}", took.as_millis())
}

/// The handshake of a stdio server, with a child of our own.
fn stdio(launch: &Launch, guards: &Guards, time: Duration, id: String) -> Check {
    let found = stdio::probe::probe(launch, guards, Instant::now() + time);
    match found.verdict {
        Ok((era, server)) => Check::pass(id, spoken(Some(era), false, server.as_deref(), found.took)),
        Err(why) => {
            let said = found.last_words.iter().rfind(|line| !line.trim().is_empty());
            let said = said.map(|line| format!("; it said last: {}", line.trim())).unwrap_or_default();
            // The usual mistake of servers that are new to this: a greeting or a log on standard output.
            let next = "run the command by hand: it has to wait for JSON on its standard input, and print nothing else";
            let last_words = found.last_words.iter().map(|line| format!("standard error: {line}"));
            let check = Check::fail(id, format!("{why}{said}"), WHY, [next]).evidence(last_words);
            if found.took >= time { check.step(MAY_BE_SLOW) } else { check }
        }
    }
}
