//! The history of a run by command, which all checks read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::Ask;
use super::history::{Event, Note, Number, Told};
use super::tunnel::Past;
use crate::relay::record::Fate;

/// What threads that run one at a time may be late.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// What they may do between a step and its place in the history.
pub(super) const SLACK: Duration = Duration::from_millis(1);

/// Shortest wait between two attempts.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(200);

/// Times of one command.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) handed: Vec<Duration>,
    pub(super) began: Vec<Duration>,
    pub(super) limited: bool,
    pub(super) admitted: Vec<Duration>,
    pub(super) finished: Vec<Duration>,
    pub(super) ended: Vec<(Duration, Fate)>,
    pub(super) untold: usize,
    pub(super) closed: Vec<Duration>,
    pub(super) taken: Vec<Duration>,
    pub(super) posts: Vec<Post>,
    pub(super) notes: Vec<u64>,
}

/// One post of a command, terminal or not.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) note: Note,
    pub(super) digest: u64,
    pub(super) began: Duration,
    pub(super) ended: Option<(Duration, Told)>,
}

/// The history of a run, by command.
pub(super) struct Lives<'a> {
    pub(super) past: &'a Past,
    pub(super) events: Vec<(Duration, Event)>,
    pub(super) asks: BTreeMap<Number, Ask>,
    pub(super) lives: BTreeMap<Number, Life>,
    pub(super) drains: Duration,
    pub(super) drained: (Duration, u64),
}

impl Lives<'_> {
    /// Reads that of a run.
    pub(super) fn read(past: &Past) -> Lives<'_> {
        let events = past.history.all();
        let mut lives: BTreeMap<Number, Life> = BTreeMap::new();
        let (mut drains, mut drained) = (Duration::MAX, (Duration::MAX, 0));
        for (at, event) in &events {
            let at = *at;
            match event {
                Event::Handed(n) => life(&mut lives, n).handed.push(at),
                Event::Began(n) => life(&mut lives, n).began.push(at),
                Event::Admitted(n) => life(&mut lives, n).admitted.push(at),
                Event::Finished(n) => life(&mut lives, n).finished.push(at),
                Event::Ended(n, fate) => life(&mut lives, n).ended.push((at, *fate)),
                Event::Untold(n) => life(&mut lives, n).untold += 1,
                Event::Closed(n) => life(&mut lives, n).closed.push(at),
                Event::Taken(n, None) => life(&mut lives, n).taken.push(at),
                Event::Taken(n, Some(place)) => life(&mut lives, n).notes.push(*place),
                Event::Posts(n, note, digest) => {
                    life(&mut lives, n).posts.push(Post {
                        note: *note,
                        digest: *digest,
                        began: at,
                        ended: None,
                    });
                }
                Event::Posted(n, note, told) => {
                    let open = life(&mut lives, n).posts.iter_mut().rfind(|post| post.note == *note).unwrap();
                    open.ended = Some((at, *told));
                }
                Event::Limited(n) => life(&mut lives, n).limited = true,
                Event::Drains => drains = at,
                Event::Drained(untold) => drained = (at, *untold),
                Event::Started(_) | Event::Wrong(_) | Event::Renewed(_) => {}
            }
        }
        let asks = past.plane.asks();
        Lives { past, events, asks, lives, drains, drained }
    }
}

impl Life {
    /// Posts of its answer.
    pub(super) fn terminal(&self) -> impl Iterator<Item = &Post> {
        self.posts.iter().filter(|post| post.note.is_none())
    }
}

fn life<'a>(lives: &'a mut BTreeMap<Number, Life>, number: &Number) -> &'a mut Life {
    lives.entry(*number).or_default()
}
