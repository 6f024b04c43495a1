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
    /// Whether it is about the command line itself and not about a setting.
    is_usage: bool,
    setting: Option<&'static str>,
    text: String,
    advice: Option<String>,
}

impl Error {
    /// A setting with an unusable value.
    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        let text = crate::text::cut(text.into(), TEXT_BYTES_MAX);
        Error { is_usage: false, setting: None, text, advice: None }
    }

    /// A mistake of the command line itself: an unknown flag, a missing or unreadable value.
    pub(crate) fn usage(text: impl Into<String>) -> Error {
        Error { is_usage: true, ..Error::invalid(text) }
    }

    /// Names the setting at fault by its flag.
    pub(crate) fn of(mut self, flag: &'static str) -> Error {
        self.setting = Some(flag);
        self
    }

    /// Says what to do about the mistake, in the place of what was said before.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Error {
        self.advice = Some(advice.into());
        self
    }

    /// The flag of the setting at fault, where it is one alone.
    #[cfg(feature = "operator")]
    pub fn setting(&self) -> Option<&'static str> {
        self.setting
    }

    /// The line that `run` prints on standard error before it exits with status 1. The mistakes
    /// of a first use end in what to do next.
    pub fn report(&self) -> String {
        match &self.advice {
            // About the command line, not about settings: said without their prefix, as in Go.
            _ if self.is_usage => self.text.clone(),
            None => format!("configure tunnel-client: {}", self.text),
            Some(advice) => format!("configure tunnel-client: {}; {advice}", self.text),
        }
    }

    /// Advice: for a mistake of a first use, or for where it was made.
    #[cfg(feature = "operator")]
    pub fn hint(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
