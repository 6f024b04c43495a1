//! Secret values, which no log, error or export may show.

use std::fmt;

/// Secret text. There is no `Display`, so that a secret in a format string does not compile.
#[derive(Clone, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value out of sight.
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The value, for the one place that puts it on a wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Settings that hold secrets are printed by failing tests.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("x".into())), "[redacted]");
    }
}
