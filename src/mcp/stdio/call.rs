//! Calls of a stdio server, after their admission.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net;
use crate::relay::command::Deadline;
use crate::relay::failure::Failure;
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::Message;
use crate::relay::port::{Call, Outcome, Sink, Timing};

use super::keeper::{Keeper, SILENCE_MAX};
use super::replies::{Replies, Reply};

/// How long a command waits for a child that is down or starting.
/// Long enough for a restart, which callers then never notice; short enough that a broken server is told
/// apart from a slow one.
const DOWN_WAIT: Duration = Duration::from_secs(5);

/// How long it waits for one that is starting, and has not answered its handshake.
const STARTING_WAIT: Duration = Duration::from_secs(60);

/// A command that was decided when it was admitted.
pub(super) struct Decided(pub(super) Outcome);

impl Call for Decided {
    fn run(self: Box<Self>, _: Deadline, _: &mut dyn Sink) -> Outcome {
        self.0
    }
}

/// A call whose end is awaited.
pub(super) struct Waiting {
    pub(super) keeper: Arc<Keeper>,
    pub(super) replies: Arc<Replies>,
    pub(super) number: u64,
    pub(super) caller: Arc<Message>,
    /// Whether a worker waits or has waited for its end.
    pub(super) runs: bool,
}

impl Drop for Waiting {
    /// A call that was dropped before it ran is given up, so that its server does not work in vain.
    fn drop(&mut self) {
        if !self.runs {
            self.keeper.give_up(self.number, Duration::ZERO);
        }
    }
}

impl Call for Waiting {
    fn run(mut self: Box<Self>, deadline: Deadline, sink: &mut dyn Sink) -> Outcome {
        self.runs = true;
        let subscription = self.caller.is_subscription();
        // The first question of callers that try the newer era: a server that does not know it may stay
        // silent, and the caller should be free to try the other one soon.
        let discovers = self.caller.method() == Some("server/discover");
        let end = if discovers { deadline.within(SILENCE_MAX) } else { deadline.end() };
        let (began, mut unwritten) = (Instant::now(), deadline.within(DOWN_WAIT));
        loop {
            match self.replies.next(end, unwritten) {
                Some(Reply::Notification(notification)) => {
                    let payload = notification.notification(&self.caller);
                    sink.notify(payload, 200, &ReplyHeaders::content("text/event-stream"), end);
                }
                Some(Reply::Answer(answer)) => {
                    let headers = ReplyHeaders::content("application/json");
                    self.keeper.observe(&self.replies, &self.caller, &answer.message);
                    let timing = self.replies.took().map(|elapsed| Timing { transport: "stdio", elapsed });
                    return match answer.answer(&self.caller) {
                        Ok(payload) => Outcome::Response { status: 200, headers, payload, timing },
                        Err(failure) => Outcome::Failed(failure),
                    };
                }
                Some(Reply::Failed(failure)) => {
                    // Its server may not know; of a call that it ended itself nothing is left to give up.
                    if subscription {
                        self.keeper.give_up(self.number, Duration::ZERO);
                    }
                    return Outcome::Failed(failure);
                }
                None => {
                    let down = Instant::now() < end;
                    let (starting, cause) = self.keeper.why_unwritten();
                    if down && starting && began.elapsed() < STARTING_WAIT {
                        unwritten = deadline.within(DOWN_WAIT);
                        continue;
                    }
                    self.keeper.give_up(self.number, began.elapsed());
                    return Outcome::Failed(match down {
                        _ if deadline.is_expired() => Failure::expired(),
                        true => Failure::new(net::Kind::Dial, cause),
                        false => Failure::timeout(),
                    });
                }
            }
        }
    }
}
