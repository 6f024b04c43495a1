//! Target of a channel whose server speaks over stdio: commands find the child of their era.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use crate::config::Channel;
use crate::ops::health::{Clock, Component};
use crate::ops::heartbeat::Heartbeats;
use crate::ops::readiness::NOT_STARTED;
use crate::relay::command::{Body, Command};
use crate::relay::failure::{self, Class, Failure};
use crate::relay::headers::ReplyHeaders;
use crate::relay::message::{Kind, Message};
use crate::relay::payload::Payload;
use crate::relay::port::{Call, Outcome, Target};
use crate::relay::revision::{self, Era};

use super::call::{Decided, Waiting};
use super::core::{Admission, Conversation, Core};
use super::keeper::{Keeper, Shared};
use super::launch::Launch;
use super::rewrite::Numbers;

/// Stdio server behind one channel.
pub struct StdioTarget {
    channel: Channel,
    pub(super) legacy: Arc<Keeper>,
    pub(super) modern: Arc<Keeper>,
    shared: Shared,
    /// The secret of the digests of conversations.
    conversations: RandomState,
}

impl StdioTarget {
    /// Starts the channel's child. Fails when its program cannot be executed.
    pub fn start(
        channel: &Channel,
        launch: &Launch,
        shared: &Shared,
        heartbeats: &Heartbeats,
    ) -> io::Result<StdioTarget> {
        launch.check().map_err(io::Error::other)?;
        let keeper = |era, newer| {
            let core = Core::new(era, Numbers::random()?);
            io::Result::Ok(Keeper::new(channel, era, core, launch, shared, newer))
        };
        let modern = keeper(Era::Modern, None)?;
        let legacy = keeper(Era::Legacy, Some(Arc::clone(&modern)))?;
        // Until it runs there is nothing to be ready with.
        shared.readiness.child_down(channel, NOT_STARTED);
        legacy.start(heartbeats)?;
        // Its thread alone: a child of the newer era is made for the first message that wants one, since most
        // servers know only the older.
        modern.start(heartbeats)?;
        let (channel, shared, conversations) = (channel.clone(), shared.clone(), RandomState::new());
        Ok(StdioTarget { channel, legacy, modern, shared, conversations })
    }

    /// The channel that it serves.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Before a process that does not wait for the end of its servers: ends those, of all channels, whose guard
    /// would not.
    pub fn leave(&self) {
        self.shared.guards.leave();
    }

    /// The last lines that its server printed on standard error: those of the older era's child, which always runs.
    #[cfg(feature = "page")]
    pub fn last_lines(&self) -> Vec<String> {
        self.legacy.last_lines()
    }

    /// Process id of its server's guard, and since when that runs: those of the same child.
    #[cfg(feature = "page")]
    pub fn runs(&self) -> Option<(u32, std::time::Instant)> {
        self.legacy.runs()
    }

    /// The server as `/health` shows it: the child of the newer era where that alone has shown something.
    pub fn component(&self, clock: Clock, fails: bool) -> Component {
        let [older, newer] = [&self.legacy, &self.modern].map(|keeper| keeper.component(clock, fails));
        let shows = |one: &Component| matches!(one.state, "initialized" | "server_discovered" | "discovered");
        if shows(&newer) && !shows(&older) { newer } else { older }
    }

    /// What a caller's conversation is known by: its session, else its credentials. Callers share a child, and
    /// ids are small numbers: without this any caller's cancellation could reach any call. Only a digest is
    /// kept, since it outlives the call.
    fn conversation(&self, command: &Command) -> Conversation {
        let mut named = ["mcp-session-id", "authorization"].into_iter();
        let value = named.find_map(|name| Some((name, command.headers.get(name)?.as_bytes())));
        value.map(|value| self.conversations.hash_one(value))
    }

    /// The child that a message belongs to. A cancellation follows the call that it names. One that names calls of
    /// both children belongs to neither, unless it says which era it belongs to.
    fn keeper(&self, command: &Command, message: &Arc<Message>, of: Conversation) -> Option<&Arc<Keeper>> {
        let cancels =
            message.kind() == Kind::Notification && message.method() == Some("notifications/cancelled");
        let header = command.header(revision::VERSION_HEADER.as_str()).filter(|_| !cancels);
        if message.era(header) == Era::Modern {
            return Some(&self.modern);
        }
        if cancels && self.modern.is_named_by(message, of) {
            // To cancel the wrong call harms; one that is not cancelled only works in vain.
            return (!self.legacy.is_named_by(message, of)).then_some(&self.modern);
        }
        Some(&self.legacy)
    }

    fn admit_message(&self, command: &Arc<Command>, message: &Arc<Message>) -> Box<dyn Call> {
        let conversation = self.conversation(command);
        let Some(keeper) = self.keeper(command, message, conversation) else {
            return Box::new(Decided(acknowledged()));
        };
        let held = command.ticket.more(message.text().len());
        match keeper.admit(message, conversation, held) {
            Admission::Call(number, replies) => {
                let (keeper, caller) = (Arc::clone(keeper), Arc::clone(message));
                Box::new(Waiting { keeper, replies, number, caller, runs: false })
            }
            // Answered for the server, as one that speaks both would: the caller goes on in the other era at
            // once.
            Admission::Unspoken => Box::new(Decided(unknown(message))),
            Admission::Taken => Box::new(Decided(acknowledged())),
        }
    }
}

impl Target for StdioTarget {
    fn admit(&self, command: Arc<Command>) -> Box<dyn Call> {
        match &command.body {
            Body::Message(message) => self.admit_message(&command, message),
            // There is no session to end but the process, which serves others too.
            Body::SessionTermination => {
                Box::new(Decided(Outcome::Done { status: 405, headers: ReplyHeaders::default() }))
            }
            // Not ignored: the product would wait for its time-out on every connection that is set up.
            Body::OauthDiscovery => {
                let message =
                    "OAuth discovery needs a server over HTTP; the one of this channel is reached over stdio";
                let payload =
                    failure::discovery_error("server_error", "oauth_discovery_unavailable", message);
                let headers = ReplyHeaders::default();
                Box::new(Decided(Outcome::Response { status: 502, headers, payload, timing: None }))
            }
            // The relay answers these itself.
            Body::Unusable { .. } => {
                Box::new(Decided(Outcome::Failed(Failure::new(Class::Internal, "not a message"))))
            }
        }
    }

    fn wind_down(&self) {
        self.legacy.end_subscriptions();
        self.modern.end_subscriptions();
    }

    fn stop(&self) {
        self.legacy.stop();
        self.modern.stop();
    }

    fn close(&self) {
        // Both have been asked to end already, so they end side by side.
        self.legacy.close();
        self.modern.close();
    }
}

fn acknowledged() -> Outcome {
    Outcome::Done { status: 200, headers: ReplyHeaders::default() }
}

/// The answer of a server that does not speak a message's era.
fn unknown(message: &Message) -> Outcome {
    match (message.kind(), message.id()) {
        (Kind::Request, Some(id)) => {
            let headers = ReplyHeaders::content("application/json");
            let payload = Payload::own(failure::method_not_found(id));
            Outcome::Response { status: 200, headers, payload, timing: None }
        }
        _ => acknowledged(),
    }
}
