//! Sessions of the older revisions: who opened one, and under which revision.
//!
//! The number has a bound; when it is reached the oldest goes, whose owner is told with 404 to begin anew.
//! Opening fails only where the system gives no random bytes: a session that could be guessed is none.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::crypto;
use crate::sync;

/// Clients that vanish do not end their sessions, and one costs some hundred bytes.
const SESSIONS_MAX: usize = 1024;

/// The open sessions.
#[derive(Default)]
pub struct Sessions(Mutex<VecDeque<Session>>);

struct Session {
    id: String,
    version: &'static str,
}

impl Sessions {
    /// Opens one and returns its id.
    pub(super) fn open(&self, version: &'static str) -> Option<String> {
        let id = crypto::random_id().ok()?;
        let mut sessions = sync::lock(&self.0);
        if sessions.len() >= SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(Session { id: id.clone(), version });
        Some(id)
    }

    /// The revision that the session speaks; `None` when there is no such session.
    pub(super) fn version(&self, id: &str) -> Option<&'static str> {
        sync::lock(&self.0).iter().find(|session| session.id == id).map(|session| session.version)
    }

    /// Ends one; false when there is no such session.
    pub(super) fn end(&self, id: &str) -> bool {
        let mut sessions = sync::lock(&self.0);
        let before = sessions.len();
        sessions.retain(|session| session.id != id);
        sessions.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_session_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.open("a").unwrap();
        let second = sessions.open("b").unwrap();
        for _ in 2..SESSIONS_MAX {
            sessions.open("c").unwrap();
        }
        assert_eq!(sessions.version(&first), Some("a"));
        sessions.open("c").unwrap();
        assert_eq!((sessions.version(&first), sessions.version(&second)), (None, Some("b")));
        assert!(sessions.end(&second) && !sessions.end(&second));
        assert_eq!(sessions.version(&second), None);
    }
}
