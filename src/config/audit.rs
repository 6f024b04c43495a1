//! Validates `audit`: where a record of every command goes, and what of it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::lookup::Lookup;
use super::members::Members;
use super::yaml::{Fault, Node};
use super::{Error, Log, trust};

/// The audit record.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Where it goes.
    pub place: AuditPlace,
    /// What it says of arguments.
    pub arguments: AuditArguments,
    /// Whether commands are refused while it cannot be written.
    pub refuses: bool,
}

/// `audit.file`: where records go.
#[derive(Debug, Clone)]
pub enum AuditPlace {
    /// A file of ours alone.
    File(PathBuf),
    /// Standard output.
    Output,
    /// A datagram socket, one record a datagram.
    Socket(PathBuf),
}

/// `audit.arguments`: what a record says of the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditArguments {
    /// Nothing.
    None,
    /// Their SHA-256.
    Hash,
    /// Their text too, without what looks like a credential.
    Full,
}

/// Reads the section. Lines of the log and records must not meet on standard output.
pub(super) fn load(lookup: &Lookup, log: &Log) -> Result<Option<Audit>, Error> {
    let audit = lookup.tree("audit", |node| audit(node, Some(log)))?;
    if let Some(AuditPlace::File(path) | AuditPlace::Socket(path)) = audit.as_ref().map(|audit| &audit.place)
    {
        lookup.references.warn(trust::beside(path));
    }
    Ok(audit)
}

/// The section as it is written, beside the log where that is known.
pub(super) fn audit(node: Node, log: Option<&Log>) -> Result<Audit, Fault> {
    let output_is_taken = log.is_some_and(|log| log.file.is_none() && !log.on_stderr);
    let log_file = log.and_then(|log| log.file.as_deref());
    let mut members = Members::of("audit", node)?;
    let place = members.take("file", |path, node| {
        let line = node.line;
        let text = node.text(path)?;
        Ok(match (text.as_str(), text.strip_prefix("unix:")) {
            ("-", _) if output_is_taken => {
                let why =
                    format!("{path} is -, and the log goes to standard output too; set log.file as well");
                return Err(Fault::at(line, why));
            }
            ("-", _) => AuditPlace::Output,
            ("", _) | (_, Some("")) => return Err(Fault::at(line, format!("{path} names no path"))),
            (_, Some(path)) => AuditPlace::Socket(path.into()),
            (file, None) if log_file.is_some_and(|log| is_same(log, Path::new(file))) => {
                return Err(Fault::at(line, format!("{path} is the file of log.file; name another one")));
            }
            (path, None) => AuditPlace::File(path.into()),
        })
    })?;
    let kinds =
        [("none", AuditArguments::None), ("hash", AuditArguments::Hash), ("full", AuditArguments::Full)];
    let arguments = members.word("arguments", &kinds)?.unwrap_or(AuditArguments::None);
    let refuses = members.word("on_error", &[("count", false), ("refuse", true)])?.unwrap_or_default();
    let place = place.ok_or_else(|| members.fault("must have file: a path, -, or unix:PATH"))?;
    members.end()?;
    Ok(Audit { place, arguments, refuses })
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditPlace::File(path) => path.display().fmt(f),
            AuditPlace::Output => f.write_str("-"),
            AuditPlace::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
