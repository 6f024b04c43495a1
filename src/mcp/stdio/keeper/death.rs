//! Events and death of a child: what log, metrics and readiness are told of them.

use std::process::ExitStatus;
use std::time::Duration;

use crate::net;
use crate::ops::metrics::ChildEvent;
use crate::relay::message::Message;
use crate::relay::revision::Era;
use crate::sync;

use super::super::life::Speaks;
use super::{Keeper, State};

/// A child that ends so soon after its start may lack something of its environment.
const EARLY: Duration = Duration::from_secs(5);

/// Names of variables that one log line tells.
const WITHHELD_MAX: usize = 40;

/// Deaths without one answer after which readiness says so.
const DEATHS_MAX: u32 = 10;

impl Keeper {
    /// A number that changes when the child is another one, or has said that its list of tools is.
    pub(in super::super) fn generation(&self) -> u64 {
        let stamp = sync::lock(&self.state).core.stamp;
        (stamp.child << 32) + stamp.changed
    }

    /// The state for a message to be taken. A child that only we have used is ended when a caller asks for another
    /// session than we did.
    pub(super) fn state_for(&self, message: &Message) -> sync::Guard<'_, State> {
        let mut state = sync::lock(&self.state);
        if state.core.handshake.yields_to(message) {
            log::info!(channel = self.channel.as_str(); "a caller asks for another session than the one in which the tools were listed; replacing the server");
            self.end_child(&mut state, net::Kind::Eof, "the server is being replaced");
        }
        state
    }

    /// The channel as metrics know it.
    pub(super) fn label(&self) -> &str {
        self.shared.metrics.channel(&self.channel)
    }

    /// Counts a start of a child, which may be one after another.
    pub(super) fn starts(&self, again: bool) {
        self.happened(ChildEvent::Start);
        self.shared.metrics.child_restarts.add([self.label()], usize::from(again));
    }

    /// Counts what happened to a child.
    pub(super) fn happened(&self, event: ChildEvent) {
        self.shared.metrics.child_events.add([self.label(), event.word()], 1);
    }

    /// Tells log, metrics and readiness that a child has ended, or could not be started.
    pub(super) fn record_death(&self, state: &mut State, cause: &'static str, why: &str, lived: Duration) {
        state.deaths = if state.core.answered { 1 } else { state.deaths.saturating_add(1) };
        if state.core.speaks == Speaks::No {
            state.core.fail_all(net::Kind::ConnectionClosed, "the server does not speak this revision");
        }
        self.shared.metrics.child_deaths.add([self.label(), cause], 1);
        log::warn!(channel = self.channel.as_str(), deaths = state.deaths, last_words = state.last_words.as_str(); "mcp server {why}");
        let withheld = &self.launch.withheld;
        if lived < EARLY && !withheld.is_empty() && !std::mem::replace(&mut state.withheld_said, true) {
            let names = withheld.iter().take(WITHHELD_MAX).map(String::as_str).collect::<Vec<_>>().join(" ");
            log::info!(channel = self.channel.as_str(), count = withheld.len(), variables = names.as_str(); "the mcp server ended soon after its start; it does not get these variables of this process unless mcp.pass-env names them");
        }
        if self.era == Era::Legacy {
            let many = if state.deaths >= DEATHS_MAX { " again and again, without one answer" } else { "" };
            self.shared.readiness.child_down(&self.channel, &format!("{why}{many}"));
        }
    }
}

/// How a child ended, by the status that its guard hands on.
pub(super) fn cause(status: ExitStatus) -> &'static str {
    match status.code() {
        Some(0) => "exit_0",
        Some(126 | 127) => "not_executed",
        Some(129..) => "signal",
        Some(_) => "exit",
        None => "guard_killed",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::core::Core;
    use super::super::super::launch::Launch;
    use super::super::super::rewrite::Numbers;
    use super::super::Shared;
    use super::*;
    use crate::config::Channel;
    use crate::net::Budget;
    use crate::ops::metrics::Metrics;
    use crate::ops::readiness::Readiness;

    #[test]
    fn readiness_tells_of_many_deaths_without_one_answer() {
        let channel = Channel::main();
        let readiness = Arc::new(Readiness::new(Duration::from_secs(60), &[]));
        readiness.poll_succeeded();
        let shared = Shared {
            silence: Duration::from_secs(1),
            budget: Budget::new(1),
            metrics: Arc::new(Metrics::new("t", 1, 1, std::slice::from_ref(&channel))),
            readiness: Arc::clone(&readiness),
            guards: Arc::default(),
        };
        let core = Core::new(Era::Legacy, Numbers::new("tc-".into(), 1));
        let keeper = Keeper::new(&channel, Era::Legacy, core, &Launch::default(), &shared, None);
        let why = || {
            let state = &mut sync::lock(&keeper.state);
            keeper.record_death(state, "exit", "ended with exit status: 1", Duration::ZERO);
            readiness.verdict().1
        };
        for _ in 1..DEATHS_MAX {
            assert!(!why().contains("again and again"));
        }
        assert!(why().contains("ended with exit status: 1 again and again, without one answer"));
    }
}
