//! Why the settings cannot be used: one sentence that says what is wrong, where, and what to do.
//!
//! Texts are written for people and name settings, files and lines; no text may ever hold the
//! value of a secret, so values are echoed only by code that knows them to be harmless. Several
//! texts are those of the reference client word for word: scripts of operators compare them.

/// A setting, or a command line, that cannot be used.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    setting: Option<&'static str>,
    text: String,
    advice: Option<String>,
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
        Error { kind, setting: None, text: text.into(), advice: None }
    }

    /// A setting with an unusable value.
    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, text)
    }

    /// What sort of mistake it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same mistake, of a setting that is named by its flag.
    pub(crate) fn of(mut self, flag: &'static str) -> Error {
        self.setting = Some(flag);
        self
    }

    /// The same mistake, with what to do about it here.
    pub(crate) fn advise(mut self, advice: String) -> Error {
        self.advice = Some(advice);
        self
    }

    /// The flag of the setting at fault, where it is one alone.
    #[cfg(feature = "operator")]
    pub fn setting(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::TunnelIdMissing => Some("control-plane.tunnel-id"),
            ErrorKind::ApiKeyMissing => Some("control-plane.api-key"),
            ErrorKind::MainChannelMissing => Some("mcp.server-url"),
            ErrorKind::Usage | ErrorKind::Invalid => self.setting,
        }
    }

    /// The line that `run` prints on standard error before it exits with status 1. The mistakes
    /// of a first use end in what to do next.
    pub fn report(&self) -> String {
        match (self.kind, self.hint()) {
            // About the command line, not about settings: said without their prefix, as in Go.
            (ErrorKind::Usage, _) => self.text.clone(),
            (_, None) => format!("configure tunnel-client: {}", self.text),
            (_, Some(hint)) => format!("configure tunnel-client: {}; {hint}", self.text),
        }
    }

    /// What to do about a mistake of a first use.
    pub fn hint(&self) -> Option<&str> {
        if self.advice.is_some() {
            return self.advice.as_deref();
        }
        Some(match self.kind {
            ErrorKind::Usage | ErrorKind::Invalid => return None,
            ErrorKind::TunnelIdMissing => {
                "create or look up a tunnel at https://platform.openai.com/settings/organization/tunnels"
            }
            ErrorKind::ApiKeyMissing => {
                "create a runtime API key at https://platform.openai.com/settings/organization/api-keys"
            }
            ErrorKind::MainChannelMissing => {
                "for example --mcp.server-url http://127.0.0.1:3000/mcp (more in tunnel-client run --help)"
            }
        })
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
