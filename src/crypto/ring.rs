//! ring: what a build with the feature `ring` computes with. It is part of the program, and no validated module.

use std::io;

use ::ring::digest::{SHA256, digest};
use ::ring::hmac;
use ::ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::{CryptoProvider, ring};

/// What to do where a validated module is demanded.
pub(super) const REMEDY: &str = "ring is no FIPS module; install a build with the feature openssl (rpmbuild --with fips), or leave the setting out";

/// Its name.
pub(super) fn name() -> String {
    "ring".to_owned()
}

/// What rustls asks.
pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// SHA-256.
pub(super) fn sha256(data: &[u8]) -> impl AsRef<[u8]> {
    digest(&SHA256, data)
}

/// Key of HMAC-SHA256.
pub(super) struct Key(hmac::Key);

impl Key {
    pub(super) fn new(key: &[u8]) -> Key {
        Key(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn sign(&self, data: &[u8]) -> impl AsRef<[u8]> {
        hmac::sign(&self.0, data)
    }
}

/// Random bytes.
pub(super) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let failed = |_| io::Error::other("the system gave no random bytes");
    SystemRandom::new().fill(bytes).map_err(failed)
}
