//! What the operator sees: listener, readiness, metrics, log, redaction, signals, files, the service manager.
//!
//! The other rooms report here and never read back, except for the readiness verdict and whether
//! traffic is fresh. This room opens no outbound connection and knows no payload. What it needs at
//! start (a port, a file, a signal descriptor) either works or ends it; afterwards nothing
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

/// An operation of this room that failed: what was attempted, as an operator would name it, with the address or the path
/// as configured, then the system's words. It has one reader, the line that ends a start, so it is kept as that text;
/// there is no `source()`, which would print the cause twice.
fn failure(operation: impl fmt::Display, cause: impl Into<io::Error>) -> io::Error {
    io::Error::other(format!("{operation}: {}", os_text(&cause.into())))
}

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
        let error = failure("listen tcp 127.0.0.1:8080: bind", cause);
        assert_eq!(error.to_string(), "listen tcp 127.0.0.1:8080: bind: address already in use");
    }
}
