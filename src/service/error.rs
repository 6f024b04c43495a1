//! Why a tunnel could not be put together, or started.

use std::fmt;
use std::io;

use crate::net;

use super::Failure;

/// Failure to put a tunnel together, or to start it. None of the texts holds a secret, because none of its sources does.
#[derive(Debug)]
pub(crate) enum Error {
    /// The settings are at fault, or what they name cannot be used. The same start would fail again.
    Settings(String),
    /// The system did not give what was needed, or a server did not start.
    System(String),
}

impl Error {
    /// The system did not give what was needed.
    pub(super) fn system(error: impl fmt::Display) -> Error {
        Error::System(error.to_string())
    }

    /// A thread could not be started.
    pub(super) fn thread(error: io::Error) -> Error {
        Error::System(format!("start a thread: {error}"))
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Error {
        Error::Settings(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Settings(text) | Error::System(text)) = self;
        f.write_str(text)
    }
}

/// The one line on standard error.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let doing = if matches!(error, Error::Settings(_)) { "configure" } else { "start" };
        Failure(format!("{doing} tunnel-client: {error}"))
    }
}
