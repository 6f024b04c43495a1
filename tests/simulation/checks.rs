//! What must hold of every run, looked for in its history when it has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::{Ask, Kind};
use super::history::{Event, Number, Told};
use super::limits;
use super::lives::{LATE, Life, Lives, Post, RETRY_MIN};
use super::shares;
use super::soon;
use super::tunnel::Past;
use super::weather::Weather;

/// Time in which posts go on again once the plane is fine: the longest wait, and a little.
const RECOVERY: Duration = Duration::from_secs(70);

/// What is left for the last posts of a drain, the last poll and the last words.
const DRAIN_REST: Duration = Duration::from_millis(2_000 + 2_000 + 500);

/// Everything that is wrong with a run.
pub(super) fn faults(past: &Past) -> Vec<String> {
    let lives = Lives::read(past);
    let mut found = lives.wrong();
    for (number, life) in &lives.lives {
        let ask = &lives.asks[number];
        let checks = [
            lives.answered_once(ask, life),
            told_in_time(ask, life),
            lives.repeated_as_promised(life),
            notes_in_order(life),
            lives.told_where_all_is_well(ask, life),
            lives.posted_soon(life),
        ];
        found.extend(checks.into_iter().flatten().map(|what| format!("{number} {:?}: {what}", ask.kind)));
    }
    found.extend(lives.in_order());
    found.extend(lives.none_starves());
    found.extend(lives.drained_as_promised());
    found.extend(limits::faults(&lives));
    found.extend(shares::faults(&lives));
    found.extend(soon::faults(&lives));
    found
}

impl Lives<'_> {
    /// What was seen to be wrong while it happened.
    fn wrong(&self) -> Vec<String> {
        let wrong = self.events.iter().filter_map(|(at, event)| match event {
            Event::Wrong(what) => Some(format!("at {at:?}: {what}")),
            _ => None,
        });
        wrong.collect()
    }

    /// A command that was handed out has one end, one record, and one answer, unless it was told why not.
    fn answered_once(&self, ask: &Ask, life: &Life) -> Option<String> {
        let counts = [life.handed.len(), life.began.len(), life.ended.len(), life.closed.len()];
        if counts != [1, 1, 1, 1] {
            return Some(format!("handed, begun, ended, closed: {counts:?} times"));
        }
        if life.limited && !life.admitted.is_empty() {
            return Some("refused, and admitted".into());
        }
        if life.taken.len() > 1 || life.admitted.len() > 1 {
            return Some("taken or admitted twice".into());
        }
        let (_, fate) = life.ended[0];
        let given_up = life.terminal().any(|post| matches!(post.ended, Some((_, Told::Unreadable))));
        match (life.taken.is_empty(), fate.status) {
            (true, Some(_)) if life.untold == 0 && !given_up => Some("no answer, and nobody says so".into()),
            (true, None) if ask.timeout.is_none() => Some("expired, but nobody set a time".into()),
            (_, None) if life.terminal().next().is_some() => Some("an answer to an expired command".into()),
            _ => None,
        }
    }

    /// Attempts: the same bytes, no more than may be, not too early, and as long as one may help.
    fn repeated_as_promised(&self, life: &Life) -> Option<String> {
        let posts: Vec<&Post> = life.terminal().collect();
        for pair in posts.windows(2) {
            let [first, next] = pair else { continue };
            let Some((ended, told)) = first.ended else { return Some("two posts at once".into()) };
            if first.digest != next.digest {
                return Some("other bytes than before".into());
            }
            let asked = match told {
                Told::Later(wait) => wait,
                Told::Broken { .. } | Told::Unauthorized => Duration::ZERO,
                Told::Accepted | Told::Settled | Told::Refused | Told::Unreadable | Told::Cut => {
                    return Some(format!("posted again after {told:?}"));
                }
            };
            let wait = next.began.saturating_sub(ended);
            if next.began < self.drains && wait < RETRY_MIN.max(asked) {
                return Some(format!("posted again after {wait:?}, {asked:?} were asked for"));
            }
        }
        None
    }

    /// Where plane and time are on its side, a command is answered.
    fn told_where_all_is_well(&self, ask: &Ask, life: &Life) -> Option<String> {
        let short = ask.timeout.is_some_and(|time| time < Duration::from_secs(1));
        // A slow body is the caller's time, and so is the wait with a plane that sends more than was asked for.
        let came_late = life.began[0].saturating_sub(life.handed[0]) > 2 * LATE;
        let well = !came_late && self.past.plan.weather.is(Weather::Fine, Duration::ZERO, life.closed[0]);
        // Many answers at once wait for each other, as those do that a drain has cut; their time may end meanwhile.
        let is_told = !life.taken.is_empty() || self.posts_go_on(life.ended[0].0, life.closed[0]);
        (well && !short && !is_told).then(|| "nothing was in the way of its answer".to_owned())
    }

    /// Whether one thing after the other was posted between these times.
    fn posts_go_on(&self, from: Duration, to: Duration) -> bool {
        let posts = self.events.iter().filter(|(_, event)| matches!(event, Event::Posts(..)));
        let mut last = from;
        for at in posts.map(|(at, _)| *at).chain([to]).filter(|at| (from..=to).contains(at)) {
            if at - last > 2 * LATE {
                return false;
            }
            last = at;
        }
        true
    }

    /// Where the plane has been fine for a while, no answer lies about.
    fn posted_soon(&self, life: &Life) -> Option<String> {
        let (ended, fate) = life.ended.first()?;
        let (from, until) = (ended.saturating_sub(RECOVERY), *ended + RECOVERY);
        let is_fine = self.past.plan.weather.is(Weather::Fine, from, until) && until < self.drains;
        let late = life.terminal().next().is_none_or(|post| post.began > until);
        (is_fine && fate.status.is_some() && life.untold == 0 && late)
            .then(|| format!("its answer lies about from {ended:?} on"))
    }

    /// Calls of a channel are admitted in the order in which they were handed out, and so are its notifications.
    fn in_order(&self) -> Vec<String> {
        let (mut last, mut found) = (BTreeMap::new(), Vec::new());
        for (at, event) in &self.events {
            let Event::Admitted(number) = event else { continue };
            let ask = &self.asks[number];
            if matches!(ask.kind, Kind::Subscription) {
                continue;
            }
            let lane = (ask.channel, ask.kind == Kind::Notification);
            if let Some(before) = last.insert(lane, *number).filter(|before| before > number) {
                found.push(format!("{number} is admitted after {before} at {at:?}"));
            }
        }
        found
    }

    /// A channel with nothing to do begins at once, whatever the others do. Looked at where the plane is fine and nothing
    /// is refused by a limit, since workers wait for a plane that takes no answers, and post refusals by themselves.
    fn none_starves(&self) -> Vec<String> {
        let is_fine = self.past.plan.weather.is(Weather::Fine, Duration::ZERO, self.drained.0);
        if !is_fine || self.lives.values().any(|life| life.limited) {
            return Vec::new();
        }
        let (mut waits, mut runs) = ([0_u32; 3], [0_u32; 3]);
        let (mut since, mut found) = ([None; 3], Vec::new());
        let mut over = BTreeMap::<Number, bool>::new();
        for (at, event) in &self.events {
            let (Event::Began(n) | Event::Admitted(n) | Event::Finished(n) | Event::Ended(n, _)) = event
            else {
                continue;
            };
            let ask = &self.asks[n];
            if matches!(ask.kind, Kind::Subscription | Kind::Elsewhere | Kind::Malformed) {
                continue;
            }
            let (waiting, running) = (&mut waits[ask.channel], &mut runs[ask.channel]);
            match event {
                Event::Began(_) => *waiting += 1,
                Event::Admitted(_) => {
                    (*waiting, *running) = (*waiting - 1, *running + 1);
                    over.insert(*n, true);
                }
                Event::Finished(_) => *running -= 1,
                // One that ends without its server does not wait any more.
                _ if !over.contains_key(n) => *waiting -= 1,
                _ => {}
            }
            let starves = *waiting > 0 && *running == 0;
            let begun: &mut Option<Duration> = &mut since[ask.channel];
            if let Some(begun) = begun.filter(|begun| *at > *begun + LATE && *at < self.drains) {
                found.push(format!(
                    "channel {} waits from {begun:?} to {at:?} with nothing to do",
                    ask.channel
                ));
            }
            *begun = if starves { begun.or(Some(*at)) } else { None };
        }
        found
    }

    /// A drain ends in time, and counts whom it has not told.
    fn drained_as_promised(&self) -> Vec<String> {
        let mut found = Vec::new();
        let time = self.drained.0.saturating_sub(self.drains);
        if time > self.past.plan.drain + DRAIN_REST + LATE {
            found.push(format!("a drain of {:?} took {time:?}", self.past.plan.drain));
        }
        let untold: usize = self.lives.values().map(|life| life.untold).sum();
        if u64::try_from(untold).unwrap() != self.past.lost {
            found.push(format!("{} answers were counted as lost, {untold} were", self.past.lost));
        }
        found
    }
}

/// Nothing is posted once the caller's time is over.
fn told_in_time(ask: &Ask, life: &Life) -> Option<String> {
    let end = life.handed.first()?.checked_add(ask.timeout?)? + LATE;
    let late = life.posts.iter().find(|post| post.began > end)?;
    Some(format!("posted at {:?}, its time was over at {end:?}", late.began))
}

/// Notifications come in their order, one after the other, none twice, and before their answer.
fn notes_in_order(life: &Life) -> Option<String> {
    if life.notes.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Some(format!("notifications were taken as {:?}", life.notes));
    }
    for pair in life.posts.windows(2) {
        let [first, next] = pair else { continue };
        if first.ended.is_none_or(|(ended, _)| ended > next.began) {
            return Some("two posts at once".into());
        }
        if first.note.is_none() && next.note.is_some() {
            return Some("a notification after the answer".into());
        }
        if first.note.is_some() && first.note == next.note {
            let may = matches!(
                first.ended,
                Some((_, Told::Later(_) | Told::Unauthorized | Told::Broken { sent: false }))
            );
            if !may {
                return Some(format!("a notification is repeated after {:?}", first.ended));
            }
        }
    }
    None
}
