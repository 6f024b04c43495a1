//! Why the settings cannot be used: one sentence that says what is wrong, where, and what to do.
//!
//! Texts are written for people and name settings, files and lines; no text may ever hold the
//! value of a secret, so values are echoed only by code that knows them to be harmless. Several
//! texts are those of the reference client word for word: scripts of operators compare them.

/// A setting, or a command line, that cannot be used.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

/// What sort of mistake it is; decides how the command line reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line itself: an unknown flag, a missing or unreadable value.
    Usage,
    /// Nobody named a tunnel.
    TunnelIdMissing,
    /// Nobody supplied an API key.
    ApiKeyMissing,
    /// No MCP server was named at all.
    MainChannelMissing,
    /// Anything else.
    Invalid,
}

impl Error {
    /// A mistake of a given kind.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into() }
    }

    /// A setting with an unusable value.
    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, text)
    }

    /// The line that `run` prints on standard error before it exits with status 1. The mistakes
    /// of a first use end in what to do next.
    pub fn report(&self) -> String {
        let hint = match self.kind {
            // About the command line, not about settings: said without their prefix, as in Go.
            ErrorKind::Usage => return self.text.clone(),
            ErrorKind::Invalid => return format!("configure tunnel-client: {}", self.text),
            ErrorKind::TunnelIdMissing => {
                "create or look up a tunnel at https://platform.openai.com/settings/organization/tunnels"
            }
            ErrorKind::ApiKeyMissing => {
                "create a runtime API key at https://platform.openai.com/settings/organization/api-keys"
            }
            ErrorKind::MainChannelMissing => {
                "for example --mcp.server-url http://127.0.0.1:3000/mcp (more in tunnel-client run --help)"
            }
        };
        format!("configure tunnel-client: {}; {hint}", self.text)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
