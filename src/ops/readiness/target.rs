//! What is known of one MCP server, debounced.
//!
//! Remembers what probes, calls and the child came to, and looks at a clock that it is given. Cannot fail.

use std::time::Instant;

use crate::config::Channel;

use super::run::{Run, shorten};

/// Opens the remark about a server that asks who calls.
const AUTHORIZATION: &str = "mcp initialize requires auth";

/// Result of a probe of an MCP server.
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

impl Probe {
    fn word(&self) -> &'static str {
        match self {
            Probe::Ready => "succeeded",
            Probe::AuthorizationRequired(_) => "auth_required",
            Probe::TimedOut(_) | Probe::WaitExpired(_) => "timed_out",
            Probe::Failed(_) => "failed",
        }
    }
}

/// Reasons for which a server is not ready, the most telling first: a probe names the cause more plainly than
/// calls that fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Its child has ended.
    Down,
    /// Its child owes answers and says nothing.
    Silent,
    /// Its tools cannot be listed and compared with what was accepted.
    Unread,
    /// A probe was refused, or silent for too long; or the start-up wait ended without a server.
    Probe,
    /// Commands keep failing.
    Traffic,
}

impl Trouble {
    pub(super) fn text(self, channel: &Channel, why: &str) -> String {
        let channel = channel.as_str();
        match self {
            Trouble::Down => format!("mcp server of channel \"{channel}\" is down: {why}"),
            Trouble::Silent => format!("mcp server of channel \"{channel}\" is silent: {why}"),
            Trouble::Unread => {
                format!("mcp channel \"{channel}\" is not served: its tools are not known: {why}")
            }
            Trouble::Probe => format!("mcp {why}"),
            Trouble::Traffic => format!("mcp channel \"{channel}\" keeps failing: {why}"),
        }
    }
}

/// State of one server.
#[derive(Default)]
pub(super) struct Target {
    /// A probe is expected and nothing is known yet.
    pub(super) pending: bool,
    /// The server has answered before, so single failures are chance.
    proven: bool,
    /// The last probe failed: a reply that is no answer proves nothing against it.
    probe_failed: bool,
    /// What the last probe came to, in a word, and when.
    pub(super) probe: Option<(&'static str, Option<Instant>)>,
    /// When traffic last got an answer.
    pub(super) answered: Option<Instant>,
    /// Remark that is added to the ready text.
    pub(super) remark: Option<String>,
    failures: Run,
    /// Trouble that probes or calls have met.
    pub(super) fault: Option<(Trouble, String)>,
    /// Trouble of its child.
    pub(super) child: Option<(Trouble, String)>,
    /// Trouble with its list of tools.
    pub(super) unread: Option<(Trouble, String)>,
}

impl Target {
    /// A server whose first probe is to come.
    pub(super) fn expected() -> Target {
        Target { pending: true, ..Target::default() }
    }

    /// Whether nothing is known to be wrong with it, and no probe of it is awaited.
    pub(super) fn is_well(&self) -> bool {
        !self.pending && self.trouble().is_none()
    }

    /// The reason for which it is not ready: its child comes before anything that calls have met.
    pub(super) fn trouble(&self) -> Option<&(Trouble, String)> {
        self.child.as_ref().or(self.unread.as_ref()).or(self.fault.as_ref())
    }

    /// Traffic got through, whatever a probe said before.
    pub(super) fn answer(&mut self, now: Instant) {
        // A server that wants authorization still wants it when some caller brought its own.
        let remark = self.remark.take().filter(|remark| remark.starts_with(AUTHORIZATION));
        self.clear(remark);
        self.answered = Some(now);
    }

    /// Ends a run of failed calls, unless a probe has failed in it. Neither proves the server nor
    /// counts as fresh traffic, so the prober goes on asking.
    pub(super) fn reach(&mut self) {
        if !self.probe_failed {
            (self.failures, self.fault) = (Run::default(), None);
        }
    }

    /// The server answers: nothing is pending and nothing is wrong.
    fn clear(&mut self, remark: Option<String>) {
        let (answered, probe) = (self.answered, self.probe);
        let (child, unread) = (self.child.take(), self.unread.take());
        *self = Target { proven: true, answered, probe, remark, child, unread, ..Target::default() };
    }

    /// What a probe found is kept: traffic only meets its consequences.
    pub(super) fn fail(&mut self, now: Instant, why: &str) {
        self.failures.fail(now, why);
        let probe_spoke = matches!(self.fault, Some((Trouble::Probe, _)));
        if self.failures.lasts() && !probe_spoke {
            self.fault = Some((Trouble::Traffic, shorten(why)));
        }
    }

    /// A first probe that fails tells the truth at once; later ones are debounced like traffic. Mere
    /// silence is ready at first, as in the reference: the server may be slow to warm up.
    pub(super) fn probed(&mut self, now: Instant, probe: Probe) {
        self.pending = false;
        self.probe = Some((probe.word(), Some(now)));
        let (why, at_once, what) = match probe {
            Probe::Ready => return self.clear(None),
            Probe::AuthorizationRequired(why) => {
                return self.clear(Some(format!("{AUTHORIZATION}: {}", shorten(&why))));
            }
            Probe::TimedOut(why) => {
                self.remark = Some(format!("mcp startup probe timed out: {}", shorten(&why)));
                (why, self.fault.is_some(), "probe")
            }
            Probe::Failed(why) => (why, !self.proven, "probe"),
            Probe::WaitExpired(why) => (why, true, "startup wait"),
        };
        self.probe_failed = true;
        self.failures.fail(now, &why);
        if at_once || self.failures.lasts() {
            self.fault = Some((Trouble::Probe, format!("{what} failed: {}", shorten(&why))));
        }
    }
}
