//! The prober: a thread that asks the HTTP servers at start, and again while traffic does not tell.
//!
//! It only reports to readiness. A server that is down is asked more often than one that is up, so that
//! `/readyz` recovers soon after it; a busy one is not asked at all. It ends with the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::ops::heartbeat::Heartbeat;
use crate::ops::readiness::{Probe, Readiness};
use crate::relay::backoff::Backoff;
use crate::relay::revision::Era;
use crate::relay::stop::{Phase, Stop};

use super::http::HttpTarget;
use super::http::probe::{self, Finding};

/// How often a healthy server is asked: twice within the time that traffic counts as fresh.
const HEALTHY_INTERVAL: Duration = Duration::from_secs(30);

/// Traffic this fresh makes a probe needless. After a failed probe the next one is made all the same.
const FRESH_SECONDS: u64 = 60;

/// First wait after a failure; it doubles up to [`HEALTHY_INTERVAL`].
const FAILED_INTERVAL: Duration = Duration::from_secs(1);

/// First wait of the start-up gate, and its longest. Short at first: the server is usually being started
/// by the same supervisor, just now.
const GATE_WAIT_MIN: Duration = Duration::from_millis(50);
const GATE_WAIT_MAX: Duration = Duration::from_secs(1);

/// More than one probe or one search takes, with what it does at its end.
const ROUND_MAX: Duration = Duration::from_secs(15);

/// A search that is made once, and repeated until it tells that this is not needed any more. It is told after which
/// pause that would be.
pub type Search = Box<dyn Fn(Duration) -> bool + Send + Sync>;

/// Probes the servers behind HTTP channels.
pub struct Prober {
    targets: Vec<Arc<HttpTarget>>,
    discovery: Option<Search>,
    readiness: Arc<Readiness>,
    stop: Arc<Stop>,
}

/// What is known of one server between its probes. The era is remembered only to ask one question less;
/// no command is treated by it.
struct Server<'a> {
    target: &'a HttpTarget,
    era: Option<Era>,
    backoff: Backoff,
    due: Instant,
}

impl Prober {
    /// A prober of these servers, which makes this search beside.
    pub fn new(
        targets: Vec<Arc<HttpTarget>>,
        discovery: Option<Search>,
        readiness: Arc<Readiness>,
        stop: Arc<Stop>,
    ) -> Prober {
        Prober { targets, discovery, readiness, stop }
    }

    /// Waits until the main server accepts connections, at most `wait`. Only a server that nobody has
    /// started yet is waited for; any other finding ends the wait. Called before the first poll, so that
    /// no command fails merely because two services were started together. A stop ends it at once.
    pub fn gate(&self, wait: Duration, heartbeat: &Heartbeat) {
        let Some(target) = self.targets.iter().find(|target| *target.channel() == Channel::main()) else {
            return;
        };
        let end = Instant::now() + wait;
        heartbeat.until(end + ROUND_MAX);
        let mut backoff = Backoff::new(GATE_WAIT_MIN);
        loop {
            let finding = probe::probe(target, None);
            if !finding.is_absent() {
                self.report(target, finding);
                return;
            }
            let pause = backoff.next(GATE_WAIT_MAX);
            if pause == GATE_WAIT_MIN {
                log::info!(channel = target.channel().as_str(); "retrying MCP startup probe");
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!("mcp startup wait timed out after {}ms", wait.as_millis());
                self.readiness.probed(target.channel(), Probe::WaitExpired(text));
                return;
            }
            if self.stop.sleep(pause.min(left), Phase::Draining) {
                return;
            }
        }
    }

    /// Probes every server now and then until the process stops. One after the other: a silent one delays
    /// the others by its two seconds, which is less trouble than a thread for each.
    pub fn run(&self, heartbeat: &Heartbeat) {
        let server = |target| Server {
            target,
            era: None,
            backoff: Backoff::new(FAILED_INTERVAL),
            due: Instant::now(),
        };
        let mut servers: Vec<Server<'_>> = self.targets.iter().map(|target| server(target)).collect();
        let mut search = self.discovery.as_ref();
        let (mut backoff, mut due) = (Backoff::new(FAILED_INTERVAL), Instant::now());
        let mut was_well = false;
        while !self.stop.reached(Phase::Draining) {
            for server in servers.iter_mut().filter(|server| server.due <= Instant::now()) {
                heartbeat.within(ROUND_MAX);
                self.round(server);
            }
            // What failed while the server was down is not kept waiting once somebody has found it up.
            let is_well = self.readiness.is_well(&Channel::main());
            if is_well && !was_well {
                due = Instant::now();
            }
            was_well = is_well;
            // After the probes, whose findings people look for first; never again once it has succeeded.
            if let Some(run) = search.filter(|_| due <= Instant::now()) {
                heartbeat.within(ROUND_MAX);
                let pause = backoff.next_random(HEALTHY_INTERVAL);
                if run(pause) {
                    search = None;
                }
                due = Instant::now() + pause;
            }
            // The gate and calls find a server up without telling anybody here.
            let look = if was_well { due } else { Instant::now() + FAILED_INTERVAL };
            let search_due = search.map(|_| due.min(look));
            let next = servers.iter().map(|server| server.due).chain(search_due).min();
            let Some(next) = next else { return };
            // It may have passed long ago: thirty silent servers take more than a minute in all.
            let wait = next.saturating_duration_since(Instant::now());
            heartbeat.within(wait);
            self.stop.sleep(wait, Phase::Draining);
        }
    }

    /// Asks one server, unless its traffic has told, and says when it is due again.
    fn round(&self, server: &mut Server<'_>) {
        let channel = server.target.channel();
        server.due = Instant::now() + HEALTHY_INTERVAL;
        if !server.backoff.has_failed() && self.readiness.answered_within(channel, FRESH_SECONDS) {
            return;
        }
        let finding = probe::probe(server.target, server.era);
        if let Probe::Failed(why) | Probe::TimedOut(why) = &finding.probe {
            log::warn!(channel = channel.as_str(), error = why.as_str(); "mcp probe failed");
        }
        if matches!(finding.probe, Probe::Ready | Probe::AuthorizationRequired(_)) {
            server.era = finding.era.or(server.era);
            server.backoff.reset();
        } else {
            // A server that changed its mind is asked both questions again: it may have been replaced.
            server.era = None;
            server.due = Instant::now() + server.backoff.next(HEALTHY_INTERVAL);
        }
        self.report(server.target, finding);
    }

    /// Tells readiness; and the log, when this is the first that the server answers after it did not.
    fn report(&self, target: &HttpTarget, finding: Finding) {
        if matches!(finding.probe, Probe::Ready) && !self.readiness.is_well(target.channel()) {
            log::info!(
                channel = target.channel().as_str(), protocol_version = finding.version.as_deref().unwrap_or_default(),
                server = finding.server.as_deref().unwrap_or_default();
                "mcp session initialized"
            );
        }
        self.readiness.probed(target.channel(), finding.probe);
    }
}
