//! Why a tunnel could not be put together.

use std::io;

use crate::net;

/// Failure to put a tunnel together. Each text is a whole sentence for the one line on standard error; none holds
/// a secret, because none of its sources does.
#[derive(Debug)]
pub(crate) enum Error {
    /// Connections could not be prepared.
    Net(net::Error),
    /// The head of the requests could not be prepared.
    Plane(String),
    /// A thread could not be started.
    Thread(io::Error),
    /// A setting asks for something that does not exist here.
    Unsupported(String),
    /// A server over stdio could not be started.
    Child(String),
}

impl Error {
    /// Whether the settings are at fault, or what they name did not start.
    pub(super) fn is_of_settings(&self) -> bool {
        !matches!(self, Error::Child(_) | Error::Thread(_))
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Error {
        Error::Net(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Net(error) => error.fmt(f),
            Error::Thread(error) => write!(f, "start a thread: {error}"),
            Error::Plane(text) | Error::Unsupported(text) | Error::Child(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
