//! Connections that rest: what closes them, and whom one of them takes along.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};

use std::time::Duration;

use super::peers::*;
use super::*;
use crate::net::request_state::RequestState;
use crate::net::socket::{PLANE, SERVER};

/// More than any of this takes.
const BOUND: Duration = Duration::from_secs(20);

/// Serves connections that answer everything but what their number and request forbid; the number of each is sent
/// when its other side closes it.
fn serving(
    answers: impl Fn(usize, usize) -> Option<&'static str> + Send + Sync + 'static,
) -> (String, Receiver<usize>) {
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let port = serve(move |number, stream| {
        let mut request = 0;
        while read_request(stream).is_some() {
            match answers(number, request) {
                Some(headers) => {
                    let reply = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 1\r\n\r\n{number}");
                    stream.write_all(reply.as_bytes()).unwrap();
                }
                // Silent, as the network is that lost the other side.
                None => while stream.read(&mut [0]).is_ok_and(|count| count > 0) {},
            }
            request += 1;
        }
        ended.lock().unwrap().send(number).unwrap();
    });
    (format!("http://127.0.0.1:{port}/"), ends)
}

fn sweep_until<T>(net: &Net, ends: &Receiver<T>) -> T {
    let end = soon();
    loop {
        net.sweep();
        match ends.recv_timeout(Duration::from_millis(5)) {
            Ok(number) => return number,
            Err(_) => assert!(Instant::now() < end, "nothing was closed"),
        }
    }
}

#[test]
fn what_has_rested_for_its_time_is_closed_without_a_next_request() {
    // The server's own time is over at once, less the second that is taken off.
    let (url, ends) = serving(|_, _| Some("Keep-Alive: timeout=1\r\n"));
    let net = Net::new(&network(None)).unwrap();
    let client = client_of(&net, &server(&url)).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "0");
    assert!(ends.recv_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(sweep_until(&net, &ends), 0);
}

#[test]
fn what_the_server_closed_is_closed_here_too() {
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        stream.write_all(&reply(b"ok")).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        ended.lock().unwrap().send(stream.read(&mut [0]).unwrap()).unwrap();
    });
    let net = Net::new(&network(None)).unwrap();
    let client = client_of(&net, &server(&url)).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "ok");
    assert_eq!(sweep_until(&net, &ends), 0);
}

#[test]
fn what_is_young_and_open_goes_on_resting() {
    let (url, _ends) = serving(|_, _| Some(""));
    let net = Net::new(&network(None)).unwrap();
    let client = client_of(&net, &server(&url)).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&client, &url).unwrap(), "0");
        net.sweep();
    }
    assert_eq!(client.connections_opened(), 1);
}

/// Two clients with a connection each that rests, to one server.
fn two(net: &Net, url: &str) -> [Client; 2] {
    let clients = [0, 1].map(|_| client_of(net, &server(url)).unwrap());
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(get(client, url).unwrap(), number.to_string());
    }
    clients
}

#[test]
fn a_peer_that_fell_silent_is_met_on_fresh_connections_only() {
    let (url, ends) = serving(|number, request| (number > 1 || request == 0).then_some(""));
    let net = Net::new(&network(None)).unwrap();
    let [first, second] = two(&net, &url);
    assert_eq!(send(&first, &url, None, shortly()).unwrap_err().kind, Kind::Timeout);
    // Both are gone: the one that was silent, and the one that rested at the other client.
    let mut gone = [ends.recv_timeout(BOUND).unwrap(), ends.recv_timeout(BOUND).unwrap()];
    gone.sort_unstable();
    assert_eq!(gone, [0, 1]);
    assert_eq!(get(&second, &url).unwrap(), "2");
    assert_eq!(get(&first, &url).unwrap(), "3");
}

#[test]
fn a_stale_connection_takes_older_ones_along_and_no_younger_one() {
    let number = Arc::new(AtomicUsize::new(usize::MAX));
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let stale = Arc::clone(&number);
    let port = serve(move |number, stream| {
        while read_request(stream).is_some() {
            if stale.load(Ordering::SeqCst) == number {
                break;
            }
            stream.write_all(&reply(number.to_string().as_bytes())).unwrap();
        }
        ended.lock().unwrap().send(number).unwrap();
    });
    let url = format!("http://127.0.0.1:{port}/");
    let net = Net::new(&network(None)).unwrap();
    let [older, stale] = two(&net, &url);
    let younger = client_of(&net, &server(&url)).unwrap();
    assert_eq!(get(&younger, &url).unwrap(), "2");
    number.store(1, Ordering::SeqCst);
    let error = send(&stale, &url, Some(&[b"x"]), soon()).unwrap_err();
    assert!(matches!(error.kind, Kind::Eof | Kind::ConnectionReset), "{error:?}");
    let mut gone = [ends.recv_timeout(BOUND).unwrap(), ends.recv_timeout(BOUND).unwrap()];
    gone.sort_unstable();
    assert_eq!(gone, [0, 1]);
    assert_eq!(get(&younger, &url).unwrap(), "2");
    assert_eq!(get(&older, &url).unwrap(), "3");
}

#[test]
fn dead_peers_are_found_by_purpose() {
    let url = format!("http://127.0.0.1:{}/", serve(echo));
    let (proxy_port, _) = proxy(None);
    let net = Net::new(&network(None)).unwrap();
    let mut behind = server(&url);
    behind.proxy = proxy_at(false, proxy_port, None);
    for (client, liveness) in
        [(client_of(&net, &server(&url)).unwrap(), SERVER), (client_of(&net, &behind).unwrap(), PLANE)]
    {
        let dialer = &client.dialer;
        let mut connection = dialer.open(&dialer.origin, RequestState::new(soon())).unwrap();
        assert_eq!(connection.socket().in_force(), liveness);
    }
}
