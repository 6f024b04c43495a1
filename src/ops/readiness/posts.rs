//! Whether the plane takes answers: a tunnel that polls and cannot answer is of no use.
//!
//! Counts answers, not attempts: one that is refused again and again is one. Cannot fail.

use std::time::{Duration, Instant};

use super::run::{Fault, shorten};
use crate::ops::health::{Clock, Component, Object, Status, Tally};

/// Different answers in a row that were refused, none accepted between them.
const REFUSED_MAX: usize = 3;

/// After so long without a refusal nothing is known any more: no answer may be due.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// The answers that were refused since one was accepted.
#[derive(Default)]
pub struct Posts {
    refused: Vec<u64>,
    last: Option<Instant>,
    why: String,
    /// What became of the last one that ended, in a word.
    disposition: Option<&'static str>,
    /// Class and status of the last refusal, while none was accepted after it.
    fault: Option<(&'static str, Option<u16>)>,
    attempts: u64,
    retries: u64,
    accepted: Tally,
    completed: Tally,
    lost: Tally,
    /// All that ended, whatever became of them.
    ended: u64,
}

impl Posts {
    /// The answer of this number was not accepted.
    pub(crate) fn refuse(&mut self, now: Instant, number: u64, fault: Fault<'_>, is_repeat: bool) {
        self.meet(fault, is_repeat);
        if self.is_forgotten(now) {
            self.refused.clear();
        }
        if self.refused.len() < REFUSED_MAX && !self.refused.contains(&number) {
            self.refused.push(number);
        }
        self.last = Some(now);
        self.why = shorten(fault.why);
    }

    /// An attempt failed.
    fn meet(&mut self, fault: Fault<'_>, is_repeat: bool) {
        self.attempt(is_repeat);
        self.fault = Some((fault.category, fault.status));
    }

    /// The plane cannot read this answer, which says nothing of others.
    pub(crate) fn give_up(&mut self, now: Instant, fault: Fault<'_>, is_repeat: bool) {
        self.meet(fault, is_repeat);
        self.lose(now, false);
    }

    /// An answer was accepted, or was there `already`.
    pub(crate) fn accept(&mut self, now: Instant, already: bool, is_repeat: bool) {
        self.attempt(is_repeat);
        self.refused.clear();
        self.fault = None;
        self.ended += 1;
        self.completed.add(now);
        if !already {
            self.accepted.add(now);
        }
        self.disposition = Some(if already { "already_fulfilled_or_unknown" } else { "accepted" });
    }

    fn attempt(&mut self, is_repeat: bool) {
        self.attempts += 1;
        self.retries += u64::from(is_repeat);
    }

    /// One was given up. The end of the process is nobody's failure.
    pub(crate) fn lose(&mut self, now: Instant, stops: bool) {
        self.ended += 1;
        self.disposition = Some(if stops { "canceled" } else { "failed" });
        if !stops {
            self.lost.add(now);
        }
    }

    /// Answers as `/health` shows them, of which so many were brought.
    pub(super) fn component(&self, clock: Clock, brought: u64) -> Component {
        let in_progress = brought.saturating_sub(self.ended);
        let disposition = self.disposition.unwrap_or("not_observed");
        let category = self.fault.map(|(category, _)| category);
        let status = match () {
            () if category.is_some_and(|category| category != "canceled") || disposition == "failed" => {
                Status::Degraded
            }
            () if self.completed.count > 0 => Status::Ok,
            () => Status::Unknown,
        };
        let details = Object::default()
            .with("in_progress", in_progress)
            .with("last_accepted", clock.time(self.accepted.last))
            .with("last_completed", clock.time(self.completed.last))
            .with("last_failure", clock.time(self.lost.last))
            .with("disposition", disposition)
            .with("failure_category", category)
            .with("http_status", self.fault.and_then(|(_, status)| status))
            .with("attempts", self.attempts)
            .with("retries", self.retries)
            .with("accepted", self.accepted.count)
            .with("completed", self.completed.count)
            .with("terminal_failures", self.lost.count);
        let state = if in_progress > 0 { "uploading" } else { disposition };
        Component { reason: category, details, ..Component::new("response-delivery", status, state) }
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

    fn fault(why: &str) -> Fault<'_> {
        Fault { why, category: "http_error", status: Some(500) }
    }

    #[test]
    fn three_answers_make_a_fault_and_one_ends_it() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        (0..9).for_each(|_| posts.refuse(now, 1, fault("403"), false));
        posts.refuse(now, 2, fault("403"), false);
        assert_eq!(posts.fault(now), None, "one that is repeated is one");
        posts.refuse(now, 3, fault("the control plane answered 500"), false);
        assert_eq!(posts.fault(now), Some("the control plane answered 500"));
        posts.accept(now, false, false);
        assert_eq!(posts.fault(now), None);
        posts.refuse(now, 4, fault("403"), false);
        assert_eq!(posts.fault(now), None);
    }

    #[test]
    fn five_minutes_without_a_refusal_end_it_too() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        (0..3).for_each(|number| posts.refuse(now, number, fault("403"), false));
        let later = now + FORGOTTEN_AFTER;
        assert!(posts.fault(later - Duration::from_secs(1)).is_some());
        assert_eq!(posts.fault(later), None);
        posts.refuse(later, 9, fault("403"), false);
        assert_eq!(posts.fault(later), None, "what was forgotten does not count again");
    }
}
