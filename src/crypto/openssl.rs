//! The system's OpenSSL: what a build with the feature `openssl` computes with.
//!
//! Everything goes through that library's own choice of a provider (EVP), so that on a host in FIPS mode its validated
//! module computes. Which library that is, and how it is configured, the host decides when the program starts.

use std::io::{self, Write};

use ::openssl::error::ErrorStack;
use ::openssl::hash::{MessageDigest, hash};
use ::openssl::pkey::{PKey, Private};
use ::openssl::sign::Signer;
use ::openssl::{rand, version};
use rustls::crypto::CryptoProvider;

/// What to do where it does not report its FIPS mode.
pub(super) const REMEDY: &str = "put the host, or OpenSSL by its configuration, into FIPS mode, see that a unit may read \
    that file (ProcSubset=all), or leave the setting out";

/// Its name with the version of the library that was loaded, and not of the one that it was built with.
pub(super) fn name() -> String {
    version::version().to_owned()
}

/// What rustls asks.
pub(super) fn provider() -> CryptoProvider {
    rustls_openssl::default_provider()
}

/// SHA-256.
pub(super) fn sha256(data: &[u8]) -> impl AsRef<[u8]> {
    hash(MessageDigest::sha256(), data).unwrap_or_else(|errors| end("SHA-256", &errors))
}

/// Key of HMAC-SHA256.
pub(super) struct Key(PKey<Private>);

impl Key {
    pub(super) fn new(key: &[u8]) -> Key {
        Key(PKey::hmac(key).unwrap_or_else(|errors| end("HMAC", &errors)))
    }

    pub(super) fn sign(&self, data: &[u8]) -> impl AsRef<[u8]> {
        let signed = Signer::new(MessageDigest::sha256(), &self.0)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(data));
        signed.unwrap_or_else(|errors| end("HMAC", &errors))
    }
}

/// Random bytes.
pub(super) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let failed = |errors| io::Error::other(format!("OpenSSL gave no random bytes: {errors}"));
    rand::rand_priv_bytes(bytes).map_err(failed)
}

/// Ends the process. A digest fails when there is no memory, when the library is configured to have no SHA-256, or when its
/// FIPS module has found an error in itself and refuses everything. A digest that was made up would let others in.
fn end(what: &str, errors: &ErrorStack) -> ! {
    // Nobody is left to be told that this cannot be written.
    let _ = writeln!(io::stderr(), "{} cannot compute {what}: {errors}; see its configuration", name());
    std::process::abort()
}
