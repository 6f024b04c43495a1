//! Limits of calls: what a seed chooses, exchanges while calls run, and lets pass; counted here by a naive rule.

use std::time::Duration;

use super::ask::{CHANNELS, Kind};
use super::history::{Event, Number};
use super::lives::{Lives, SLACK};
use super::random::Random;
use crate::config::{self, ChannelPolicy};

/// What floating-point numbers may be wrong by.
const EPSILON: f64 = 1e-6;

/// Limit of the calls of tools on each channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    per_minute: u32,
    burst: u32,
    concurrent: u32,
}

/// One call that was judged.
#[derive(Debug)]
struct Judged {
    number: Number,
    /// When its poll was answered, which is when it counts.
    handed: Duration,
    began: Duration,
    refused: bool,
    /// When it gave its place back; nothing is known before it has.
    closed: Option<Duration>,
}

/// The time of one limit.
struct Term<'a> {
    limit: Limit,
    from: Duration,
    to: Duration,
    calls: &'a [Judged],
}

impl Limit {
    /// None, or several that follow each other.
    pub(super) fn some(random: &mut Random) -> Vec<Limit> {
        let many = if random.one_in(2) { 1 + random.below(4) } else { 0 };
        let one = |random: &mut Random| Limit {
            per_minute: random.pick(&[1, 6, 60, 600, 6_000]),
            burst: random.pick(&[1, 2, 5, 40]),
            concurrent: random.pick(&[1, 2, 4, 1_000]),
        };
        (0..many).map(|_| one(random)).collect()
    }

    /// It as a profile would have it.
    pub(super) fn settings(self) -> config::Policy {
        let Limit { per_minute, burst, concurrent } = self;
        let limit = config::Limit {
            place: "policy.channels.*.limits[0]".to_owned(),
            tools: Some(vec!["too*".to_owned()]),
            per_minute: Some(per_minute),
            burst: Some(burst),
            concurrent: Some(concurrent),
        };
        let rules = ChannelPolicy { limits: vec![limit], ..ChannelPolicy::default() };
        config::Policy { enforces: true, channels: vec![(None, rules)], pins: None }
    }

    fn tokens(self, time: Duration) -> f64 {
        time.as_secs_f64() * f64::from(self.per_minute) / 60.0
    }
}

/// What is wrong with what the limits let pass.
pub(super) fn faults(lives: &Lives<'_>) -> Vec<String> {
    let limits = &lives.past.plan.limits;
    let renewed = lives.events.iter().filter_map(|(at, event)| match event {
        Event::Renewed(place) => Some((limits[*place], *at)),
        _ => None,
    });
    let first = limits.first().map(|limit| (*limit, Duration::ZERO));
    let terms: Vec<(Limit, Duration)> = first.into_iter().chain(renewed).collect();
    let mut found = Vec::new();
    for channel in 0..CHANNELS.len() {
        let calls = judged(lives, channel);
        let ends = terms.iter().skip(1).map(|(_, at)| *at).chain([Duration::MAX]);
        for ((limit, from), to) in terms.iter().zip(ends) {
            found.extend(Term { limit: *limit, from: *from, to, calls: &calls }.faults());
        }
    }
    found
}

/// The calls of a channel, in the order in which they were asked for, handed out and judged.
fn judged(lives: &Lives<'_>, channel: usize) -> Vec<Judged> {
    let calls = lives.lives.iter().filter_map(|(number, life)| {
        let ask = &lives.asks[number];
        let began = *life.began.first().filter(|_| ask.kind == Kind::Call && ask.channel == channel)?;
        Some(Judged {
            number: *number,
            handed: life.handed.first().copied().unwrap_or(began),
            began,
            refused: life.limited,
            closed: life.closed.first().copied(),
        })
    });
    calls.collect()
}

impl Term<'_> {
    /// Calls at the very moment of an exchange may have been judged by either limit; they prove nothing.
    fn is_inside(&self, call: &Judged) -> bool {
        (call.began > self.from + SLACK || self.from.is_zero()) && call.began < self.to
    }

    fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (place, call) in self.calls.iter().enumerate().filter(|(_, call)| self.is_inside(call)) {
            let before = &self.calls[..place];
            let what = if call.refused { self.no_room(call, before) } else { self.too_many(call, before) };
            found.extend(what.map(|what| format!("{} {:?}: {what}", call.number, self.limit)));
        }
        found
    }

    /// What is wrong with a call that was let pass.
    fn too_many(&self, call: &Judged, before: &[Judged]) -> Option<String> {
        let passed = || before.iter().filter(|other| !other.refused && self.is_inside(other));
        let runs = passed().filter(|other| other.closed.is_none_or(|at| at > call.began + SLACK)).count();
        if runs >= usize::try_from(self.limit.concurrent).unwrap() {
            return Some(format!("{runs} ran already"));
        }
        // In no time may more have passed than were there before and came meanwhile.
        let mut many = 1.0;
        for other in passed().collect::<Vec<_>>().into_iter().rev() {
            many += 1.0;
            let time = self.counts(call).saturating_sub(self.counts(other));
            if many > f64::from(self.limit.burst) + self.limit.tokens(time) + EPSILON {
                return Some(format!("{many} in {time:?}"));
            }
        }
        None
    }

    /// What is wrong with a call that was refused.
    fn no_room(&self, call: &Judged, before: &[Judged]) -> Option<String> {
        let may_count = |other: &&Judged| !other.refused && other.began >= self.from;
        let passed = || before.iter().filter(may_count);
        let runs = passed().filter(|other| other.closed.is_none_or(|at| at + SLACK >= call.began)).count();
        let (mut tokens, mut at) = (f64::from(self.limit.burst), self.from);
        let mut come = |until: Duration, taken: f64| {
            let more = self.limit.tokens(until.saturating_sub(at));
            tokens = (tokens + more).min(f64::from(self.limit.burst)) - taken;
            at = until;
            tokens
        };
        for other in passed() {
            come(self.counts(other), 1.0);
        }
        let left = come(self.counts(call), 0.0);
        let has_room = left >= 1.0 + EPSILON && runs < usize::try_from(self.limit.concurrent).unwrap();
        has_room.then(|| format!("refused with {left} tokens, while {runs} ran"))
    }

    /// When a call counts.
    fn counts(&self, call: &Judged) -> Duration {
        call.handed.max(self.from)
    }
}
