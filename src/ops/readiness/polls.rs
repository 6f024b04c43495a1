//! Whether the plane is reached, as far as polls show it.
//!
//! Remembers what polls came to and looks at a clock that it is given. Cannot fail.

use std::time::{Duration, Instant};

use super::run::{Fault, Run};
use crate::ops::health::{self, Clock, Component, Object, Status};

/// A poll that has been open this long is being held by the plane: refusals, wrong credentials and
/// unknown tunnels come back at once.
const HELD: Duration = Duration::from_secs(2);

/// The plane, as polls show it.
#[derive(Default)]
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
    pub(super) refused: bool,
    failures: Run,
    /// When the last poll was sent.
    pub(super) attempted: Option<Instant>,
    /// How long that one may be held, and how long it may take.
    pub(super) waits: Option<[Duration; 2]>,
    /// The last failure: when it was, its class, the plane's status, and when the next poll was due.
    failed: Option<(Instant, &'static str, Option<u16>, Instant)>,
}

impl Plane {
    /// A success forgets everything bad that came before it.
    pub(super) fn succeed(&mut self, now: Instant) {
        let Plane { metadata, attempted, waits, failed, .. } = *self;
        *self = Plane { succeeded: Some(now), metadata, attempted, waits, failed, ..Plane::default() };
    }

    /// The evidence of the open poll ends with it; that of earlier successes ends with a run.
    pub(super) fn fail(&mut self, now: Instant, fault: Fault<'_>, refused: bool, pause: Duration) {
        self.failed = Some((now, fault.category, fault.status, now + pause));
        let held = self.open_since.take().is_some_and(|since| now.duration_since(since) >= HELD);
        if held && !self.swallowed && self.failures.lasts() {
            // The plane was back, holding this poll; its end begins a new run.
            self.failures = Run::default();
        }
        (self.swallowed, self.refused) = (held, refused);
        self.failures.fail(now, fault.why);
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

    /// Polls as `/health` shows them.
    pub(super) fn component(&self, clock: Clock, wait: Duration, held_up: Option<&'static str>) -> Component {
        let errored = self.failed.map(|(at, ..)| at);
        let open = self.attempted.filter(|at| Some(*at) > self.succeeded.max(errored));
        let fault = self.failed.filter(|_| self.failures.count > 0);
        let (status, rests) = match (self.failures.count, self.succeeded) {
            (1.., _) => (Status::Degraded, "backoff"),
            (0, None) => (Status::Unknown, "starting"),
            (0, Some(_)) => (Status::Ok, "idle"),
        };
        let state = open.map_or(held_up.unwrap_or(rests), |_| "polling");
        let category = fault.map(|(_, category, ..)| category);
        let seconds = |at: usize| self.waits.and_then(|waits| health::seconds(*waits.get(at)?));
        let details = Object::default()
            .with("last_attempt", clock.time(self.attempted))
            .with("last_success", clock.time(self.succeeded))
            .with("last_error", clock.time(errored))
            .with("consecutive_failures", self.failures.count)
            .with("current_poll_age_seconds", clock.age(open))
            .with("configured_wait_seconds", health::seconds(wait))
            .with("effective_wait_seconds", seconds(0))
            .with("deadline_seconds", seconds(1))
            .with("next_retry", clock.time(fault.map(|(.., next)| next)))
            .with("failure_category", category)
            .with("http_status", fault.and_then(|(_, _, status, _)| status));
        Component { reason: category, details, ..Component::new("control-plane", status, state) }
    }

    /// Why the last poll failed, if it did.
    #[cfg(feature = "page")]
    pub(super) fn failing(&self) -> Option<&str> {
        (self.failures.count > 0).then_some(self.failures.why.as_str())
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
