//! Whether the plane is reached, as far as polls show it.
//!
//! Remembers what polls came to and looks at a clock that it is given. Cannot fail.

use std::time::{Duration, Instant};

use super::run::Run;

/// A poll that has been open this long is being held by the plane: refusals, wrong credentials and
/// unknown tunnels come back at once.
const HELD: Duration = Duration::from_secs(2);

/// The plane, as polls show it.
#[derive(Debug, Default)]
pub(super) struct Plane {
    /// When a poll last succeeded.
    pub(super) succeeded: Option<Instant>,
    /// The metadata GET answered; holds until polls keep failing.
    pub(super) metadata: bool,
    /// When the open poll was sent.
    pub(super) open_since: Option<Instant>,
    /// The last poll was open long and then failed: whatever swallowed it may swallow the next one,
    /// so that an open poll proves nothing until one has ended well or quickly.
    swallowed: bool,
    /// The last poll that failed was answered by the plane itself.
    refused: bool,
    failures: Run,
}

impl Plane {
    /// A success forgets everything bad that came before it.
    pub(super) fn succeed(&mut self, now: Instant) {
        *self = Plane { succeeded: Some(now), metadata: self.metadata, ..Plane::default() };
    }

    /// The evidence of the open poll ends with it; that of earlier successes ends with a run.
    pub(super) fn fail(&mut self, now: Instant, why: &str, refused: bool) {
        let held = self.open_since.take().is_some_and(|since| now.duration_since(since) >= HELD);
        if held && !self.swallowed && self.failures.lasts() {
            // The plane was back, holding this poll; its end begins a new run.
            self.failures = Run::default();
        }
        (self.swallowed, self.refused) = (held, refused);
        self.failures.fail(now, why);
        self.metadata &= !self.failures.lasts();
    }

    /// An open poll is the freshest evidence and outweighs a run of failures before it.
    pub(super) fn reached(&self, now: Instant, window: Duration) -> bool {
        let held = self.open_since.is_some_and(|since| now.duration_since(since) >= HELD);
        if held && !self.swallowed {
            return true;
        }
        let recent = self.succeeded.is_some_and(|at| now.duration_since(at) <= window);
        !self.failures.lasts() && (recent || self.metadata)
    }

    /// Why it does not count as reached.
    pub(super) fn fault(&self) -> String {
        match self.failures.count {
            0 if self.succeeded.is_none() => "control plane not reached yet".into(),
            0 => "control plane not reached: no poll succeeded for too long".into(),
            _ if self.refused => format!("control plane reached, but polls fail: {}", self.failures.why),
            _ => format!("control plane not reached: {}", self.failures.why),
        }
    }
}
