//! A look at a running tunnel, again and again: is its readiness true, its memory bounded, and no loop overdue.

use std::sync::Arc;
use std::time::Duration;

use super::random::Random;
use super::scheduler;
use super::seen::{FORGOTTEN, Polls, Posts};
use super::tunnel::Tunnel;
use super::weather::Weather;
use crate::relay::queue::LISTENERS;
use crate::relay::stop::Phase;
use crate::sync;

const SECOND: Duration = Duration::from_secs(1);

/// Longest pause between two looks.
const LOOK: Duration = Duration::from_secs(3);

/// What a thread may be late: the scheduler gives each turn a moment.
const LATE: Duration = Duration::from_millis(100);

/// Time beyond its bound after which a loop counts as stuck, all but a moment: no host is slow here.
const MARGIN: Duration = Duration::from_secs(58);

/// The largest command and answer that the simulation makes, in bytes.
const COMMAND_BYTES: usize = 3_200;
const ANSWER_BYTES: usize = 2_100;

/// Most commands of a poll, those beyond its limit too.
const BATCH: usize = 28;

/// Longest time in which a plane that is well is not polled by a tunnel that has room: the longest wait after a refusal.
const UNPOLLED: Duration = Duration::from_secs(61);

/// What is looked at.
pub(super) struct Monitor(Arc<Tunnel>);

impl Monitor {
    pub(super) fn new(tunnel: &Arc<Tunnel>) -> Monitor {
        Monitor(Arc::clone(tunnel))
    }

    /// Looks until the tunnel has ended.
    pub(super) fn run(&self, mut random: Random) {
        let mut room_since = scheduler::elapsed();
        while !self.0.stop.sleep(random.time(LOOK), Phase::Ended) {
            let found = self.look(&mut room_since);
            found.into_iter().for_each(|what| self.0.history.wrong(what));
        }
    }

    fn look(&self, room_since: &mut Duration) -> Vec<String> {
        let (tunnel, mut found) = (&self.0, Vec::new());
        found
            .extend(tunnel.heartbeats.overdue(sync::now() + MARGIN).map(|name| format!("{name} is overdue")));
        self.memory(&mut found);
        let (ready, said) = tunnel.readiness.verdict();
        let reached = tunnel.readiness.plane_reached();
        let (polls, posts) = tunnel.plane.seen();
        if tunnel.stop.reached(Phase::Draining) {
            return found;
        }
        let now = scheduler::elapsed();
        if now > polls.changed + LATE {
            let lie = self.about_polls(&polls, reached, now);
            found.extend(lie.map(|lie| format!("{lie}: {said}, {polls:?}")));
        }
        let still = now > polls.changed + LATE && now > posts.changed + LATE && posts.open == 0;
        found
            .extend(about_posts(&posts, &said, reached && still, now).map(|lie| format!("{lie}: {posts:?}")));
        if ready != said.starts_with("ready") {
            found.push(format!("a verdict that contradicts itself: {said}"));
        }
        let full = tunnel.relay.queue.waiting() >= tunnel.plan.capacity
            || !tunnel.flight.wait_below(tunnel.plan.bytes_max, sync::now());
        let is_fine = tunnel.plane.weather.is(Weather::Fine, now.saturating_sub(2 * UNPOLLED), now);
        if full || !is_fine || polls.open.is_some() {
            *room_since = now;
        } else if now > *room_since.max(&mut { polls.changed }) + UNPOLLED + LATE {
            found.push("a plane that is well is not polled".to_owned());
        }
        found
    }

    /// What readiness may not say about polls.
    fn about_polls(&self, polls: &Polls, reached: bool, now: Duration) -> Option<&'static str> {
        let age = |at: Option<Duration>| at.map(|at| now.saturating_sub(at));
        let held = age(polls.open).is_some_and(|age| age >= 2 * SECOND - LATE);
        let held_long = age(polls.open).is_some_and(|age| age >= 2 * SECOND + LATE);
        let window = self.0.plan.window();
        match age(polls.succeeded) {
            Some(age) if !reached && polls.failed == 0 && age < window - LATE => {
                Some("unready, though a poll has just succeeded")
            }
            _ if reached && !held && polls.failed_quickly >= 3 => Some("ready, though every poll fails"),
            age if reached && !held && age.is_none_or(|age| age > window + LATE) => {
                Some("ready, though no poll has succeeded for too long")
            }
            Some(_) if !reached && held_long && polls.failed == 0 => {
                Some("unready, though the plane holds a poll")
            }
            _ => None,
        }
    }

    /// Whether memory is bounded.
    fn memory(&self, found: &mut Vec<String>) {
        let (plan, waiting, flying) = (&self.0.plan, self.0.relay.queue.waiting(), self.0.flight.now());
        // A queue of several channels has two places at least.
        if waiting > plan.capacity.max(2) {
            found.push(format!("{waiting} commands wait, {} may", plan.capacity));
        }
        let threads = 3 * plan.workers + 2 * plan.channels + LISTENERS + 1;
        let postponed = plan.bytes_max / 40;
        let most = plan.capacity.max(2) + threads + 2 * plan.workers + postponed + BATCH;
        if flying > most {
            found.push(format!("{flying} commands are in flight, {most} may be"));
        }
        let bytes = 2 * plan.bytes_max + BATCH * COMMAND_BYTES + (threads + plan.workers) * ANSWER_BYTES;
        if !self.0.flight.wait_below(bytes, sync::now()) {
            found.push(format!("more than {bytes} bytes are in flight"));
        }
    }
}

/// What readiness may not say about posts, where nothing is on its way.
fn about_posts(posts: &Posts, said: &str, still: bool, now: Duration) -> Option<&'static str> {
    let complains = said.starts_with("answers are not accepted");
    let age = now.saturating_sub(posts.last);
    match posts.refused.len() {
        _ if !still => None,
        3.. if !complains && age < FORGOTTEN - LATE => Some("ready, though no answer is accepted"),
        _ if complains && age > FORGOTTEN + LATE => Some("unready for refusals of long ago"),
        0..3 if complains => Some("unready, though answers are accepted"),
        _ => None,
    }
}
