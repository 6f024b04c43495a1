//! What a caller meets when nobody serves the tunnel, which `dev proxy` cannot show.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Options, Plane};
use crate::dev::server::{Place, Server};

fn plane(seen: Duration) -> (Server, Arc<Plane>) {
    let plane = Plane::new(Options {
        tunnel_id: Some("t".to_owned()),
        api_key: Some("k".to_owned()),
        response_timeout: Duration::from_secs(20),
        client_last_seen_timeout: seen,
        rehearsal: None,
    });
    let place = Place::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    (Server::start("test", &place, Arc::<Plane>::clone(&plane)).unwrap(), plane)
}

/// Sends a request and gives the connection, to read from.
fn send(server: &Server, head: &str, body: &str) -> TcpStream {
    let mut peer = TcpStream::connect(server.address().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    let rest = format!("Host: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    write!(peer, "{head}\r\n{rest}").unwrap();
    peer
}

fn answer(mut peer: TcpStream) -> String {
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    text
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#;

#[test]
fn without_a_client_a_caller_is_told_at_once() {
    let (server, plane) = plane(Duration::from_millis(1));
    thread::sleep(Duration::from_millis(2));
    assert!(!plane.was_polled());
    let told = answer(send(&server, "POST /v1/mcp/t HTTP/1.1", CALL));
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("no tunnel client is connected"), "{told}");
    assert!(told.contains("\"code\":\"tunnel_client_not_seen\""), "{told}");
    // A poll that is open is a client, however long ago it was sent.
    let poll = "GET /v1/tunnels/t/poll?channel=other&timeout_ms=20000 HTTP/1.1\r\nAuthorization: Bearer k";
    let polling = send(&server, poll, "");
    while !plane.was_polled() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(2));
    let mut waiting = send(&server, "POST /v1/mcp/t HTTP/1.1", CALL);
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0; 1]).is_err(), "it waits for an answer");
    drop(polling);
}

#[test]
fn a_stop_ends_polls_and_calls() {
    let (server, plane) = plane(Duration::from_secs(20));
    let poll = "GET /v1/tunnels/t/poll?channel=other&timeout_ms=600000 HTTP/1.1\r\nAuthorization: Bearer k";
    let (polling, calling) = (send(&server, poll, ""), send(&server, "POST /v1/mcp/t HTTP/1.1", CALL));
    while !plane.was_polled() {
        thread::yield_now();
    }
    drop(server);
    // The stop waits for the threads' work, not for their last breath.
    while Arc::strong_count(&plane) > 1 {
        thread::yield_now();
    }
    for peer in [polling, calling] {
        let mut text = String::new();
        let _ = { peer }.read_to_string(&mut text);
        assert!(!text.contains("HTTP/1.1 200"), "{text}");
    }
}
