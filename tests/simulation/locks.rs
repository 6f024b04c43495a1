//! Locks and waits of a simulation, in the place of those of `std`.

use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::{LockResult, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::scheduler::{self, with_seat};

/// Locks a mutex, poisoned or not.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    let on = ptr::from_ref(mutex).addr();
    let held = with_seat(|seat| {
        seat.step_back();
        loop {
            match mutex.try_lock() {
                Ok(inner) => return Some(inner),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                // Whoever holds it is unwinding, too.
                Err(TryLockError::WouldBlock) if seat.has_failed() => return None,
                Err(TryLockError::WouldBlock) => seat.wait_for_lock(on),
            }
        }
    });
    let inner = held.flatten().unwrap_or_else(|| mutex.lock().unwrap_or_else(PoisonError::into_inner));
    Guard { mutex, inner: Some(inner) }
}

/// A held lock.
pub(crate) struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    inner: Option<MutexGuard<'a, T>>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().unwrap()
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().unwrap()
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if self.inner.take().is_some() {
            let on = ptr::from_ref(self.mutex).addr();
            with_seat(|seat| seat.unlocked(on));
        }
    }
}

/// Condition variable.
#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Wakes one that waits.
    pub(crate) fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all that wait.
    pub(crate) fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn notify(&self, most: usize) {
        let on = ptr::from_ref(self).addr();
        if with_seat(|seat| seat.notify(on, most)).is_none() {
            if most == 1 { self.0.notify_one() } else { self.0.notify_all() }
        }
    }

    /// Waits for a notification.
    pub(crate) fn wait<'a, T>(&self, guard: Guard<'a, T>) -> LockResult<Guard<'a, T>> {
        self.wait_until(guard, None).map_or_else(
            |mut guard| {
                let inner = guard.inner.take().unwrap();
                guard.inner = Some(self.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
                Ok(guard)
            },
            Ok,
        )
    }

    /// Waits for a notification, at most this long.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: Guard<'a, T>,
        time: Duration,
    ) -> LockResult<(Guard<'a, T>, bool)> {
        let until = scheduler::elapsed().saturating_add(time);
        let waited = self.wait_until(guard, Some(until));
        let guard = waited.unwrap_or_else(|mut guard| {
            let inner = guard.inner.take().unwrap();
            let waited = self.0.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
            guard.inner = Some(waited.0);
            guard
        });
        Ok((guard, false))
    }

    /// Waits while `blocked` says so, at most this long.
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: Guard<'a, T>,
        time: Duration,
        mut blocked: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(Guard<'a, T>, bool)> {
        let present = || scheduler::now().unwrap_or_else(Instant::now);
        let end = present() + time;
        while blocked(&mut guard) {
            let left = end.saturating_duration_since(present());
            if left.is_zero() {
                return Ok((guard, true));
            }
            guard = self.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok((guard, false))
    }

    /// Waits in a simulation; gives the guard back where there is none.
    fn wait_until<'a, T>(
        &self,
        guard: Guard<'a, T>,
        until: Option<Duration>,
    ) -> Result<Guard<'a, T>, Guard<'a, T>> {
        let (on, mutex) = (ptr::from_ref(self).addr(), guard.mutex);
        let mut guard = Some(guard);
        let waited = with_seat(|seat| {
            // Nobody else runs between the two, so no notification is missed.
            drop(guard.take());
            seat.wait(on, until);
        });
        match waited {
            Some(()) => Ok(lock(mutex)),
            None => Err(guard.unwrap()),
        }
    }
}
