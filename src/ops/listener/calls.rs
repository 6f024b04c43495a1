//! Requests of the listener that take time: threads of their own answer them.
//!
//! The listener's thread reads such a request, hands it over and goes on; the reply comes back to it over a
//! channel, and a socket pair wakes it. So it stays the only one that touches connections, and no call can
//! keep a health check waiting. Number and size of calls have bounds; who exceeds them is refused. Only the
//! start of the threads can fail.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Calls;
use super::http::{Reply, Request};
use crate::config::Secret;
use crate::crypto;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::sync;

/// Calls whose body is being read, or that run; each has a thread. The programs of one host are few.
pub(super) const CALLS_MAX: usize = 8;

/// The largest body, far above what any tool takes.
pub(super) const BODY_MAX_BYTES: usize = 1024 * 1024;

/// How long a caller is kept: the longest time that one call may have, and a moment.
const CALL_TIME: Duration = Duration::from_secs(130);

/// Answers calls, on a thread where it may wait.
pub(crate) trait Answering: Send + Sync {
    /// Answers one.
    fn answer(&self, request: &Request) -> Reply;
}

/// What the listener offers to programs of this host.
pub(crate) struct Offer {
    /// Where.
    pub(crate) path: &'static str,
    /// What they must show; nothing where the socket file lets nobody else in.
    pub(crate) token: Option<Secret>,
    /// Who answers them.
    pub(crate) answering: Arc<dyn Answering>,
}

impl Offer {
    /// Starts the threads, once there is a listener for them.
    pub(crate) fn starter(self) -> super::Offer {
        Box::new(|heartbeats| {
            let threads: Box<dyn Calls + Send> = Box::new(Threads::start(self, heartbeats)?);
            Ok(threads)
        })
    }
}

/// Running threads that answer calls, as the listener has them.
struct Threads {
    offer: Offer,
    jobs: SyncSender<(u64, Request)>,
    replies: Receiver<(u64, Reply)>,
    /// Readable when there are replies.
    done: UnixStream,
    /// Calls that were handed over and have no reply yet, also those whose callers have left.
    running: Cell<usize>,
}

/// What a thread works with.
struct Worker {
    answering: Arc<dyn Answering>,
    jobs: Arc<Mutex<Receiver<(u64, Request)>>>,
    replies: Sender<(u64, Reply)>,
    wake: UnixStream,
}

impl Threads {
    /// Starts the threads. They end with the listener, or with the call that they are in.
    fn start(offer: Offer, heartbeats: &Heartbeats) -> io::Result<Threads> {
        // As many places as callers are let in, so that handing over never waits.
        let (jobs, waiting) = sync_channel(CALLS_MAX);
        let (sender, replies) = channel();
        let (done, wake) = UnixStream::pair()?;
        done.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..CALLS_MAX {
            let worker = Worker {
                answering: Arc::clone(&offer.answering),
                jobs: Arc::clone(&waiting),
                replies: sender.clone(),
                wake: wake.try_clone()?,
            };
            let heartbeat = heartbeats.add("health-calls");
            sync::spawn("health-calls", move || worker.run(&heartbeat))?;
        }
        Ok(Threads { offer, jobs, replies, done, running: Cell::new(0) })
    }
}

impl Calls for Threads {
    fn is_for(&self, request: &Request) -> bool {
        request.path == self.offer.path
    }

    fn admit(&self, request: &Request, others: usize) -> Result<usize, Reply> {
        if self.offer.token.as_ref().is_some_and(|token| !shows(request, token)) {
            let mut refusal = Reply::text(401, "show the token: Authorization: Bearer ...");
            refusal.headers.push(("WWW-Authenticate", "Bearer".to_owned()));
            return Err(refusal);
        }
        // Nothing is read for whoever does not show the token.
        let length = request.body_length(BODY_MAX_BYTES)?;
        if others < CALLS_MAX { Ok(length) } else { Err(Reply::text(503, "too many calls")) }
    }

    fn hand_over(&self, number: u64, request: Request) -> Result<Instant, Reply> {
        let full = |_| Reply::text(503, "too many calls");
        self.jobs.try_send((number, request)).map_err(full)?;
        self.running.set(self.running.get() + 1);
        Ok(Instant::now() + CALL_TIME)
    }

    fn running(&self) -> usize {
        self.running.get()
    }

    fn done(&self) -> &UnixStream {
        &self.done
    }

    fn replies(&self) -> Vec<(u64, Reply)> {
        // How many wake-ups there were says nothing: they are all used up before the replies are looked at.
        let mut bytes = [0; 64];
        while matches!((&self.done).read(&mut bytes), Ok(1..)) {}
        let replies: Vec<(u64, Reply)> = self.replies.try_iter().collect();
        self.running.set(self.running.get().saturating_sub(replies.len()));
        replies
    }
}

impl Worker {
    fn run(&self, heartbeat: &Heartbeat) {
        loop {
            // Nobody can say when the next call comes.
            heartbeat.rest();
            // The lock is held while waiting: the others wait for it instead of for the queue.
            let job = sync::lock(&self.jobs).recv();
            let Ok((number, request)) = job else { return };
            // A caller is told that there are too many calls once all threads hang; the operator must know.
            heartbeat.within(CALL_TIME);
            let reply = self.answering.answer(&request);
            // The listener has stopped: nobody reads replies any more.
            if self.replies.send((number, reply)).is_err() {
                return;
            }
            // A full socket has woken its reader already.
            let _ = (&self.wake).write(&[1]);
        }
    }
}

/// Whether the request shows the token.
fn shows(request: &Request, token: &Secret) -> bool {
    let mut shown = request.all("authorization");
    let (Some(value), None) = (shown.next(), shown.next()) else { return false };
    let Some((scheme, credentials)) = value.split_once(' ') else { return false };
    scheme.eq_ignore_ascii_case("bearer") && crypto::is_same_secret(credentials.trim(), token.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_shown_once_and_whole() {
        let token = Secret::new("0123456789abcdef".to_owned());
        let with = |values: &[&str]| {
            let headers = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
            shows(&Request { headers: headers.collect(), ..Request::default() }, &token)
        };
        assert!(with(&["Bearer 0123456789abcdef"]) && with(&["bearer  0123456789abcdef"]));
        for wrong in ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef"] {
            assert!(!with(&[wrong]), "{wrong}");
        }
        assert!(!with(&[]) && !with(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]));
    }

    #[test]
    fn a_call_that_never_ends_is_noticed() {
        struct Endless(Mutex<Receiver<()>>, Sender<()>);
        impl Answering for Endless {
            fn answer(&self, _: &Request) -> Reply {
                self.1.send(()).unwrap();
                let _ = self.0.lock().unwrap().recv();
                Reply::text(200, "")
            }
        }
        let (heartbeats, (end, ended), (began, begun)) = (Heartbeats::default(), channel(), channel());
        let answering = Arc::new(Endless(Mutex::new(ended), began));
        let calls = Threads::start(Offer { path: "/", token: None, answering }, &heartbeats).unwrap();
        let late = Instant::now() + 2 * CALL_TIME;
        assert_eq!(heartbeats.overdue(late), None);
        calls.hand_over(1, Request::default()).unwrap();
        begun.recv().unwrap();
        assert_eq!(
            (heartbeats.overdue(Instant::now()), heartbeats.overdue(late)),
            (None, Some("health-calls"))
        );
        end.send(()).unwrap();
        while calls.replies().is_empty() {
            std::thread::yield_now();
        }
        while heartbeats.overdue(late).is_some() {
            std::thread::yield_now();
        }
    }
}
