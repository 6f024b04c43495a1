//! A question of our own to a child that serves callers as well: its list of tools.

use std::sync::Arc;
use std::time::Instant;

use crate::relay::command::Deadline;
use crate::relay::headers::ReplyHeaders;
use crate::relay::inflight::InFlight;
use crate::relay::message::Message;
use crate::relay::payload::Payload;
use crate::relay::port::{Call, Outcome, Sink};
use crate::relay::revision::Era;

use super::super::questions;
use super::call::Waiting;
use super::core::{Admission, OURS};
use super::target::StdioTarget;

impl StdioTarget {
    /// Numbers that change when a child of either era is another one, or has said that its list of tools is.
    pub fn generation(&self) -> [u64; 2] {
        [self.legacy.generation(), self.modern.generation()]
    }

    /// The page of the server's tools behind this cursor, as a message in JSON, by the child of this era. Its session
    /// is opened as for a caller without one.
    pub fn tools(&self, era: Era, cursor: Option<&str>, end: Instant) -> Result<String, String> {
        let question = Message::parse(questions::tools(era, cursor).to_string());
        let question = Arc::new(question.map_err(|(malformed, _)| malformed.to_string())?);
        let keeper = if era == Era::Modern { &self.modern } else { &self.legacy };
        // No cancellation of a caller names it.
        let held = InFlight::default().enter(0);
        let Admission::Call(number, replies) = keeper.admit(&question, OURS, held) else {
            return Err("the server does not speak this revision".to_owned());
        };
        let call = Waiting { keeper: Arc::clone(keeper), replies, number, caller: question, runs: false };
        let deadline = Deadline::new(None, end.saturating_duration_since(Instant::now()));
        match Box::new(call).run(deadline, &mut Unheard) {
            Outcome::Response { payload, .. } => {
                String::from_utf8(payload.parts().concat()).map_err(|error| error.to_string())
            }
            Outcome::Failed(failure) => Err(failure.cause),
            Outcome::Done { .. } => Err("tools/list was not answered".to_owned()),
        }
    }
}

/// Takes notifications that nobody reads.
struct Unheard;

impl Sink for Unheard {
    fn notify(&mut self, _: Payload, _: u16, _: &ReplyHeaders, _: Instant) {}

    fn afterwards(&mut self, work: Box<dyn FnOnce()>) {
        work();
    }
}
