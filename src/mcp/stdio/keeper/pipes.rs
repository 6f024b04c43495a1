//! Standard input, output and error of a child, each with a thread of its own.
//!
//! A child that does not read, does not answer or prints without end holds up its own pipe only.
//!
//! A thread belongs to one child, by its number: what a dead child left in its pipes does not
//! reach the calls of the next. When input or output breaks, the child is ended, since no call could be answered any
//! more. Standard error may close as it likes.

use std::io::BufReader;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::Instant;

use crate::net::{self, Reservation};
use crate::ops::metrics::ChildEvent;
use crate::relay::revision::Era;
use crate::sync;

use super::super::core::Event;
use super::super::lines::{Lines, Output};
use super::super::rewrite::{self, Line};
use super::super::stderr::{RATE_BYTES, RATE_LINES, Rate, read_line};
use super::Keeper;

/// Bytes of lines above which no more are written together. What a child that has stopped reading was given is lost
/// with it, and what waits is not.
const BATCH_BYTES: usize = 16 * 1024;

impl Keeper {
    /// Carries lines to the child. Its input is closed when this returns: that is how a server over stdio is asked to
    /// end; signals come after.
    pub(super) fn write(&self, mut stdin: ChildStdin, child: u64) {
        while let Some(lines) = self.next_lines(child) {
            // No lock is held: a large line, or a child that does not read, holds up this thread alone.
            if let Err(error) = rewrite::write(&lines, &mut stdin) {
                log::debug!(channel = self.channel.as_str(); "the server takes no input: {error}");
                return self.pipe_broke(child, net::Kind::ClosedPipe);
            }
        }
    }

    /// Waits for the next lines, of which one write takes as many as wait; nothing when the child is asked to end.
    fn next_lines(&self, child: u64) -> Option<Vec<Line>> {
        let (mut state, mut lines, mut bytes) = (sync::lock(&self.state), Vec::new(), 0);
        while state.core.stamp.child == child {
            while bytes < BATCH_BYTES {
                let Some(line) = state.core.next_line() else { break };
                bytes += line.bytes();
                lines.push(line);
            }
            if !lines.is_empty() || !state.core.is_running() {
                return Some(lines).filter(|lines| !lines.is_empty());
            }
            state = self.changed.wait(state);
        }
        None
    }

    /// Carries messages of the child to their calls.
    pub(super) fn read(&self, stdout: ChildStdout, child: u64) {
        let mut source = BufReader::with_capacity(64 * 1024, stdout);
        let mut lines = Lines::new(Arc::clone(&self.shared.budget));
        // Said once a child: a server that logs to its standard output would fill our log with complaints.
        let mut noisy = false;
        while let Ok(Some(line)) = lines.next(&mut source) {
            #[cfg(feature = "page")]
            if let Some(noise) = line.noise() {
                let line = format!("no message, on standard output: {}", noise.trim_end());
                sync::lock(&self.state).last_lines.push(line);
            }
            let first = line.noise().filter(|_| !noisy).map(str::to_owned);
            let events = self.receive(line, lines.held(), child);
            events.iter().for_each(|event| self.count(*event));
            if events.contains(&Event::Noise) && !std::mem::replace(&mut noisy, true) {
                let first = first.unwrap_or_default();
                log::warn!(channel = self.channel.as_str(), first = first.trim_end(); "the server prints lines that are no messages; they are skipped");
            }
        }
        self.pipe_broke(child, net::Kind::Eof);
    }

    /// Hands the messages of a line to the calls that wait for them. What is to be counted comes back.
    fn receive(&self, line: Output, held: Option<Reservation>, child: u64) -> Vec<Event> {
        // Answers that wait to be posted share one bound with those of all servers.
        let held = held.map(Arc::new);
        let mut state = sync::lock(&self.state);
        // Read before its child was replaced. Those calls have failed already.
        if state.core.stamp.child != child {
            return Vec::new();
        }
        let was_answered = state.core.answered;
        let events = match line {
            Output::Messages(messages) => messages
                .into_iter()
                .filter_map(|message| {
                    message.map_or(Some(Event::Noise), |message| state.core.incoming(message, held.clone()))
                })
                .collect(),
            Output::Skipped(id) => {
                id.inspect(|id| state.core.no_room(id));
                vec![Event::Noise]
            }
        };
        self.end_silence(&mut state);
        if state.core.answered && !was_answered && self.era == Era::Legacy {
            // A handshake that was told again proves that the calls cut by the last death were no more than that.
            self.shared.readiness.child_up(&self.channel);
        }
        self.publish(&state);
        events
    }

    fn count(&self, event: Event) {
        match event {
            Event::Noise => self.happened(ChildEvent::Noise),
            Event::Late => self.happened(ChildEvent::Late),
            Event::ServerRequest(answered) => self.shared.metrics.server_request(&self.channel, answered),
        }
    }

    /// A pipe of the child broke: nothing more will come, so it is ended. It may well go on running otherwise.
    fn pipe_broke(&self, child: u64, kind: net::Kind) {
        let mut state = sync::lock(&self.state);
        if state.core.stamp.child == child {
            self.end_child(&mut state, kind, "the server closed its pipe");
        }
    }

    /// Copies standard error to the log and keeps the last of it.
    pub(super) fn log_stderr(&self, stderr: ChildStderr, child: u64) {
        let mut source = BufReader::new(stderr);
        let mut rate = Rate::new(Instant::now());
        while let Ok(Some((text, bytes))) = read_line(&mut source) {
            let mut state = sync::lock(&self.state);
            state.last_words.clone_from(&text);
            #[cfg(feature = "page")]
            state.last_lines.push(text.clone());
            drop(state);
            let (room, dropped) = rate.take(Instant::now(), bytes);
            self.tell_dropped(dropped);
            // Last, and without the lock: what was read in the log is found on the page too.
            if room {
                log::info!(channel = self.channel.as_str(); "mcp server: {text}");
            } else {
                self.happened(ChildEvent::Dropped);
            }
        }
        self.tell_dropped(rate.dropped);
        let mut state = sync::lock(&self.state);
        if state.core.stamp.child == child {
            state.stderr_open = false;
            self.changed.notify_all();
        }
    }

    fn tell_dropped(&self, lines: u64) {
        if lines > 0 {
            log::warn!(channel = self.channel.as_str(); "{lines} lines of the mcp server's standard error dropped: more than {RATE_LINES} lines or {RATE_BYTES} bytes in a second");
        }
    }
}
