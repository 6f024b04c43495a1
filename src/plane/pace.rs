//! Pace of polls: when the next one may be made, for how many commands, for how long, and where.
//!
//! One poller owns it and tells it how each poll ended. Nothing here sleeps.

use std::time::Duration;

use crate::net::{Error, Kind};
use crate::relay::backoff::Backoff;

use super::poll_wait::PollWait;
use super::refusal::Refusal;
use super::retry::{self, Repeats, WAIT_MIN};
use super::routing::{Placement, Routing};
use super::transport::Ask;

/// Most commands that one poll may ask for, the bound of the contract.
pub(super) const LIMIT_MAX: usize = 25;

/// Polls in a row that may come back empty at once; a plane that holds no poll is asked less often then.
const INSTANT_EMPTY_MAX: u32 = 10;
const INSTANT: Duration = Duration::from_millis(50);
const INSTANT_PAUSE: Duration = Duration::from_millis(100);

/// What the polls so far say about the next one: when it may be made, for how many commands, for how long and where.
pub(super) struct Pace {
    backoff: Backoff,
    pub(super) repeats: Repeats,
    pub(super) limit_max: usize,
    instant_empty: u32,
    wait: PollWait,
    routing: Routing,
}

impl Pace {
    pub(super) fn new(wait: PollWait) -> Pace {
        let (backoff, repeats, routing) = (Backoff::new(WAIT_MIN), Repeats::default(), Routing::default());
        Pace { backoff, repeats, limit_max: LIMIT_MAX, instant_empty: 0, wait, routing }
    }

    /// The next poll, for up to `limit` commands.
    pub(super) fn next(&mut self, limit: usize) -> Ask {
        let (wait, time) = self.wait.next();
        Ask { limit, wait, time, token: self.routing.active.clone() }
    }

    /// A poll brought so many commands and took so long; returns the pause before the next.
    pub(super) fn succeeded(&mut self, commands: usize, took: Duration) -> Duration {
        if self.backoff.reset() {
            self.repeats = Repeats::default();
            log::info!("poller recovered; polling operational");
        }
        self.routing.succeeded();
        self.limit_max = (2 * self.limit_max).min(LIMIT_MAX);
        let held = commands > 0 || took >= INSTANT;
        self.instant_empty = if held { 0 } else { self.instant_empty.saturating_add(1) };
        if self.instant_empty > INSTANT_EMPTY_MAX { INSTANT_PAUSE } else { Duration::ZERO }
    }

    /// A poll failed; returns the pause before the next. A correction pauses like any other failure: a plane that
    /// corrects without end must not be asked in a loop.
    pub(super) fn failed(&mut self, ask: &Ask, refusal: &Refusal) -> Duration {
        match refusal {
            // Neither what this side ended nor what it cannot hold tells of where the poll went.
            Refusal::Transport(Error {
                kind: Kind::Shutdown | Kind::InvalidRequest | Kind::TooLarge,
                ..
            }) => {}
            Refusal::Transport(error) => {
                self.routing.failed();
                self.learn(ask, error);
            }
            Refusal::Status(said) => match (&said.placement, said.status) {
                (Placement::Rejected(correction), _) => self.routing.corrected(correction),
                (Placement::Cut, _) | (_, 408 | 500..=599) => self.routing.failed(),
                _ => {}
            },
        }
        let is_refused = refusal.status().is_some_and(|said| matches!(said.status, 401 | 403));
        retry::wait(&mut self.backoff, is_refused, refusal.retry_after())
    }

    /// Makes polls shorter than the silence after which a proxy cuts them.
    fn learn(&mut self, ask: &Ask, error: &Error) {
        let Some(silence) = error.silence else { return };
        if let Some(learned) = self.wait.cut(ask.wait, silence) {
            log::warn!(
                error = error.to_string().as_str(), observed_disconnect_ms = silence.as_millis(),
                attempted_poll_timeout_ms = ask.wait.as_millis(), learned_poll_timeout_ms = learned.as_millis();
                "control-plane proxy closed long poll; lowering future poll timeout"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait() -> PollWait {
        PollWait::example(Duration::from_secs(1), Duration::from_secs(1), false)
    }

    #[test]
    fn a_plane_that_holds_no_poll_is_asked_less_often() {
        let mut pace = Pace::new(wait());
        let pauses = (0..=INSTANT_EMPTY_MAX).map(|_| pace.succeeded(0, Duration::ZERO));
        let last = pauses.last();
        assert_eq!(last, Some(INSTANT_PAUSE));
        assert_eq!(pace.succeeded(0, INSTANT), Duration::ZERO);
        assert_eq!(pace.succeeded(0, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn after_a_poll_that_was_too_large_the_limit_grows_again() {
        let mut pace = Pace { limit_max: 3, ..Pace::new(wait()) };
        let limits: Vec<usize> = (0..4)
            .map(|_| {
                pace.succeeded(1, Duration::ZERO);
                pace.limit_max
            })
            .collect();
        assert_eq!(limits, [6, 12, 24, LIMIT_MAX]);
    }
}
