//! Validates `audit`: where a record of every command goes, and what of it.

use std::fmt;
use std::path::PathBuf;

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
    let audit = lookup.tree("audit", |node| audit(node, log.file.is_none() && !log.on_stderr))?;
    if let Some(AuditPlace::File(path) | AuditPlace::Socket(path)) = audit.as_ref().map(|audit| &audit.place)
    {
        lookup.references.warn(trust::beside(path));
    }
    Ok(audit)
}

/// The section as it is written, and whether the log has standard output.
pub(super) fn audit(node: Node, output_is_taken: bool) -> Result<Audit, Fault> {
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

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditPlace::File(path) => path.display().fmt(f),
            AuditPlace::Output => f.write_str("-"),
            AuditPlace::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
