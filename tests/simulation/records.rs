//! Records of commands, as the audit log would keep them, in the history of a run.

use std::sync::Arc;

use super::ask;
use super::history::{Event, History, Number};
use crate::relay::command::Command;
use crate::relay::failure::Class;
use crate::relay::message::Message;
use crate::relay::port::Recorder;
use crate::relay::record::{Fate, Record};

/// The recorder.
pub(super) struct Records(pub(super) Arc<History>);

struct Open(Arc<History>, Number);

impl Recorder for Records {
    fn admits(&self) -> bool {
        true
    }

    fn begin(&self, command: &Command) -> Box<dyn Record> {
        let number = ask::number(&command.request_id);
        self.0.add(Event::Began(number));
        let refusal = command.judgement.refusal.as_ref();
        if refusal.is_some_and(|refusal| refusal.class == Class::RateLimited) {
            self.0.add(Event::Limited(number));
        }
        Box::new(Open(Arc::clone(&self.0), number))
    }

    fn dropped(&self, request_id: Option<&str>, _: &'static str) {
        if request_id != Some("x") {
            self.0.wrong(format!("{request_id:?} is dropped"));
        }
    }
}

impl Record for Open {
    fn taken(&self, _: &Message) {}

    fn end(&self, fate: Fate) {
        self.0.add(Event::Ended(self.1, fate));
    }

    fn untold(&self) {
        self.0.add(Event::Untold(self.1));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.add(Event::Closed(self.1));
    }
}
