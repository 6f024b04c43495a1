//! `health --follow`: a line for each change of a running client, until somebody ends it.
//!
//! Each look asks what a single call of `health` asks, of a listener that is looked for anew: a client may be started
//! again meanwhile, elsewhere. What cannot be reached is a state like every other.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::ops::timestamp;

use super::super::terminal::foreign;
use super::peer::Peer;

/// Most states that are kept; a listener of somebody else could show any number.
const STATES_MAX: usize = 200;

/// Metrics of channels and calls.
const UP: &str = "tunnel_client_up{channel=\"";
const CALLS: &str = "tunnel_client_calls_total{";

/// What one look has seen.
#[derive(Default)]
struct Seen {
    states: BTreeMap<String, String>,
    /// How many calls had ended in each way.
    calls: BTreeMap<String, u64>,
    ready: bool,
}

/// Looks at once and then every `interval`, for `time` or for good. The exit code is that of the last look.
pub(super) fn watch(
    place: &dyn Fn() -> Result<String, String>,
    interval: Duration,
    time: Duration,
) -> ExitCode {
    let end = Some(time).filter(|time| !time.is_zero()).and_then(|time| Instant::now().checked_add(time));
    let mut before = Seen::default();
    loop {
        let next = Instant::now() + interval;
        let now =
            place().and_then(|base| Peer::new(&base)).map_or_else(Seen::nothing, |peer| Seen::at(&peer));
        let lines = now.changes(&before);
        let mut out = io::stdout();
        let written =
            lines.iter().try_for_each(|line| out.write_all(line.as_bytes())).and_then(|()| out.flush());
        let ready = now.ready;
        if !lines.is_empty() || before.states.is_empty() {
            before = now;
        }
        // A reader that has gone has seen what it wanted.
        if written.is_err() || end.is_some_and(|end| next >= end) {
            return if ready { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

impl Seen {
    fn nothing(why: String) -> Seen {
        Seen { states: BTreeMap::from([("listener".to_owned(), why)]), ..Seen::default() }
    }

    fn at(peer: &Peer) -> Seen {
        let alive = peer.page("/healthz");
        if !alive.ok {
            let status = alive.status.map(|status| format!("HTTP {status}")).unwrap_or_default();
            return Seen::nothing(format!("does not answer: {}{status}", alive.error));
        }
        let ready = peer.page("/readyz");
        let verdict = if ready.error.is_empty() { &ready.body } else { &ready.error };
        let mut states = BTreeMap::from([
            ("listener".to_owned(), format!("answers at {}", peer.base)),
            ("readyz".to_owned(), format!("{} {verdict}", if ready.ok { "PASS" } else { "FAIL" })),
        ]);
        let health = peer.health();
        for (name, part) in health.get("components").and_then(Value::as_object).into_iter().flatten() {
            let word = |member: &str| part.get(member).and_then(Value::as_str).unwrap_or_default();
            let words = ["status", "state", "reason_code"].map(word);
            states.insert(name.clone(), words.join(" ").trim_end().to_owned());
        }
        let mut calls = BTreeMap::new();
        for line in peer.metrics().unwrap_or_default().lines() {
            if let Some((channel, up)) = line.strip_prefix(UP).and_then(|rest| rest.split_once("\"} ")) {
                states.insert(format!("channel {channel}"), if up == "1" { "up" } else { "down" }.to_owned());
            } else if let Some((labels, count)) =
                line.strip_prefix(CALLS).and_then(|rest| rest.split_once("} "))
            {
                let outcome = labels.split_once("outcome=\"").and_then(|(_, rest)| rest.split('"').next());
                let sum = calls.entry(outcome.unwrap_or_default().to_owned()).or_default();
                *sum = u64::saturating_add(*sum, count.parse().unwrap_or(0));
            }
            if states.len() + calls.len() > STATES_MAX {
                break;
            }
        }
        Seen { states, calls, ready: ready.ok }
    }

    /// A line for each state that is another one, with the calls that ended since the last line.
    fn changes(&self, before: &Seen) -> Vec<String> {
        let at = timestamp::plain(SystemTime::now());
        let gone = before.states.keys().filter(|name| !self.states.contains_key(*name));
        let gone = gone.map(|name| (name, "not known".to_owned()));
        let kept = self.states.iter().filter_map(|(name, state)| match before.states.get(name) {
            Some(old) if old == state => None,
            Some(old) => Some((name, format!("{state} (was: {old})"))),
            None => Some((name, state.clone())),
        });
        let mut lines: Vec<String> = kept
            .chain(gone)
            .map(|(name, text)| format!("{at}  {}: {}\n", foreign(name), foreign(&text)))
            .collect();
        let since = |(outcome, count): (&String, &u64)| {
            let ended = count.checked_sub(before.calls.get(outcome).copied().unwrap_or_default())?;
            (ended > 0).then(|| format!("{} {ended}", foreign(outcome)))
        };
        let calls: Vec<String> = self.calls.iter().filter_map(since).collect();
        if !lines.is_empty() && !calls.is_empty() {
            lines.push(format!("{at}  calls until here: {}\n", calls.join(", ")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(states: &[(&str, &str)], calls: u64) -> Seen {
        let states = states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
        Seen { states, calls: BTreeMap::from([("ok".to_owned(), calls)]), ready: true }
    }

    #[test]
    fn only_changes_are_told() {
        let first = seen(&[("a", "1"), ("b", "2")], 3);
        let lines = |now: &Seen, before: &Seen| {
            let lines = now.changes(before).into_iter();
            lines.map(|line| line.split_once("  ").unwrap().1.trim_end().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lines(&first, &Seen::default()), ["a: 1", "b: 2", "calls until here: ok 3"]);
        assert!(first.changes(&seen(&[("a", "1"), ("b", "2")], 9)).is_empty(), "calls alone are no change");
        assert_eq!(
            lines(&seen(&[("a", "3"), ("c", "4")], 5), &first),
            ["a: 3 (was: 1)", "c: 4", "b: not known", "calls until here: ok 2"]
        );
        assert_eq!(
            lines(&seen(&[("a", "1"), ("b", "5")], 0), &first),
            ["b: 5 (was: 2)"],
            "it was started again"
        );
    }
}
