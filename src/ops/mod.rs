//! What the operator sees: listener, readiness, metrics, log, redaction, signals, files, the service manager.
//!
//! The other rooms report here and never read back, except for the readiness verdict and whether
//! traffic is fresh. This room opens no outbound connection and knows no payload. What it needs at
//! start (a port, a file, a signal descriptor) either works or is an [`Error`]; afterwards nothing
//! here can stop the tunnel: a full disk, a closed standard output or a flood of half-open
//! connections costs log lines or scrapes, not commands.

use std::fmt;
use std::io;

pub(crate) mod descriptors;
pub mod files;
pub mod hardening;
pub mod health;
pub mod heartbeat;
pub(crate) mod line_limit;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod readiness;
pub mod redact;
pub mod sd_notify;
pub mod signals;
pub mod timestamp;

/// An operation of this room that failed: what was attempted, then the system's words. It has one
/// reader, the line that ends a start, so it is kept as that text; there is no kind to tell apart
/// and no `source()`, which would print the cause twice.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }

    /// Takes the operation as an operator would name it, with the address or the path as configured.
    fn caused(operation: impl fmt::Display, cause: impl Into<io::Error>) -> Error {
        Error(format!("{operation}: {}", os_text(&cause.into())))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The system's words for an error as other Unix programs print them: `address already in use`
/// instead of `Address already in use (os error 98)`.
pub(crate) fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "unknown error".into(),
    }
}

/// A word as a shell takes it for itself, for commands that people copy.
#[cfg(feature = "operator")]
pub(crate) fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "operator")]
    #[test]
    fn words_are_quoted_where_a_shell_would_act_on_them() {
        assert_eq!(shell_quoted("/etc/tunnel-client"), "/etc/tunnel-client");
        assert_eq!(shell_quoted("/my dir"), "'/my dir'");
        assert_eq!(shell_quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_quoted("~/x"), "'~/x'");
    }

    #[test]
    fn errors_read_like_those_of_other_unix_programs() {
        let cause = io::Error::from_raw_os_error(98);
        let error = Error::caused("listen tcp 127.0.0.1:8080: bind", cause);
        assert_eq!(error.to_string(), "listen tcp 127.0.0.1:8080: bind: address already in use");
        assert_eq!(Error::new("plain").to_string(), "plain");
    }
}
