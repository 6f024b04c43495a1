//! What a child says: answers find their calls, notifications theirs, requests are answered here.
//!
//! Nothing that a child prints can fail a call of another one; what belongs to nobody is counted.
//!
//! A child is a stranger: it may answer what nobody asked, twice, or for another call. It reaches a caller
//! only by a number that was made for that caller and is still open, or where it can have meant no other.
//! This module waits for nothing and writes nothing; the lines that it makes are queued.

use std::sync::Arc;

use crate::net::Reservation;
use crate::relay::failure::{self, Failure};
use crate::relay::message::{Era, Kind, Message};
use crate::relay::payload::Payload;

use super::super::handshake::Handshake;
use super::super::mailbox::End;
use super::super::rewrite::{self, line};
use super::{Core, Event, ID_BYTES_MAX, Line, under};

impl Core {
    /// Takes a message of the child. What is to be counted comes back.
    pub(in super::super) fn incoming(
        &mut self,
        message: Message,
        held: Option<Arc<Reservation>>,
    ) -> Option<Event> {
        // What a dying child still says comes after its calls have failed.
        if !self.running {
            return Some(Event::Late);
        }
        match message.kind() {
            Kind::Response => self.response(message, held),
            Kind::Request => Some(self.server_request(&message)),
            Kind::Notification => self.notification(message, held),
        }
    }

    /// An answer ends the call of its number, once. A number that was given out and is not open any more is
    /// late, one that never was is an invention of the child.
    fn response(&mut self, message: Message, held: Option<Arc<Reservation>>) -> Option<Event> {
        let Some(number) = message.id().and_then(rewrite::number) else { return Some(Event::Noise) };
        self.answered |= number < self.next;
        let Some(waiting) = self.calls.remove(&number) else {
            return Some(if number < self.next { Event::Late } else { Event::Noise });
        };
        if waiting.opening {
            self.opened(&message);
        }
        let own = waiting.id.clone();
        // The result of a subscription repeats its id. With ours in it, the caller could not find its own.
        let subscription = rewrite::find(message.text(), &rewrite::SUBSCRIPTION_RESULT).ok().flatten();
        let payload = match subscription {
            None => {
                let renamed = message.renamed(&waiting.id);
                let payload = Payload::received(message.into_text(), held);
                match renamed {
                    Some((span, id)) => payload.replacing(span, id),
                    None => payload,
                }
            }
            Some(span) => {
                let mut replaced: Vec<_> = message.renamed(&waiting.id).into_iter().collect();
                replaced.push((span, waiting.id));
                Payload::received(rewrite::splice(message.text(), replaced), held)
            }
        };
        waiting.mailbox.end(End::Answer(payload));
        self.remember(own);
        None
    }

    /// An answer came for which there is no memory. That to a handshake is left to its deadline.
    pub(in super::super) fn no_room(&mut self, id: &str) {
        let Some(number) = rewrite::number(id) else { return };
        if self.calls.get(&number).is_none_or(|waiting| waiting.opening) {
            return;
        }
        if let Some(waiting) = self.calls.remove(&number) {
            let cause = "other large answers take all of mcp.body-budget-bytes";
            let failure = Failure::protocol("response_body_too_large", cause.to_owned());
            waiting.mailbox.end(End::Failed(failure));
        }
    }

    /// The child has answered its handshake: whoever asked for the same gets the same.
    fn opened(&mut self, answer: &Message) {
        let result = answer.text().to_owned();
        let (replayed, followers) = self.handshake.answered(&result, !answer.is_error());
        for (id, mailbox) in followers {
            mailbox.end(End::Answer(under(&result, &id)));
        }
        self.opening_since = None;
        // Nobody beyond the tunnel knows of a session that was opened again, so nobody else would confirm it.
        if replayed && self.handshake.confirm() {
            let text = Handshake::confirmation().to_owned();
            self.urgent.push_back(Line { bytes: line(text), call: None });
        }
    }

    /// Requests of servers are answered here, as nobody beyond the tunnel could; revisions without a
    /// handshake know none.
    fn server_request(&mut self, message: &Message) -> Event {
        let answered = self.era == Era::Legacy;
        if let (true, Some(id)) = (answered, message.id().filter(|id| id.len() <= ID_BYTES_MAX)) {
            // A refusal is better than silence: a server that waits for sampling or roots would never go on.
            let answer = match message.method() {
                Some("ping") => failure::empty_result(id),
                _ => failure::method_not_found(id),
            };
            self.urge(line(answer));
        }
        Event::ServerRequest(answered)
    }

    /// A notification goes to the call that it names; one that names none only when there is no doubt.
    fn notification(&mut self, message: Message, held: Option<Arc<Reservation>>) -> Option<Event> {
        let text = message.text();
        for path in [&rewrite::PROGRESS_TOKEN[..], &rewrite::SUBSCRIPTION[..]] {
            let Ok(Some(span)) = rewrite::find(text, path) else { continue };
            let Some(number) = rewrite::number(span.of(text)) else { return Some(Event::Noise) };
            let Some(waiting) = self.calls.get(&number) else { return Some(Event::Late) };
            let own = if path.len() == 2 { waiting.token.clone() } else { Some(waiting.id.clone()) };
            let Some(own) = own else { return Some(Event::Noise) };
            let payload = Payload::received(message.into_text(), held).replacing(span, own);
            return (!waiting.mailbox.note(payload)).then_some(Event::Late);
        }
        // Given to the wrong one of two callers it would tell one what the other is doing. With a single call
        // that the child knows of there is no other.
        let mut written = self.calls.values().filter(|waiting| waiting.written && !waiting.opening);
        match (written.next(), written.next()) {
            (Some(only), None) => {
                let payload = Payload::received(message.into_text(), held);
                (!only.mailbox.note(payload)).then_some(Event::Late)
            }
            _ => Some(Event::Noise),
        }
    }
}
