//! Whether the tunnel works, polls, posts and servers, debounced and held in memory.
//!
//! Pollers, couriers and probers report what happened; `/readyz` asks for the verdict. Asking looks
//! at remembered facts and the clock and contacts nobody, so a supervisor may ask as often as it
//! likes. A ready tunnel does not turn unready by one bad event: a run of failures must reach
//! `RUN_FAILURES` or span `RUN_SPAN`. One success ends any run.

mod child;
mod polls;
mod posts;
mod run;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::sync;
use crate::text;

use polls::Plane;
use posts::Posts;
use run::Run;

/// Why a child is down that nobody has started yet.
pub const NOT_STARTED: &str = "not started yet";

/// Bound of foreign text in a verdict; supervisors log it whole, on every check.
const MAX_WHY_BYTES: usize = 256;

/// The live verdict behind `/readyz`. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Readiness {
    /// How long a successful poll proves that the plane is reached.
    plane_window: Duration,
    state: Mutex<State>,
}

/// What a probe of an MCP server found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answered.
    Ready,
    /// It wants authorization first; the text says what it answered.
    AuthorizationRequired(String),
    /// It stayed silent within the probe's time.
    TimedOut(String),
    /// It refused, or could not be reached.
    Failed(String),
    /// The start-up wait ended without a server.
    WaitExpired(String),
}

#[derive(Debug, Default)]
struct State {
    plane: Plane,
    posts: Posts,
    targets: BTreeMap<Channel, Target>,
    discovery: Discovery,
}

/// What the search for the main server's metadata has come to; nothing has succeeded since one failed.
#[derive(Debug, Default)]
enum Discovery {
    #[default]
    Settled,
    Pending,
    Remark(String),
    Failed(String),
}

#[derive(Debug, Default)]
struct Target {
    /// A probe is expected and nothing is known yet.
    pending: bool,
    /// The server has answered before, so single failures are chance.
    proven: bool,
    /// The last probe failed: a reply that is no answer proves nothing against it.
    probe_failed: bool,
    /// When traffic last got an answer.
    answered: Option<Instant>,
    /// What the ready text adds.
    remark: Option<String>,
    failures: Run,
    fault: Option<Fault>,
    /// Its child has ended, and how.
    down: Option<String>,
    /// Its child owes answers and says nothing.
    silent: Option<String>,
}

/// What makes a target unready.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// A probe was refused, or silent for too long.
    Probe(String),
    /// The start-up wait ended without a server.
    Wait(String),
    /// Commands keep failing.
    Traffic(String),
}

impl Readiness {
    /// `plane_window` is how long a successful poll counts (poll time-out, guardrail and a minute);
    /// `probed` are the channels whose servers will be probed at start.
    pub fn new(plane_window: Duration, probed: &[Channel]) -> Readiness {
        let pending = || Target { pending: true, ..Target::default() };
        let targets = probed.iter().map(|channel| (channel.clone(), pending())).collect();
        let state = Mutex::new(State { targets, ..State::default() });
        Readiness { plane_window, state }
    }

    /// A poll succeeded.
    pub fn poll_succeeded(&self) {
        self.state().plane.succeed(Instant::now());
    }

    /// A poll was sent and is being held by the plane.
    pub fn poll_started(&self) {
        self.state().plane.open_since = Some(Instant::now());
    }

    /// A poll failed; whether the plane itself `refused` it, or was not there.
    pub fn poll_failed(&self, why: &str, refused: bool) {
        self.state().plane.fail(Instant::now(), why, refused);
    }

    /// The plane did not accept this answer; a number tells one answer from another.
    pub fn answer_refused(&self, number: u64, why: &str) {
        self.state().posts.refuse(Instant::now(), number, why);
    }

    /// The plane accepted an answer.
    pub fn answer_accepted(&self) {
        self.state().posts.accept();
    }

    /// The metadata GET answered 2xx.
    pub fn metadata_succeeded(&self) {
        self.state().plane.metadata = true;
    }

    /// A command of this channel was answered by its server, in JSON-RPC; an error of the method is an
    /// answer too.
    pub fn target_answered(&self, channel: &Channel) {
        self.target(channel, |target| target.answer(Instant::now()));
    }

    /// A command of this channel got a reply that is no answer: a refusal like 403, an empty 202.
    /// Somebody is there, so nothing is failing any more; but it may be a proxy or another program, so
    /// what a probe found stands.
    pub fn target_reached(&self, channel: &Channel) {
        self.target(channel, Target::reach);
    }

    /// A command of this channel failed without an answer of its server.
    pub fn target_failed(&self, channel: &Channel, why: &str) {
        self.target(channel, |target| target.fail(Instant::now(), why));
    }

    /// A probe ended.
    pub fn probed(&self, channel: &Channel, probe: Probe) {
        self.target(channel, |target| target.probed(Instant::now(), probe));
    }

    /// A search for metadata is to come.
    pub fn discovery_started(&self) {
        self.state().discovery = Discovery::Pending;
    }

    /// It ended, with a remark or with why it failed. What succeeds clears what failed before.
    pub fn discovered(&self, result: Result<Option<&str>, &str>) {
        self.state().discovery = match result {
            Ok(remark) => remark.map_or(Discovery::Settled, |remark| Discovery::Remark(shorten(remark))),
            Err(why) => Discovery::Failed(shorten(why)),
        };
    }

    /// Whether traffic of this channel succeeded within the last `seconds`.
    pub fn answered_within(&self, channel: &Channel, seconds: u64) -> bool {
        let answered = self.state().targets.get(channel).and_then(|target| target.answered);
        answered.is_some_and(|at| at.elapsed() <= Duration::from_secs(seconds))
    }

    /// Whether the server of this channel is known and nothing is wrong with it.
    pub fn is_well(&self, channel: &Channel) -> bool {
        let state = self.state();
        let target = state.targets.get(channel);
        target.is_some_and(|target| {
            !target.pending && target.fault.is_none() && target.down.is_none() && target.silent.is_none()
        })
    }

    /// What is known of the server of this channel, in the words of the verdict.
    #[cfg(feature = "page")]
    pub fn target_text(&self, channel: &Channel) -> String {
        let state = self.state();
        let Some(target) = state.targets.get(channel) else { return "not asked yet".into() };
        match (&target.down, &target.fault, &target.remark) {
            (Some(why), ..) => format!("down: {why}"),
            _ if target.silent.is_some() => {
                format!("silent: {}", target.silent.as_deref().unwrap_or_default())
            }
            (_, Some(fault), _) => fault.text(channel),
            _ if target.pending => "mcp startup probe pending".into(),
            (.., Some(remark)) => remark.clone(),
            _ => "well".into(),
        }
    }

    /// Whether the start is over on the side of the servers: every probe and search has ended, however, and
    /// no child is down; where the dead count, every child has at least been started.
    #[cfg(feature = "dev")]
    pub fn is_settled(&self, dead_count: bool) -> bool {
        let is_up =
            |down: &Option<String>| down.as_deref().is_none_or(|why| dead_count && why != NOT_STARTED);
        let state = self.state();
        let searched = !matches!(state.discovery, Discovery::Pending);
        searched && state.targets.values().all(|target| !target.pending && is_up(&target.down))
    }

    /// Whether the plane counts as reached now: a start waits for this much.
    pub fn plane_reached(&self) -> bool {
        self.state().plane.reached(Instant::now(), self.plane_window)
    }

    /// Status and text of `/readyz`, from memory.
    pub fn verdict(&self) -> (bool, String) {
        self.verdict_at(Instant::now())
    }

    /// The plane comes first: without it nothing else matters, and its text is what to act on.
    fn verdict_at(&self, now: Instant) -> (bool, String) {
        let state = self.state();
        if !state.plane.reached(now, self.plane_window) {
            return (false, state.plane.fault());
        }
        if let Some(why) = state.posts.fault(now) {
            return (false, format!("answers are not accepted: {why}"));
        }
        let targets = || state.targets.iter();
        let is_probed = !targets().any(|(_, target)| target.pending);
        // A server that does not answer explains why its metadata is not found.
        let is_well = targets().all(|(_, target)| target.fault.is_none());
        match state.discovery {
            Discovery::Pending if is_well || !is_probed => return (false, "oauth discovery pending".into()),
            _ if !is_probed => return (false, "mcp startup probe pending".into()),
            _ => {}
        }
        if let Some((name, why)) = targets().find_map(|(name, target)| Some((name, target.down.as_ref()?))) {
            return (false, format!("mcp server of channel \"{}\" is down: {why}", name.as_str()));
        }
        if let Some((name, why)) = targets().find_map(|(name, target)| Some((name, target.silent.as_ref()?)))
        {
            return (false, format!("mcp server of channel \"{}\" is silent: {why}", name.as_str()));
        }
        let faults = targets().filter_map(|(name, target)| Some((name, target.fault.as_ref()?)));
        // What a probe found comes before what traffic met: it names the cause more plainly.
        if let Some((channel, fault)) = faults.min_by_key(|(_, fault)| matches!(fault, Fault::Traffic(_))) {
            return (false, fault.text(channel));
        }
        let remark = targets().find_map(|(_, target)| target.remark.as_ref());
        let remark = match &state.discovery {
            Discovery::Failed(why) => return (false, format!("oauth discovery failed: {why}")),
            Discovery::Remark(why) => remark.or(Some(why)),
            _ => remark,
        };
        (true, remark.map_or_else(|| "ready".into(), |remark| format!("ready ({remark})")))
    }

    fn target(&self, channel: &Channel, change: impl FnOnce(&mut Target)) {
        let mut state = self.state();
        // The name is copied only when a channel is met for the first time.
        match state.targets.get_mut(channel) {
            Some(target) => change(target),
            None => change(state.targets.entry(channel.clone()).or_default()),
        }
    }

    /// Every change is whole by itself, so a panic elsewhere does not spoil the state.
    fn state(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

impl Target {
    /// Traffic got through, whatever a probe said before.
    fn answer(&mut self, now: Instant) {
        // A server that wants authorization still wants it when some caller brought its own.
        let remark = self.remark.take().filter(|remark| remark.starts_with(AUTHORIZATION));
        self.clear(remark);
        self.answered = Some(now);
    }

    /// Ends a run of failed calls, unless a probe has failed in it. Neither proves the server nor
    /// counts as fresh traffic, so the prober goes on asking.
    fn reach(&mut self) {
        if !self.probe_failed {
            (self.failures, self.fault) = (Run::default(), None);
        }
    }

    /// The server answers: nothing is pending and nothing is wrong.
    fn clear(&mut self, remark: Option<String>) {
        let (answered, down, silent) = (self.answered, self.down.take(), self.silent.take());
        *self = Target { proven: true, answered, remark, down, silent, ..Target::default() };
    }

    /// What a probe found is kept: traffic only meets its consequences.
    fn fail(&mut self, now: Instant, why: &str) {
        self.failures.fail(now, why);
        let probe_spoke = matches!(self.fault, Some(Fault::Probe(_) | Fault::Wait(_)));
        if self.failures.lasts() && !probe_spoke {
            self.fault = Some(Fault::Traffic(shorten(why)));
        }
    }

    /// A first probe that fails tells the truth at once; later ones are debounced like traffic. Mere
    /// silence is ready at first, as in the reference: the server may be slow to warm up.
    fn probed(&mut self, now: Instant, probe: Probe) {
        self.pending = false;
        let (why, at_once, fault): (String, bool, fn(String) -> Fault) = match probe {
            Probe::Ready => return self.clear(None),
            Probe::AuthorizationRequired(why) => {
                return self.clear(Some(format!("{AUTHORIZATION}: {}", shorten(&why))));
            }
            Probe::TimedOut(why) => {
                self.remark = Some(format!("mcp startup probe timed out: {}", shorten(&why)));
                (why, self.fault.is_some(), Fault::Probe)
            }
            Probe::Failed(why) => (why, !self.proven, Fault::Probe),
            Probe::WaitExpired(why) => (why, true, Fault::Wait),
        };
        self.probe_failed = true;
        self.failures.fail(now, &why);
        if at_once || self.failures.lasts() {
            self.fault = Some(fault(shorten(&why)));
        }
    }
}

/// Opens the remark about a server that asks who calls.
const AUTHORIZATION: &str = "mcp initialize requires auth";

impl Fault {
    fn text(&self, channel: &Channel) -> String {
        match self {
            Fault::Probe(why) => format!("mcp probe failed: {why}"),
            Fault::Wait(why) => format!("mcp startup wait failed: {why}"),
            Fault::Traffic(why) => {
                format!("mcp channel \"{}\" keeps failing: {why}", channel.as_str())
            }
        }
    }
}

/// Foreign text as it may stand in a verdict.
fn shorten(why: &str) -> String {
    text::bounded(why, MAX_WHY_BYTES)
}

#[cfg(test)]
mod tests;
