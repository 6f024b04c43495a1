//! The listener over real sockets on loopback.

use super::connection::HEAD_TIME;
use super::*;
use crate::config::{Health, ListenAddress};
use crate::ops::files::tests::Scratch;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
#[cfg(feature = "page")]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "harpoon")]
mod calls;

/// How long a test waits for what should take milliseconds.
const LONG: Duration = Duration::from_secs(20);

fn start(health: &Health) -> io::Result<Listener> {
    start_with(health, Extras::default())
}

fn start_with(health: &Health, extras: Extras) -> io::Result<Listener> {
    let metrics = Arc::new(Metrics::new("tunnel_x", 1, 1, &[]));
    let readiness = Arc::new(Readiness::new(Duration::from_secs(60), &[]));
    Listener::start(health, metrics, readiness, &Heartbeats::default(), extras)
}

fn tcp(host: &str, address: &str) -> Health {
    let listen = ListenAddress { host: host.into(), address: address.parse().unwrap() };
    Health { listen, unix_socket: None, url_file: None, show_details: false }
}

fn unix(path: &Path) -> Health {
    Health { unix_socket: Some(path.into()), ..tcp("", "127.0.0.1:0") }
}

/// A listener on loopback and its address.
fn local() -> (Listener, SocketAddr) {
    let listener = start(&tcp("127.0.0.1", "127.0.0.1:0")).unwrap();
    let address = listener.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    (listener, address)
}

fn send(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn ask(address: SocketAddr, request: &str) -> String {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    send(stream, request)
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").unwrap().1
}

/// NEW-073
#[test]
fn the_three_pages_answer_every_method_and_nothing_else_is_there() {
    let (listener, address) = local();
    for method in ["GET", "POST", "DELETE", "BREW"] {
        let reply = ask(address, &format!("{method} /healthz?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        assert!(reply.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
        assert_eq!(body(&reply), "live");
    }
    let reply = ask(address, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(body(&reply), "");
    let reply = ask(address, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 503 "));
    assert_eq!(body(&reply), "control plane not reached yet");
    let reply = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(reply.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(body(&reply).contains("\nreadiness 0\n"));
    for path in ["/x", "/healthz/", "/ui", "/api/status", "/harpoon/mcp", "http://localhost/healthz"] {
        let reply = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(reply.starts_with("HTTP/1.1 404 "), "{path}");
        assert_eq!(body(&reply), "404 page not found\n");
    }
    let long = "x".repeat(9000);
    assert!(ask(address, &format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n")).starts_with("HTTP/1.1 431 "));
    assert!(ask(address, "hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
    drop(listener);
}

#[test]
fn a_reply_survives_a_body_that_nobody_reads() {
    let (listener, address) = local();
    let sent = "x".repeat(100_000);
    let request =
        format!("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{sent}");
    assert_eq!(body(&ask(address, &request)), "live");
    drop(listener);
}

#[test]
fn a_name_that_is_not_of_this_machine_is_refused_on_loopback() {
    let (listener, address) = local();
    for headers in [
        "Host: evil.example\r\n",
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
    ] {
        let reply = ask(address, &format!("GET /metrics HTTP/1.1\r\n{headers}\r\n"));
        assert!(reply.starts_with("HTTP/1.1 403 "), "{headers}");
        assert!(!reply.contains("liveness"));
    }
    for headers in ["Host: [::1]:1\r\n", "Host: localhost\r\nOrigin: http://127.0.0.1:3000\r\n"] {
        assert!(
            ask(address, &format!("GET /healthz HTTP/1.1\r\n{headers}\r\n")).starts_with("HTTP/1.1 200 ")
        );
    }
    assert!(ask(address, "GET /healthz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
    drop(listener);
}

#[test]
fn a_network_listener_does_not_ask_for_names() {
    let listener = start(&tcp("", "0.0.0.0:0")).unwrap();
    let port = listener.base_url().strip_prefix("http://localhost:").unwrap().parse().unwrap();
    let reply = ask((Ipv4Addr::LOCALHOST, port).into(), "GET /healthz HTTP/1.1\r\nHost: box.example\r\n\r\n");
    assert_eq!(body(&reply), "live");
    drop(listener);
}

#[test]
fn half_open_connections_do_not_hold_up_a_scrape() {
    let (listener, address) = local();
    // More than the table holds: the oldest ones have to make room.
    let mut flood = Vec::new();
    for n in 0..MAX_CONNECTIONS + 60 {
        let mut stream = TcpStream::connect(address).unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
        }
        flood.push(stream);
    }
    let begin = Instant::now();
    let reply = ask(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(body(&reply), "live");
    assert!(begin.elapsed() < HEAD_TIME, "{:?}", begin.elapsed());
    drop(listener);
}

/// Whoever asks again and again must not keep the thread from answering others.
#[test]
#[cfg(feature = "page")]
fn a_page_is_not_made_anew_for_everybody() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let make = move |query: &str| {
        let html = format!("page {}{query}", count.fetch_add(1, Ordering::Relaxed));
        Made { html, refresh: query.is_empty().then_some(9) }
    };
    let page = PageMaker { style: "'sha256-x'".to_owned(), make: Box::new(make) };
    let extras = Extras { page: Some(page), ..Extras::default() };
    let listener = start_with(&tcp("127.0.0.1", "127.0.0.1:0"), extras).unwrap();
    let address: SocketAddr = listener.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    for _ in 0..100 {
        assert!(body(&ask(address, "GET /ui HTTP/1.1\r\nHost: localhost\r\n\r\n")).starts_with("page "));
    }
    assert!(made.load(Ordering::Relaxed) < 50, "{made:?}");
    let head = ask(address, "GET /ui HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.contains("\r\nRefresh: 9\r\n") && head.contains("; style-src 'sha256-x'; "), "{head}");
    let other = ask(address, "GET /ui?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(body(&other).ends_with("a=b") && !other.contains("Refresh"), "{other}");
    let root = ask(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(root.starts_with("HTTP/1.1 302 ") && root.contains("\r\nLocation: /ui\r\n"), "{root}");
    drop(listener);
}

#[test]
fn a_silent_connection_is_closed_after_its_time() {
    let (listener, address) = local();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /").unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    drop(listener);
}

#[test]
fn an_occupied_port_is_said_in_the_words_of_the_system() {
    let (listener, address) = local();
    let error = start(&tcp("127.0.0.1", &address.to_string())).unwrap_err();
    let port = address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "listen tcp 127.0.0.1:{port}: bind: address already in use; choose another with --health.listen-addr HOST:PORT"
        )
    );
    drop(listener);
    // Stopped means free again.
    start(&tcp("127.0.0.1", &address.to_string())).unwrap();
}

#[test]
fn the_socket_is_private_and_gone_after_stop() {
    let scratch = Scratch::new("socket");
    let path = scratch.0.join("health.sock");
    let listener = start(&unix(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let expected = format!("http+unix://{}", URL_SAFE_NO_PAD.encode(path.to_str().unwrap()));
    assert_eq!(listener.base_url(), expected);
    let stream = UnixStream::connect(&path).unwrap();
    let reply = send(stream, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(body(&reply), "live");
    let begin = Instant::now();
    drop(listener);
    assert!(begin.elapsed() < LONG);
    assert!(!path.exists());
}

#[test]
fn a_live_socket_or_a_file_is_refused_and_a_stale_socket_replaced() {
    let scratch = Scratch::new("stale");
    let path = scratch.0.join("health.sock");
    fs::write(&path, "").unwrap();
    let shown = path.display();
    let error = start(&unix(&path)).unwrap_err().to_string();
    assert_eq!(error, format!("health unix socket path {shown} exists and is not a unix socket"));
    fs::remove_file(&path).unwrap();

    let live = UnixListener::bind(&path).unwrap();
    let error = start(&unix(&path)).unwrap_err().to_string();
    assert_eq!(error, format!("health unix socket path {shown} is already accepting connections"));
    drop(live);
    fs::remove_file(&path).unwrap();

    // Nobody can connect to it, and yet it is somebody's.
    let datagrams = UnixDatagram::bind(&path).unwrap();
    let error = start(&unix(&path)).unwrap_err().to_string();
    assert_eq!(error, format!("listen unix {shown}: bind: protocol wrong type for socket"));
    assert!(path.exists());
    drop(datagrams);
    fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());

    let listener = start(&unix(&path)).unwrap();
    // A successor's file stays.
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
}
