//! Certificates made when a test starts, so that none ever expires in the tree.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::temp::TempDir;

/// Seconds of a day.
pub const DAY: i64 = 86_400;
/// Age and rest of life of certificates that are to be valid for long, in seconds.
const LONG: [i64; 2] = [9_000 * DAY, 10_000 * DAY];

/// A certification authority and the directory that its files live in.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// PEM files of one certificate and its key.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// Path of the certificate.
    pub certificate: String,
    /// Path of the key.
    pub key: String,
}

impl Authority {
    /// A fresh authority whose name is seen in error texts.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new();
        directory.write("ca.pem", issuer.pem());
        Authority { issuer, directory }
    }

    /// Path of the authority's own certificate.
    pub fn bundle(&self) -> String {
        self.directory.join("ca.pem").to_str().unwrap().to_owned()
    }

    /// A server configuration for 127.0.0.1 and localhost.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_asking(None)
    }

    /// The same, demanding a client certificate of `clients`.
    pub fn server_demanding(&self, clients: &Authority) -> Arc<ServerConfig> {
        self.server_demanding_one_of(&[clients])
    }

    /// The same, demanding a client certificate of any of them.
    pub fn server_demanding_one_of(&self, clients: &[&Authority]) -> Arc<ServerConfig> {
        self.server_asking(Some((clients, true)))
    }

    /// The same, accepting clients with and without a certificate of `clients`.
    pub fn server_inviting(&self, clients: &Authority) -> Arc<ServerConfig> {
        self.server_asking(Some((&[clients], false)))
    }

    fn server_asking(&self, clients: Option<(&[&Authority], bool)>) -> Arc<ServerConfig> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        self.server_with(self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, LONG), clients)
    }

    /// A server configuration for these names, which end in so many days.
    pub fn server_until(&self, names: &[&str], days: i64) -> Arc<ServerConfig> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let life = [LONG[0], days * DAY];
        self.server_with(self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, life), None)
    }

    fn server_with(
        &self,
        (chain, key): (Vec<CertificateDer<'static>>, KeyPair),
        clients: Option<(&[&Authority], bool)>,
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((authorities, demanded)) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority.issuer.der().clone()).unwrap();
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if demanded { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Arc::new(builder.with_single_cert(chain, der).unwrap())
    }

    /// A client certificate with its key, as files named after `name`.
    pub fn client(&self, name: &str) -> Files {
        self.client_of_age(name, LONG)
    }

    /// The same, which ends in so many days.
    pub fn client_until(&self, name: &str, days: i64) -> Files {
        self.client_of_age(name, [LONG[0], days * DAY])
    }

    /// The same, so many seconds old and with so many to live.
    pub fn client_of_age(&self, name: &str, life: [i64; 2]) -> Files {
        let (chain, key) = self.issue(vec![], ExtendedKeyUsagePurpose::ClientAuth, life);
        let pem = pem_of(&chain[0]);
        Files {
            der: chain[0].to_vec(),
            certificate: self.directory.write(&format!("{name}.pem"), pem),
            key: self.directory.write(&format!("{name}.key"), key.serialize_pem()),
        }
    }

    fn issue(
        &self,
        names: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
        [age, rest]: [i64; 2],
    ) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test leaf");
        params.extended_key_usages = vec![purpose];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = |offset| Duration::from_secs(now.checked_add_signed(offset).unwrap());
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        (params.not_before, params.not_after) = (epoch + at(-age), epoch + at(rest));
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (vec![leaf.der().clone()], key)
    }
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}
