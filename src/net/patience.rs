//! Lets one thread cut its own waits short, in the middle of a request that has a longer deadline.
//!
//! The HTTP crate fixes a request's time when it is sent. A stream whose answer has arrived deserves
//! only a moment more: enough to read its end, so that its connection can be used again. Connections
//! are handed from thread to thread, so what is remembered belongs to the thread. It can only shorten a
//! wait, never lengthen one, and cannot fail.

use std::sync::{Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::Instant;

use crate::sync;

/// Who is in a hurry, and until when. Shared by the connections of one client.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// At most as many as threads that end a stream at this moment; mostly empty.
    until: Mutex<Vec<(ThreadId, Instant)>>,
}

impl Patience {
    /// Runs `work`; what it waits for on connections of this client ends at `until`.
    pub(super) fn hurry<T>(&self, until: Instant, work: impl FnOnce() -> T) -> T {
        let me = thread::current().id();
        self.table().push((me, until));
        let done = work();
        self.table().retain(|(thread, _)| *thread != me);
        done
    }

    /// The deadline of a wait of this thread.
    pub(super) fn limit(&self, deadline: Instant) -> Instant {
        let me = thread::current().id();
        let own = self.table().iter().find(|(thread, _)| *thread == me).map(|(_, until)| *until);
        own.map_or(deadline, |until| until.min(deadline))
    }

    fn table(&self) -> MutexGuard<'_, Vec<(ThreadId, Instant)>> {
        sync::lock(&self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_the_thread_in_a_hurry_is_limited() {
        let patience = Patience::default();
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        patience.hurry(soon, || {
            assert_eq!(patience.limit(late), soon);
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(patience.limit(late), late));
            });
        });
        assert_eq!(patience.limit(late), late);
    }
}
