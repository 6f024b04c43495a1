//! The input and the answers of a child, each with a thread of its own.
//!
//! A child that does not read, does not answer or prints without end holds up its own pipe only.
//!
//! Input and answers belong to one child, by its generation: what a dead child left in its pipes does not
//! reach the calls of the next. When either breaks, its child is ended, since no call could be answered any
//! more. Nothing here starts a child.

use std::io::BufReader;
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::Instant;

use crate::net::{self, Reservation};
use crate::ops::metrics::ChildEvent;
use crate::relay::message::Message;
use crate::relay::revision::Era;
use crate::sync;
use crate::text::head;

use super::super::core::Event;
use super::super::framing::{self, Frame, Frames};
use super::Keeper;

/// How much of a skipped line is handed to the log, which cleans it and shows less.
const SKIPPED_BYTES_MAX: usize = 4096;

impl Keeper {
    /// Carries lines to the child. The input is closed when this returns.
    pub(super) fn write(&self, mut stdin: ChildStdin, generation: u64) {
        loop {
            let line = {
                let mut state = self.state();
                loop {
                    if !state.running || state.generation != generation {
                        return;
                    }
                    // Closing its input is how a server over stdio is asked to end; signals come after.
                    if state.closing {
                        return;
                    }
                    if let Some(line) = state.core.next_line() {
                        break line;
                    }
                    let Some(end) = state.silent_until else {
                        state = sync::wait(&self.changed, state);
                        continue;
                    };
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.input_closes(&mut state);
                    }
                    state = sync::wait_for(&self.changed, state, left);
                }
            };
            // No lock is held: a large line, or a child that does not read, holds up this thread and nobody else.
            if let Err(error) = line.write(&mut stdin) {
                log::debug!(channel = self.channel.as_str(); "the server takes no input: {error}");
                return self.end(generation, net::Kind::ClosedPipe);
            }
        }
    }

    /// Carries messages of the child to their calls.
    pub(super) fn read(&self, stdout: ChildStdout, generation: u64) {
        let mut source = BufReader::with_capacity(64 * 1024, stdout);
        let mut frames = Frames::new(Arc::clone(&self.shared.budget));
        // Said once a child: a server that logs to its standard output would fill our log with complaints.
        let mut noisy = false;
        while let Ok(Some(frame)) = frames.next(&mut source) {
            let (events, skipped) = match frame {
                Frame::Noise => (vec![self.refuse(None, generation)], frames.skipped()),
                Frame::Message(message) => {
                    (self.receive(vec![Some(*message)], frames.held(), generation), None)
                }
                Frame::Text(text) => {
                    // What has the mark of a message may be a caller's data.
                    let skipped =
                        Some(head(&text, SKIPPED_BYTES_MAX)).filter(|text| !text.contains("jsonrpc"));
                    let skipped = skipped.filter(|_| !noisy).map(str::to_owned);
                    (self.receive(framing::messages(text), frames.held(), generation), skipped)
                }
                Frame::Skipped(id) => (vec![self.refuse(id.as_deref(), generation)], None),
            };
            events.iter().for_each(|event| self.count(*event));
            if events.contains(&Event::Noise) && !std::mem::replace(&mut noisy, true) {
                let skipped = skipped.unwrap_or_default();
                log::warn!(channel = self.channel.as_str(), first = skipped.trim_end(); "the server prints lines that are no messages; they are skipped");
            }
        }
        self.end(generation, net::Kind::Eof);
    }

    /// Hands messages to the calls that wait for them. What is to be counted comes back.
    fn receive(
        &self,
        messages: Vec<Option<Message>>,
        held: Option<Reservation>,
        generation: u64,
    ) -> Vec<Event> {
        // Answers that wait to be posted share one bound with those of all servers.
        let held = held.map(Arc::new);
        let mut deliveries = Vec::with_capacity(messages.len());
        let mut state = self.state();
        // Read before its child was replaced. Those calls have failed already.
        if state.generation != generation {
            return Vec::new();
        }
        let was_answered = state.core.answered;
        let mut incoming = |message: Option<Message>| match message {
            Some(message) => state.core.incoming(message, &mut deliveries),
            None => Some(Event::Noise),
        };
        let mut events: Vec<Event> = messages.into_iter().filter_map(&mut incoming).collect();
        self.heard(&mut state);
        if state.core.answered && !was_answered && self.era == Era::Legacy {
            // A handshake that was told again proves that the calls cut by the last death were no more than that.
            self.shared.readiness.child_up(&self.channel);
        }
        if state.core.answered && !state.speaks {
            (state.speaks, state.refused, state.silent_until) = (true, false, None);
        }
        self.publish(&state);
        drop(state);
        events.extend(deliveries.into_iter().filter_map(|delivery| delivery.deliver(held.clone())));
        events
    }

    /// Numbers only: what a child prints in place of messages may be a caller's data, so not more than the first
    /// line is logged.
    fn count(&self, event: Event) {
        match event {
            Event::Noise => self.shared.metrics.child_event(&self.channel, ChildEvent::Noise),
            Event::Late => self.shared.metrics.child_event(&self.channel, ChildEvent::Late),
            Event::ServerRequest(answered) => self.shared.metrics.server_request(&self.channel, answered),
        }
    }

    /// A line is skipped. Where there was no memory for an answer, whoever waits for it is told so.
    fn refuse(&self, id: Option<&str>, generation: u64) -> Event {
        let mut state = self.state();
        if state.generation == generation {
            id.inspect(|id| state.core.no_room(id));
            self.heard(&mut state);
        }
        Event::Noise
    }

    /// A pipe of the child broke: nothing more will come, so it is ended.
    fn end(&self, generation: u64, kind: net::Kind) {
        let mut state = self.state();
        if state.generation == generation && state.running {
            // Before its call fails: the next one may follow at once, and must meet the verdict.
            state.refused |= self.era == Era::Modern && !state.speaks;
            state.core.died(kind, "the server closed its pipe");
            // Without it the guard ends the child, which may well go on running with a pipe closed.
            self.cut(&mut state);
            self.changed.notify_all();
        }
    }
}
