//! Certificates of ours: what is trusted, who we are, and when that ends.
//!
//! Only reads files that settings name, and compares dates as text.
//!
//! No certificate is trusted or refused here: that is done by whoever connects, with the rules of TLS. Keys
//! are not looked at. A file that cannot be read is a failed check.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::config::{Server, Settings};
use crate::net::{self, Certificate};
use crate::ops::timestamp;

use super::report::Check;

/// The id of the check; it is one for all files, since their number is not known to whoever reads reports.
const EXPIRY: &str = "certificate_expiry";

/// Certificates that end this soon are worth a sentence: renewals take that long where people do them.
const WARN_AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// More lines of evidence than this help nobody.
const EVIDENCE_MAX: usize = 20;

/// When the certificates end that settings name. Whether keys fit them is found by whoever uses them.
pub(super) fn expiry(settings: &Settings) -> Check {
    let servers = settings.mcp.bindings.iter().filter_map(|binding| match &binding.server {
        Server::Http(server) => server.identity.as_ref(),
        Server::Stdio(_) => None,
    });
    let own = settings.control_plane.identity.iter().chain(servers);
    let mut own: Vec<&Path> = own.map(|identity| identity.certificate.as_path()).collect();
    // One certificate often serves several channels, and a warning a channel would look like several faults.
    own.sort();
    own.dedup();
    let mut found = Vec::new();
    let mut expired = Vec::new();
    let now = text(SystemTime::now());
    for path in own.into_iter().chain(settings.network.ca_bundle.as_deref()) {
        let certificates = match net::certificates(path) {
            Ok(certificates) => certificates,
            Err(error) => return failed(error.to_string()),
        };
        // Of a bundle, one that has ended is a rest; a chain of ours needs all of its parts.
        let is_bundle = Some(path) == settings.network.ca_bundle.as_deref();
        let ended = |certificate: &Certificate| certificate.not_after < now;
        let useless = if is_bundle { certificates.iter().all(ended) } else { certificates.iter().any(ended) };
        let lines = certificates.into_iter().map(|one| (one.not_after.clone(), line(path, &one)));
        let lines: Vec<(String, String)> = lines.collect();
        expired.extend(lines.iter().filter(|(end, _)| useless && *end < now).map(|(_, line)| line.clone()));
        found.extend(lines);
    }
    // By their ends, so that the first line is the one that will stop working first.
    found.sort();
    let Some((first_end, first)) = found.first() else {
        return Check::skip(EXPIRY, "no certificates are configured");
    };
    let evidence = found.iter().map(|(_, line)| line.clone()).take(EVIDENCE_MAX);
    if let Some(line) = expired.first() {
        return failed(format!("expired: {line}")).evidence(evidence);
    }
    let mut summary = format!("{} looked at; the first to end is {first}", found.len());
    if *first_end < now {
        summary.push_str(". It has ended already and can be taken out");
    } else if *first_end < text(SystemTime::now() + WARN_AHEAD) {
        // A pass all the same: everything works today, and a failed check would stop a deployment that is
        // fine.
        summary.push_str(". WARNING: that is within 30 days, renew it soon");
    }
    Check::pass(EXPIRY, summary).evidence(evidence)
}

fn failed(summary: String) -> Check {
    let why = "Peers refuse an expired certificate, and nobody trusts an expired authority.";
    let next = [
        "see whether this machine's clock is right: date -u",
        "replace the file by a renewed certificate, then restart: files are read at the start",
    ];
    Check::fail(EXPIRY, summary, why, next)
}

/// One certificate, with its file: subjects alone repeat from renewal to renewal.
fn line(path: &Path, certificate: &Certificate) -> String {
    format!("\"{}\" of {}, valid until {}", certificate.subject, path.display(), certificate.not_after)
}

/// A moment in the form of a certificate's end, for comparison.
fn text(moment: SystemTime) -> String {
    format!("{} UTC", timestamp::plain(moment).replace('/', "-"))
}

/// Who resolves names.
pub(super) fn resolver() -> Check {
    // They differ where people look last: what nsswitch adds, such as mDNS or LDAP, is the system's alone.
    let resolver = if cfg!(target_env = "musl") {
        "built in (musl): /etc/hosts and the name servers of /etc/resolv.conf, all asked at once"
    } else {
        "the system's (glibc): as /etc/nsswitch.conf says"
    };
    Check::pass("resolver", format!("{resolver}; behind a proxy, the proxy resolves"))
}
