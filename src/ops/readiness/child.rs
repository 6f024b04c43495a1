//! What readiness is told of children over stdio by who keeps them. Not debounced: a dead or silent process is
//! no matter of chance.

use super::{Readiness, shorten};
use crate::config::Channel;

impl Readiness {
    /// The channel's child runs, or answers for the first time. Calls that were cut by the end of the last
    /// one, or came before this one could serve them, say nothing of it.
    pub fn child_up(&self, channel: &Channel) {
        self.target(channel, |target| {
            (target.down, target.silent) = (None, None);
            target.reach();
        });
    }

    /// The channel's child says nothing although it owes answers, or has said something again.
    pub fn child_silent(&self, channel: &Channel, why: Option<&str>) {
        self.target(channel, |target| target.silent = why.map(shorten));
    }

    /// The channel's child has ended; it is started again, but nothing works meanwhile.
    pub fn child_down(&self, channel: &Channel, why: &str) {
        self.target(channel, |target| target.down = Some(shorten(why)));
    }
}
