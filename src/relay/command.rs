//! One command of the control plane, from the moment it was polled.
//!
//! A command is decoded once and never changed after that: workers, targets and couriers share it. It
//! carries the caller's credentials and the token of its answer, so its `Debug` shows neither, and no
//! log line prints a header of it but its request and session ids.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, HeaderValue};

use crate::config::Channel;
use crate::ops::metrics::RequestKind;
use crate::sync;

use super::failure;
use super::inflight::Ticket;
use super::judgement::Judgement;
use super::message::{Kind, Message};
use super::record::Record;
use super::subject::{self, Subject};
use super::trace::TraceContext;

/// How long a subscription may stay open. It has no answer to wait for, and a caller that vanished without a
/// word would hold its place for good; others subscribe again, as they have to after every lost connection.
pub const SUBSCRIPTION_TTL: Duration = Duration::from_secs(24 * 3600);

/// Largest message of a subscription, which names what it is about and brings no data. A larger one would keep its
/// share of what may be in flight for that long, and a few of them would end polling for a day.
pub const SUBSCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// Least time that is set aside for telling a caller that its time is over. A post to a near plane takes a few
/// milliseconds, but a busy host may need some before that.
const POST_TIME_MIN: Duration = Duration::from_millis(200);

/// One piece of work, with all that is needed to answer it. Whoever holds the last reference ends
/// the command's time in flight: that is the courier, once the answer was posted or given up.
pub struct Command {
    /// Names the command towards the control plane; at most 4 KiB.
    pub request_id: String,
    /// Returned in a header of every post; at most 4 KiB and header-legal.
    pub shard_token: HeaderValue,
    /// Where it goes.
    pub channel: Channel,
    /// The caller's headers, as polled.
    pub headers: HeaderMap,
    /// What is asked.
    pub body: Body,
    /// When the poll's headers arrived.
    pub received: Instant,
    /// When the caller's request was queued by the plane, if it says so.
    pub created_at: Option<SystemTime>,
    /// After this nothing may be posted any more (`response_timeout`).
    pub silent_after: Option<Instant>,
    /// By this the call ends, so that its caller hears of it in time: see [`Command::set_time_aside`].
    pub answer_by: Option<Instant>,
    /// The caller's place in a trace, when it is valid.
    pub trace: Option<TraceContext>,
    /// What the operator's policy says about it.
    pub judgement: Judgement,
    /// Its record, which is written when it is dropped: before the command stops to be counted.
    pub record: Option<Box<dyn Record>>,
    /// What its conversation is called in log, page and audit.
    pub session: Option<String>,
    /// When a worker began to run it.
    pub started: OnceLock<Instant>,
    /// Why it fails or is refused, for the operator's page.
    #[cfg(feature = "page")]
    pub why: OnceLock<String>,
    /// Counts the command among those in flight until it is dropped.
    pub ticket: Ticket,
}

/// What a command asks for.
#[derive(Debug)]
pub enum Body {
    /// Forward this message.
    Message(Arc<Message>),
    /// End the caller's session.
    SessionTermination,
    /// Look up the server's protected-resource metadata.
    OauthDiscovery,
    /// The payload cannot be forwarded; it is answered, not dropped.
    Unusable {
        /// Of which type the command said it was.
        kind: RequestKind,
        /// How it is refused.
        class: failure::Class,
        /// What is wrong with it, for the log.
        cause: String,
        /// The id of the message, where one could be read.
        id: Option<String>,
    },
}

impl Body {
    /// How much it keeps in memory. Nothing limits the length of an id.
    pub fn bytes(&self) -> usize {
        match self {
            Body::Message(message) => message.text().len(),
            Body::Unusable { id: Some(id), .. } => id.len(),
            _ => 0,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

impl Command {
    /// Its kind in metrics and answers. A response of the product counts as a notification: neither
    /// expects an answer of the server.
    pub fn kind(&self) -> RequestKind {
        match &self.body {
            Body::Message(message) if message.kind() == Kind::Request => RequestKind::Call,
            Body::Message(_) => RequestKind::Notification,
            Body::SessionTermination => RequestKind::SessionTermination,
            Body::OauthDiscovery => RequestKind::OauthDiscovery,
            Body::Unusable { kind, .. } => *kind,
        }
    }

    /// The message, when there is one.
    pub fn message(&self) -> Option<&Arc<Message>> {
        match &self.body {
            Body::Message(message) => Some(message),
            _ => None,
        }
    }

    /// Whether this is the call that never ends by itself. It has workers, connections and a limit of its
    /// own everywhere, so that it can be neither in the way nor cut short.
    pub fn is_subscription(&self) -> bool {
        self.message().is_some_and(|message| message.is_subscription())
    }

    /// The id to answer under, as it was written.
    pub fn id(&self) -> Option<&str> {
        match &self.body {
            Body::Message(message) => message.id(),
            Body::Unusable { id, .. } => id.as_deref(),
            _ => None,
        }
    }

    /// What is asked for in a word: the method of a message, or what is none.
    pub fn asked(&self) -> Option<&str> {
        match &self.body {
            Body::Message(message) => message.method(),
            Body::SessionTermination => Some(RequestKind::SessionTermination.word()),
            Body::OauthDiscovery => Some(RequestKind::OauthDiscovery.word()),
            Body::Unusable { .. } => None,
        }
    }

    /// The tool, prompt or resource that it is about.
    pub fn named(&self) -> Option<Cow<'_, str>> {
        let message = self.message()?;
        let subject = Subject::of(message).on(&self.channel, message);
        subject.name.filter(|_| subject.kind != subject::Kind::Method)
    }

    /// A command of channel `main` for unit tests, which say themselves what matters to them.
    #[cfg(test)]
    pub(crate) fn example(ticket: Ticket) -> Command {
        Command {
            request_id: "r".into(),
            shard_token: HeaderValue::from_static("t"),
            channel: Channel::main(),
            headers: HeaderMap::new(),
            body: Body::SessionTermination,
            received: sync::now(),
            created_at: None,
            silent_after: None,
            answer_by: None,
            trace: None,
            judgement: Judgement::default(),
            record: None,
            session: None,
            started: OnceLock::new(),
            #[cfg(feature = "page")]
            why: OnceLock::new(),
            ticket,
        }
    }

    /// Sets time aside, at the end of what the caller gave, for the answer that says that it is over: two round
    /// trips to the plane, but no more than half of all.
    pub fn set_time_aside(&mut self, round_trip: Option<Duration>) {
        let aside = POST_TIME_MIN.max(2 * round_trip.unwrap_or_default());
        let half = |end: Instant| end.saturating_duration_since(self.received) / 2;
        self.answer_by = self.silent_after.and_then(|end| end.checked_sub(aside.min(half(end))));
    }

    /// Whether `response_timeout` has passed.
    pub fn expired(&self) -> bool {
        has_passed(self.silent_after)
    }

    /// Whether its caller has to be told now that time is over.
    pub fn is_overdue(&self) -> bool {
        has_passed(self.answer_by)
    }

    /// The deadline of a call that starts now and may take `ttl`. The caller's own time started when
    /// the poll's headers arrived, ours starts here: a server must not lose the time that a command
    /// spent in our queue.
    pub fn deadline(&self, ttl: Duration) -> Deadline {
        Deadline::new(self.answer_by, ttl)
    }

    /// The first value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn has_passed(end: Option<Instant>) -> bool {
    end.is_some_and(|end| sync::now() >= end)
}

/// Until when a call may run. There are two ends, and the failure tells which came first: shortly before the
/// caller's `response_timeout`, and at our own limit. Progress moves neither.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    answer_by: Option<Instant>,
    limit: Instant,
}

impl Deadline {
    /// That of a call that starts now and may take `ttl`, and whose caller is to be answered by that moment, if any.
    pub fn new(answer_by: Option<Instant>, ttl: Duration) -> Deadline {
        Deadline { answer_by, limit: sync::now() + ttl }
    }

    /// When waiting ends, whatever the reason.
    pub fn end(&self) -> Instant {
        self.answer_by.map_or(self.limit, |end| end.min(self.limit))
    }

    /// Whether the caller's own time is over.
    pub fn is_expired(&self) -> bool {
        has_passed(self.answer_by)
    }

    /// The same with a shorter time of ours.
    pub fn at_most(self, limit: Duration) -> Deadline {
        Deadline { limit: self.limit.min(sync::now() + limit), ..self }
    }

    /// A shorter wait within this deadline.
    pub fn within(&self, limit: Duration) -> Instant {
        self.end().min(sync::now() + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inflight::InFlight;
    use super::*;

    /// NEW-036: two round trips, 200 ms at least, half of all at most.
    #[test]
    fn time_is_set_aside_for_telling_the_caller() {
        let ms = Duration::from_millis;
        for (timeout, round_trip, aside) in [
            (ms(30_000), None, ms(200)),
            (ms(30_000), Some(ms(40)), ms(200)),
            (ms(30_000), Some(ms(150)), ms(300)),
            (ms(1_000), Some(ms(900)), ms(500)),
            (ms(300), None, ms(150)),
            (ms(0), Some(ms(5)), ms(0)),
        ] {
            let mut command = Command::example(InFlight::default().enter(0));
            command.set_time_aside(round_trip);
            assert_eq!(command.answer_by, None);
            command.silent_after = Some(command.received + timeout);
            command.set_time_aside(round_trip);
            assert_eq!(command.answer_by, Some(command.received + timeout - aside), "{timeout:?}");
        }
    }
}
