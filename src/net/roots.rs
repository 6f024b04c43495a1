//! Trusted certificate authorities (roots), and where they came from.
//!
//! A bundle that somebody named must be readable and hold certificates. Of the system's bundle, single
//! certificates that do not parse are skipped and counted: one odd entry must not stop a host's traffic.
//!
//! Files are read once for each [`Net`](super::Net), when its first purpose needs TLS; what comes to stand in them is
//! read by the one that takes its place.
//! Whoever may write these files decides whom this host believes, as with every other program on it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use super::error::{Error, Kind};
use super::loaded::Loaded;
use crate::config::{self, Network, trust};

/// The largest system bundles are below 1 MiB; this bounds what a wrong path can cost.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Entries read of one directory of `SSL_CERT_DIR`: distributions hash some 150 certificates into some 450.
const DIRECTORY_MAX_ENTRIES: usize = 4096;
/// Where distributions keep their bundle: Debian, RHEL, RHEL's generated file, SUSE, Alpine. Fixed paths and
/// no search: a bundle in an odd place is named by `SSL_CERT_FILE`.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The trusted roots.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    /// Store that rustls verifies against.
    pub(super) store: Arc<RootCertStore>,
    /// Whether they are those of this program, because nobody named others and the system has none.
    pub(super) is_built_in: bool,
    /// One sentence for the start-up log.
    pub(super) summary: String,
}

/// The certificates of `ca-bundle`; none without one.
#[derive(Debug, Default, Clone)]
pub(super) struct Bundle {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) loaded: Option<Loaded>,
}

/// A source in words, and the certificates that it gave.
type Found = (String, Vec<CertificateDer<'static>>);

/// Files of the system that are looked for; none where others take their place.
pub fn bundles(network: &Network) -> &'static [&'static str] {
    let is_named = network.ssl_cert_file.is_some() || network.ssl_cert_dir.is_some();
    match network.roots {
        config::Roots::System => &SYSTEM_BUNDLES,
        config::Roots::Automatic if !is_named => &SYSTEM_BUNDLES,
        _ => &[],
    }
}

/// Loads the roots that `network` asks for, with `added` (the certificates of `ca-bundle`) on top.
pub(super) fn load(network: &Network, added: &[CertificateDer<'static>]) -> Result<Roots, Error> {
    let found = match network.roots {
        config::Roots::None => Some(("no roots".to_owned(), Vec::new())),
        config::Roots::Webpki => None,
        config::Roots::System => {
            let missing = || Error::setup("tls.roots is system, but no system CA bundle was found");
            Some(system().ok_or_else(missing)?)
        }
        config::Roots::Automatic => named(network)?.or_else(system),
    };
    let (mut store, is_built_in) = (RootCertStore::empty(), found.is_none());
    let (mut source, certificates) = found.unwrap_or_else(|| {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        ("the built-in Mozilla bundle".to_owned(), Vec::new())
    });
    if let Some(bundle) = &network.ca_bundle {
        source.push_str(&format!(" and ca-bundle {}", bundle.display()));
    }
    let all = certificates.into_iter().chain(added.iter().cloned());
    let (_, skipped) = store.add_parsable_certificates(all);
    let summary = format!("{} roots from {source}, {skipped} skipped", store.len());
    Ok(Roots { store: Arc::new(store), is_built_in, summary })
}

/// The certificates of `ca-bundle`, checked even when nothing uses TLS yet.
pub(super) fn ca_bundle(network: &Network) -> Result<Bundle, Error> {
    let Some(path) = &network.ca_bundle else { return Ok(Bundle::default()) };
    let unreadable = |cause| Error::caused(Kind::Setup, &format!("read CA bundle {path:?}"), cause);
    let certificates = certificates(path).map_err(unreadable)?;
    // A PEM block need not hold a certificate; the store parses it.
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err(Error::setup(format!(
            "invalid ca-bundle {path:?}: PEM bundle contained no certificates"
        )));
    }
    Ok(Bundle { loaded: Loaded::now(&certificates, true), certificates })
}

/// The PEM certificates of a file. What is no certificate is passed over: bundles carry comments, and a key
/// may stand in the same file. A file that ends within one is still being written.
pub(super) fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let (pem, _) = trust::read_regular(path, FILE_MAX_BYTES)?;
    let found = CertificateDer::pem_slice_iter(&pem).filter_map(|one| match one {
        Err(pem::Error::MissingSectionEnd { .. }) => {
            Some(Err(io::Error::other("it ends within a PEM block")))
        }
        one => one.ok().map(Ok),
    });
    found.collect()
}

/// `SSL_CERT_FILE` and `SSL_CERT_DIR`, which replace everything else when set: who sets them means to narrow
/// what is trusted, so a mistake in them must not fall back to the system's roots.
fn named(network: &Network) -> Result<Option<Found>, Error> {
    let mut sources = Vec::new();
    let mut found = Vec::new();
    let unreadable =
        |what: &str, cause: io::Error| Error::caused(Kind::Setup, &format!("read {what}"), cause);
    if let Some(file) = &network.ssl_cert_file {
        let source = format!("SSL_CERT_FILE {}", file.display());
        found.extend(certificates(file).map_err(|cause| unreadable(&source, cause))?);
        sources.push(source);
    }
    if let Some(list) = &network.ssl_cert_dir {
        for directory in list.split(':').filter(|directory| !directory.is_empty()) {
            let read = directory_certificates(Path::new(directory));
            found.extend(read.map_err(|cause| unreadable(&format!("SSL_CERT_DIR {directory}"), cause))?);
        }
        sources.push(format!("SSL_CERT_DIR {list}"));
    }
    if sources.is_empty() {
        return Ok(None);
    }
    // A directory holds each certificate under several names.
    found.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    found.dedup();
    let source = sources.join(" and ");
    // With nothing else to trust, every connection would fail later and less clearly.
    if found.is_empty() && network.ca_bundle.is_none() {
        return Err(Error::setup(format!("{source} contained no certificates")));
    }
    Ok(Some((source, found)))
}

fn directory_certificates(directory: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let entries = std::fs::read_dir(directory)?.take(DIRECTORY_MAX_ENTRIES);
    // Other files of the directory are nobody's fault.
    Ok(entries.flatten().filter_map(|entry| certificates(&entry.path()).ok()).flatten().collect())
}

/// The first bundle that holds anything. One that is missing or empty is passed over: the next path may be
/// this distribution's.
fn system() -> Option<Found> {
    SYSTEM_BUNDLES.iter().find_map(|bundle| {
        let found = certificates(Path::new(bundle)).ok().filter(|found| !found.is_empty())?;
        Some((format!("the system bundle {bundle}"), found))
    })
}
