//! Locks, waits, threads and the present moment: the forms of `std`'s that every room uses.
//!
//! A lock is poisoned when a thread panics while it holds it. Release builds abort at a panic, so no such lock is
//! ever seen there; in tests the state behind it is as good as it was, and the test's own panic is what counts.
//!
//! Unit tests may run threads one at a time over a clock that leaps (`tests/simulation`): they put other forms in the
//! place of these here, and nowhere else.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, MutexGuard as Guard};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) use crate::simulation::locks::Guard;
#[cfg(test)]
use crate::simulation::locks::{self, Condvar};
#[cfg(test)]
use crate::simulation::scheduler;

/// Stack size of every thread that this program starts. Nothing recurses deeply on one of them.
const STACK_BYTES: usize = 512 * 1024;

/// Locks a mutex, poisoned or not.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    #[cfg(test)]
    return locks::lock(mutex);
    #[cfg(not(test))]
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present moment.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    return scheduler::now().unwrap_or_else(Instant::now);
    #[cfg(not(test))]
    Instant::now()
}

/// How long ago something was.
pub(crate) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// Condition variable whose notifications cost nothing while nobody waits.
///
/// A notification of `std`'s is a system call every time. Whoever waits is counted here while they hold the lock of
/// what they wait for, and whoever notifies has changed that under the same lock, so that they see the count.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    condvar: Condvar,
    waiting: AtomicUsize,
}

impl Condition {
    /// Wakes one that waits.
    pub(crate) fn notify_one(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_one();
        }
    }

    /// Wakes all that wait.
    pub(crate) fn notify_all(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }

    /// Waits for a notification. It may wake without one.
    pub(crate) fn wait<'a, T>(&self, guard: Guard<'a, T>) -> Guard<'a, T> {
        self.counted(|condvar| condvar.wait(guard).unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a notification, at most this long. It may wake without one.
    pub(crate) fn wait_for<'a, T>(&self, guard: Guard<'a, T>, time: Duration) -> Guard<'a, T> {
        self.counted(|condvar| condvar.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits while `blocked` says so, at most this long.
    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: Guard<'a, T>,
        time: Duration,
        blocked: impl FnMut(&mut T) -> bool,
    ) -> Guard<'a, T> {
        self.counted(|condvar| {
            condvar.wait_timeout_while(guard, time, blocked).unwrap_or_else(PoisonError::into_inner).0
        })
    }

    /// Counts a wait. It begins and ends with the lock held.
    fn counted<G>(&self, wait: impl FnOnce(&Condvar) -> G) -> G {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = wait(&self.condvar);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }
}

/// Starts a named thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let name = name.into();
    #[cfg(test)]
    let body = scheduler::enrol(&name, body);
    thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(body)
}

/// Result of work that cannot be interrupted. It runs on a thread of its own, which is left behind when it takes
/// longer than this; the error is `TimedOut` then.
pub(crate) fn run_within<T: Send + 'static>(
    name: &str,
    time: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = sync_channel(1);
    // Nobody takes the result of work that was left behind.
    spawn(name, move || drop(sender.send(work())))?;
    result.recv_timeout(time).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn whoever_waits_is_woken() {
        let shared = Arc::new((Mutex::new(0), Condition::default()));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let long = Duration::from_secs(20);
                    let mut count = shared.1.wait_while(lock(&shared.0), long, |count| *count == 0);
                    *count -= 1;
                })
            })
            .collect();
        // One at a time, and the last ones together: each notification finds who waits by then, or nobody needs it.
        *lock(&shared.0) += 1;
        shared.1.notify_one();
        *lock(&shared.0) += 2;
        shared.1.notify_all();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!((*lock(&shared.0), shared.1.waiting.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn work_that_hangs_is_left_behind() {
        let (keeper, hangs) = sync_channel::<()>(1);
        let late = run_within("test", Duration::from_millis(5), move || Ok(hangs.recv().is_ok()));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(keeper);
        assert_eq!(run_within("test", Duration::from_secs(20), || Ok(7)).unwrap(), 7);
    }
}
