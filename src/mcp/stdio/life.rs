//! Life of a child, and whether its server speaks an era: one table of transitions.
//!
//! A server may know one era only, and may answer a message of the other with nothing, or with its end. That is found
//! out with a child of its own; the verdict on it stands in this table and nowhere else.

use std::time::Instant;

use crate::relay::revision::Era;

use Change::*;
use Life::*;
use Speaks::*;

/// State of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// No child runs; the next one is started when it is wanted.
    Down,
    /// A child is being started.
    Starting,
    /// Since then its `initialize` is unanswered, so nothing else is written to it.
    Opening(Instant),
    /// It takes everything.
    Serving,
    /// It left its first message unanswered. It may still prove until then that it is only slow to start.
    Silent(Instant),
    /// It is asked to end, and its calls have failed; at that time something stronger is due.
    Ending(Instant),
    /// The same, and no child is started after it.
    Closing(Instant),
    /// No child runs, and none will.
    Closed,
}

/// Whether a server speaks an era. While it does not, no child is started for that era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Unknown,
    /// It has answered in this era at some time, so a death or silence means nothing but itself.
    Yes,
    No,
}

/// What can happen to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its start begins.
    Start,
    /// It runs.
    Started,
    /// An `initialize` waits to be written, or was written.
    Opens(Instant),
    /// The `initialize` was answered, or given up before it was written.
    Opened,
    /// It has answered a call.
    Answered,
    /// A caller waited in vain for as long as a first answer may take; the child is kept until this time.
    Unanswered(Instant),
    /// It is asked to end, or told so by its guard; at this time something stronger is due.
    End(Instant),
    /// Its process has ended.
    Ended,
    /// No process could be made, which says nothing about the server.
    NotStarted,
    /// A child of the other era was started: the server may have been replaced.
    Renewed,
    /// Nobody will be served any more; something stronger is due at this time.
    Close(Instant),
}

impl Speaks {
    /// What is known of a server before its first child. All servers are taken to speak the older era.
    pub(super) fn before(era: Era) -> Speaks {
        match era {
            Era::Legacy => Yes,
            Era::Modern => Unknown,
        }
    }
}

/// The table of transitions. What it does not name changes nothing.
pub(super) fn after(life: Life, speaks: Speaks, change: Change) -> (Life, Speaks) {
    let speaks = match (life, speaks, change) {
        (_, _, Answered) => Yes,
        (Serving | Silent(_), Unknown, Unanswered(_)) | (_, Unknown, End(_) | Ended) => No,
        (_, No, Renewed) => Unknown,
        (_, same, _) => same,
    };
    let life = match (life, change) {
        (Down, Start) => Starting,
        (Starting, Started) => Serving,
        (Serving, Opens(since)) => Opening(since),
        (Opening(_), Opened) => Serving,
        (Serving | Silent(_), Unanswered(until)) if speaks == No => Silent(until),
        (Silent(_), Answered) => Serving,
        (Opening(_) | Serving | Silent(_) | Ending(_), End(due)) => Ending(due),
        (Closing(_), End(due)) => Closing(due),
        (Closing(_), Ended | NotStarted) | (Down, Close(_)) => Closed,
        (Starting | Opening(_) | Serving | Silent(_) | Ending(_), Ended | NotStarted) => Down,
        (Ending(due), Close(_)) | (Starting | Opening(_) | Serving | Silent(_), Close(due)) => Closing(due),
        (same, _) => same,
    };
    (life, speaks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Every state and every change: what the table names, and nothing else.
    #[test]
    fn every_transition_is_named() {
        let t = Instant::now();
        let u = t + Duration::from_secs(1);
        let lives = [Down, Starting, Opening(t), Serving, Silent(t), Ending(t), Closing(t), Closed];
        let changes = [
            Start,
            Started,
            Opens(u),
            Opened,
            Answered,
            Unanswered(u),
            End(u),
            Ended,
            NotStarted,
            Renewed,
            Close(u),
        ];
        // By state, in the order of the changes; a missing one is no change.
        let same = None;
        let wanted = |life: Life, speaks: Speaks| -> [Option<Life>; 11] {
            let silent = (speaks != Yes).then_some(Silent(u));
            let (down, closed, ends) = (Some(Down), Some(Closed), Some(Ending(u)));
            let closing = Some(Closing(u));
            match life {
                Down => [Some(Starting), same, same, same, same, same, same, same, same, same, closed],
                Starting => [same, Some(Serving), same, same, same, same, same, down, down, same, closing],
                Opening(_) => [same, same, same, Some(Serving), same, same, ends, down, down, same, closing],
                Serving => {
                    [same, same, Some(Opening(u)), same, same, silent, ends, down, down, same, closing]
                }
                Silent(_) => [same, same, same, same, Some(Serving), silent, ends, down, down, same, closing],
                Ending(_) => [same, same, same, same, same, same, ends, down, down, same, Some(Closing(t))],
                Closing(_) => [same, same, same, same, same, same, closing, closed, closed, same, same],
                Closed => [same; 11],
            }
        };
        for life in lives {
            for speaks in [Unknown, Yes, No] {
                for (change, wanted) in changes.into_iter().zip(wanted(life, speaks)) {
                    let (next, verdict) = after(life, speaks, change);
                    assert_eq!(next, wanted.unwrap_or(life), "{life:?} {speaks:?} {change:?}");
                    let wanted = match change {
                        Answered => Yes,
                        Renewed if speaks == No => Unknown,
                        Unanswered(_) if speaks == Unknown && matches!(life, Serving | Silent(_)) => No,
                        End(_) | Ended if speaks == Unknown => No,
                        _ => speaks,
                    };
                    assert_eq!(verdict, wanted, "{life:?} {speaks:?} {change:?}");
                }
            }
        }
    }

    /// A server that has proved that it speaks an era is never found not to.
    #[test]
    fn a_proof_is_not_forgotten() {
        let t = Instant::now();
        for change in [Unanswered(t), End(t), Ended, NotStarted, Renewed, Close(t)] {
            assert_eq!(after(Serving, Yes, change).1, Yes, "{change:?}");
        }
        assert_eq!(Speaks::before(Era::Legacy), Yes);
    }
}
