//! The sides of the relay, as it sees them: servers behind a [`Target`], the plane behind an [`Outbox`], the
//! operator's policy behind a [`Governor`].
//!
//! These traits are all that the sides can say to each other: a server's room cannot name a
//! request of the control plane, nor the reverse. Nothing here fails; failures are an [`Outcome`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Channel;
use crate::ops::heartbeat::Heartbeat;
use crate::text::words;

use super::command::{Command, Deadline};
use super::failure::Failure;
use super::headers::ReplyHeaders;
use super::judgement::Judgement;
use super::payload::Payload;
use super::record::Record;

/// A private MCP server.
pub trait Target: Send + Sync {
    /// Takes a command in the order of dequeuing. Runs under the queue's lock, so it must not block, nor
    /// ask the queue anything, nor look at the payload, which may be large: all channels wait meanwhile.
    /// What it returns does the work, or is dropped when the command expired.
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call>;

    /// Whether its channel is served now; asked under the queue's lock as well. One whose endpoints come and
    /// go is not there while it has none.
    fn is_served(&self) -> bool {
        true
    }

    /// Ends what never ends by itself (subscriptions); ordinary calls go on. The first step of a drain,
    /// which would otherwise always last until its bound.
    fn wind_down(&self);

    /// Ends everything at once: calls that still run fail.
    fn stop(&self);

    /// Waits, within bounds, for what was started to be gone. Called after [`Target::stop`].
    fn close(&self) {}
}

/// A command that its target has taken.
pub trait Call: Send {
    /// Does the work; notifications go to `sink` as they arrive. May take until the deadline, on a thread that does
    /// nothing else meanwhile.
    fn run(self: Box<Self>, deadline: Deadline, sink: &mut dyn Sink) -> Outcome;
}

/// Takes the notifications of one running call, in order.
pub trait Sink {
    /// Posts one notification; returns when it was posted or given up. So a server that sends faster
    /// than the plane takes is slowed down by its own connection, and nothing piles up here. At `until`
    /// the call itself ends, so a plane that does not take the notification holds it no longer. Two posts never
    /// overlap: nothing in the contract numbers them, so the plane could not keep their order.
    fn notify(&mut self, payload: Payload, status: u16, headers: &ReplyHeaders, until: Instant);

    /// Keeps work for when the answer has been handed over, which it must not hold up. It is bounded.
    fn afterwards(&mut self, work: Box<dyn FnOnce()>);
}

/// How a command ended.
pub enum Outcome {
    /// The server's JSON-RPC response.
    Response {
        /// The server's status.
        status: u16,
        /// Headers that may pass.
        headers: ReplyHeaders,
        /// The response under the caller's id.
        payload: Payload,
        /// How long a server outside this process took for it.
        timing: Option<Timing>,
    },
    /// What expects no message was taken or refused by the server: a notification, a response of the product, the
    /// end of a session.
    Done {
        /// The server's status.
        status: u16,
        /// Headers that may pass.
        headers: ReplyHeaders,
    },
    /// There is no answer of the server.
    Failed(Failure),
}

/// Time of a server, from just before a request was written until its answer had been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The published word for the way to it.
    pub transport: &'static str,
    /// How long it took.
    pub elapsed: Duration,
}

/// The operator's policy: what callers may ask for.
pub trait Governor: Send + Sync {
    /// Decides about a command that some server would get. Runs on the poller's thread and must not block.
    fn judge(&self, command: &Command) -> Judgement;

    /// Whether a call of this tool could go on: who makes lists of its own asks this.
    #[cfg_attr(not(feature = "harpoon"), allow(dead_code))]
    fn offers(&self, channel: &Channel, tool: &str) -> bool;

    /// Takes out of the answer to a command what its caller could not ask for.
    fn filter(&self, command: &Command, payload: Payload) -> Result<Payload, Failure>;

    /// Hears a notification of a server that goes to its caller.
    fn hears(&self, command: &Command, payload: &Payload);
}

/// Takes down commands. Nothing here blocks, or fails.
pub trait Recorder: Send + Sync {
    /// Whether a command may begin now; one that may not is counted.
    fn admits(&self) -> bool;

    /// Begins the record of a command that was polled and judged.
    fn begin(&self, command: &Command) -> Box<dyn Record>;

    /// Takes down a command that nobody can be answered about, and why.
    fn dropped(&self, request_id: Option<&str>, why: &'static str);
}

/// Where answers go.
pub trait Outbox: Send + Sync {
    /// Posts a notification of a running call, on the worker's own thread; false when it was not
    /// accepted by `until`, and those that follow it should not be posted.
    fn notify(&self, command: &Command, answer: &Answer, until: Instant) -> bool;

    /// Takes the terminal answer of a command; called at most once for a command: this is where "exactly one terminal
    /// answer" is kept. The thread whose heartbeat is given may post it itself. Blocks while all couriers are busy.
    fn deliver(&self, command: Arc<Command>, answer: Answer, posts: Option<&Heartbeat>);
}

/// What is posted for a command.
#[derive(Debug)]
pub struct Answer {
    /// `resp_type`.
    pub kind: AnswerKind,
    /// `resp_code`.
    pub status: u16,
    /// `resp_headers`.
    pub headers: ReplyHeaders,
    /// `resp_json`.
    pub payload: Option<Payload>,
    /// `resp_timing`.
    pub timing: Option<Timing>,
}

words! {
    /// The types of posts, with their words on the wire.
    AnswerKind {
        /// Terminal: a JSON-RPC response.
        Response = "jsonrpc_response",
        /// On the way: a notification of a running call.
        Notification = "jsonrpc_notify",
        /// Terminal: a notification was handed over.
        Acknowledgement = "notify_ack",
        /// Terminal: a session's end.
        SessionTermination = "session_termination_response",
        /// Terminal: a metadata document, or why there is none.
        OauthDiscovery = "oauth_discovery_response",
    }
}
