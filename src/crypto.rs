//! Cryptography: SHA-256, comparison of secrets, random bytes and ids, and the provider of TLS.
//!
//! The library that computes is chosen when the program is built: `ring`, or `openssl` for the system's own. No other
//! module of the program names either, and no other file than the one of that library.

#[cfg(feature = "openssl")]
mod openssl;
#[cfg(feature = "ring")]
mod ring;

use std::io;
use std::sync::Arc;

#[cfg(feature = "page")]
use base64::Engine;
#[cfg(feature = "page")]
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::CryptoProvider;

#[cfg(feature = "openssl")]
use self::openssl as library;
#[cfg(feature = "ring")]
use self::ring as library;

/// Where the kernel says 1 on a host in FIPS mode. The libraries of some distributions look there too.
const KERNEL_MODE: &str = "/proc/sys/crypto/fips_enabled";

/// Cipher suites, key exchange groups and signatures of TLS.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(library::provider())
}

/// Refuses to go on where the library does not report its FIPS mode.
pub(crate) fn require_fips(provider: &CryptoProvider) -> Result<(), String> {
    match provider.fips() {
        true => Ok(()),
        false => {
            Err(format!("tls.require_fips is set, but cryptography is {}: {}", described(), library::REMEDY))
        }
    }
}

/// The library with its version, whether it reports its FIPS mode, and what the kernel says of this host's.
pub(crate) fn described() -> String {
    let mode = if library::provider().fips() { "in FIPS mode" } else { "not in FIPS mode" };
    let host = match std::fs::read_to_string(KERNEL_MODE) {
        Ok(mode) => mode.trim().to_owned(),
        Err(_) => "cannot be read".to_owned(),
    };
    format!("{}, {mode} ({KERNEL_MODE}: {host})", library::name())
}

/// SHA-256 of `data`, in lower-case hexadecimal digits.
pub(crate) fn sha256_hex(data: &[u8]) -> String {
    hex(library::sha256(data).as_ref())
}

/// SHA-256 of `data`, in base64, as policies of content have it.
#[cfg(feature = "page")]
pub(crate) fn sha256_base64(data: &[u8]) -> String {
    STANDARD.encode(library::sha256(data))
}

/// The first 48 bits of SHA-256, in hexadecimal digits: tells equal texts from different ones without showing either.
pub(crate) fn fingerprint(text: &str) -> String {
    hex(library::sha256(text.as_bytes()).as_ref().get(..6).unwrap_or_default())
}

/// Digests under a random key, which tell equal texts of one process from different ones, and nobody else anything.
pub(crate) struct Keyed(library::Key);

impl Keyed {
    /// A key of its own. Fails as [`random`] does.
    pub(crate) fn new() -> io::Result<Keyed> {
        Ok(Keyed(library::Key::new(&random::<32>()?)))
    }

    /// The first 128 bits, in hexadecimal digits.
    pub(crate) fn digest(&self, data: &[u8]) -> String {
        hex(self.0.sign(data).as_ref().get(..16).unwrap_or_default())
    }
}

/// Whether two secrets are the same. It compares digests, so the time that it takes does not tell how much of a
/// guess was right.
#[cfg(any(feature = "harpoon", feature = "operator", feature = "page"))]
pub(crate) fn is_same_secret(one: &str, other: &str) -> bool {
    library::sha256(one.as_bytes()).as_ref() == library::sha256(other.as_bytes()).as_ref()
}

/// HMAC-SHA256 of `data`.
#[cfg(feature = "harpoon")]
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    library::Key::new(key).sign(data).as_ref().to_vec()
}

/// Random bytes that nobody can guess. Fails when the system gives none.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    library::fill(&mut bytes)?;
    Ok(bytes)
}

/// Random id of 128 bits, in 32 hexadecimal digits. Fails as [`random`] does.
pub(crate) fn random_id() -> io::Result<String> {
    Ok(hex(&random::<16>()?))
}

/// Lower-case hexadecimal digits.
// Once in the program: the copies at its uses are ten kilobytes.
#[inline(never)]
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| if number < 10 { b'0' + number } else { b'a' - 10 + number };
    let pairs: Vec<[u8; 2]> = bytes.iter().map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    String::from_utf8(pairs.into_flattened()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_comparisons_are_those_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
        assert!(abc.starts_with(&fingerprint("abc")) && fingerprint("abc").len() == 12);
    }

    #[test]
    #[cfg(feature = "harpoon")]
    fn secrets_are_compared_as_wholes() {
        assert!(is_same_secret("a", "a") && !is_same_secret("a", "b") && !is_same_secret("a", ""));
    }

    /// The second case of RFC 4231.
    #[cfg(feature = "harpoon")]
    #[test]
    fn keyed_digests_are_those_of_the_standard() {
        let digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")), digest);
    }

    #[test]
    fn keyed_digests_differ_by_key() {
        let (one, other) = (Keyed::new().unwrap(), Keyed::new().unwrap());
        assert_eq!(one.digest(b"abc"), one.digest(b"abc"));
        assert!(one.digest(b"abc") != other.digest(b"abc") && one.digest(b"abc") != one.digest(b"abd"));
        assert_eq!(one.digest(b"").len(), 32);
    }

    #[test]
    fn ids_are_long_and_differ() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert!(one.len() == 32 && one != other && one.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
