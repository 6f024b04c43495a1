//! TLS of the benchmark's control plane, which counts its handshakes.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

/// Handshakes so far: full ones, and those that resume a session.
#[derive(Default)]
pub struct Handshakes([AtomicUsize; 2]);

impl Handshakes {
    /// Makes the handshake of a connection.
    pub fn accept(
        &self,
        config: &Arc<ServerConfig>,
        mut stream: TcpStream,
    ) -> Option<StreamOwned<ServerConnection, TcpStream>> {
        let mut connection = ServerConnection::new(Arc::clone(config)).expect("a TLS session");
        connection.complete_io(&mut stream).ok()?;
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        self.0[usize::from(is_resumed)].fetch_add(1, Ordering::Relaxed);
        Some(StreamOwned::new(connection, stream))
    }

    pub fn counts(&self) -> [usize; 2] {
        [0, 1].map(|kind| self.0[kind].load(Ordering::Relaxed))
    }
}

/// A server's settings, and the file of the authority that its client is to trust.
pub fn server() -> (Arc<ServerConfig>, PathBuf) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let bundle = std::env::temp_dir().join(format!("tunnel-client-bench-{}.pem", std::process::id()));
    std::fs::write(&bundle, certificate.pem()).expect("a writable temporary directory");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a usable certificate");
    (Arc::new(config), bundle)
}
