//! Handshake of a legacy child: how its session was opened, so that the next child can be told the same.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::net::FREE_BYTES;
use crate::relay::message::Message;

use super::super::questions;

/// The notification that ends a handshake.
pub(super) const CONFIRMATION: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Longest `initialize` that is compared with our own; no client's comes near it.
const COMPARED_BYTES_MAX: usize = 16 * 1024;

/// Handshake with the present child, and the memory of the last good one.
#[derive(Default)]
pub(super) struct Handshake {
    /// The last `initialize` that a child accepted, its answer, and when that came.
    memory: Option<(Arc<Message>, Arc<Message>, Instant)>,
    stage: Stage,
    /// Whether no caller has used a session since one was opened for a question of our own.
    is_ours: bool,
}

#[derive(Default)]
enum Stage {
    /// Nothing has opened a session with the present child.
    #[default]
    Missing,
    /// This `initialize` is unanswered. One of `ours` was sent for callers who do not know of it, so that none of them
    /// will confirm it.
    Asked { initialize: Arc<Message>, ours: bool },
    /// The child has accepted one, and was told `initialized` or not.
    Done { confirmed: bool },
}

impl Handshake {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.stage, Stage::Missing)
    }

    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. })
    }

    /// Whether any child has accepted an `initialize`, so that the next one has to be told.
    pub(super) fn is_known(&self) -> bool {
        self.memory.is_some()
    }

    /// What the present child has answered, and when.
    pub(super) fn answer(&self) -> Option<(&Arc<Message>, Instant)> {
        let (_, answer, at) = self.memory.as_ref()?;
        matches!(self.stage, Stage::Done { .. }).then_some((answer, *at))
    }

    /// An `initialize` goes to the child.
    pub(super) fn ask(&mut self, initialize: &Arc<Message>, ours: bool) {
        self.stage = Stage::Asked { initialize: Arc::clone(initialize), ours };
    }

    /// The present child has answered. Tells whether it has to be told `initialized` by us.
    pub(super) fn answered(&mut self, answer: &Arc<Message>) -> bool {
        let stage = std::mem::replace(&mut self.stage, Stage::Missing);
        let (Stage::Asked { initialize, ours }, false) = (stage, answer.is_error()) else { return false };
        // A giant one is passed on, and asked for again when it is wanted again.
        let small = initialize.text().len() + answer.text().len() <= FREE_BYTES;
        self.memory = small.then(|| (initialize, Arc::clone(answer), Instant::now()));
        self.stage = Stage::Done { confirmed: false };
        ours
    }

    /// Whether `initialized` is still owed; it counts as sent from now on. It is owed once per child.
    pub(super) fn confirm(&mut self) -> bool {
        match &mut self.stage {
            Stage::Done { confirmed } => !std::mem::replace(confirmed, true),
            Stage::Missing | Stage::Asked { .. } => false,
        }
    }

    /// The child is gone, or the `initialize` was never sent. What no caller has asked for is not asked for again.
    pub(super) fn reset(&mut self) {
        self.stage = Stage::Missing;
        self.memory = self.memory.take().filter(|_| !self.is_ours);
    }

    /// Somebody uses the session of the present child: a caller, or we ourselves, who may have it opened for that.
    pub(super) fn used(&mut self, by_us: bool) {
        self.is_ours = by_us && (self.is_ours || (self.is_missing() && !self.is_known()));
    }

    /// Whether this message is an `initialize` that has to reach the server although a session is open: that one is ours
    /// alone, and asks for another revision or tells of other capabilities.
    pub(super) fn yields_to(&self, message: &Message) -> bool {
        let text = Some(message.text()).filter(|text| text.len() <= COMPARED_BYTES_MAX);
        let asked = || serde_json::from_str::<Value>(text?).ok();
        let differs = |asked: Value| {
            let ours = questions::initialize();
            let differs = |at: &&str| asked.pointer(at) != ours.pointer(at);
            ["/params/protocolVersion", "/params/capabilities"].iter().any(differs)
        };
        let is_open = self.is_ours && !self.is_missing();
        is_open && message.method() == Some("initialize") && asked().is_none_or(differs)
    }

    /// What a fresh child is told first: the last good `initialize`, else one of our own, for callers whose session is
    /// older than this process.
    pub(super) fn remembered(&self) -> Arc<Message> {
        match &self.memory {
            Some((initialize, ..)) => Arc::clone(initialize),
            None => {
                let own = Message::parse(questions::initialize().to_string());
                Arc::new(own.unwrap_or_else(|_| unreachable!("a constant, parsed by the tests")))
            }
        }
    }
}
