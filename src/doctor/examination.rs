//! The checks of one examination: their order, the work that some of them wait for, and its end.
//!
//! Whoever makes a check adds it at once, or announces it and adds the work that will make it. Work runs on threads
//! of its own; a check that has not come in time has failed. It cannot fail itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::mcp::stdio::Guards;
use crate::net::Client;
use crate::sync;

use super::report::{ASK_AGAIN, Check};

/// How long a server may take to answer, unless somebody asks for more. A server over stdio that needs 5 s to
/// start is fine, and may be asked twice.
const SERVER_TIME: Duration = Duration::from_secs(7);

/// What everything may take beyond that, started children aside, which end by their guards. Supervisors and
/// people lose patience at ten seconds; a report that comes before then says what hung.
const MARGIN: Duration = Duration::from_millis(2_500);

/// How often whoever waits is told for what.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A narrow terminal.
const PROGRESS_CHARS_MAX: usize = 72;

/// Why a network check was not made.
pub(super) const NOT_ASKED: &str = "not asked: --offline";

/// Work that waits for others; it makes the checks that were announced for it.
type Job = Box<dyn FnOnce() -> Vec<Check> + Send>;

/// Checks in their order, and the work that is still to be done for some.
#[derive(Default)]
pub(super) struct Examination {
    order: Vec<String>,
    done: HashMap<String, Check>,
    jobs: Vec<Job>,
    /// The guards of the servers over stdio that are tried.
    pub(super) guards: Arc<Guards>,
    /// How long servers may take to answer, where somebody said so.
    pub(super) wait: Option<Duration>,
}

impl Examination {
    /// No check yet; servers may take so long, where somebody said so.
    pub(super) fn new(wait: Option<Duration>) -> Examination {
        Examination { wait, ..Examination::default() }
    }

    /// Adds checks that have been made.
    pub(super) fn now(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            self.order.push(check.id.clone());
            self.done.insert(check.id.clone(), check);
        }
    }

    /// Keeps a place for a check that a job makes, or says at once that it is not made.
    pub(super) fn announce(&mut self, id: String, blocked: Option<&str>) {
        match blocked {
            Some(why) => self.now([Check::skip(id, why)]),
            None => self.order.push(id),
        }
    }

    /// The proxy on the way of a client, if there is one.
    pub(super) fn proxy(&mut self, id: String, client: Client, offline: bool) {
        let route = client.route();
        let Some(proxy) = route.proxy.clone() else { return };
        let to = route.destination.clone();
        self.announce(id.clone(), offline.then_some(NOT_ASKED));
        self.job(offline, move || {
            let Some(found) = client.check_proxy() else { return Vec::new() };
            vec![match found.failure {
                None => Check::pass(id, format!("{proxy} lets us through to {to}")),
                Some(failure) => Check::fail(
                    id,
                    failure.to_string(),
                    "Whatever lies behind this proxy is out of reach.",
                    ["check the proxy's URL, its credentials, and what it allows; NO_PROXY goes round it"],
                ),
            }]
        });
    }

    /// How long a server may take to answer.
    pub(super) fn server_time(&self) -> Duration {
        self.wait.unwrap_or(SERVER_TIME)
    }

    /// Adds work that waits for the network, unless it may not.
    pub(super) fn job(&mut self, offline: bool, work: impl FnOnce() -> Vec<Check> + Send + 'static) {
        if !offline {
            self.jobs.push(Box::new(work));
        }
    }

    /// Does the work and puts everything in its order. Whatever is not done in time has failed.
    pub(super) fn finish(mut self, began: Instant, progress: &dyn Fn(&str)) -> Vec<Check> {
        let time = self.server_time().max(SERVER_TIME) + MARGIN;
        let end = began + time;
        let (sender, results) = channel();
        for job in self.jobs.drain(..) {
            let sender = sender.clone();
            // One that cannot be started does not finish, and neither does one that comes too late.
            drop(sync::spawn("doctor", move || drop(sender.send(job()))));
        }
        // Only the threads hold senders now, so that the loop sees when the last one has gone.
        drop(sender);
        loop {
            let open: Vec<&str> =
                self.order.iter().filter(|id| !self.done.contains_key(*id)).map(String::as_str).collect();
            let left = end.saturating_duration_since(Instant::now());
            if open.is_empty() || left.is_zero() {
                break;
            }
            // A line that went over the edge could not be taken back.
            let line = format!("{} s: waiting for {}", began.elapsed().as_secs(), open.join(", "));
            progress(&line.chars().take(PROGRESS_CHARS_MAX).collect::<String>());
            match results.recv_timeout(left.min(PROGRESS_INTERVAL)) {
                Ok(checks) => {
                    self.done.extend(checks.into_iter().map(|check: Check| (check.id.clone(), check)))
                }
                Err(RecvTimeoutError::Timeout) => {}
                // A job that panicked or never started leaves its checks open; they are reported as
                // unfinished.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let Examination { order, mut done, .. } = self;
        order.into_iter().map(|id| done.remove(&id).unwrap_or_else(|| unfinished(id, time))).collect()
    }
}

/// A setting that names what cannot be used.
pub(super) fn unusable(id: &str, text: &str) -> Check {
    let next = [format!("correct the file or setting that is named, then ask again: {ASK_AGAIN}")];
    Check::fail(id, text, "run does not start with it.", next)
}

/// A check whose work did not end. Its thread is left alone: it holds nothing that outlives this process, and
/// waiting for it is what the bound is there to prevent.
fn unfinished(id: String, time: Duration) -> Check {
    let summary = format!("did not finish within {} s", time.as_secs_f32());
    let next = ["ask again, and see what the other checks say of the same peer"];
    Check::fail(id, summary, "What it waits for hangs.", next)
}
