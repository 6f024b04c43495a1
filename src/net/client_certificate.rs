//! Client certificates: PEM chain and key, read and checked when clients are made.
//!
//! This file alone holds key bytes. It fails when a file cannot be read, when the key may be written by
//! others than its owner, or when key and certificate do not belong together. All of that is found before a
//! client is used: what a rotation leaves half-way is refused, and the clients before stay. No error text quotes what a
//! file holds.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::error::{Error, bounded};
use super::loaded::Loaded;
use super::roots::certificates;
use crate::config::{Identity, trust};

/// A file may hold the chain beside the key.
const KEY_MAX_BYTES: u64 = 1 << 20;

/// Client certificate with its key.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) certified: Arc<SingleCertAndKey>,
    pub(super) loaded: Option<Loaded>,
}

/// Loads and checks a client certificate; `whose` opens the error text (`control-plane` or `MCP`).
pub(super) fn load(identity: &Identity, whose: &str, provider: &CryptoProvider) -> Result<Shown, Error> {
    match check(identity, provider) {
        Ok(key) => Ok(Shown { loaded: Loaded::now(&key.cert, false), certified: Arc::new(key.into()) }),
        Err(why) => Err(Error::setup(format!("invalid {whose} client certificate configuration: {why}"))),
    }
}

fn check(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let certificate = identity.certificate.display();
    let chain = certificates(&identity.certificate)
        .map_err(|cause| format!("read certificate {certificate}: {cause}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} contains no PEM certificate"));
    }
    let path = identity.key.display();
    // Anybody who can write the key's file can make this host speak for somebody else. Reading by a group is
    // common (a key for several services) and is left to the operator.
    let pem =
        trust::read(&identity.key, KEY_MAX_BYTES).map_err(|cause| format!("read key {path}: {cause}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.bytes)
        .map_err(|_| format!("{path} contains no PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)"))?;
    // The HTTP crate's own TLS would take a mismatch and panic later.
    CertifiedKey::from_der(chain, key, provider).map_err(|cause| match cause {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key {path} does not belong to the certificate {certificate}")
        }
        other => {
            format!("the key {path} or the certificate {certificate} cannot be used: {}", bounded(&other))
        }
    })
}
