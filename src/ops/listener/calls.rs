//! Requests of the listener that take time: threads of their own answer them.
//!
//! The listener's thread reads the head of such a request and hands the connection over, so no call can keep a
//! health check waiting. A thread reads the body, answers and closes. Number, size and time of calls have bounds;
//! who exceeds them is refused. Only the start of the threads can fail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::connection::{LINGER_MAX_BYTES, LINGER_TIME, REPLY_TIME};
use super::http::{Reply, Request};
use super::token::is_bearer;
use crate::config::Secret;
use crate::ops::heartbeat::{Heartbeat, Heartbeats};
use crate::sync;

/// Calls whose body is being read, or that run; each has a thread. The programs of one host are few.
pub(super) const CALLS_MAX: usize = 8;

/// The largest body, far above what any tool takes.
const BODY_MAX_BYTES: usize = 1024 * 1024;

/// Time in which a peer has to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Reply to a peer that waits for leave to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The longest time that one call may have, and a moment.
const CALL_TIME: Duration = Duration::from_secs(130);

/// Answers calls, on a thread where it may wait.
pub(crate) trait Answering: Send + Sync {
    fn answer(&self, request: &Request) -> Reply;
}

/// Service of the listener to programs of this host.
pub(crate) struct Offer {
    /// Path of the requests.
    pub(crate) path: &'static str,
    /// Token that a caller shows now; nothing where the socket file lets nobody else in.
    pub(crate) token: Arc<Mutex<Option<Secret>>>,
    pub(crate) answering: Arc<dyn Answering>,
}

/// Starts the threads that answer calls.
pub(crate) type Starter = Box<dyn FnOnce(&Heartbeats) -> io::Result<Box<Threads>>>;

impl Offer {
    /// Starts the threads, once there is a listener for them.
    pub(crate) fn starter(self) -> Starter {
        Box::new(|heartbeats| Threads::start(self, heartbeats).map(Box::new))
    }
}

/// Running threads that answer calls, as the listener has them.
pub(crate) struct Threads {
    pub(super) offer: Offer,
    jobs: SyncSender<Call>,
    /// Calls that were handed over and have not ended, also those whose callers have left.
    running: Arc<AtomicUsize>,
}

/// Connection whose request has a body of this length.
struct Call {
    stream: UnixStream,
    request: Request,
    length: usize,
}

/// State of one thread.
struct Worker {
    answering: Arc<dyn Answering>,
    jobs: Arc<Mutex<Receiver<Call>>>,
    running: Arc<AtomicUsize>,
}

impl Threads {
    /// Starts the threads. They end with the listener, or with the call that they are in.
    fn start(offer: Offer, heartbeats: &Heartbeats) -> io::Result<Threads> {
        // As many places as callers are let in, so that handing over never waits.
        let (jobs, waiting) = sync_channel(CALLS_MAX);
        let (waiting, running) = (Arc::new(Mutex::new(waiting)), Arc::default());
        for _ in 0..CALLS_MAX {
            let (answering, jobs) = (Arc::clone(&offer.answering), Arc::clone(&waiting));
            let worker = Worker { answering, jobs, running: Arc::clone(&running) };
            let heartbeat = heartbeats.add("health-calls");
            sync::spawn("health-calls", move || worker.run(&heartbeat))?;
        }
        Ok(Threads { offer, jobs, running })
    }

    /// Length of a call's body, unless it is refused. No body is read from a peer that does not show the token.
    pub(super) fn admit(&self, request: &Request) -> Result<usize, Reply> {
        if sync::lock(&self.offer.token).as_ref().is_some_and(|token| !is_bearer(request, token)) {
            let mut refusal = Reply::text(401, "show the token: Authorization: Bearer ...");
            refusal.headers.push(("WWW-Authenticate", "Bearer".to_owned()));
            return Err(refusal);
        }
        let length = request.body_length(BODY_MAX_BYTES)?;
        // Without a thread that is free a call would wait longer than its caller.
        if self.running() >= CALLS_MAX {
            return Err(Reply::text(503, "too many calls"));
        }
        Ok(length)
    }

    /// Hands over a connection whose call was admitted.
    pub(super) fn hand_over(&self, stream: UnixStream, request: Request, length: usize) {
        self.running.fetch_add(1, Ordering::Relaxed);
        // There is a place: see `admit`. Were there none, the caller would see the connection end.
        let _ = self.jobs.try_send(Call { stream, request, length });
    }

    /// Number of calls that were handed over and have not ended.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

impl Worker {
    fn run(&self, heartbeat: &Heartbeat) {
        loop {
            // Nobody can say when the next call comes.
            heartbeat.rest();
            // The lock is held while waiting: the others wait for it instead of for the queue.
            let call = sync::lock(&self.jobs).recv();
            let Ok(call) = call else { return };
            // A caller is told that there are too many calls once all threads hang; the operator must know.
            heartbeat.within(BODY_TIME + CALL_TIME + REPLY_TIME + LINGER_TIME);
            // A caller that breaks off is nobody's problem.
            let _ = self.serve(call);
        }
    }

    /// Reads the body, answers, and waits for the peer to close, as `connection` says.
    fn serve(&self, call: Call) -> io::Result<()> {
        let Call { stream, mut request, length } = call;
        let read = read_body(&stream, &mut request, length);
        let reply = read.map(|()| self.answering.answer(&request));
        // The place is free before the caller can know it.
        self.running.fetch_sub(1, Ordering::Relaxed);
        Timed::new(&stream, REPLY_TIME).write_all(&reply?.bytes(false))?;
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut Timed::new(&stream, LINGER_TIME).take(LINGER_MAX_BYTES), &mut io::sink())?;
        Ok(())
    }
}

fn read_body(stream: &UnixStream, request: &mut Request, length: usize) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut peer = Timed::new(stream, BODY_TIME);
    // What follows the body is nobody's: there is one request a connection.
    request.body.truncate(length);
    let left = u64::try_from(length - request.body.len()).unwrap_or(u64::MAX);
    if left > 0 && request.expects_leave() {
        peer.write_all(CONTINUE)?;
    }
    peer.take(left).read_to_end(&mut request.body)?;
    if request.body.len() < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Blocking stream with one deadline: a peer that sends or takes a byte now and then gains nothing.
struct Timed<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl Timed<'_> {
    fn new(stream: &UnixStream, time: Duration) -> Timed<'_> {
        Timed { stream, end: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

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
        let calls =
            Threads::start(Offer { path: "/", token: Arc::default(), answering }, &heartbeats).unwrap();
        let late = Instant::now() + 2 * CALL_TIME;
        assert_eq!(heartbeats.overdue(late), None);
        let (_caller, stream) = UnixStream::pair().unwrap();
        calls.hand_over(stream, Request::default(), 0);
        begun.recv().unwrap();
        assert_eq!(
            (heartbeats.overdue(Instant::now()), heartbeats.overdue(late)),
            (None, Some("health-calls"))
        );
        end.send(()).unwrap();
        while heartbeats.overdue(late).is_some() {
            std::thread::yield_now();
        }
    }
}
