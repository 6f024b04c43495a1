//! Silence of a child that owes answers: when readiness is told, and when the child is replaced.
//!
//! Silence alone ends no child, since a call may take as long as its deadline allows. Once every call that the
//! child held when it was found silent has passed its own deadline, the child is asked a question that every
//! server answers; only if that stays unanswered too nothing can still be working there. Whatever a child says,
//! be it noise, ends its silence.

use std::time::{Duration, Instant};

/// How long the question may stay unanswered, if the stated silence is not shorter.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often the calls of a silent child are looked at.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Silence of one child.
pub(super) struct Silence {
    /// How much of it is found strange.
    limit: Duration,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    /// No answer is owed.
    Idle,
    /// Since then an answer is owed and nothing was said.
    Since(Instant),
    /// It was found silent; calls below this number were taken before.
    Found(u64),
    /// All those calls have gone; it was asked at that time.
    Asked(Instant),
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
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
        Silence { limit, stage: Stage::Idle }
    }

    /// A call has been taken for the child.
    pub(super) fn owed(&mut self, now: Instant) {
        if let Stage::Idle = self.stage {
            self.stage = Stage::Since(now);
        }
    }

    /// The child has said something, and still owes answers or not. Tells whether it had been found silent.
    pub(super) fn end(&mut self, now: Instant, owes: bool) -> bool {
        let next = if owes { Stage::Since(now) } else { Stage::Idle };
        matches!(std::mem::replace(&mut self.stage, next), Stage::Found(_) | Stage::Asked(_))
    }

    /// What is to be done now. `next` is the number of the next call, and `owes` says whether a call below a
    /// number still waits.
    pub(super) fn step(&mut self, now: Instant, next: u64, owes: impl Fn(u64) -> bool) -> Step {
        let answer_max = ANSWER_MAX.min(self.limit);
        match self.stage {
            Stage::Idle => Step::Wait(self.limit),
            Stage::Since(since) if now < since + self.limit => Step::Wait(since + self.limit - now),
            Stage::Since(_) if owes(next) => {
                self.stage = Stage::Found(next);
                Step::Tell
            }
            Stage::Found(held) if owes(held) => Step::Wait(LOOK_MAX.min(self.limit)),
            Stage::Since(_) | Stage::Found(_) => {
                self.stage = Stage::Asked(now);
                Step::Ask
            }
            Stage::Asked(asked) if now < asked + answer_max => Step::Wait(asked + answer_max - now),
            Stage::Asked(_) => Step::Replace,
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
        assert!(silence.end(now + LIMIT, true));
        assert_eq!(silence.step(now + LIMIT, 2, |_| true), wait(60));
        assert_eq!(silence.step(now + LIMIT * 2, 2, |_| false), Step::Ask);
        assert!(silence.end(now + LIMIT * 2, false));
        assert_eq!(silence.step(now + LIMIT * 9, 2, |_| false), wait(60));
    }
}
