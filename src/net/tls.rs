//! TLS towards destinations and proxies: one setup a purpose, the handshake, and a text for its refusal.
//!
//! rustls and webpki decide; the verifier here only delegates, and remembers what it refused so that the
//! error can name the certificate. There is no switch that trusts everybody, and no key log is written.
//! Failure is [`Kind::Tls`], or the deadline's [`Kind::Timeout`].
//!
//! The peer may send anything during a handshake: rustls bounds its messages, the wire's deadline its time.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::der::{self, Summary};
use super::error::{CertificateFault, Error, Kind, bounded};
use super::transport::{TlsWire, Wire};

/// Destinations whose sessions are kept for resumption: the setup without an identity serves every server
/// and proxy of the process, of which there are a handful.
const SESSIONS_MAX: usize = 32;
/// Plaintext and ciphertext that a session may hold back; the transport writes less at a time and drains
/// after each, so this is only met when a peer stops reading.
const SESSION_BUFFER_BYTES: usize = 64 * 1024;

/// A configuration that handshakes are made with. A clone is the same configuration: sessions are resumed
/// across all connections made with it, but never between one with an identity and one without.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

/// The provider of everything cryptographic.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Setup {
    /// TLS 1.2 and 1.3 against `roots`, showing `identity` when the peer asks for a certificate. Fails when
    /// there is nothing to trust, because then no handshake could ever succeed.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        roots: &Arc<RootCertStore>,
        identity: Option<Arc<SingleCertAndKey>>,
    ) -> Result<Setup, Error> {
        let unusable =
            |cause: &dyn std::fmt::Display| Error::new(Kind::Setup, format!("TLS cannot be set up: {cause}"));
        if roots.is_empty() {
            return Err(unusable(&"no trusted roots; set ca-bundle or tls.roots"));
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let webpki = webpki.build().map_err(|cause| unusable(&cause))?;
        let verifier = Arc::new(Verifier { webpki, refused: Mutex::default() });
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|cause| unusable(&cause))?;
        // "Dangerous" is any verifier that rustls did not make; this one refuses whatever webpki refuses.
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        // Said openly, so that a front end that prefers HTTP/2 does not begin with it.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Setup { config: Arc::new(config), verifier })
    }

    /// Speaks TLS with `host` on `wire`, whose deadline bounds the handshake. The wire that comes back is
    /// verified; one that failed is gone, and nothing but the handshake was written to it.
    pub(super) fn handshake(&self, host: &str, mut wire: Wire) -> Result<Wire, Error> {
        // Also takes addresses, which are then looked for in the certificate as such.
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::new(Kind::InvalidRequest, "the host name is not valid for TLS"))?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|cause| Error::new(Kind::Tls, format!("TLS with {host}: {}", bounded(&cause))))?;
        session.set_buffer_limit(Some(SESSION_BUFFER_BYTES));
        while session.is_handshaking() {
            if let Err(cause) = session.complete_io(&mut wire) {
                return Err(self.failed(host, &cause));
            }
        }
        Ok(Wire::Tls(Box::new(TlsWire { session, inner: wire })))
    }

    fn failed(&self, host: &str, cause: &std::io::Error) -> Error {
        let mut error = Error::exchanging(&format!("TLS handshake with {host}"), cause);
        let reason = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(reason)) = reason {
            let mut error = Error::new(Kind::Tls, self.explain(host, reason));
            error.certificate = Some(fault(reason));
            return error;
        }
        // A peer that hangs up in the middle of a handshake does not like it: many servers say so with a
        // reset instead of an alert, for example when they miss a client certificate.
        if error.kind != Kind::Timeout {
            error.kind = Kind::Tls;
        }
        error
    }

    /// Names the refused certificate, and the authority that would have to be trusted. rustls itself says
    /// only "unknown issuer", which does not tell an operator which of his proxies is in the way.
    fn explain(&self, host: &str, reason: &CertificateError) -> String {
        let mut text = format!("the certificate of {host} is refused: {}", bounded(reason));
        let refused = self.verifier.refused.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The sort of a refusal, as far as it matters for what can be done about it.
fn fault(reason: &CertificateError) -> CertificateFault {
    match reason {
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        _ => CertificateFault::Other,
    }
}

/// Delegates to webpki and remembers what was refused. It may not accept anything by itself: every method
/// returns webpki's own verdict unchanged.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The last chain that was refused, as summaries from the server's own certificate upwards.
    refused: Mutex<Vec<Summary>>,
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
        // Two threads may be refused at once; both met the same server, so either chain tells the truth.
        if verdict.is_err() {
            // A chain fits one handshake message, which rustls bounds.
            let chain = std::iter::once(end_entity).chain(intermediates);
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                chain.filter_map(|certificate| der::summarise(certificate)).collect();
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
