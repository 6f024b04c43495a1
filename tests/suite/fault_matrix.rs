//! What becomes of a call when its exchange with a peer breaks: every way to break it at every place.
//!
//! One table says it all. A fault proxy stands before the peer, which itself does as it should: what it was asked and
//! what it believes to have answered can be compared with what came of it. Stalls are bounded by settings.

use std::time::{Duration, Instant};

use crate::support::BOUND;
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::fault_proxy::{Deed, FaultProxy, Place};
use crate::support::mcp::{Mcp, is_probe};
use crate::support::plane::{Plane, Posted};
use crate::support::proxy::{Manner, Proxy};
use crate::support::rig::Rig;

/// Whose replies are hurt. The control plane is met in two kinds of exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Peer {
    /// The control plane, as it hands commands out. What comes of the commands: `taken`, or `lost` without a trace.
    Polls,
    /// The control plane, as it takes answers. How many posts of one answer reach it.
    Answers,
    /// The server. What its caller gets.
    Server,
    /// The proxy on the way to the server, which opens a tunnel for TLS. What the caller gets.
    Proxy,
}

/// A row of the table: peer, deed, and what comes of it before the head, in the head, in the body (of the tunnel: in the
/// handshake) and between two exchanges, where the next exchange is meant. `told` is a warning or an error in the log,
/// `unseen` is what never reached the server. A call is sent once: were it sent again, `twice` would stand there.
type Row = (Peer, Deed, [&'static str; 4]);

/// An end without a word.
const CUT: Deed = Deed::Cut;
/// An end of what the peer says, while it goes on to listen.
const HALF: Deed = Deed::HalfClose;
/// A reset.
const RESET: Deed = Deed::Reset;
/// Silence.
const STALL: Deed = Deed::Swallow;
/// Bytes that mean nothing; between two exchanges a reply that nobody asked for.
const GARBAGE: Deed = Deed::Garble;

const TIMEOUT: &str = "502 timeout/timeout, told";
const EOF: &str = "502 transport_closed/eof, told";
const SHORT: &str = "502 transport_closed/unexpected_eof, told";
const GONE: &str = "502 transport_closed/connection_reset, told";
const INVALID: &str = "502 protocol/invalid_http, told";
const MALFORMED: &str = "502 protocol/malformed_json, told";
const SILENT: &str = "502 timeout/timeout, unseen, told";
const NO_HTTP: &str = "502 protocol/invalid_http, unseen, told";
const DIAL: &str = "502 connect/dial, unseen, told";
const TLS: &str = "502 tls/tls, unseen, told";

/// A used connection that dies before a byte of a reply has its poll or answer sent once more, a call never.
const TABLE: [Row; 20] = [
    (Peer::Polls, CUT, ["lost", "lost, told", "lost, told", "taken"]),
    (Peer::Polls, HALF, ["lost", "lost, told", "lost, told", "taken"]),
    (Peer::Polls, RESET, ["lost", "lost, told", "lost, told", "taken"]),
    (Peer::Polls, STALL, ["lost, told", "lost, told", "lost, told", "taken, told"]),
    (Peer::Polls, GARBAGE, ["lost, told", "lost, told", "lost, told", "taken"]),
    (Peer::Answers, CUT, ["twice", "twice, told", "once", "once"]),
    (Peer::Answers, HALF, ["twice", "twice, told", "once", "once"]),
    (Peer::Answers, RESET, ["twice", "twice, told", "once", "once"]),
    (Peer::Answers, STALL, ["twice, told", "twice, told", "once", "once, told"]),
    (Peer::Answers, GARBAGE, ["twice, told", "twice, told", "once", "once"]),
    (Peer::Server, CUT, [EOF, SHORT, SHORT, "200"]),
    (Peer::Server, HALF, [EOF, SHORT, SHORT, "200"]),
    (Peer::Server, RESET, [GONE, GONE, GONE, "200"]),
    (Peer::Server, STALL, [TIMEOUT, TIMEOUT, TIMEOUT, SILENT]),
    (Peer::Server, GARBAGE, [INVALID, INVALID, MALFORMED, "200"]),
    (Peer::Proxy, CUT, [DIAL, DIAL, TLS, "200"]),
    (Peer::Proxy, HALF, [DIAL, DIAL, TLS, "200"]),
    (Peer::Proxy, RESET, [DIAL, DIAL, TLS, "200"]),
    (Peer::Proxy, STALL, [SILENT, SILENT, SILENT, SILENT]),
    (Peer::Proxy, GARBAGE, [NO_HTTP, NO_HTTP, TLS, "200"]),
];

const PLACES: [Place; 4] = [Place::BeforeHead, Place::InHead, Place::InBody, Place::Behind];

/// The end of a connection is on its way beside the next exchange; peers rarely hang up that late.
const LATE: Duration = Duration::from_millis(50);

/// How long a client may take to read a reply that was written, on a busy host.
const REST: Duration = Duration::from_millis(200);

/// How long a post may take, by the settings of these clients.
const POST: Duration = Duration::from_millis(1300);

/// Longer than the wait before a post is repeated; nothing can announce that it is not.
const AGAIN: Duration = Duration::from_millis(400);

/// What the log says where something broke.
const COMPLAINTS: [&str; 4] = ["backing off", "posted again", "upstream error", "failed to post"];

/// How things stood before a cell was played.
struct Before<'a> {
    wanted: &'a str,
    /// Lines of the log.
    logged: usize,
}

/// A client before whose peers fault proxies stand.
struct Hurt {
    rig: Rig,
    to: FaultProxy,
    _rest: (Option<FaultProxy>, Option<Proxy>),
}

/// DESIGN, Connections: what a poll brought whole is done, and nothing else.
#[test]
fn polls_that_break() {
    rows(Peer::Polls);
}

/// CP-145: an answer is posted until a status says that it was taken.
#[test]
fn answers_that_break() {
    rows(Peer::Answers);
}

/// CP-108, MCP-082, MCP-083: a call that breaks is answered once and never sent again.
#[test]
fn calls_that_break() {
    rows(Peer::Server);
}

/// DESIGN, Connections: a tunnel that a proxy does not make, or breaks, fails the call only.
#[test]
fn proxies_that_break() {
    rows(Peer::Proxy);
}

/// Plays all rows of a peer side by side, each with a client of its own.
fn rows(peer: Peer) {
    let rows = || TABLE.iter().filter(move |row| row.0 == peer);
    assert_eq!(rows().count(), 5);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let rows: Vec<_> = rows().map(|row| scope.spawn(|| play(row))).collect();
        rows.into_iter().flat_map(|row| row.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays one row; gives the cells that are not as the table has them.
fn play((peer, deed, wanted): &Row) -> Vec<String> {
    let mut hurt = Hurt::start(*peer);
    let mut wrong = Vec::new();
    for (place, wanted) in PLACES.into_iter().zip(wanted) {
        if *peer == Peer::Answers {
            // The log tells of the first answer a minute that was not taken.
            hurt = Hurt::start(*peer);
        }
        let deed = if place == Place::Behind && *deed == GARBAGE { Deed::Forge } else { *deed };
        hurt.rig.assert_alive();
        // What was used has come to rest: used and fresh connections differ in what is sent again.
        std::thread::sleep(REST);
        let before = Before { wanted, logged: hurt.rig.client.log().lines().count() };
        let found = match peer {
            Peer::Polls => hurt.poll(place, deed, &before),
            Peer::Answers => hurt.answer(place, deed, &before),
            Peer::Server | Peer::Proxy => hurt.call(*peer, place, deed, &before),
        };
        if found != *wanted {
            wrong.push(format!("{peer:?} {deed:?} {place:?}: {found}, and the table has {wanted}"));
        }
        // Whatever it was, the next one is served.
        hurt.rig.assert_alive();
    }
    wrong
}

impl Hurt {
    fn start(peer: Peer) -> Hurt {
        let authority = Authority::new("Matrix");
        let tls = (peer == Peer::Proxy).then(|| authority.server());
        let (plane, mcp) = (Plane::start(), Mcp::start_with(tls));
        let port = if peer == Peer::Server { mcp.server.port() } else { plane.server.port() };
        let to = FaultProxy::start(port, None);
        let http = |proxy: &FaultProxy| format!("http://{}", proxy.address());
        let of_plane = matches!(peer, Peer::Polls | Peer::Answers);
        let settings = |builder: Builder| {
            builder
                .flag("control-plane.poll-timeout", "1s")
                .flag("control-plane.poll-deadline-guardrail", "300ms")
                // As long answers are posted as calls may take.
                .flag("mcp.connection-max-ttl", if of_plane { "10s" } else { "1s" })
                .flag("mcp.max-concurrent-requests", "1")
        };
        let (builder, to, rest) = match peer {
            Peer::Polls | Peer::Answers => (Builder::run(&http(&to), &mcp.url()), to, (None, None)),
            Peer::Server => {
                let url = http(&to) + "/mcp";
                (Builder::run(&plane.server.origin(), &url), to, (None, None))
            }
            Peer::Proxy => {
                let proxy = Proxy::start(None, Manner::Open);
                let to = FaultProxy::start(proxy.port(), None);
                let builder = Builder::run(&plane.server.origin(), &mcp.url())
                    .flag("mcp.http-proxy", &http(&to))
                    .flag("ca-bundle", &authority.bundle());
                (builder, to, (None, Some(proxy)))
            }
        };
        let client = settings(builder).start();
        let rig = Rig { client, mcp, plane };
        rig.mcp.server.wait_requests(1, is_probe);
        rig.assert_alive();
        Hurt { rig, to, _rest: rest }
    }

    /// The reply of a poll that holds a command.
    fn poll(&self, place: Place, deed: Deed, before: &Before<'_>) -> String {
        self.to.arm("/poll?", place, deed);
        // The poll that is held is not meant, but the next one.
        self.wait(|| self.to.has_met());
        let command = Command::method("hurt", "1");
        self.rig.plane.queue(&command);
        self.wait(|| {
            self.rig
                .plane
                .handed()
                .iter()
                .any(|handed| handed.commands.iter().any(|text| text.contains(&command.id)))
        });
        // A later poll is served, and what came before it is decided.
        let next = self.rig.send(&Command::method("next", "1"));
        assert_eq!(next.payload()["result"]["echo"], serde_json::json!({}));
        self.told(if self.traces(&command) { "taken" } else { "lost" }, before)
    }

    /// Whether anything was done for a command.
    fn traces(&self, command: &Command) -> bool {
        !self.rig.plane.posts_of(command).is_empty()
            || self.rig.client.log().contains(&format!("\"{}\"", command.id))
    }

    /// The reply to a post.
    fn answer(&self, place: Place, deed: Deed, before: &Before<'_>) -> String {
        let (command, next) = (Command::method("hurt", "1"), Command::method("next", "1"));
        self.to.arm(&format!("\"{}\"", command.id), place, deed);
        self.rig.send(&command);
        self.wait(|| self.to.has_met());
        if place == Place::Behind {
            std::thread::sleep(LATE);
            self.rig.send(&next);
        }
        let meant = if place == Place::Behind { &next } else { &command };
        if before.wanted.starts_with("twice") {
            self.rig.plane.wait_posts(meant, 2, |_| true);
        } else {
            std::thread::sleep(if deed == STALL { POST + AGAIN } else { AGAIN });
        }
        let posts = self.rig.plane.posts_of(meant);
        assert!(posts.iter().all(|post| post.request.body == posts[0].request.body));
        self.told(if posts.len() == 1 { "once" } else { "twice" }, before)
    }

    /// The reply of a server, or of the proxy that leads to it.
    fn call(&self, peer: Peer, place: Place, deed: Deed, before: &Before<'_>) -> String {
        let mut found = self.call_once(peer, place, deed, before);
        // The client's own search for metadata goes through the proxy too, and may have met what was meant for the call.
        for _ in 0..5 {
            if peer == Peer::Proxy && place != Place::Behind && found == "200" {
                found = self.call_once(peer, place, deed, before);
            }
        }
        found
    }

    fn call_once(&self, peer: Peer, place: Place, deed: Deed, before: &Before<'_>) -> String {
        match (peer, place) {
            (Peer::Server, Place::Behind) => {
                self.to.arm("\"first\"", place, deed);
                assert_eq!(self.rig.send(&Command::method("first", "1")).code(), 200);
            }
            (Peer::Server, _) => self.to.arm("\"hurt\"", place, deed),
            (_, Place::Behind) => self.to.strike(deed),
            _ => self.to.strike(Deed::Cut),
        }
        std::thread::sleep(LATE);
        if peer == Peer::Proxy && place != Place::Behind {
            self.to.arm("CONNECT ", place, deed);
        }
        let (calls, command) = (self.rig.mcp.calls_of("hurt").len(), Command::method("hurt", "1"));
        let answer = self.rig.send(&command);
        assert!(!answer.request.text().contains("forged"), "{}", answer.request.text());
        if answer.code() == 200 {
            assert_eq!(self.rig.mcp.calls_of("hurt").len(), calls + 1);
            return self.told("200", before);
        }
        let is_of_proxy = peer == Peer::Proxy && matches!(place, Place::BeforeHead | Place::InHead);
        self.assert_named(&command, &answer, is_of_proxy);
        let seen = match self.rig.mcp.calls_of("hurt").len() - calls {
            0 => ", unseen",
            1 => "",
            _ => ", twice",
        };
        self.told(&format!("{} {}{seen}", answer.code(), answer.cause()), before)
    }

    /// The log has the status and the class that the caller got, and where the proxy has made no tunnel it says so.
    fn assert_named(&self, command: &Command, answer: &Posted, is_of_proxy: bool) {
        let is_of =
            |line: &str, words: &str| line.contains(words) && line.contains(&format!("\"{}\"", command.id));
        let line = self.rig.client.wait_log(|line| is_of(line, "call ended: failed"));
        let failure = &answer.failure()["transport_error_kind"];
        for said in [format!("\"status\":{}", answer.code()), format!("\"failure\":{failure}")] {
            assert!(line.contains(&said), "{said}: {line}");
        }
        let line = self.rig.client.wait_log(|line| is_of(line, "upstream error"));
        assert!(!is_of_proxy || line.contains("proxy"), "{line}");
    }

    /// Adds whether the log has complained since. What is awaited may come a moment later.
    fn told(&self, found: &str, before: &Before<'_>) -> String {
        let end = Instant::now() + if before.wanted.ends_with("told") { BOUND / 6 } else { Duration::ZERO };
        loop {
            let log = self.rig.client.log();
            let complains = |line: &str| COMPLAINTS.iter().any(|word| line.contains(word));
            if log.lines().skip(before.logged).any(complains) {
                return format!("{found}, told");
            }
            if Instant::now() >= end {
                return found.to_owned();
            }
            std::thread::sleep(LATE);
        }
    }

    fn wait(&self, is_so: impl Fn() -> bool) {
        let end = Instant::now() + BOUND;
        while !is_so() {
            assert!(Instant::now() < end, "it did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
