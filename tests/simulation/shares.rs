//! What channels and answers may take of what all of them share, counted from a run's history by a naive rule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ask::{CHANNELS, Kind};
use super::history::{Event, Number, Told};
use super::lives::{Lives, SLACK};

/// The largest answer that the simulation makes, in bytes.
const ANSWER_BYTES: usize = 2_100;

/// What is wrong with what was shared out.
pub(super) fn faults(lives: &Lives<'_>) -> Vec<String> {
    let mut found = fair(lives);
    found.extend(postponed_bytes(lives));
    found
}

/// What one command is known to do. What cannot be told apart counts for no channel's fault.
#[derive(Debug, Clone, Copy)]
enum Doing {
    /// It is about to be queued, which may take until there is room.
    Comes,
    /// It waits for a worker, at least since then.
    Waits(Duration),
    Runs,
    /// It has ended at that time, and its worker may not have said so yet.
    Ends(Duration),
}

/// No channel begins a call beyond its share while another one waits with less than its own. Looked at where all that
/// is there is known: calls of channels that are served and whose callers wait, and nothing else.
fn fair(lives: &Lives<'_>) -> Vec<String> {
    let asks = &lives.asks;
    let (mut calls, mut others, mut found) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut running = BTreeSet::new();
    for (at, event) in &lives.events {
        if let Event::Began(_) = event {
            // The poller has brought the one before to the queue.
            calls
                .values_mut()
                .filter(|doing| matches!(doing, Doing::Comes))
                .for_each(|doing| *doing = Doing::Waits(*at));
        }
        if let Event::Admitted(n) = event {
            running.insert(*n);
        }
        match event {
            Event::Drains => break,
            Event::Began(n) if asks[n].kind == Kind::Call && asks[n].timeout.is_none() => {
                calls.insert(*n, Doing::Comes);
            }
            // A subscription has a worker of its own, and takes nothing from anybody.
            Event::Began(n) if asks[n].kind != Kind::Subscription => drop(others.insert(*n, None)),
            // Some servers go on for a while after their end is known; the worker is theirs until then.
            Event::Finished(n) if others.contains_key(n) => drop(others.insert(*n, Some(*at))),
            Event::Ended(n, _) if others.contains_key(n) && !running.contains(n) => {
                others.insert(*n, Some(*at));
            }
            Event::Limited(n) => {
                calls.remove(n);
                others.insert(*n, None);
            }
            Event::Finished(n) if calls.contains_key(n) => {
                calls.insert(*n, Doing::Ends(*at));
            }
            Event::Ended(n, _) if calls.get(n).is_some_and(|doing| !matches!(doing, Doing::Runs)) => {
                calls.insert(*n, Doing::Ends(*at));
            }
            Event::Admitted(n) if calls.contains_key(n) => {
                let is_past = |ended: &Duration| *at > *ended + SLACK;
                others.retain(|_, ended| !ended.as_ref().is_some_and(is_past));
                calls.retain(|_, doing| !matches!(doing, Doing::Ends(ended) if is_past(ended)));
                let what = others.is_empty().then(|| unfair(lives, &calls, *n, *at)).flatten();
                found.extend(what.map(|what| format!("at {at:?}: {n} {what}")));
                calls.insert(*n, Doing::Runs);
            }
            _ => {}
        }
    }
    found
}

/// What is unfair about the beginning of this call.
fn unfair(
    Lives { past, asks, .. }: &Lives<'_>,
    calls: &BTreeMap<Number, Doing>,
    begins: Number,
    at: Duration,
) -> Option<String> {
    let own = asks[&begins].channel;
    let count = |channel: usize, is: &dyn Fn(&Doing) -> bool| {
        calls.iter().filter(|(n, doing)| asks[n].channel == channel && is(doing)).count()
    };
    // One whose caller's time ends is taken away by another worker, and one that crowds the queue by the poller.
    if calls.values().filter(|doing| matches!(doing, Doing::Comes | Doing::Waits(_))).count()
        > past.plan.capacity / 2
    {
        return None;
    }
    let surely = |doing: &Doing| match doing {
        Doing::Waits(since) => at > *since + SLACK,
        Doing::Runs => true,
        Doing::Comes | Doing::Ends(_) => false,
    };
    let active = |is: &dyn Fn(&Doing) -> bool| (0..CHANNELS.len()).filter(|one| count(*one, is) > 0).count();
    let share = |active: usize| (past.plan.workers / active.max(1)).max(1);
    // The largest share that it may have had, and the smallest that the others had.
    let (most, least) = (share(active(&surely)), share(active(&|_| true)));
    let runs = count(own, &|doing| matches!(doing, Doing::Runs));
    let waits = |doing: &Doing| matches!(doing, Doing::Waits(since) if at > *since + SLACK);
    let is_hungry = |one: &usize| {
        *one != own
            && count(*one, &waits) > 0
            && count(*one, &|doing| matches!(doing, Doing::Runs | Doing::Ends(_))) < least
    };
    let hungry = (0..CHANNELS.len()).find(is_hungry)?;
    (runs > 0 && runs + 1 > most).then(|| {
        format!("begins beside {runs} of its channel, with a share of {most}, while channel {hungry} waits")
    })
}

/// Answers that wait for another attempt stay within their bytes, and those who post them besides.
fn postponed_bytes(Lives { past, events, .. }: &Lives<'_>) -> Vec<String> {
    // Beyond the bound come what each courier and each worker has on its way, and what lay in the list before.
    let most = past.plan.bytes_max + 3 * past.plan.workers * ANSWER_BYTES;
    let (mut sizes, mut waiting) = (BTreeMap::<Number, usize>::new(), BTreeSet::<Number>::new());
    let (mut bytes, mut found) = (0, Vec::new());
    for (at, event) in events {
        match event {
            // Nobody waits for room then.
            Event::Drains => break,
            Event::Ended(n, fate) => drop(sizes.insert(*n, fate.bytes)),
            Event::Posted(n, None, Told::Later(_) | Told::Broken { .. } | Told::Unauthorized) => {
                bytes += if waiting.insert(*n) { sizes[n] } else { 0 };
            }
            Event::Posts(n, None, _) | Event::Closed(n) => {
                bytes -= if waiting.remove(n) { sizes[n] } else { 0 };
            }
            _ => {}
        }
        if bytes > most {
            found.push(format!("at {at:?}: {bytes} bytes of answers wait for another attempt, {most} may"));
            break;
        }
    }
    found
}
