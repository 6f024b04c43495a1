//! Why the settings cannot be used: one sentence that says what is wrong, where, and what to do.
//!
//! Texts are written for people and name settings, files and lines; no text may ever hold the
//! value of a secret, so values are echoed only by code that knows them to be harmless. Several
//! texts are those of the reference client word for word: scripts of operators compare them.

/// Most bytes of a text: a value that stands in it may be as long as the profile.
const TEXT_BYTES_MAX: usize = 4096;

/// A setting, or a command line, that cannot be used.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    setting: Option<&'static str>,
    text: String,
    advice: Option<String>,
}

/// Kind of mistake; it decides how the command line reports it.
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
        Error { kind, setting: None, text: crate::text::cut(text.into(), TEXT_BYTES_MAX), advice: None }
    }

    /// A setting with an unusable value.
    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, text)
    }

    /// Kind of mistake.
    #[cfg(feature = "operator")]
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Names the setting at fault by its flag.
    pub(crate) fn of(mut self, flag: &'static str) -> Error {
        self.setting = Some(flag);
        self
    }

    /// Adds what to do about the mistake here.
    #[cfg(feature = "operator")]
    pub(crate) fn advise(mut self, advice: String) -> Error {
        self.advice = Some(advice);
        self
    }

    /// The flag of the setting at fault, where it is one alone.
    #[cfg(feature = "operator")]
    pub fn setting(&self) -> Option<&'static str> {
        self.kind.first_use().map(|(flag, _)| flag).or(self.setting)
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

    /// Advice: for a mistake of a first use, or for where it was made.
    pub fn hint(&self) -> Option<&str> {
        self.advice.as_deref().or(self.kind.first_use().map(|(_, hint)| hint))
    }
}

impl ErrorKind {
    /// The setting that a first use lacks, and where to get its value.
    fn first_use(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            ErrorKind::TunnelIdMissing => (
                "control-plane.tunnel-id",
                "create or look up a tunnel at https://platform.openai.com/settings/organization/tunnels",
            ),
            ErrorKind::ApiKeyMissing => (
                "control-plane.api-key",
                "create a runtime API key at https://platform.openai.com/settings/organization/api-keys",
            ),
            ErrorKind::MainChannelMissing => (
                "mcp.server-url",
                "for example --mcp.server-url http://127.0.0.1:3000/mcp (more in tunnel-client run --help)",
            ),
            ErrorKind::Usage | ErrorKind::Invalid => return None,
        })
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
