//! The process environment, captured once, so that nothing later depends on process globals: a
//! variable that changed half-way through a load could slip past a check that saw its old value.
//!
//! Fails only when a variable that settings ask for is not text.

use std::collections::BTreeMap;

use super::Error;
use super::settings::ROWS;

/// Environment variables by name.
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// Variables that are read besides those of the table.
#[rustfmt::skip]
const FURTHER: &[&str] = &[
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CREDENTIALS_DIRECTORY", "HOME", "XDG_CONFIG_HOME",
    "OPENAI_ADMIN_KEY",
];

impl Environment {
    /// Captures the variables of this process. A variable that is read here must be UTF-8; to
    /// ignore one that is not would start a tunnel without a setting that somebody made. Others
    /// that are not UTF-8 count as not set, and an `env:` reference to one says so.
    pub fn of_process() -> Result<Environment, Error> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(variables.insert(name, value)),
                Err(_) if is_read(&name) => {
                    return Err(Error::invalid(format!("environment variable {name} is not valid UTF-8")));
                }
                Err(_) => {}
            }
        }
        Ok(Environment { variables })
    }

    /// This environment with one variable replaced.
    #[cfg(any(feature = "dev", test, fuzzing))]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Environment {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Without the settings of a tunnel; what remains is how this machine reaches others.
    #[cfg(feature = "dev")]
    pub(crate) fn without_settings(mut self) -> Environment {
        let is_setting =
            |name: &str| ROWS.iter().any(|row| row.flag != "ca-bundle" && row.env.contains(&name));
        self.variables.retain(|name, _| !is_setting(name));
        self
    }

    /// The value, also when it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The value, unless it is empty. Variables that are not of the table have no use for the
    /// difference between empty and not set.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

/// Tells whether a setting or this room itself asks for the variable.
fn is_read(name: &str) -> bool {
    FURTHER.contains(&name) || ROWS.iter().any(|row| row.env.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Environment {
        /// An environment of given variables.
        pub(crate) fn of<const N: usize>(variables: [(&str, &str); N]) -> Environment {
            let owned = variables.map(|(name, value)| (name.to_string(), value.to_string()));
            Environment { variables: BTreeMap::from(owned) }
        }
    }
}
