//! What a waiting call receives from its child: notifications in order, then one end.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::relay::failure::Failure;
use crate::relay::payload::Payload;
use crate::sync;

/// Most notifications that may wait for a slow control plane. The child's reader never waits for a
/// caller, so what exceeds this is dropped and counted.
const NOTES_MAX: usize = 1024;

/// Most bytes of them; a single larger one still passes.
const NOTE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One call's mailbox, shared by the call and the state of its child.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Letters {
    notes: VecDeque<Payload>,
    note_bytes: usize,
    end: Option<End>,
    /// Whether the command has been handed to the child.
    written: bool,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum End {
    /// The child's answer under the caller's id.
    Answer(Payload),
    /// There will be none.
    Failed(Failure),
}

/// What a wait brought.
#[derive(Debug)]
pub(super) enum Letter {
    /// The next notification.
    Note(Payload),
    /// The end.
    End(End),
    /// Nothing, within the time given.
    Nothing,
}

impl Mailbox {
    /// Puts a notification in; false when there was no room.
    pub(super) fn note(&self, payload: Payload) -> bool {
        let mut letters = self.letters();
        let bytes = payload.bytes();
        let room = letters.notes.is_empty()
            || (letters.notes.len() < NOTES_MAX && letters.note_bytes + bytes <= NOTE_BYTES_MAX);
        if room {
            letters.note_bytes += bytes;
            letters.notes.push_back(payload);
            self.changed.notify_one();
        }
        room
    }

    /// Ends the call. The first end counts.
    pub(super) fn end(&self, end: End) {
        self.letters().end.get_or_insert(end);
        self.changed.notify_one();
    }

    /// The command has been handed to the child.
    pub(super) fn written(&self) {
        self.letters().written = true;
        self.changed.notify_one();
    }

    /// Waits for the next letter. While the command is not written, only until `unwritten`.
    pub(super) fn next(&self, deadline: Instant, unwritten: Instant) -> Letter {
        let mut letters = self.letters();
        loop {
            if let Some(note) = letters.notes.pop_front() {
                letters.note_bytes -= note.bytes();
                return Letter::Note(note);
            }
            if let Some(end) = letters.end.take() {
                return Letter::End(end);
            }
            let until = if letters.written { deadline } else { deadline.min(unwritten) };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Letter::Nothing;
            }
            letters = match self.changed.wait_timeout(letters, left) {
                Ok((letters, _)) => letters,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        sync::lock(&self.letters)
    }
}
