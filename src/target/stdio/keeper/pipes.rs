//! The three pipes of a child, each with a thread of its own: input, answers, standard error.
//!
//! A child that does not read, does not answer or prints without end holds up its own pipe only.
//!
//! Input and answers belong to one child, by its generation: what a dead child left in its pipes does not
//! reach the calls of the next. When either breaks, its child is ended, since no call could be answered any
//! more; standard error may close as it likes. Nothing here starts a child.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::net::Reservation;
use crate::ops::metrics::ChildEvent;
use crate::relay::message::{Era, Message};

use super::super::core::Event;
use super::super::framing::{self, Frame, Frames};
use super::{Keeper, era_word};

/// Lines of standard error that are kept, and the longest that is.
const STDERR_LINES_MAX: usize = 50;
const STDERR_LINE_BYTES_MAX: u64 = 4096;

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
                        drop((state, stdin));
                        return self.ask_louder();
                    }
                    if let Some(line) = state.core.next_line() {
                        break line;
                    }
                    let Some(end) = state.silent_until else {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                        continue;
                    };
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        drop((state, stdin));
                        return self.ask_louder();
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            };
            // No lock is held: a large line, or a child that does not read, holds up this thread and nobody else.
            if let Err(error) = stdin.write_all(&line.into_bytes()) {
                log::debug!(channel = self.channel.as_str(); "the server takes no input: {error}");
                return self.end(generation, "closed_pipe");
            }
        }
    }

    /// Carries messages of the child to their calls.
    pub(super) fn read(&self, stdout: ChildStdout, generation: u64) {
        let mut source = BufReader::with_capacity(64 * 1024, stdout);
        let mut frames = Frames::new(Arc::clone(&self.budget));
        // Said once a child: a server that logs to its standard output would fill our log with complaints.
        let mut noisy = false;
        while let Ok(Some(frame)) = frames.next(&mut source) {
            let events = match frame {
                Frame::Noise => vec![Event::Noise],
                Frame::Message(message) => self.receive(vec![Some(*message)], frames.held(), generation),
                Frame::Text(text) => self.receive(framing::messages(text), frames.held(), generation),
                Frame::Skipped(id) => vec![self.refuse(id.as_deref(), generation)],
            };
            events.iter().for_each(|event| self.count(*event));
            if events.contains(&Event::Noise) && !std::mem::replace(&mut noisy, true) {
                log::warn!(channel = self.channel.as_str(); "the server prints lines that are no messages; they are skipped");
            }
        }
        self.end(generation, "eof");
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
        let mut incoming = |message: Option<Message>| match message {
            Some(message) => state.core.incoming(message, &mut deliveries),
            None => Some(Event::Noise),
        };
        let mut events: Vec<Event> = messages.into_iter().filter_map(&mut incoming).collect();
        if state.core.answered && !state.speaks {
            (state.speaks, state.refused, state.silent_until) = (true, false, None);
        }
        self.metrics.child_pending(&self.channel, era_word(self.era), state.core.pending());
        self.changed.notify_all();
        drop(state);
        events.extend(deliveries.into_iter().filter_map(|delivery| delivery.deliver(held.clone())));
        events
    }

    /// Numbers only: what a child prints in place of messages may be a caller's data, so it is not logged.
    fn count(&self, event: Event) {
        match event {
            Event::Noise => self.metrics.child_event(&self.channel, ChildEvent::Noise),
            Event::Late => self.metrics.child_event(&self.channel, ChildEvent::Late),
            Event::ServerRequest(answered) => self.metrics.server_request(&self.channel, answered),
        }
    }

    /// There was no memory for an answer: whoever waits for it is told so.
    fn refuse(&self, id: Option<&str>, generation: u64) -> Event {
        let mut state = self.state();
        if let Some(id) = id.filter(|_| state.generation == generation) {
            state.core.no_room(id);
        }
        Event::Noise
    }

    /// A pipe of the child broke: nothing more will come, so it is ended.
    fn end(&self, generation: u64, kind: &'static str) {
        let mut state = self.state();
        if state.generation == generation && state.running {
            // Before its call fails: the next one may follow at once, and must meet the verdict.
            state.refused |= self.era == Era::Modern && !state.speaks;
            state.core.died(kind, "the server closed its pipe");
            // Without it the guard ends the child, which may well go on running with a pipe closed.
            state.lifeline = None;
            self.changed.notify_all();
        }
    }

    /// Copies standard error to the log, line by line, and keeps the last of them.
    /// It is a server's own log by custom, and meant for whoever runs the server; the last lines often say
    /// why it ended. Nobody beyond the tunnel sees them.
    pub(super) fn pump(&self, stderr: ChildStderr) {
        let (mut source, mut line) = (BufReader::new(stderr), Vec::new());
        loop {
            line.clear();
            // A longer line is cut into several; a server that prints without an end fills no memory.
            match io::Read::take(&mut source, STDERR_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            {
                let mut state = self.state();
                if state.stderr.len() == STDERR_LINES_MAX {
                    state.stderr.pop_front();
                }
                state.stderr.push_back(text.clone());
            }
            // Last, and without the lock: who has read it here finds it on the page too.
            log::info!(channel = self.channel.as_str(); "mcp server: {text}");
        }
    }
}
