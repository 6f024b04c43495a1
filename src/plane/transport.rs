//! What the poller and the couriers ask of the control plane.
//!
//! [`Plane`](super::client::Plane) is it in the program; a test puts another in its place and needs neither sockets
//! nor pauses.

use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

use crate::relay::command::Command;
use crate::relay::port::Answer;

use super::oversized::Body;
use super::refusal::Refusal;

/// Connection to the control plane.
pub trait Transport: Send + Sync {
    /// Asks for commands. `on_head` runs once the reply's headers are there. A reply that is too large fails, unless
    /// a single command was asked for.
    fn poll(&self, ask: &Ask, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal>;

    /// Posts an answer once. `Ok` holds the status of any reply that counts as taken: 404 does, since the
    /// request is answered already or its caller has gone, and neither changes by posting again.
    fn post(&self, command: &Command, answer: &Answer, until: Instant) -> Result<u16, Refusal>;

    /// Cuts a poll that is being held, and every later one.
    fn stop_polls(&self);

    /// Cuts notifications that are being posted, and every later one.
    fn stop_notes(&self);

    /// The same for terminal answers.
    fn stop_answers(&self);

    /// How long a single exchange takes at most.
    fn exchange_time(&self) -> Duration;

    /// How long a round trip takes, once that has been measured.
    fn round_trip(&self) -> Option<Duration>;

    /// Whether a connection for polls was ever made.
    fn has_connected(&self) -> bool;

    /// Whether the key stands in a file, where another one may come to stand.
    fn key_may_change(&self) -> bool;
}

/// What a poll asks for.
pub struct Ask {
    /// Most commands.
    pub limit: usize,
    /// How long it may be held.
    pub wait: Duration,
    /// How long it may take in all, body included.
    pub time: Duration,
    /// The token that leads it to its cluster, once the plane has given one.
    pub token: Option<HeaderValue>,
}

/// A poll that succeeded.
pub struct Polled {
    /// When its headers arrived: the moment that all deadlines of the batch count from.
    pub received: Instant,
    /// Its body.
    pub body: Body,
    /// The plane's own id of the exchange, for whoever has to ask its operators.
    pub tunnel_request_id: Option<String>,
}
