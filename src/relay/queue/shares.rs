//! Shares of workers and places by channel, so that no server that hangs holds up those of other channels.
//!
//! A worker whose call hangs cannot be taken back, so what the others need is kept free beforehand:
//!
//! * A channel that has nothing running may always begin. For this there is one worker more for each channel
//!   beyond the first, so it holds for any number of channels and however many of them hang.
//! * Beyond that as many commands run at once as there are configured workers, and one channel of several
//!   takes at most three quarters of them.
//! * While another channel has commands waiting and less than its share, no channel takes more than its own.
//!   A share is the configured workers divided by the channels that have anything to do, but at least one.
//!
//! A place in the queue can be taken back. Of several channels' commands at most three quarters of the places
//! hold some that wait; when there is one more, a channel loses its newest one, which is refused: one that has
//! finished nothing for [`STUCK_AFTER`] if there is any, and of those the one with the most that wait.
//!
//! This only counts; it waits for nobody and cannot fail.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::sync;

/// A channel whose running commands have not ended for so long does without its places before others do.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// What one channel may take of everything, and all of them together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Limits {
    /// Commands that run at once, those that are the only one of their channel left aside.
    pub(super) workers: usize,
    /// The most of one channel.
    pub(super) running: usize,
    /// Commands that wait, of all channels.
    pub(super) waiting: usize,
    /// Subscriptions of one channel.
    pub(super) listens: usize,
}

/// What every channel holds.
#[derive(Debug, Default)]
pub(super) struct Shares {
    uses: BTreeMap<Channel, Use>,
}

/// What one channel holds.
#[derive(Debug, Default)]
struct Use {
    /// Commands that wait for an ordinary worker or a quick one.
    waiting: usize,
    /// Ordinary workers.
    running: usize,
    /// Quick workers.
    quick: usize,
    /// Subscriptions, waiting or running.
    listens: usize,
    /// When a command last ended, or the first of the present ones began.
    moved: Option<Instant>,
}

/// How the workers are divided at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    limits: Limits,
    pub(super) running: usize,
    share: usize,
    /// Channels that have commands waiting and less than their share.
    hungry: usize,
}

impl Use {
    fn is_hungry(&self, share: usize) -> bool {
        self.waiting > 0 && self.running < share
    }

    /// How many wait for more than a worker that is on its way: a channel with nothing running begins at once.
    fn held_up(&self) -> usize {
        self.waiting.saturating_sub(usize::from(self.running == 0))
    }

    /// How long nothing has ended; no time at all while nothing runs.
    fn stands(&self, now: Instant) -> Duration {
        let since = self.moved.filter(|_| self.running > 0);
        since.map_or(Duration::ZERO, |moved| now.saturating_duration_since(moved))
    }
}

impl Shares {
    /// A command begins to wait for an ordinary worker or a quick one, or waits no longer.
    pub(super) fn waits(&mut self, channel: &Channel, begins: bool) {
        self.change(channel, |own| step(&mut own.waiting, begins));
    }

    /// An ordinary worker begins a command, or has ended it.
    pub(super) fn runs(&mut self, channel: &Channel, begins: bool) {
        self.change(channel, |own| {
            if own.running == 0 || !begins {
                own.moved = Some(sync::now());
            }
            step(&mut own.running, begins);
        });
    }

    /// The same for a quick worker.
    pub(super) fn quick(&mut self, channel: &Channel, begins: bool) {
        self.change(channel, |own| step(&mut own.quick, begins));
    }

    /// The same for a subscription, from its arrival on.
    pub(super) fn listens(&mut self, channel: &Channel, begins: bool) {
        self.change(channel, |own| step(&mut own.listens, begins));
    }

    /// Subscriptions of this channel, and of all.
    pub(super) fn subscriptions(&self, channel: &Channel) -> (usize, usize) {
        let own = self.uses.get(channel).map_or(0, |own| own.listens);
        (own, self.uses.values().map(|each| each.listens).sum())
    }

    /// Whether a quick worker may take a command of this channel: one of them each.
    pub(super) fn may_be_quick(&self, channel: &Channel) -> bool {
        self.uses.get(channel).is_none_or(|own| own.quick == 0)
    }

    /// Ordinary workers that are busy.
    pub(super) fn running(&self) -> usize {
        self.uses.values().map(|each| each.running).sum()
    }

    /// How the workers are divided now.
    pub(super) fn division(&self, limits: Limits) -> Division {
        let active = self.uses.values().filter(|each| each.running + each.waiting > 0).count();
        let share = (limits.workers / active.max(1)).max(1);
        let hungry = self.uses.values().filter(|each| each.is_hungry(share)).count();
        Division { limits, running: self.running(), share, hungry }
    }

    /// Whether an ordinary worker may begin a command of this channel.
    pub(super) fn may_begin(&self, channel: &Channel, division: Division) -> bool {
        let Some(own) = self.uses.get(channel).filter(|own| own.running > 0) else { return true };
        let Division { limits, running, share, hungry } = division;
        let is_wanted = hungry > usize::from(own.is_hungry(share));
        let most = if is_wanted { share.min(limits.running) } else { limits.running };
        running < limits.workers && own.running < most
    }

    /// The channel whose newest command has to be refused, when too many wait.
    pub(super) fn crowding(&self, limits: Limits, now: Instant) -> Option<Channel> {
        let waiting: usize = self.uses.values().map(|each| each.waiting).sum();
        if waiting <= limits.waiting {
            return None;
        }
        let waiting = self.uses.iter().filter(|(_, each)| each.held_up() > 0);
        let order = |(_, each): &(&Channel, &Use)| {
            let stands = each.stands(now);
            (stands >= STUCK_AFTER, each.held_up(), stands)
        };
        waiting.max_by_key(order).map(|(channel, _)| channel.clone())
    }

    /// A channel that holds nothing is forgotten: names of channels come from outside.
    fn change(&mut self, channel: &Channel, change: impl FnOnce(&mut Use)) {
        if !self.uses.contains_key(channel) {
            self.uses.insert(channel.clone(), Use::default());
        }
        let Some(own) = self.uses.get_mut(channel) else { return };
        change(own);
        if own.waiting + own.running + own.quick + own.listens == 0 {
            self.uses.remove(channel);
        }
    }
}

fn step(count: &mut usize, up: bool) {
    *count = if up { *count + 1 } else { count.saturating_sub(1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn limits(workers: usize) -> Limits {
        Limits { workers, running: workers - workers / 4, waiting: 6, listens: 3 }
    }

    /// Shares where these channels have so many commands running and waiting.
    fn shares(uses: &[(&str, usize, usize)]) -> Shares {
        let mut shares = Shares::default();
        for (name, running, waiting) in uses {
            (0..*running).for_each(|_| shares.runs(&channel(name), true));
            (0..*waiting).for_each(|_| shares.waits(&channel(name), true));
        }
        shares
    }

    #[test]
    fn workers_are_shared_by_channel() {
        for (workers, uses, name, expected) in [
            // Alone a channel takes most of them, and the rest stays.
            (10, &[("a", 7, 5)][..], "a", true),
            (10, &[("a", 8, 5)], "a", false),
            // Who has nothing running begins, whatever the others hold.
            (10, &[("a", 8, 5), ("b", 2, 5)], "c", true),
            (1, &[("a", 1, 5), ("b", 1, 5)], "c", true),
            // The second one of a channel needs a worker of the common ones.
            (10, &[("a", 8, 5), ("b", 2, 5), ("c", 1, 1)], "c", false),
            (10, &[("a", 8, 5), ("b", 1, 1)], "b", true),
            // While another waits below its share, no channel takes more than its own.
            (10, &[("a", 5, 5), ("b", 2, 5)], "a", false),
            (10, &[("a", 5, 5), ("b", 2, 5)], "b", true),
            // One that waits at its share holds nobody up.
            (10, &[("a", 5, 5), ("b", 2, 0)], "a", true),
            (4, &[("a", 2, 1), ("b", 1, 0), ("c", 0, 1)], "a", false),
            // More channels than workers: one each.
            (2, &[("a", 1, 1), ("b", 1, 1), ("c", 1, 0)], "a", false),
            (2, &[("a", 1, 1), ("b", 1, 1), ("c", 1, 0)], "d", true),
        ] {
            let shares = shares(uses);
            let division = shares.division(limits(workers));
            assert_eq!(shares.may_begin(&channel(name), division), expected, "{workers} {uses:?} {name}");
        }
    }

    #[test]
    fn a_crowded_queue_refuses_who_crowds_it() {
        for (uses, moves, expected) in [
            (&[("a", 1, 6)][..], None, None),
            (&[("a", 1, 7)], None, Some("a")),
            // The longest row loses; one that stands still before it.
            (&[("a", 1, 5), ("b", 1, 2)], None, Some("a")),
            (&[("a", 1, 5), ("b", 1, 2)], Some("a"), Some("b")),
            // Whoever may begin at once is held up by nobody.
            (&[("a", 1, 6), ("b", 0, 1)], None, Some("a")),
            (&[("a", 1, 4), ("b", 0, 4)], Some("a"), Some("a")),
            (
                &[("a", 0, 1), ("b", 0, 1), ("c", 0, 1), ("d", 0, 1), ("e", 0, 1), ("f", 0, 1), ("g", 0, 1)],
                None,
                None,
            ),
        ] {
            let mut shares = shares(uses);
            let now = Instant::now() + STUCK_AFTER;
            if let Some(name) = moves {
                shares.change(&channel(name), |own| own.moved = Some(now));
            }
            assert_eq!(shares.crowding(limits(4), now), expected.map(channel), "{uses:?}");
        }
    }

    #[test]
    fn what_holds_nothing_is_forgotten() {
        let mut shares = shares(&[("a", 1, 1)]);
        shares.quick(&channel("b"), true);
        shares.listens(&channel("b"), true);
        shares.waits(&channel("a"), false);
        shares.runs(&channel("a"), false);
        shares.quick(&channel("b"), false);
        assert_eq!((shares.subscriptions(&channel("b")), shares.uses.len()), ((1, 1), 1));
        shares.listens(&channel("b"), false);
        assert!(shares.uses.is_empty());
    }
}
