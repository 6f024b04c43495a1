//! Whether the tunnel works, polls, posts and servers, debounced and held in memory.
//!
//! Pollers, couriers and probers report what happened; `/readyz` asks for the verdict. Asking looks
//! at remembered facts and the clock and contacts nobody, so a supervisor may ask as often as it
//! likes. A ready tunnel does not turn unready by one bad event: a run of failures must reach
//! `RUN_FAILURES` or span `RUN_SPAN`. One success ends any run.

#[cfg(feature = "page")]
mod looks;
mod polls;
mod posts;
mod run;
#[cfg(feature = "page")]
mod seen;
mod target;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::ops::health::{Clock, Component, Object, Status};
use crate::sync;

use polls::Plane;
pub use posts::Posts;
pub use run::Fault;
use run::shorten;
#[cfg(feature = "page")]
pub(crate) use seen::Look;
#[cfg(feature = "page")]
use seen::Seen;
use target::{Target, Trouble};

pub use target::Probe;

/// Why a child is down that nobody has started yet.
pub const NOT_STARTED: &str = "not started yet";

/// The live verdict behind `/readyz`. Shared behind an `Arc`.
pub struct Readiness {
    /// Time for which a successful poll proves that the plane is reached.
    plane_window: Duration,
    state: Mutex<State>,
    /// Asks whether new commands are refused here, and why.
    refusal: OnceLock<Refusal>,
    /// The tunnel's own name, and since when each part is as it is.
    #[cfg(feature = "page")]
    seen: Seen,
}

/// Tells from memory why new commands are refused now.
pub type Refusal = Box<dyn Fn() -> Option<String> + Send + Sync>;

#[derive(Default)]
struct State {
    plane: Plane,
    posts: Posts,
    targets: BTreeMap<Channel, Target>,
    discovery: Discovery,
}

/// State of the search for the main server's metadata. A failure stays until a search succeeds.
#[derive(Default)]
#[cfg_attr(not(feature = "harpoon"), allow(dead_code))]
pub enum Discovery {
    #[default]
    /// Nothing is searched.
    Unused,
    Pending,
    /// The server publishes none.
    Absent,
    /// Found, with what an operator might want to change.
    Found(Option<String>),
    Failed(String),
}

impl Readiness {
    /// `plane_window` is how long a successful poll counts (poll time-out, guardrail and a minute);
    /// `probed` are the channels whose servers will be probed at start.
    pub fn new(plane_window: Duration, probed: &[Channel]) -> Readiness {
        let targets = probed.iter().map(|channel| (channel.clone(), Target::expected())).collect();
        let state = Mutex::new(State { targets, ..State::default() });
        Readiness {
            plane_window,
            state,
            refusal: OnceLock::new(),
            #[cfg(feature = "page")]
            seen: Seen::default(),
        }
    }

    /// Has this asked whether new commands are refused. The first one counts.
    pub fn ask(&self, refusal: Refusal) {
        let _ = self.refusal.set(refusal);
    }

    /// A poll succeeded.
    pub fn poll_succeeded(&self) {
        self.state().plane.succeed(sync::now());
    }

    /// A poll was sent that may be held and may take so long; it is being held by the plane when that `is_connected`.
    pub fn poll_started(&self, waits: [Duration; 2], is_connected: bool) {
        let (mut state, now) = (self.state(), Some(sync::now()));
        (state.plane.attempted, state.plane.waits) = (now, Some(waits));
        state.plane.open_since = now.filter(|_| is_connected);
    }

    /// A poll has ended in a way that says nothing.
    pub fn poll_ended(&self) {
        self.state().plane.open_since = None;
    }

    /// A poll failed, and the next follows after `pause`; whether the plane itself `refused` it, or was not there.
    pub fn poll_failed(&self, fault: Fault<'_>, refused: bool, pause: Duration) {
        self.state().plane.fail(sync::now(), fault, refused, pause);
    }

    /// Something became of an answer, at this moment.
    pub fn posts(&self, change: impl FnOnce(&mut Posts, Instant)) {
        change(&mut self.state().posts, sync::now());
    }

    /// The metadata GET answered 2xx.
    pub fn metadata_succeeded(&self) {
        self.state().plane.metadata = true;
    }

    /// A command of this channel was answered by its server, in JSON-RPC; an error of the method is an
    /// answer too.
    pub fn target_answered(&self, channel: &Channel) {
        self.target(channel, |target| target.answer(sync::now()));
    }

    /// A command of this channel got a reply that is no answer: a refusal like 403, an empty 202.
    /// Somebody is there, so nothing is failing any more; but it may be a proxy or another program, so
    /// what a probe found stands.
    pub fn target_reached(&self, channel: &Channel) {
        self.target(channel, Target::reach);
    }

    /// A command of this channel failed without an answer of its server.
    pub fn target_failed(&self, channel: &Channel, why: &str) {
        self.target(channel, |target| target.fail(sync::now(), why));
    }

    /// A probe ended.
    pub fn probed(&self, channel: &Channel, probe: Probe) {
        self.target(channel, |target| target.probed(sync::now(), probe));
    }

    /// A search for metadata is to come, or has ended. What succeeds clears what failed before.
    #[cfg(feature = "harpoon")]
    pub fn discovery(&self, now: Discovery) {
        self.state().discovery = now;
    }

    /// Parts of `/health` that are known here: polls, the search for metadata, and answers, of which so many
    /// were brought, and `wait` is how long polls should be held. `held_up` says why no poll is made when none is open.
    pub fn components(
        &self,
        clock: Clock,
        wait: Duration,
        held_up: Option<&'static str>,
        brought: u64,
    ) -> [Component; 3] {
        let state = self.state();
        let (plane, posts) =
            (state.plane.component(clock, wait, held_up), state.posts.component(clock, brought));
        let (status, word, reason) = match &state.discovery {
            Discovery::Unused => (Status::Disabled, "disabled", None),
            Discovery::Pending => (Status::Unknown, "pending", None),
            Discovery::Absent => (Status::Ok, "not_advertised", Some("metadata_not_advertised")),
            Discovery::Found(_) => (Status::Ok, "complete", None),
            Discovery::Failed(_) => (Status::Degraded, "failed", Some("discovery_failed")),
        };
        let is_over = !matches!(state.discovery, Discovery::Unused | Discovery::Pending);
        let details = Object::default().with("discovery_complete", is_over);
        [plane, posts, Component { reason, details, ..Component::new("oauth", status, word) }]
    }

    /// What probes of a server came to, and whether anything is wrong with it.
    pub fn server(&self, channel: &Channel, clock: Clock) -> (Option<Object>, bool) {
        let state = self.state();
        let Some(target) = state.targets.get(channel) else { return (None, false) };
        let probe = if target.pending { Some(("pending", None)) } else { target.probe };
        let shown = |(word, at)| Object::default().with("state", word).with("observed_at", clock.time(at));
        (probe.map(shown), target.trouble().is_some())
    }

    /// True when traffic of this channel succeeded within the last `seconds`.
    pub fn answered_within(&self, channel: &Channel, seconds: u64) -> bool {
        let answered = self.state().targets.get(channel).and_then(|target| target.answered);
        answered.is_some_and(|at| sync::since(at) <= Duration::from_secs(seconds))
    }

    /// The channel's child runs, or answers for the first time. Calls that were cut by the end of the last
    /// one, or came before this one could serve them, say nothing of it.
    pub fn child_up(&self, channel: &Channel) {
        self.target(channel, |target| {
            target.child = None;
            target.reach();
        });
    }

    /// The channel's child says nothing although it owes answers, or has said something again. Like its end this
    /// is not debounced: a silent or dead process is no matter of chance.
    pub fn child_silent(&self, channel: &Channel, why: Option<&str>) {
        self.target(channel, |target| {
            if !matches!(target.child, Some((Trouble::Down, _))) {
                target.child = why.map(|why| (Trouble::Silent, shorten(why)));
            }
        });
    }

    /// The channel's child has ended; it is started again, but nothing works meanwhile.
    pub fn child_down(&self, channel: &Channel, why: &str) {
        self.target(channel, |target| target.child = Some((Trouble::Down, shorten(why))));
    }

    /// Why the tools of the channel are not known, where they have to be; or that they are.
    pub fn tools_unread(&self, channel: &Channel, why: Option<&str>) {
        self.target(channel, |target| target.unread = why.map(|why| (Trouble::Unread, shorten(why))));
    }

    /// True when the server of this channel is known and nothing is wrong with it.
    pub fn is_well(&self, channel: &Channel) -> bool {
        let state = self.state();
        state.targets.get(channel).is_some_and(Target::is_well)
    }

    /// True when nothing is known to be wrong with the server of this channel, and no probe of it is awaited.
    pub fn is_up(&self, channel: &Channel) -> bool {
        let state = self.state();
        state.targets.get(channel).is_none_or(Target::is_well)
    }

    /// True when the start is over on the side of the servers: every probe and search has ended, however, and
    /// no child is down; where the dead count, every child has at least been started.
    #[cfg(feature = "dev")]
    pub fn is_settled(&self, dead_count: bool) -> bool {
        let is_up = |target: &Target| match &target.child {
            Some((Trouble::Down, why)) => dead_count && why != NOT_STARTED,
            _ => true,
        };
        let state = self.state();
        let searched = !matches!(state.discovery, Discovery::Pending);
        searched && state.targets.values().all(|target| !target.pending && is_up(target))
    }

    /// True when the plane counts as reached now: a start waits for this much.
    pub fn plane_reached(&self) -> bool {
        self.state().plane.reached(sync::now(), self.plane_window)
    }

    /// Status and text of `/readyz`, from memory.
    pub fn verdict(&self) -> (bool, String) {
        self.verdict_at(sync::now())
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
        if let Some(why) = self.refusal.get().and_then(|refusal| refusal()) {
            return (false, why);
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
        let troubles = targets().filter_map(|(name, target)| Some((name, target.trouble()?)));
        if let Some((channel, (trouble, why))) = troubles.min_by_key(|(_, (trouble, _))| *trouble) {
            return (false, trouble.text(channel, why));
        }
        let remark = targets().find_map(|(_, target)| target.remark.as_ref());
        let remark = match &state.discovery {
            Discovery::Failed(why) => return (false, format!("oauth discovery failed: {}", shorten(why))),
            Discovery::Found(why) => remark.or(why.as_ref()),
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
    fn state(&self) -> sync::Guard<'_, State> {
        sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests;
