//! What a child says: answers find their calls, notifications theirs, requests are answered here.
//!
//! Nothing that a child prints can fail a call of another one; what belongs to nobody is counted.
//!
//! A child is a stranger: it may answer what nobody asked, twice, or for another call. It reaches a caller
//! only by a number that was made for that caller and is still open, or where it can have meant no other.
//! This module waits for nothing and writes nothing; the lines that it makes are queued. Whose a message is
//! is decided under the lock, and its text is handed over after it: see [`Delivery`].

use std::sync::Arc;

use crate::net::Reservation;
use crate::relay::failure::{self, Class, Failure};
use crate::relay::json::Span;
use crate::relay::message::{Kind, Message};
use crate::relay::payload::Payload;
use crate::relay::revision::Era;

use super::super::handshake::Handshake;
use super::super::mailbox::{End, Mailbox};
use super::super::rewrite::{Line, splice};
use super::{Core, Event, ID_BYTES_MAX};

/// A message of the child that is on its way to a call.
#[derive(Debug)]
pub(in super::super) struct Delivery {
    mailbox: Arc<Mailbox>,
    caller: Arc<Message>,
    message: Arc<Message>,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Answer,
    /// A notification that names nobody.
    Note,
    /// One that names the call by its progress token, or as a subscription.
    Progress(Span),
    Subscription(Span),
}

impl Core {
    /// Takes a message of the child. What it is to its caller is added to `deliveries`; what is to be
    /// counted comes back.
    pub(in super::super) fn incoming(
        &mut self,
        message: Message,
        deliveries: &mut Vec<Delivery>,
    ) -> Option<Event> {
        // What a dying child still says comes after its calls have failed.
        if !self.running {
            return Some(Event::Late);
        }
        let taken = match message.kind() {
            Kind::Response => self.response(message, deliveries),
            Kind::Request => Err(self.server_request(&message)),
            Kind::Notification => self.notification(message).map(|delivery| deliveries.push(delivery)),
        };
        taken.err()
    }

    /// An answer ends the call of its number, once. A number that was given out and is not open any more is
    /// late, one that never was is an invention of the child.
    fn response(&mut self, message: Message, deliveries: &mut Vec<Delivery>) -> Result<(), Event> {
        let number = message.id().and_then(|id| self.numbers.read(id)).ok_or(Event::Noise)?;
        let given = self.numbers.has_given(number);
        self.answered |= given;
        let waiting = self.calls.remove(&number);
        let waiting = waiting.ok_or(if given { Event::Late } else { Event::Noise })?;
        let message = Arc::new(message);
        if waiting.opening {
            self.opened(&message, deliveries);
        }
        self.remember(&waiting);
        let (mailbox, caller) = (waiting.mailbox, waiting.caller);
        deliveries.push(Delivery { mailbox, caller, message, what: What::Answer });
        Ok(())
    }

    /// An answer came for which there is no memory. That to a handshake is left to its deadline.
    pub(in super::super) fn no_room(&mut self, id: &str) {
        let Some(number) = self.numbers.read(id) else { return };
        if self.calls.get(&number).is_none_or(|waiting| waiting.opening) {
            return;
        }
        if let Some(waiting) = self.calls.remove(&number) {
            let cause = "other large answers take all of mcp.body-budget-bytes";
            let failure = Failure::new(Class::BodyTooLarge, cause);
            waiting.mailbox.end(End::Failed(failure));
        }
    }

    /// The child has answered its handshake: whoever asked for the same gets the same.
    fn opened(&mut self, answer: &Arc<Message>, deliveries: &mut Vec<Delivery>) {
        let (replayed, followers) = self.handshake.answered(answer);
        deliveries.extend(followers.into_iter().map(|(caller, mailbox)| {
            let message = Arc::clone(answer);
            Delivery { mailbox, caller, message, what: What::Answer }
        }));
        self.opening_since = None;
        // Nobody beyond the tunnel knows of a session that was opened again, so nobody else would confirm it.
        if replayed && self.handshake.confirm() {
            self.urgent.push_back(Line::own(Handshake::confirmation().to_owned()));
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
            self.urge(Line::own(answer));
        }
        Event::ServerRequest(answered)
    }

    /// A notification goes to the call that it names; one that names none only when there is no doubt.
    fn notification(&self, message: Message) -> Result<Delivery, Event> {
        let places = message.places();
        let named = match (places.progress, places.subscription) {
            (Some(span), _) => Some((span, What::Progress(span))),
            (None, Some(span)) => Some((span, What::Subscription(span))),
            (None, None) => None,
        };
        let (waiting, what) = match named {
            Some((span, what)) => {
                let number = self.numbers.read(span.of(message.text())).ok_or(Event::Noise)?;
                (self.calls.get(&number).ok_or(Event::Late)?, what)
            }
            None => {
                // Given to the wrong one of two callers it would tell one what the other is doing. With a single
                // call that the child knows of there is no other.
                let mut written = self.calls.values().filter(|waiting| waiting.written && !waiting.opening);
                match (written.next(), written.next()) {
                    (Some(only), None) => (only, What::Note),
                    _ => return Err(Event::Noise),
                }
            }
        };
        if matches!(what, What::Progress(_)) && waiting.caller.places().token.is_none() {
            return Err(Event::Noise);
        }
        let (mailbox, caller) = (Arc::clone(&waiting.mailbox), Arc::clone(&waiting.caller));
        Ok(Delivery { mailbox, caller, message: Arc::new(message), what })
    }
}

impl Delivery {
    /// Hands the message to its call, under the caller's own id and token. What is to be counted comes back.
    /// No lock may be held: this is where texts are read and copied.
    pub(in super::super) fn deliver(self, held: Option<Arc<Reservation>>) -> Option<Event> {
        let id = self.caller.id().unwrap_or_default();
        let own = match self.what {
            What::Answer => {
                self.mailbox.end(answer(&self.caller, self.message, held));
                return None;
            }
            What::Note => None,
            What::Progress(span) => {
                self.caller.places().token.map(|token| (span, token.of(self.caller.text()).to_owned()))
            }
            What::Subscription(span) => Some((span, id.to_owned())),
        };
        let payload = Payload::received(text(self.message), held);
        let payload = match own {
            Some((span, own)) => payload.replacing(span, own),
            None => payload,
        };
        (!self.mailbox.note(payload)).then_some(Event::Late)
    }
}

/// The end of a call. The result of a subscription repeats its id: with ours in it, the caller could not find
/// its own.
fn answer(caller: &Message, message: Arc<Message>, held: Option<Arc<Reservation>>) -> End {
    let id = caller.id().unwrap_or_default();
    if caller.method() == Some("subscriptions/listen") {
        match message.result_subscription() {
            Ok(None) => {}
            Ok(Some(span)) => {
                let mut replaced: Vec<_> = message.renamed(id).into_iter().collect();
                replaced.push((span, id.to_owned()));
                return End::Answer(Payload::received(splice(message.text(), &replaced), held));
            }
            Err(malformed) => {
                let cause = format!("the server's message: {malformed}");
                return End::Failed(Failure::new(Class::InvalidAnswer, cause));
            }
        }
    }
    End::Answer(under(message, id, held))
}

/// An answer under another id.
pub(in super::super) fn under(message: Arc<Message>, id: &str, held: Option<Arc<Reservation>>) -> Payload {
    let renamed = message.renamed(id);
    let payload = Payload::received(text(message), held);
    match renamed {
        Some((span, id)) => payload.replacing(span, id),
        None => payload,
    }
}

/// The text of a message, copied only where the handshake remembers it too.
fn text(message: Arc<Message>) -> String {
    Arc::try_unwrap(message).map_or_else(|shared| shared.text().to_owned(), Message::into_text)
}
