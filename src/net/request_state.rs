//! State of one HTTP request, shared by its sender, the connection that carries it, and the reply.
//!
//! The HTTP crate takes a request and gives a reply; it has no place for what the two ends must tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Deadline and progress of a request. One thread at a time works on it.
#[derive(Debug)]
pub(super) struct RequestState {
    deadline: Instant,
    /// How long before the deadline the present wait ends: a wait can be shortened and never prolonged.
    early_ns: AtomicU64,
    pub(super) sent: AtomicBool,
    pub(super) answered: AtomicBool,
}

impl RequestState {
    pub(super) fn new(deadline: Instant) -> Arc<RequestState> {
        let (early_ns, sent, answered) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(RequestState { deadline, early_ns, sent, answered })
    }

    /// Deadline of the whole exchange, body included.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When the present wait must end.
    pub(super) fn wait_end(&self) -> Instant {
        let early = Duration::from_nanos(self.early_ns.load(Ordering::Relaxed));
        self.deadline.checked_sub(early).unwrap_or(self.deadline)
    }

    /// Ends the waits from now on at `end`, or at the deadline if that comes first.
    pub(super) fn set_wait_end(&self, end: Instant) {
        let early = self.deadline.saturating_duration_since(end).as_nanos();
        self.early_ns.store(u64::try_from(early).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether any byte of the request may have reached the peer.
    pub(super) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether a part of the reply has come.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_can_only_be_shortened() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let state = RequestState::new(now + 60 * second);
        assert_eq!(state.wait_end(), now + 60 * second);
        state.set_wait_end(now + second);
        assert_eq!(state.wait_end(), now + second);
        state.set_wait_end(now + 90 * second);
        assert_eq!((state.wait_end(), state.deadline()), (now + 60 * second, now + 60 * second));
    }
}
