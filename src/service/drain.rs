//! The end of a tunnel: what is in flight is finished, and the rest is answered as failed.

use std::time::Duration;

use crate::plane::courier::Couriers;
use crate::plane::poller::Poller;
use crate::plane::transport::Transport;
use crate::relay::inflight::InFlight;
use crate::relay::stop::{Phase, Stop};
use crate::relay::worker::Relay;
use crate::sync;

/// How long answers of cut calls may take to be posted. Supervisors kill after their own bound, so the
/// sum of all waits is stated in `Tunnel::drain_bound` and in the unit that is shipped.
pub(super) const LAST_POSTS_WAIT: Duration = Duration::from_secs(2);

/// How long posts that were cut may take to say so.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// The parts of a tunnel that a drain ends.
pub(crate) struct Drain<'a> {
    /// Where commands come from and answers go.
    pub(crate) plane: &'a dyn Transport,
    /// Polls.
    pub(crate) poller: &'a Poller,
    /// Runs commands.
    pub(crate) relay: &'a Relay,
    /// Posts answers.
    pub(crate) post_room: &'a Couriers,
    /// Tells every loop how far this is.
    pub(crate) stop: &'a Stop,
    /// What is not answered yet.
    pub(crate) flight: &'a InFlight,
}

impl Drain<'_> {
    /// Stops polling, finishes what is in flight within `time`, answers the rest as failed. Tells how many
    /// callers were not told: their answers were lost, or are still held by something that does not end.
    ///
    /// The order matters. Subscriptions end first, or every drain would last until its bound. Then no new
    /// command comes in. Only when time is up are servers cut, so that their calls fail and their workers
    /// hand over an answer; posts are cut last of all.
    pub(crate) fn run(&self, time: Duration) -> u64 {
        let deadline = sync::now() + time;
        let lost_before = self.post_room.lost();
        self.stop.enter(Phase::Draining);
        self.post_room.end_by(deadline + LAST_POSTS_WAIT);
        self.relay.targets.values().for_each(|target| target.wind_down());
        log::info!("stopping control-plane poller");
        self.poller.stop();
        if !self.flight.wait_empty(deadline) {
            // In this order: cut calls must find their phase changed, or they would be resumed.
            log::warn!(commands = self.flight.now(); "commands did not finish before shutdown; answering them as failed");
            self.stop.enter(Phase::Cutting);
            self.plane.stop_notes();
            // The poller may have had its last moment meanwhile, which is no time of these answers.
            self.post_room.end_by(sync::now() + LAST_POSTS_WAIT);
            // Before, since a worker whose call is cut would begin the next one.
            let waiting = self.relay.queue.take_rest();
            self.relay.targets.values().for_each(|target| target.stop());
            // Their callers learn at once what they would otherwise learn by waiting.
            waiting.into_iter().for_each(|command| self.relay.give_up(command));
            self.flight.wait_empty(sync::now() + LAST_POSTS_WAIT);
        }
        // Workers end when they find the queue closed and empty.
        self.relay.queue.close();
        // Children end last: until here a call may have needed one. All are asked before any is waited for.
        self.relay.targets.values().for_each(|target| target.stop());
        self.relay.targets.values().for_each(|target| target.close());
        self.stop.enter(Phase::Ended);
        self.post_room.close();
        // The last step: what is on its way is cut, and every later post.
        self.plane.stop_answers();
        // Couriers say what they were cut in; nothing of that waits for anybody else.
        self.flight.wait_empty(sync::now() + LAST_WORDS_WAIT);
        let held = u64::try_from(self.flight.now()).unwrap_or(u64::MAX);
        (self.post_room.lost() - lost_before).saturating_add(held)
    }
}
