//! Client certificates: PEM chain and key, read and checked once at start.
//!
//! This file alone holds key bytes. It fails when a file cannot be read, when the key may be written by
//! others than its owner, or when key and certificate do not belong together. All of that is found at start:
//! a rotated certificate takes effect with a restart. No error text quotes what a file holds.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::error::{Error, Kind, bounded};
use super::roots::{certificates, read_regular};
use crate::config::Identity;

/// Mode bits by which group and others may write. Who can write a key can make this host speak for somebody
/// else. Reading by a group is common (a key for several services) and is left to the operator.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Loads and checks a client certificate; `whose` opens the error text (`control-plane` or `MCP`).
pub(super) fn load(
    identity: &Identity,
    whose: &str,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, Error> {
    let key = check(identity, provider).map_err(|reason| {
        Error::new(Kind::Setup, format!("invalid {whose} client certificate configuration: {reason}"))
    })?;
    Ok(Arc::new(SingleCertAndKey::from(key)))
}

fn check(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let certificate = identity.certificate.display();
    let chain = certificates(&identity.certificate)
        .map_err(|cause| format!("read certificate {certificate}: {cause}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} contains no PEM certificate"));
    }
    let path = identity.key.display();
    // The mode is the opened file's own: between a check by name and the reading it could be exchanged.
    let (pem, metadata) = read_regular(&identity.key).map_err(|cause| format!("read key {path}: {cause}"))?;
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!("key {path} may be written by group or others; run chmod go-w on it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem)
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
