//! Times of a child: how long it may be silent, and how long it and its guard may take to end.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::net;
use crate::sync;

use super::super::life::{Change, Life};
use super::super::silence::Step;
use super::{EOF_WAIT, Keeper, State};

impl Keeper {
    /// Keeps the time of one child until it ends.
    pub(super) fn keep_time(&self, child: u64, guard: Pid) {
        let mut state = sync::lock(&self.state);
        while state.core.stamp.child == child {
            let now = Instant::now();
            let wait = match state.core.life {
                Life::Ending(due) | Life::Closing(due) if now < due => due - now,
                Life::Ending(_) | Life::Closing(_) if state.lifeline.is_some() => {
                    self.end_child(&mut state, net::Kind::Eof, "the server does not end");
                    Duration::ZERO
                }
                Life::Ending(_) | Life::Closing(_) => {
                    // Killed or stopped by its server, perhaps; what is behind it is swept.
                    drop(state);
                    log::warn!(channel = self.channel.as_str(); "the guard of the mcp server does not end; killing it");
                    return self.shared.guards.kill(guard);
                }
                Life::Silent(until) if until <= now => {
                    // Closing its input asks it to end.
                    let cause = "the server does not speak this revision";
                    state.core.ends(Change::End(now + EOF_WAIT), net::Kind::Eof, cause);
                    self.changed.notify_all();
                    EOF_WAIT
                }
                Life::Silent(until) => self.watch_silence(&mut state, now).min(until - now),
                Life::Opening(_) | Life::Serving => self.watch_silence(&mut state, now),
                Life::Down | Life::Starting | Life::Closed => return,
            };
            state = self.due.wait_for(state, wait);
        }
    }

    /// Does what the child's silence asks for; tells for how long nothing has to be looked at.
    fn watch_silence(&self, state: &mut State, now: Instant) -> Duration {
        let core = &state.core;
        match state.silence.step(now, core.next_number(), |number| core.owes(number)) {
            Step::Wait(wait) => return wait,
            Step::Tell => {
                let seconds = self.shared.silence.as_secs_f32();
                let why = format!("said nothing for {seconds} s while calls wait");
                log::warn!(channel = self.channel.as_str(); "the mcp server {why}");
                self.shared.readiness.child_silent(&self.channel, Some(&why));
            }
            Step::Ask => {
                state.core.ask();
                self.changed.notify_all();
            }
            Step::Replace => {
                log::warn!(channel = self.channel.as_str(); "the mcp server let all its calls pass their deadlines, and a ping; replacing it");
                self.end_child(state, net::Kind::Eof, "the server is being replaced");
            }
        }
        Duration::ZERO
    }

    /// The child has said something.
    pub(super) fn end_silence(&self, state: &mut State) {
        state.core.forget_question();
        let owes = state.core.owes(u64::MAX);
        if state.silence.end(Instant::now(), owes) {
            self.shared.readiness.child_silent(&self.channel, None);
        }
    }
}
