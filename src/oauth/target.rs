//! Target of the channel `main`: a server over HTTP together with its discovery.
//!
//! All commands go to the server but `oauth_discovery`, which is a worker's call like any other: it waits in
//! the queue, ends with its deadline, and is answered when the process drains. A search that finds nothing is
//! answered too, as failed; the reason stays in the local log.

use std::sync::Arc;
use std::time::Instant;

use crate::mcp::http::HttpTarget;
use crate::relay::command::{Body, Command, Deadline};
use crate::relay::failure::{Class, Failure, Source};
use crate::relay::headers::ReplyHeaders;
use crate::relay::payload::Payload;
use crate::relay::port::{Call, Outcome, Sink, Target};

use super::discovery::{Discovery, SEARCH_TIME};
use super::record::Record;

/// Server over HTTP together with its discovery.
pub struct Protected {
    /// The server.
    pub server: Arc<HttpTarget>,
    /// Finds out where it wants callers to sign in.
    pub discovery: Arc<Discovery>,
}

impl Target for Protected {
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        match command.body {
            Body::OauthDiscovery => Box::new(DiscoveryCall(Arc::clone(&self.discovery))),
            _ => self.server.admit(command),
        }
    }

    fn wind_down(&self) {
        self.server.wind_down();
    }

    fn stop(&self) {
        self.server.stop();
        self.discovery.stop();
    }

    fn close(&self) {
        self.server.close();
    }
}

/// One `oauth_discovery` command.
struct DiscoveryCall(Arc<Discovery>);

impl Call for DiscoveryCall {
    fn run(self: Box<Self>, deadline: Deadline, _: &mut dyn Sink) -> Outcome {
        let found = match self.0.answer(deadline.end()) {
            _ if deadline.is_expired() => return Outcome::Failed(Failure::expired()),
            Ok(Some(found)) => found,
            Ok(None) => {
                let cause = "the server publishes no protected resource metadata";
                let failure = Failure::new(Class::NoBody, cause);
                return Outcome::Failed(Failure { source: Source::TargetHttp, ..failure });
            }
            Err(miss) => return Outcome::Failed(miss.failure()),
        };
        // What the answer names can be called once it is posted; but the answer does not wait for all time.
        let left = deadline.end().saturating_duration_since(Instant::now()) / 2;
        self.0.publish(&found, Instant::now() + left.min(SEARCH_TIME), &mut Record::default());
        if deadline.is_expired() {
            return Outcome::Failed(Failure::expired());
        }
        let headers = ReplyHeaders::allowed(&found.headers);
        let payload = Payload::received(found.text, None, found.held.map(Arc::new));
        Outcome::Response { status: found.status, headers, payload, timing: None }
    }
}
