//! Servers, proxies and certificates for the tests of this room: loopback only, port 0, made at run time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::*;
use crate::net::{Client, Error, Net, Reply, Request};

/// Anything that a served connection speaks over.
pub(super) trait Duplex: Read + Write + Send {
    /// Lets reads give up after a moment, so that one thread can look at two directions.
    fn glance(&self) {}
}
impl Duplex for UnixStream {}
impl Duplex for TcpStream {
    fn glance(&self) {
        self.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    }
}
impl Duplex for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn glance(&self) {
        self.sock.glance();
    }
}

/// What a server does with one connection; the number counts connections from 0.
pub(super) type Serve = dyn Fn(usize, &mut dyn Duplex) + Send + Sync;

/// Serves plain connections; returns the port.
pub(super) fn serve(handler: impl Fn(usize, &mut dyn Duplex) + Send + Sync + 'static) -> u16 {
    serve_with(None, handler)
}

/// Serves connections, behind TLS when a setup is given.
pub(super) fn serve_with(
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: impl Fn(usize, &mut dyn Duplex) + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler: Arc<Serve> = Arc::new(handler);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (handler, tls, mut stream) = (Arc::clone(&handler), tls.clone(), stream.unwrap());
            std::thread::spawn(move || match tls {
                None => handler(number, &mut stream),
                Some(config) => {
                    let session = rustls::ServerConnection::new(config).unwrap();
                    handler(number, &mut rustls::StreamOwned::new(session, stream));
                }
            });
        }
    });
    port
}

/// A listener that takes no more connections, and what keeps it so.
pub(super) fn full_listener() -> (u16, (TcpListener, Vec<TcpStream>)) {
    let full = full_listener_at(([127, 0, 0, 1], 0).into());
    (full.0.local_addr().unwrap().port(), full)
}

/// The same at an address.
pub(in crate::net) fn full_listener_at(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    use nix::sys::socket::{
        Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind, listen, socket,
    };
    let address = SockaddrStorage::from(address);
    let fd = socket(address.family().unwrap(), SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &address).unwrap();
    listen(&fd, Backlog::new(0).unwrap()).unwrap();
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
        filling.push(stream);
    }
    (listener, filling)
}

/// Reads one request: its head and its body.
pub(super) fn read_request(stream: &mut dyn Duplex) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A reply with a length.
pub(super) fn reply(body: &[u8]) -> Vec<u8> {
    let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    reply.extend_from_slice(body);
    reply
}

/// Answers every request with its own body, or its head when it has none.
pub(super) fn echo(_number: usize, stream: &mut dyn Duplex) {
    while let Some((head, body)) = read_request(stream) {
        let answer = if body.is_empty() { head.as_bytes() } else { &body };
        stream.write_all(&reply(answer)).unwrap();
        stream.flush().unwrap();
    }
}

/// A proxy that tunnels and forwards; returns its port and the heads of the requests to itself that it saw.
pub(super) fn proxy(tls: Option<Arc<rustls::ServerConfig>>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let port = serve_with(tls, move |_, stream| {
        while let Some((head, body)) = read_request(stream) {
            log.lock().unwrap().push(head.clone());
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let Some(rest) = target.strip_prefix("http://") else {
                let mut upstream = TcpStream::connect(target).unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                stream.flush().unwrap();
                return relay(stream, &mut upstream);
            };
            let answer = if head.starts_with("OPTIONS ") {
                reply(b"")
            } else {
                let (place, path) = rest.split_at(rest.find('/').unwrap());
                forwarded(place, &head.replacen(&target, path, 1), &body)
            };
            stream.write_all(&answer).unwrap();
            stream.flush().unwrap();
        }
    });
    (port, seen)
}

/// The answer of the server at `place`, with whom the proxy keeps no secret of its own.
fn forwarded(place: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut upstream = TcpStream::connect(place).unwrap();
    let lines = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Proxy-Authorization: "));
    upstream.write_all(lines.collect::<String>().as_bytes()).unwrap();
    upstream.write_all(body).unwrap();
    let (head, body) = read_request(&mut upstream).unwrap();
    [head.as_bytes(), &body].concat()
}

pub(super) fn relay(stream: &mut dyn Duplex, upstream: &mut TcpStream) {
    stream.glance();
    upstream.glance();
    while carry(stream, upstream) && carry(upstream, stream) {}
}

/// Carries what is there; false at the end of either side.
fn carry(from: &mut dyn Duplex, to: &mut dyn Duplex) -> bool {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(count @ 1..) => to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        Ok(0) => false,
    }
}

/// A certificate authority of one test, with a directory for its files.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    pub(super) directory: PathBuf,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("tunnel-net-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem, directory }
    }

    /// The authority's certificate in a file.
    pub(super) fn bundle(&self) -> PathBuf {
        self.write("ca.pem", &self.pem)
    }

    /// A certificate for 127.0.0.1 and localhost, and its key, both PEM.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        self.issue_until(name, None)
    }

    fn issue_until(&self, name: &str, end: Option<SystemTime>) -> (String, String) {
        self.issue_for(name, end, &KeyPair::generate().unwrap())
    }

    fn issue_for(&self, name: &str, end: Option<SystemTime>, key: &KeyPair) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.not_after = end.map_or(params.not_after, Into::into);
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client certificate in files.
    pub(super) fn identity(&self, name: &str) -> Identity {
        self.identity_of(name, &KeyPair::generate().unwrap())
    }

    /// The same with this key.
    pub(super) fn identity_of(&self, name: &str, key: &KeyPair) -> Identity {
        let (certificate, key) = self.issue_for(name, None, key);
        Identity {
            certificate: self.write(&format!("{name}.pem"), &certificate),
            key: self.write(&format!("{name}.key"), &key),
        }
    }

    /// A server setup; `clients` asks for client certificates, `Some(true)` insists.
    pub(super) fn server(&self, clients: Option<bool>) -> Arc<rustls::ServerConfig> {
        self.setup(clients, self.issue("server"), rustls::ALL_VERSIONS)
    }

    /// The same with this key, for one version of TLS, and it insists on a client certificate.
    pub(super) fn server_of(
        &self,
        key: &KeyPair,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Arc<rustls::ServerConfig> {
        self.setup(Some(true), self.issue_for("server", None, key), &[version])
    }

    /// The same without a question for clients, with a certificate that ends.
    pub(super) fn server_until(&self, end: SystemTime) -> Arc<rustls::ServerConfig> {
        self.setup(None, self.issue_until("server", Some(end)), rustls::ALL_VERSIONS)
    }

    fn setup(
        &self,
        clients: Option<bool>,
        own: (String, String),
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = own;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(true) => builder.with_client_cert_verifier(verifier.build().unwrap()),
            Some(false) => {
                builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        Arc::new(
            builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap(),
        )
    }

    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// Settings that use nothing of this machine.
pub(super) fn network(bundle: Option<&Path>) -> Network {
    Network {
        ca_bundle: bundle.map(Path::to_owned),
        roots: Roots::None,
        require_fips: false,
        ssl_cert_file: None,
        ssl_cert_dir: None,
        proxy: None,
        environment: EnvironmentProxies::default(),
        body_budget_bytes: 8 << 20,
    }
}

pub(super) fn proxy_at(tls: bool, port: u16, credentials: Option<&str>) -> Option<Proxy> {
    let credentials = credentials.map(|text| Secret::new(text.into()));
    let origin = Origin { tls, host: "127.0.0.1".into(), port };
    Some(Proxy { origin, credentials, label: "http-proxy".into() })
}

/// An MCP server at `url`.
pub(super) fn server(url: &str) -> HttpServer {
    let url: ureq::http::Uri = url.parse().unwrap();
    let tls = url.scheme_str() == Some("https");
    let origin = Origin { tls, host: url.host().unwrap().into(), port: url.port_u16().unwrap() };
    HttpServer { url, origin, credentials: None, unix_socket: None, proxy: None, identity: None }
}

/// A client towards `server`.
pub(super) fn client(network: &Network, server: &HttpServer) -> Result<Client, Error> {
    client_of(&Net::new(network)?, server)
}

/// The same, of a room that is there.
pub(super) fn client_of(net: &Net, server: &HttpServer) -> Result<Client, Error> {
    net.mcp(server, &None, 4)
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(super) fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(60)
}

/// Sends a GET, or a POST when parts are given; only the former may be replayed.
pub(super) fn send(
    client: &Client,
    url: &str,
    parts: Option<&[&[u8]]>,
    deadline: Instant,
) -> Result<Reply, Error> {
    let method = if parts.is_some() { "POST" } else { "GET" };
    client.send(Request {
        method: method.parse().unwrap(),
        uri: &url.parse().unwrap(),
        headers: Default::default(),
        body: parts,
        deadline,
        replay_when_stale: parts.is_none(),
    })
}

/// Reads the whole body under a budget of its own.
pub(super) fn body(reply: Reply) -> Result<Vec<u8>, Error> {
    reply.read_all(8 << 20, &crate::net::Budget::new(8 << 20), soon()).map(|bytes| bytes.data)
}

/// GETs `url` and reads the body as text.
pub(super) fn get(client: &Client, url: &str) -> Result<String, Error> {
    Ok(String::from_utf8(body(send(client, url, None, soon())?)?).unwrap())
}
