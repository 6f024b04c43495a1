//! Why a tunnel could not be put together.

use std::fmt;
use std::io;

use crate::net;

/// Failure to put a tunnel together. Each text is a whole sentence for the one line on standard error; none holds
/// a secret, because none of its sources does.
#[derive(Debug)]
pub(crate) enum Error {
    /// The settings are at fault, or what they name cannot be used.
    Settings(String),
    /// The system did not give what was needed, or a server did not start.
    System(String),
}

impl Error {
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
