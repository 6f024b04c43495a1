//! What a silent child still owes, and the question that it is asked then.

use std::sync::Arc;

use serde_json::json;

use crate::mcp::questions;
use crate::relay::message::Message;
use crate::relay::revision::Era;

use super::{Core, Role};

impl Core {
    /// Asks the child a question that every server answers; the answer has no reader.
    pub(in super::super) fn ask(&mut self) {
        let mut question = match self.era {
            Era::Legacy => json!({"jsonrpc": "2.0", "id": 0, "method": "ping"}),
            Era::Modern => questions::discover(),
        };
        // No caller's cancellation names it.
        question.get_mut("id").into_iter().for_each(|id| *id = "tunnel-client-question".into());
        if let Ok(message) = Message::parse(question.to_string()) {
            let (number, _, line) = self.call(&Arc::new(message), None, Role::Plain);
            self.question = Some(number);
            self.urgent.push_back(line);
        }
    }

    /// The child has said something, which is answer enough: a question has no deadline, and would be owed for ever.
    pub(in super::super) fn forget_question(&mut self) {
        self.question.take().and_then(|number| self.calls.remove(&number));
    }

    /// Whether a call below this number waits for an answer that has to come.
    pub(in super::super) fn owes(&self, number: u64) -> bool {
        self.calls.range(..number).any(|(_, waiting)| waiting.role != Role::Endless)
    }

    /// The number of the next call.
    pub(in super::super) fn next_number(&self) -> u64 {
        self.numbers.next
    }
}
