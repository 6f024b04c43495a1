//! How each part is, in words for the operator's page. Cannot fail.

use super::run::shorten;
use super::seen::Look;
use super::target::Trouble;
use super::{Discovery, Readiness};
use crate::config::Channel;
use crate::sync;

impl Readiness {
    /// The tunnel is called this.
    pub(crate) fn named(&self, name: &str) {
        let _ = self.seen.name.set(shorten(name));
    }

    /// What the tunnel is called, once that is known.
    pub(crate) fn name(&self) -> &str {
        self.seen.name.get().map(String::as_str).unwrap_or_default()
    }

    /// Notes how everything is, and the servers of these channels.
    pub(crate) fn look<'c>(&self, channels: impl Iterator<Item = &'c Channel>) {
        self.seen_as_whole(false);
        self.seen_plane();
        channels.for_each(|channel| drop(self.seen_channel(channel)));
    }

    /// The verdict, of a tunnel that may be `draining`.
    pub(crate) fn seen_as_whole(&self, draining: bool) -> Look {
        let (is_ready, why) = self.verdict();
        let (tone, word) = match is_ready {
            _ if draining => ("wait", "Draining"),
            true => ("ok", "Ready"),
            false => ("bad", "Not ready"),
        };
        let why = if why == "ready" { String::new() } else { why };
        self.seen.at("", tone, word, why)
    }

    /// The control plane, as polls show it.
    pub(crate) fn seen_plane(&self) -> Look {
        let state = self.state();
        let (plane, why) = (&state.plane, state.plane.fault());
        let (tone, word, why) = match plane.reached(sync::now(), self.plane_window) {
            true if plane.failing().is_none() => ("ok", "reached", String::new()),
            true => ("wait", "reached, a poll failed", plane.failing().unwrap_or_default().to_owned()),
            false if plane.succeeded.is_none() && plane.failing().is_none() => {
                ("wait", "not reached yet", String::new())
            }
            false => ("bad", if plane.refused { "polls fail" } else { "not reached" }, why),
        };
        drop(state);
        self.seen.at("control plane", tone, word, why)
    }

    /// The server of a channel.
    pub(crate) fn seen_channel(&self, channel: &Channel) -> Look {
        let state = self.state();
        let target = state.targets.get(channel);
        let trouble = target.and_then(|target| target.trouble());
        let (tone, word, why) = match (target, trouble) {
            // What this program serves itself is there.
            (None, _) if *channel == Channel::harpoon() => ("ok", "served here", String::new()),
            (None, _) => ("wait", "not asked yet", String::new()),
            (_, Some((trouble, why))) => {
                let word = match trouble {
                    Trouble::Down => "down",
                    Trouble::Silent => "silent",
                    Trouble::Unread => "not served",
                    Trouble::Probe | Trouble::Traffic => "failing",
                };
                ("bad", word, why.clone())
            }
            (Some(target), None) if target.pending => ("wait", "being probed", String::new()),
            (Some(target), None) => ("ok", "well", target.remark.clone().unwrap_or_default()),
        };
        drop(state);
        self.seen.at(channel.as_str(), tone, word, why)
    }

    /// The search for the main server's metadata, where there is one: what it means, how it is, and more of it.
    pub(crate) fn seen_discovery(&self) -> Option<(&'static str, &'static str, String)> {
        Some(match &self.state().discovery {
            Discovery::Unused => return None,
            Discovery::Pending => ("wait", "looking", "for the metadata of the server behind main".into()),
            Discovery::Absent => ("ok", "none", "is published by the server behind main".into()),
            Discovery::Found(why) => ("ok", "found", why.clone().unwrap_or_default()),
            Discovery::Failed(why) => ("bad", "failed", shorten(why)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_state_is_told_with_the_time_at_which_it_was_first_seen() {
        let (channel, readiness) = (Channel::main(), Readiness::new(Duration::from_secs(60), &[]));
        assert_eq!(readiness.seen_channel(&channel).word, "not asked yet");
        readiness.child_down(&channel, "ended with exit status: 1");
        let first = readiness.seen_channel(&channel);
        assert_eq!(
            (first.tone, first.word, first.why.as_str()),
            ("bad", "down", "ended with exit status: 1")
        );
        std::thread::sleep(Duration::from_millis(2));
        readiness.child_down(&channel, "ended with exit status: 2");
        let second = readiness.seen_channel(&channel);
        assert_eq!((second.since, second.why.as_str()), (first.since, "ended with exit status: 2"));
        readiness.child_up(&channel);
        readiness.target_answered(&channel);
        let third = readiness.seen_channel(&channel);
        assert!(third.since > first.since && third.word == "well" && third.tone == "ok");
        assert_eq!(
            (readiness.seen_as_whole(false).word, readiness.seen_as_whole(true).word),
            ("Not ready", "Draining")
        );
        assert_eq!((readiness.seen_plane().word, readiness.seen_plane().tone), ("not reached yet", "wait"));
        readiness.poll_succeeded();
        assert_eq!((readiness.seen_plane().word, readiness.seen_as_whole(false).word), ("reached", "Ready"));
    }
}
