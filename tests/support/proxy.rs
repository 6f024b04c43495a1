//! A proxy that tunnels by CONNECT and forwards plain http, or refuses to.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::ServerConfig;

use super::http::{Request, read_request};
use super::stream::Stream;

/// How the proxy treats those who ask.
#[derive(Clone, Default)]
pub enum Manner {
    /// Everybody is let through.
    #[default]
    Open,
    /// Only this `Proxy-Authorization` value; others get a 407 that offers Basic.
    Authorized(String),
    /// Nobody: these bytes are the whole answer.
    Refusing(String),
}

/// A proxy on loopback.
pub struct Proxy {
    port: u16,
    tls: bool,
    seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Plain or TLS, as configured.
    pub fn start(tls: Option<Arc<ServerConfig>>, manner: Manner) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let secure = tls.is_some();
        let (log, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let acceptor = std::thread::spawn(move || {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                number += 1;
                let (tls, manner, log) = (tls.clone(), manner.clone(), Arc::clone(&log));
                std::thread::spawn(move || {
                    // A connection that breaks is the test's own doing.
                    let _ = serve(Stream::Tcp(stream), number, tls, &manner, &log);
                });
            }
        });
        Proxy { port, tls: secure, seen, stop, acceptor: Some(acceptor) }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT` or `https://…`.
    pub fn url(&self) -> String {
        self.url_as("")
    }

    /// The URL with userinfo (`user:password@`).
    pub fn url_as(&self, userinfo: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{userinfo}127.0.0.1:{}", self.port)
    }

    /// The requests to the proxy itself so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The places (`host:port`) that were asked for.
    pub fn targets(&self) -> Vec<String> {
        self.requests().iter().map(|request| place(&request.target)).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// `host:port` of what was asked for.
fn place(target: &str) -> String {
    let Some(rest) = target.strip_prefix("http://") else { return target.to_owned() };
    let place = rest.split('/').next().unwrap_or_default();
    if place.contains(':') { place.to_owned() } else { format!("{place}:80") }
}

fn serve(
    mut stream: Stream,
    number: usize,
    tls: Option<Arc<ServerConfig>>,
    manner: &Manner,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    if let Some(config) = &tls {
        stream = stream.secure(config)?;
    }
    let mut upstream = None;
    while let Some(request) = read_request(&mut stream, number)? {
        if request.last_byte_queued {
            stream.read_exact(&mut [0])?;
        }
        log.lock().unwrap().push(request.clone());
        let refusal = match manner {
            Manner::Open => None,
            Manner::Authorized(wanted) if request.header("proxy-authorization") == Some(wanted) => None,
            Manner::Authorized(_) => Some(
                "HTTP/1.1 407 Proxy Authentication Required\r\n\
                 Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n",
            ),
            Manner::Refusing(answer) => Some(answer.as_str()),
        };
        if let Some(answer) = refusal {
            // Said, since the connection is closed: a client that keeps it could send its next request into the end.
            let answer = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            stream.write_all(answer.as_bytes())?;
            return stream.flush();
        }
        if request.method == "CONNECT" {
            let target = TcpStream::connect(&request.target)?;
            target.set_nodelay(true)?;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            stream.flush()?;
            return relay(stream, target);
        }
        if request.header("max-forwards") == Some("0") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            stream.flush()?;
            continue;
        }
        // One place a connection, as the client promises; the server's words go back as they come.
        if upstream.is_none() {
            let target = TcpStream::connect(place(&request.target))?;
            target.set_nodelay(true)?;
            upstream = Some(target);
        }
        let target = upstream.as_mut().unwrap();
        target.write_all(&forwarded(&request))?;
        if !copy_until_asked(&mut stream, target)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The request as the server gets it: in origin form, without what is the proxy's.
fn forwarded(request: &Request) -> Vec<u8> {
    let rest = request.target.strip_prefix("http://").unwrap();
    let (_, path) = rest.split_at(rest.find('/').unwrap());
    let mut bytes = format!("{} {path} HTTP/1.1\r\n", request.method).into_bytes();
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("proxy-authorization") {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

/// Copies what the server says until the client speaks; false at the server's end.
fn copy_until_asked(stream: &mut Stream, target: &mut TcpStream) -> io::Result<bool> {
    let client = stream.tcp_handle().ok_or(io::ErrorKind::Unsupported)?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let mut ends = [&*target, &client].map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        poll(&mut ends, PollTimeout::NONE)?;
        let [said, asked] = ends.map(|end| end.any().unwrap_or_default());
        if said && !copy_once(target, stream, &mut buffer)? {
            return Ok(false);
        }
        if asked && !said {
            return Ok(true);
        }
    }
}

/// Copies both ways on one thread when TLS is in between, on two otherwise.
fn relay(mut stream: Stream, mut target: TcpStream) -> io::Result<()> {
    if let Stream::Tcp(tcp) = &stream {
        let mut back = tcp.try_clone()?;
        let mut from = target.try_clone()?;
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut back);
            let _ = back.shutdown(std::net::Shutdown::Both);
        });
        let copied = io::copy(&mut stream, &mut target);
        let _ = target.shutdown(std::net::Shutdown::Both);
        return copied.map(|_| ());
    }
    let turn = std::time::Duration::from_millis(5);
    stream.set_read_timeout(Some(turn))?;
    target.set_read_timeout(Some(turn))?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        if !copy_once(&mut stream, &mut target, &mut buffer)? {
            return Ok(());
        }
        if !copy_once(&mut target, &mut stream, &mut buffer)? {
            return Ok(());
        }
    }
}

/// Copies what is there; false at the end of the source.
fn copy_once(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read(buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            to.write_all(&buffer[..count])?;
            to.flush()?;
            Ok(true)
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(true),
        Err(error) => Err(error),
    }
}
