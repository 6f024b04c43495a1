//! TLS client: one setup a purpose, the handshake, the verifier of certificates, and a text for a refusal.
//!
//! rustls and webpki decide, with one addition: a server may show a certificate that stands in `ca-bundle`
//! itself, see [`Verifier`]. What is refused is remembered, so that the error can name the certificate. Sessions
//! are resumed until one of the certificates ends that they began with. There is no switch that trusts
//! everybody, and no key log is written. Failure is [`Kind::Tls`], [`Kind::NotTls`] for a peer that speaks
//! something else, or the deadline's [`Kind::Timeout`].
//!
//! The peer may send anything during a handshake: rustls bounds its messages, the wire's deadline its time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::der::{self, Summary};
use super::error::{Error, Kind, Phase, bounded};
use super::validity::Validity;
use super::wire::{RECORD_MAX_BYTES, TlsWire, Wire};

/// Sessions that are kept for resumption, 8 a destination: the setup without an identity serves every server
/// and proxy of the process, of which there are a handful.
const SESSIONS_MAX: usize = 32 * 8;
/// Plaintext and ciphertext that a session may hold back; the transport writes less at a time and drains
/// after each, so this is only met when a peer stops reading.
const SESSION_BUFFER_BYTES: usize = 64 * 1024;

/// Setup of handshakes. Sessions are resumed across all connections made with it, but never between one with
/// an identity and one without.
///
/// rustls does not look at the chain again when it resumes. So the sessions are forgotten when the first certificate
/// ends that was accepted for one of them. A connection that is older keeps the old store, and a ticket that reaches
/// that one is never used.
#[derive(Debug)]
pub(super) struct Setup {
    config: Mutex<Arc<ClientConfig>>,
    verifier: Arc<Verifier>,
}

impl Setup {
    /// TLS 1.2 and 1.3 against `roots`, showing `identity` when the peer asks for a certificate; `bundle` holds
    /// those of the roots that may be a server's own. Fails when there is nothing to trust, because then no
    /// handshake could ever succeed.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        roots: &Arc<RootCertStore>,
        bundle: &[CertificateDer<'static>],
        identity: Option<Arc<SingleCertAndKey>>,
    ) -> Result<Setup, Error> {
        if roots.is_empty() {
            return Err(Error::setup("TLS cannot be set up: no trusted roots; set ca-bundle or tls.roots"));
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let webpki = webpki.build().map_err(|cause| Error::caused(Kind::Setup, "set up TLS", cause))?;
        let verifier = Arc::new(Verifier {
            webpki,
            listed: bundle.iter().filter(|certificate| is_unconstrained(certificate)).cloned().collect(),
            until: AtomicU64::new(u64::MAX),
            refused: Mutex::default(),
        });
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::caused(Kind::Setup, "set up TLS", cause))?;
        // "Dangerous" is any verifier that rustls did not make.
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        // Said openly, so that a front end that prefers HTTP/2 does not begin with it.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        // What FIPS asks of TLS 1.2 besides: keys that are bound to the handshake.
        config.require_ems = provider.fips();
        Ok(Setup { config: Mutex::new(Arc::new(config)), verifier })
    }

    /// The present configuration, without its sessions when one of their certificates has ended.
    fn config(&self) -> Arc<ClientConfig> {
        let mut current = sync::lock(&self.config);
        if UnixTime::now().as_secs() > self.verifier.until.load(Ordering::Acquire) {
            self.verifier.until.store(u64::MAX, Ordering::Release);
            let mut config = ClientConfig::clone(&current);
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            *current = Arc::new(config);
        }
        Arc::clone(&current)
    }

    /// Speaks TLS with `host` on `wire`, whose deadline bounds the handshake. The wire that comes back is
    /// verified; one that failed is gone, and nothing but the handshake was written to it.
    pub(super) fn handshake(&self, host: &str, mut wire: Wire) -> Result<Wire, Error> {
        // Also takes addresses, which are then looked for in the certificate as such.
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::new(Kind::InvalidRequest, "the host name is not valid for TLS"))?;
        let mut session = ClientConnection::new(self.config(), name)
            .map_err(|cause| Error::caused(Kind::Tls, &format!("TLS with {host}"), cause))?;
        session.set_buffer_limit(Some(SESSION_BUFFER_BYTES));
        while session.is_handshaking() {
            if let Err(cause) = session.complete_io(&mut wire) {
                return Err(self.failed(host, cause));
            }
        }
        let inner = std::io::BufReader::with_capacity(RECORD_MAX_BYTES, wire);
        Ok(Wire::Tls(Box::new(TlsWire { session, inner })))
    }

    fn failed(&self, host: &str, cause: std::io::Error) -> Error {
        match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Error::new(Kind::Tls, self.explain(host, reason)).because(cause)
            }
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                Error::new(Kind::NotTls, format!("{host} does not speak TLS; is it http?")).because(cause)
            }
            _ => Error::io(Phase::Tls, host, cause),
        }
    }

    /// Names the refused certificate, and the authority that would have to be trusted. rustls itself says
    /// only "unknown issuer", which does not tell operators which of their proxies is in the way.
    fn explain(&self, host: &str, reason: &CertificateError) -> String {
        let why = if is_of_authority(reason) {
            "it is an authority's own (CaUsedAsEndEntity) and does not stand in ca-bundle".to_owned()
        } else {
            bounded(reason)
        };
        let mut text = format!("the certificate of {host} is refused: {why}");
        let refused = sync::lock(&self.verifier.refused);
        if let Some(own) = refused.first() {
            text.push_str(&format!(
                "; issued by \"{}\" to \"{}\", valid until {}",
                own.issuer, own.subject, own.not_after
            ));
        }
        if let (Some(last), CertificateError::UnknownIssuer) = (refused.last(), reason) {
            if refused.len() > 1 {
                text.push_str(&format!("; its chain ends at issuer \"{}\"", last.issuer));
            }
            text.push_str("; if that authority is yours, name its certificate in ca-bundle");
        }
        text
    }
}

/// Version, cipher suite and key exchange that both sides agreed on; no key exchange where a session was resumed.
pub(super) fn agreed(session: &ClientConnection) -> String {
    let parts = [
        session.protocol_version().map(|version| format!("{version:?}")),
        session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
        session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whether webpki refused an authority's certificate for being a server's. It looks at the dates before and
/// at the usage and the signature after that. Its error type is not at hand, so the text tells; one that
/// changed would trust nobody more.
pub(super) fn is_of_authority(reason: &CertificateError) -> bool {
    matches!(reason, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

/// Whether an authority may sign for every name.
fn is_unconstrained(certificate: &CertificateDer<'static>) -> bool {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone()).is_ok() && store.roots.iter().all(|root| root.name_constraints.is_none())
}

/// Delegates to webpki, remembers what was refused, and accepts one thing more: a server that shows a
/// certificate of `ca-bundle`, byte for byte, which webpki refuses for nothing but its CA bit. `openssl req
/// -x509` sets that bit, and a site that lists the certificate of such a server means to trust it.
///
/// Nothing gains trust by it but this very certificate, for the names and the time that it holds, and only
/// when the handshake proves its key. That key gains nothing either: as an authority without constraints it
/// could sign for these names before. (A self-signed one without the CA bit is accepted by webpki itself: it
/// takes every root for an authority.) Certificates of the system's bundle, of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` are authorities only.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// Certificates of authorities that a server may show.
    listed: Vec<CertificateDer<'static>>,
    /// End of the first accepted certificate that ends, in seconds of the epoch.
    until: AtomicU64,
    /// The last chain that was refused, as summaries from the server's own certificate upwards.
    refused: Mutex<Vec<Summary>>,
}

impl Verifier {
    /// Judges a certificate that webpki refused for its CA bit. Its own signature proves nothing and is not
    /// looked at; the handshake's is checked elsewhere, as for every other.
    fn judge_listed(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: u64,
        refusal: rustls::Error,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let validity = der::validity(certificate).filter(|_| self.listed.contains(certificate));
        let Validity { not_before, not_after } = validity.ok_or(refusal)?;
        if now < not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > not_after {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    /// Ends the sessions with the first certificate of a chain that was accepted. Servers also send some that
    /// ended long ago; webpki does without them.
    fn accepted<'a>(&self, chain: impl Iterator<Item = &'a CertificateDer<'a>>, now: u64) {
        let ends = chain.map(|certificate| der::validity(certificate).map_or(now, |one| one.not_after));
        if let Some(end) = ends.filter(|end| *end >= now).min() {
            self.until.fetch_min(end, Ordering::AcqRel);
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let now = now.as_secs();
        let verdict = match verdict {
            Err(rustls::Error::InvalidCertificate(reason)) if is_of_authority(&reason) => {
                self.judge_listed(end_entity, server_name, now, reason.into())
            }
            verdict => verdict,
        };
        // A chain fits one handshake message, which rustls bounds.
        let chain = std::iter::once(end_entity).chain(intermediates);
        match verdict {
            Ok(_) => self.accepted(chain, now),
            // Two threads may be refused at once; both met the same server, so either chain tells the truth.
            Err(_) => {
                *sync::lock(&self.refused) =
                    chain.filter_map(|certificate| der::summarise(certificate)).collect();
            }
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
