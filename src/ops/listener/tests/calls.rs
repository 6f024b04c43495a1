//! Calls of programs of this host over the listener.

use super::super::calls::{self, Answering, CALLS_MAX};
use super::*;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Says when a call has begun, and answers it when it is told to.
struct Slow {
    began: Mutex<Sender<()>>,
    finish: Mutex<Receiver<()>>,
}

impl Answering for Slow {
    fn answer(&self, request: &Request) -> Reply {
        self.began.lock().unwrap().send(()).unwrap();
        // The test has ended where nobody is left to tell.
        let _ = self.finish.lock().unwrap().recv();
        Reply::text(200, format!("{} bytes", request.body.len()))
    }
}

/// What offers calls that are slow; when one has begun, and what lets one end.
fn slow() -> (Extras, Receiver<()>, Sender<()>) {
    let ((began, begun), (finish, finished)) = (channel(), channel());
    let answering = Arc::new(Slow { began: began.into(), finish: finished.into() });
    let offer = calls::Offer { path: "/call", token: Arc::default(), answering }.starter();
    (Extras { offer: Some(offer), ..Extras::default() }, begun, finish)
}

const CALL: &str = "POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

/// Nobody needs a token to connect, so whoever does must not end the calls of those who have one. And who says
/// that it sends no more still waits for its answer.
#[test]
fn a_flood_leaves_calls_alone() {
    let (extras, begun, finish) = slow();
    let listener = start_with(&tcp("127.0.0.1", "127.0.0.1:0"), extras).unwrap();
    let address: SocketAddr = listener.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut caller = TcpStream::connect(address).unwrap();
    caller.set_read_timeout(Some(LONG)).unwrap();
    caller.write_all(CALL.as_bytes()).unwrap();
    caller.shutdown(std::net::Shutdown::Write).unwrap();
    begun.recv_timeout(LONG).unwrap();
    let connect = |_| TcpStream::connect(address).unwrap();
    let flood: Vec<TcpStream> = (0..MAX_CONNECTIONS + 60).map(connect).collect();
    assert_eq!(body(&ask(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")), "live");
    finish.send(()).unwrap();
    assert_eq!(body(&send(caller, "")), "2 bytes");
    drop(flood);
    drop(listener);
}

/// A thread is busy until its call ends, whoever still waits: the next caller must not queue behind it unheard.
#[test]
fn calls_whose_callers_left_count_until_they_end() {
    let scratch = Scratch::new("left");
    let path = scratch.0.join("health.sock");
    let (extras, begun, finish) = slow();
    let listener = start_with(&unix(&path), extras).unwrap();
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    };
    let mut callers: Vec<UnixStream> = (0..CALLS_MAX).map(|_| connect()).collect();
    for caller in &mut callers {
        caller.write_all(CALL.as_bytes()).unwrap();
        begun.recv_timeout(LONG).unwrap();
    }
    drop(callers);
    assert!(send(connect(), CALL).starts_with("HTTP/1.1 503 "));
    for _ in 0..=CALLS_MAX {
        finish.send(()).unwrap();
    }
    while !send(connect(), CALL).starts_with("HTTP/1.1 200 ") {}
    drop(listener);
}

/// Some programs send a body only after they were told to.
#[test]
fn a_body_is_asked_for_where_that_is_expected() {
    let (extras, _begun, finish) = slow();
    let listener = start_with(&tcp("127.0.0.1", "127.0.0.1:0"), extras).unwrap();
    let address: SocketAddr = listener.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut caller = TcpStream::connect(address).unwrap();
    caller.set_read_timeout(Some(LONG)).unwrap();
    let head = CALL.strip_suffix("\r\nhi").unwrap();
    caller.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let mut told = [0; 25];
    caller.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    finish.send(()).unwrap();
    assert_eq!(body(&send(caller, "hi")), "2 bytes");
    drop(listener);
}
