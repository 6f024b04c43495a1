//! The server against plain sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::config::ListenAddress;

use super::server::{Handler, Place, Request, Responder, Server};

/// Longest wait for what must happen.
const BOUND: Duration = Duration::from_secs(20);

/// Echoes; on `/events` sends two events, on `/wait` waits until its peer is gone and says so.
struct Echo(Sender<&'static str>);

impl Handler for Echo {
    fn handle(&self, request: Request, responder: Responder<'_>) {
        match request.path.as_str() {
            "/events" => {
                let mut events = responder.events(&[("X-A", "b"), ("X-Bad", "a\r\nb")]);
                assert!(events.send("one\ntwo") && events.send("three"));
                events.finish();
            }
            "/wait" => {
                self.0.send("waiting").unwrap();
                while !responder.is_gone() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                self.0.send("gone").unwrap();
            }
            "/none" => {}
            _ => responder.whole(200, &[("Content-Type", "text/plain")], &request.body),
        }
    }
}

fn loopback() -> Place {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

fn start(place: &Place) -> (Server, std::sync::mpsc::Receiver<&'static str>) {
    let (said, heard) = channel();
    (Server::start("test", place, Arc::new(Echo(said))).unwrap(), heard)
}

fn dial(server: &Server) -> TcpStream {
    let peer = TcpStream::connect(server.address().unwrap()).unwrap();
    peer.set_read_timeout(Some(BOUND)).unwrap();
    peer
}

/// Sends all this and reads until the connection ends.
fn talk(server: &Server, text: &str) -> String {
    let mut peer = dial(server);
    peer.write_all(text.as_bytes()).unwrap();
    let mut reply = String::new();
    peer.read_to_string(&mut reply).unwrap();
    reply
}

const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n";

#[test]
fn a_connection_carries_several_requests() {
    let (server, _heard) = start(&loopback());
    let text = format!(
        "POST /a HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 3\r\n\r\nabc\
         HEAD /b HTTP/1.1\r\nHost: [::1]\r\n\r\n\
         POST /c HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
    );
    let reply = talk(&server, &text);
    assert_eq!(reply.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{reply}");
    assert!(reply.contains("Content-Length: 3\r\n\r\nabcHTTP") && reply.ends_with("\r\n\r\nde"), "{reply}");
}

#[test]
fn events_are_chunked_and_their_lines_are_framed() {
    let (server, _heard) = start(&loopback());
    let reply = talk(&server, &format!("GET /events HTTP/1.1\r\n{CLOSE}\r\n"));
    assert!(reply.contains("Content-Type: text/event-stream\r\n") && reply.contains("X-A: b\r\n"), "{reply}");
    assert!(!reply.contains("X-Bad"), "{reply}");
    let body = "15\r\ndata: one\ndata: two\n\n\r\nd\r\ndata: three\n\n\r\n0\r\n\r\n";
    assert!(reply.ends_with(body), "{reply}");
    let old = talk(&server, "GET /events HTTP/1.0\r\n\r\n");
    assert!(old.ends_with("\r\n\r\ndata: one\ndata: two\n\ndata: three\n\n"), "{old}");
}

#[test]
fn pages_of_the_web_are_refused() {
    let (server, _heard) = start(&loopback());
    for (headers, status) in [
        ("Host: evil.example", 403),
        ("", 403),
        ("Host: localhost\r\nOrigin: https://evil.example", 403),
        // Nothing of the body is asked for.
        ("Host: evil.example\r\nExpect: 100-continue\r\nContent-Length: 9", 403),
        ("Host: localhost\r\nOrigin: http://localhost:3000", 200),
    ] {
        let reply = talk(&server, &format!("GET / HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"));
        let reply = reply.replace("\r\n\r\n\r\n", "");
        assert!(
            headers.is_empty() || reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {reply}"
        );
    }
}

#[test]
fn a_listener_answers_to_its_own_name_and_everywhere_to_no_foreign_page() {
    let listen = |host: &str, address: &str| {
        Place::Tcp(ListenAddress { host: host.to_owned(), address: address.parse().unwrap() })
    };
    let (named, _heard) = start(&listen("my-box", "127.0.0.1:0"));
    let (open, _heard) = start(&listen("0.0.0.0", "0.0.0.0:0"));
    for (server, headers, status) in [
        (&named, "Host: MY-BOX:1\r\nOrigin: http://my-box:1", "200"),
        (&named, "Host: other-box", "403"),
        (&open, "Host: whoever.example", "200"),
        (&open, "Host: localhost\r\nOrigin: http://whoever.example", "403"),
    ] {
        let reply = talk(server, &format!("GET / HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"));
        assert_eq!(reply.get(9..12), Some(status), "{headers}: {reply}");
    }
}

#[test]
fn what_cannot_be_answered_says_so() {
    let (server, _heard) = start(&loopback());
    let status = |text: &str| talk(&server, text).get(9..12).unwrap_or_default().to_owned();
    assert_eq!(status(&format!("GET /none HTTP/1.1\r\n{CLOSE}\r\n")), "500");
    assert_eq!(status(&format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 67108865\r\n\r\n")), "413");
    assert_eq!(status("nonsense\r\n\r\n"), "400");
    let expecting = format!("POST / HTTP/1.1\r\n{CLOSE}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    let reply = talk(&server, &expecting);
    assert!(reply.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{reply}");
}

#[test]
fn more_connections_than_fit_are_refused() {
    let (server, heard) = start(&loopback());
    let ask = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..256).map(|_| dial(&server)).collect();
    for peer in &mut held {
        peer.write_all(ask.as_bytes()).unwrap();
    }
    for _ in &held {
        assert_eq!(heard.recv_timeout(BOUND), Ok("waiting"));
    }
    let mut reply = String::new();
    dial(&server).read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    drop(held);
    for _ in 0..256 {
        assert_eq!(heard.recv_timeout(BOUND), Ok("gone"));
    }
}

#[test]
fn a_stop_ends_connections_handlers_and_the_port() {
    let (server, heard) = start(&loopback());
    let address = server.address().unwrap();
    let (mut idle, mut waiting) = (dial(&server), dial(&server));
    waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(heard.recv_timeout(BOUND), Ok("waiting"));
    drop(server);
    assert_eq!(heard.recv_timeout(BOUND), Ok("gone"));
    assert_eq!(idle.read(&mut [0; 1]).unwrap_or_default(), 0);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_socket_file_serves_without_a_host_and_goes_with_its_server() {
    let path = std::env::temp_dir().join(format!("tunnel-client-dev-{}.sock", std::process::id()));
    let (server, _heard) = start(&Place::Unix(path.clone()));
    assert!(server.address().is_none());
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    let mut reply = String::new();
    peer.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("\r\n\r\nhi"), "{reply}");
    let second = Server::start("test", &Place::Unix(path.clone()), Arc::new(Echo(channel().0)));
    assert!(second.err().unwrap().to_string().contains("is already accepting connections"));
    drop(server);
    assert!(!path.exists());
}
