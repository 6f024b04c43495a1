//! Messages of a child: answers find their calls, notifications theirs, requests are answered here.
//!
//! Nothing that a child prints can fail a call of another one; what belongs to no call is counted.
//!
//! A child is a stranger: it may answer what was never asked, twice, or for another call. It reaches a caller
//! only by a number that was made for that caller, was told to the child and is still open, or where it can have
//! meant no other. This module waits for nothing and writes nothing; the lines that it makes are queued.

use std::sync::Arc;

use crate::net::Reservation;
use crate::relay::failure::{self, Class, Failure};
use crate::relay::message::{Kind, Message};
use crate::relay::revision::Era;

use super::super::life::Change;
use super::super::replies::{Named, Received, Reply};
use super::super::rewrite::Line;
use super::{Core, Event, ID_BYTES_MAX, Role};

impl Core {
    /// Takes a message of the child, with the memory that it holds. What is to be counted comes back.
    pub(in super::super) fn incoming(
        &mut self,
        message: Message,
        held: Option<Arc<Reservation>>,
    ) -> Option<Event> {
        // What a dying child still says comes after its calls have failed.
        if !self.is_running() {
            return Some(Event::Late);
        }
        let taken = match message.kind() {
            Kind::Response => self.response(message, held),
            Kind::Request => Err(self.server_request(&message)),
            Kind::Notification => self.notification(message, held),
        };
        taken.err()
    }

    /// An answer ends the call of its number, once. A number that was given out and is not open any more is
    /// late, one that never was is an invention of the child.
    fn response(&mut self, message: Message, held: Option<Arc<Reservation>>) -> Result<(), Event> {
        let number = message.id().and_then(|id| self.numbers.read(id)).ok_or(Event::Noise)?;
        if !self.numbers.has_given(number) {
            return Err(Event::Noise);
        }
        self.answered = true;
        self.change(Change::Answered);
        if !self.calls.get(&number).is_some_and(|waiting| waiting.written) {
            return Err(Event::Late);
        }
        let waiting = self.calls.remove(&number).ok_or(Event::Late)?;
        let message = Arc::new(message);
        if waiting.role == Role::Opening {
            self.opened(&message);
        }
        self.remember(&waiting);
        waiting.replies.end(Reply::Answer(Received { message, held, named: Named::Nowhere }));
        Ok(())
    }

    /// An answer came for which there is no memory. That to a handshake is left to its deadline.
    pub(in super::super) fn no_room(&mut self, id: &str) {
        let Some(number) = self.numbers.read(id) else { return };
        let failed = |waiting: &super::Waiting| matches!(waiting.role, Role::Plain | Role::Endless);
        if !self.calls.get(&number).is_some_and(failed) {
            return;
        }
        if let Some(waiting) = self.calls.remove(&number) {
            let cause = "the answer is above 64 MiB, or other large ones take all of mcp.body-budget-bytes";
            waiting.replies.end(Reply::Failed(Failure::new(Class::BodyTooLarge, cause)));
        }
    }

    /// The child has answered its handshake: all who asked for the same get the same.
    fn opened(&mut self, answer: &Arc<Message>) {
        let unconfirmed = self.handshake.answered(answer);
        self.stamp.opened += u64::from(!answer.is_error());
        self.calls.retain(|_, waiting| {
            let follows = waiting.role == Role::Follower;
            if follows {
                let message = Arc::clone(answer);
                waiting.replies.end(Reply::Answer(Received { message, held: None, named: Named::Nowhere }));
            }
            !follows
        });
        self.change(Change::Opened);
        if unconfirmed {
            self.confirm();
        }
    }

    /// Requests of servers are answered here, as nothing beyond the tunnel could; revisions without a
    /// handshake know none.
    fn server_request(&mut self, message: &Message) -> Event {
        let answered = self.era == Era::Legacy;
        if let (true, Some(id)) = (answered, message.id().filter(|id| id.len() <= ID_BYTES_MAX)) {
            self.push_urgent(Line::own(failure::answer_to_server(message.method(), id)));
        }
        Event::ServerRequest(answered)
    }

    /// A notification goes to the call that it names; one that names none only when there is no doubt.
    fn notification(&mut self, message: Message, held: Option<Arc<Reservation>>) -> Result<(), Event> {
        self.stamp.changed += u64::from(message.method() == Some("notifications/tools/list_changed"));
        let places = message.places();
        let (named, span) = match (places.progress, places.subscription) {
            (Some(span), _) => (Named::Token(span), Some(span)),
            (None, Some(span)) => (Named::Subscription(span), Some(span)),
            (None, None) => (Named::Nowhere, None),
        };
        let waiting = match span {
            Some(span) => {
                let number = self.numbers.read(span.of(message.text())).ok_or(Event::Noise)?;
                self.calls.get(&number).filter(|waiting| waiting.written).ok_or(Event::Late)?
            }
            None => {
                // Given to the wrong one of two callers it would tell one what the other is doing. With a single
                // call that the child knows of there is no other.
                let known = |waiting: &&super::Waiting| waiting.written && waiting.role != Role::Opening;
                let mut known = self.calls.values().filter(known);
                match (known.next(), known.next()) {
                    (Some(only), None) => only,
                    _ => return Err(Event::Noise),
                }
            }
        };
        if matches!(named, Named::Token(_)) && waiting.caller.places().token.is_none() {
            return Err(Event::Noise);
        }
        let notification = Received { message: Arc::new(message), held, named };
        if waiting.replies.notify(notification) { Ok(()) } else { Err(Event::Late) }
    }
}
