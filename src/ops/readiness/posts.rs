//! Whether the plane takes answers: a tunnel that polls and cannot answer is of no use.
//!
//! Counts answers, not attempts: one that is refused again and again is one. Cannot fail.

use std::time::{Duration, Instant};

use super::run::shorten;

/// Different answers in a row that were refused, none accepted between them.
const REFUSED_MAX: usize = 3;

/// After so long without a refusal nothing is known any more: no answer may be due.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// The answers that were refused since one was accepted.
#[derive(Debug, Default)]
pub(super) struct Posts {
    refused: Vec<u64>,
    last: Option<Instant>,
    why: String,
}

impl Posts {
    /// The answer of this number was not accepted.
    pub(super) fn refuse(&mut self, now: Instant, number: u64, why: &str) {
        if self.is_forgotten(now) {
            self.refused.clear();
        }
        if self.refused.len() < REFUSED_MAX && !self.refused.contains(&number) {
            self.refused.push(number);
        }
        self.last = Some(now);
        self.why = shorten(why);
    }

    /// An answer was accepted.
    pub(super) fn accept(&mut self) {
        self.refused.clear();
    }

    /// Why answers are refused, when they are.
    pub(super) fn fault(&self, now: Instant) -> Option<&str> {
        (self.refused.len() >= REFUSED_MAX && !self.is_forgotten(now)).then_some(self.why.as_str())
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) >= FORGOTTEN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_answers_make_a_fault_and_one_ends_it() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        (0..9).for_each(|_| posts.refuse(now, 1, "403"));
        posts.refuse(now, 2, "403");
        assert_eq!(posts.fault(now), None, "one that is repeated is one");
        posts.refuse(now, 3, "the control plane answered 500");
        assert_eq!(posts.fault(now), Some("the control plane answered 500"));
        posts.accept();
        assert_eq!(posts.fault(now), None);
        posts.refuse(now, 4, "403");
        assert_eq!(posts.fault(now), None);
    }

    #[test]
    fn five_minutes_without_a_refusal_end_it_too() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        (0..3).for_each(|number| posts.refuse(now, number, "403"));
        let later = now + FORGOTTEN_AFTER;
        assert!(posts.fault(later - Duration::from_secs(1)).is_some());
        assert_eq!(posts.fault(later), None);
        posts.refuse(later, 9, "403");
        assert_eq!(posts.fault(later), None, "what was forgotten does not count again");
    }
}
