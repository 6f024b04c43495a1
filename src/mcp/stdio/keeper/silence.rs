//! Children that owe answers and say nothing: when readiness is told, and when one is replaced.
//!
//! Silence alone ends no child, since a call may take as long as its deadline allows. Once every call that the
//! child held when it was found silent has passed its own deadline, the child is asked a question that every
//! server answers; only if that stays unanswered too nobody can still be working there. Whatever a child says,
//! be it noise, ends its silence.

use std::time::{Duration, Instant};

use crate::net;
use crate::sync;

use nix::unistd::Pid;

use super::{EOF_WAIT, KILL_WAIT, Keeper, State};

/// How long the question may stay unanswered, if the stated silence is not shorter.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often the calls of a silent child are looked at.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// The silence of one child.
#[derive(Debug)]
pub(super) struct Silence {
    /// How much of it is found strange.
    limit: Duration,
    /// Since when an answer is owed and nothing was said.
    since: Option<Instant>,
    /// It was found silent; calls below this number were taken before.
    found: Option<u64>,
    asked: Option<Instant>,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing for so long.
    Wait(Duration),
    /// Readiness has to know.
    Tell,
    /// The child has to be asked whether it is there.
    Ask,
    /// It has to be replaced.
    Replace,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Silence {
        Silence { limit, since: None, found: None, asked: None }
    }

    /// A fresh child owes nothing.
    pub(super) fn reset(&mut self) {
        *self = Silence::new(self.limit);
    }

    /// A call has been taken for the child.
    pub(super) fn owed(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The child has said something, and still owes answers or not. Tells whether it had been found silent.
    pub(super) fn heard(&mut self, now: Instant, owes: bool) -> bool {
        self.since = owes.then_some(now);
        self.asked = None;
        self.found.take().is_some()
    }

    /// What is to be done now. `next` is the number of the next call, and `owes` says whether a call below a
    /// number still waits.
    fn step(&mut self, now: Instant, next: u64, owes: impl Fn(u64) -> bool) -> Step {
        let Some(since) = self.since else { return Step::Wait(self.limit) };
        let left = (since + self.limit).saturating_duration_since(now);
        if !left.is_zero() {
            return Step::Wait(left);
        }
        let is_found = self.found.is_some();
        let held = *self.found.get_or_insert(next);
        let answer_max = ANSWER_MAX.min(self.limit);
        match self.asked {
            _ if !is_found && owes(held) => Step::Tell,
            _ if owes(held) => Step::Wait(LOOK_MAX.min(self.limit)),
            None => {
                self.asked = Some(now);
                Step::Ask
            }
            Some(asked) if now < asked + answer_max => Step::Wait(asked + answer_max - now),
            Some(_) => Step::Replace,
        }
    }
}

impl Keeper {
    /// Keeps the time of one child until it ends: its silence, the time that it may take after the end of its
    /// input, and the time that its guard may take after that.
    pub(super) fn keep_time(&self, generation: u64, guard: Pid) {
        let mut state = self.state();
        while state.running && state.generation == generation {
            let now = Instant::now();
            let wait = match (state.cut, state.input_closed) {
                (None, None) => self.look(&mut state, now),
                (None, Some(closed)) if now < closed + EOF_WAIT => closed + EOF_WAIT - now,
                (None, Some(_)) => {
                    self.cut(&mut state);
                    Duration::ZERO
                }
                (Some(cut), _) if now >= cut + KILL_WAIT => {
                    // Killed or stopped by its server, perhaps; who is behind it is swept.
                    drop(state);
                    log::warn!(channel = self.channel.as_str(); "the guard of the mcp server does not end; killing it");
                    return self.shared.guards.kill(guard);
                }
                (Some(cut), _) => cut + KILL_WAIT - now,
            };
            state = sync::wait_for(&self.clock, state, wait);
        }
    }

    /// Does what the child's silence asks for; tells for how long nothing has to be looked at.
    fn look(&self, state: &mut State, now: Instant) -> Duration {
        let State { silence, core, .. } = &mut *state;
        let seconds = silence.limit.as_secs_f32();
        match silence.step(now, core.next_number(), |number| core.owes(number)) {
            Step::Wait(wait) => return wait,
            Step::Tell => {
                let why = format!("said nothing for {seconds} s while calls wait");
                log::warn!(channel = self.channel.as_str(); "the mcp server {why}");
                self.shared.readiness.child_silent(&self.channel, Some(&why));
            }
            Step::Ask => {
                core.ask();
                self.changed.notify_all();
            }
            Step::Replace => {
                log::warn!(channel = self.channel.as_str(); "the mcp server let all its calls pass their deadlines, and a ping; replacing it");
                core.died(net::Kind::Eof, "the server is being replaced");
                self.cut(state);
            }
        }
        Duration::ZERO
    }

    /// The child has said something.
    pub(super) fn heard(&self, state: &mut State) {
        state.core.heard();
        let owes = state.core.owes(u64::MAX);
        if state.silence.heard(Instant::now(), owes) {
            self.shared.readiness.child_silent(&self.channel, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Calls 1 and 2 are held at 0 s; each step is (second, whether 1 or 2 still waits, what is done).
    fn steps(expected: &[(u64, bool, Step)]) {
        let began = Instant::now();
        let mut silence = Silence::new(LIMIT);
        silence.owed(began);
        for (second, held, step) in expected {
            let now = began + Duration::from_secs(*second);
            // A third call always waits: it came later.
            let owes = |number| (*held && number > 1) || number > 3;
            let next = if *second <= 60 { 3 } else { 4 };
            assert_eq!(silence.step(now, next, owes), *step, "{second} s");
        }
    }

    fn wait(seconds: u64) -> Step {
        Step::Wait(Duration::from_secs(seconds))
    }

    #[test]
    fn a_long_call_is_told_of_and_never_ended() {
        steps(&[(1, true, wait(59)), (60, true, Step::Tell), (61, true, wait(5)), (6_000, true, wait(5))]);
    }

    #[test]
    fn who_lets_all_pass_and_the_question_too_is_replaced() {
        steps(&[
            (60, true, Step::Tell),
            (70, false, Step::Ask),
            (71, false, wait(9)),
            (80, false, Step::Replace),
        ]);
        // Callers who left early are no reason to tell.
        steps(&[(59, false, wait(1)), (60, false, Step::Ask), (70, false, Step::Replace)]);
    }

    #[test]
    fn a_word_ends_the_silence() {
        let now = Instant::now();
        let mut silence = Silence::new(LIMIT);
        assert_eq!(silence.step(now, 1, |_| false), wait(60));
        silence.owed(now);
        assert_eq!(silence.step(now + LIMIT, 2, |_| true), Step::Tell);
        assert!(silence.heard(now + LIMIT, true));
        assert_eq!(silence.step(now + LIMIT, 2, |_| true), wait(60));
        assert_eq!(silence.step(now + LIMIT * 2, 2, |_| false), Step::Ask);
        assert!(silence.heard(now + LIMIT * 2, false));
        assert_eq!(silence.step(now + LIMIT * 9, 2, |_| false), wait(60));
    }
}
