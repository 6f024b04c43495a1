//! Certificates of ours: what is trusted, who we are, and when that ends.
//!
//! Only reads files that settings name.
//!
//! No certificate is trusted or refused here: that is done by whoever connects, with the rules of TLS. Keys
//! are not looked at. A file that cannot be read is a failed check.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Server, Settings};
use crate::net::{self, Certificate, Remaining};

use super::report::Check;

/// The id of the check; it is one for all files, since their number is not known to whoever reads reports.
const EXPIRY: &str = "certificate_expiry";

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
    let (mut found, mut expired) = (Vec::new(), Vec::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for path in own.into_iter().chain(settings.network.ca_bundle.as_deref()) {
        let certificates = match net::certificates(path) {
            Ok(certificates) => certificates,
            Err(error) => return failed(error.to_string()),
        };
        // Of a bundle, one that has ended is a rest; a chain of ours needs all of its parts.
        let is_bundle = Some(path) == settings.network.ca_bundle.as_deref();
        let has_ended = |one: &Certificate| one.validity.remaining(now) == Remaining::Nothing;
        let useless =
            if is_bundle { certificates.iter().all(has_ended) } else { certificates.iter().any(has_ended) };
        for one in &certificates {
            let line = line(path, one);
            expired.extend((useless && has_ended(one)).then(|| line.clone()));
            found.push((one.validity, line));
        }
    }
    // By their ends, so that the first line is the one that will stop working first.
    found.sort_by_key(|(validity, _)| validity.not_after);
    let Some((_, first)) = found.first() else {
        return Check::skip(EXPIRY, "no certificates are configured");
    };
    let evidence = found.iter().map(|(_, line)| line.clone()).take(EVIDENCE_MAX);
    if let Some(line) = expired.first() {
        return failed(format!("expired: {line}")).evidence(evidence);
    }
    let mut summary = format!("{} looked at; the first to end is {first}", found.len());
    let with = |wanted| found.iter().find(move |(validity, _)| validity.remaining(now) == wanted);
    if with(Remaining::Nothing).is_some() {
        summary.push_str(". It has ended already and can be taken out");
    }
    if let Some((validity, line)) = with(Remaining::Little) {
        // A pass all the same: everything works today, and a failed check would stop a deployment that is
        // fine.
        summary.push_str(&format!(". WARNING: {}, renew {line}", validity.left(now)));
    }
    Check::pass(EXPIRY, summary).evidence(evidence)
}

fn failed(summary: String) -> Check {
    let why = "Peers refuse an expired certificate, and nobody trusts an expired authority.";
    let next = [
        "see whether this machine's clock is right: date -u",
        "replace the file by a renewed certificate and its key: a client that runs takes both within half a minute",
        "where it is a credential of a unit, restart the unit: systemd reads those at the start alone",
    ];
    Check::fail(EXPIRY, summary, why, next)
}

/// One certificate, with its file: subjects alone repeat from renewal to renewal.
fn line(path: &Path, certificate: &Certificate) -> String {
    format!("\"{}\" of {}, valid until {}", certificate.subject, path.display(), certificate.not_after)
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
