//! `env:NAME` and `file:PATH` references.
//!
//! This is the only file that opens what a reference names. Failures are sentences that may quote
//! the reference, never what it led to.
//!
//! References see the process environment only. (The reference client also lets flags and
//! environment values refer to variables that exist only because the YAML file set them; nobody
//! can want a secret to be found that way.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::trust::{self, READABLE_BY_ALL_BITS, Reach, Stamp};
use super::{Environment, Secret};

/// A referenced file is a key, a header value or a URL; more is a mistake.
const REFERENCED_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Texts of files that values refer to.
pub(crate) type Contents = BTreeMap<PathBuf, Content>;

/// Text of such a file.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) text: Secret,
    /// Whether what it says holds until the process ends.
    pub(crate) lasts: bool,
    /// What the system said of the file.
    pub(crate) stamp: Stamp,
}

/// Resolver of references. It remembers what should be said about the files that they name.
pub(crate) struct References<'a> {
    pub(crate) environment: &'a Environment,
    /// Sentences for the operator. They wait here because the log is set up from these settings.
    pub(crate) warnings: RefCell<Vec<String>>,
    /// What stood in these files; none of them is read again.
    pub(crate) contents: RefCell<Contents>,
    /// Where files can be read.
    pub(crate) reach: Reach,
}

/// What a text refers to: the prefix in lower case, and what stands behind it. `None` for a text that is itself.
pub(super) fn split(raw: &str) -> Option<(&'static str, &str)> {
    let (prefix, name) = raw.trim().split_once(':')?;
    let known = ["env", "file"].into_iter().find(|known| prefix.eq_ignore_ascii_case(known))?;
    Some((known, name.trim()))
}

/// The same, refusing what refers to nothing.
fn checked<'r>(source: &str, raw: &'r str) -> Result<Option<(&'static str, &'r str)>, String> {
    match split(raw) {
        _ if raw.trim().is_empty() => Err(format!("{source} cannot be empty")),
        Some(("env", "")) => Err(invalid(source, raw, "environment variable name is required")),
        Some((_, "")) => Err(invalid(source, raw, "file path is required")),
        found => Ok(found),
    }
}

impl<'a> References<'a> {
    /// Resolves against these variables.
    pub(crate) fn new(environment: &'a Environment) -> References<'a> {
        let (warnings, contents, reach) = Default::default();
        References { environment, warnings, contents, reach }
    }

    /// The trimmed content of a variable or file, or the literal itself. `source` names the setting in complaints.
    pub(crate) fn value(&self, source: &str, raw: &str) -> Result<String, String> {
        self.resolved(source, raw, false)
    }

    /// The same of a value that cannot change before the process ends, whatever becomes of its file.
    pub(crate) fn lasting(&self, source: &str, raw: &str) -> Result<String, String> {
        self.resolved(source, raw, true)
    }

    fn resolved(&self, source: &str, raw: &str, lasts: bool) -> Result<String, String> {
        let resolved = match checked(source, raw)? {
            // The only value that may be a secret by itself; it takes no part in any error text.
            None => return Ok(raw.to_string()),
            Some(("env", name)) => self.variable(name),
            Some((_, path)) => match self.content(path, lasts) {
                Ok(text) if text.trim().is_empty() => Err("file is empty".to_owned()),
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(format!("read file: {error}")),
            },
        };
        resolved.map_err(|what| invalid(source, raw, &what))
    }

    /// The value of a secret that stands where others can read it, such as a command line: the secret itself is
    /// refused there, and not repeated.
    pub(crate) fn secret(&self, source: &str, raw: &str) -> Result<String, String> {
        if !is_reference(raw) {
            return Err(format!("invalid {source}: value must be prefixed with \"env:\" or \"file:\""));
        }
        self.value(source, raw)
    }

    /// A path: `env:` names a variable that holds it, `file:` is the path itself.
    /// The file is opened by whoever needs it, so that it can be replaced while we run.
    pub(crate) fn path(&self, source: &str, raw: &str) -> Result<PathBuf, String> {
        match checked(source, raw)? {
            None => Ok(PathBuf::from(raw)),
            Some(("env", name)) => {
                self.variable(name).map(PathBuf::from).map_err(|what| invalid(source, raw, &what))
            }
            Some((_, path)) => Ok(self.locate(path)),
        }
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        match self.environment.get(name).map(str::trim) {
            None => Err(format!("environment variable {name:?} is not set")),
            Some("") => Err(format!("environment variable {name:?} is empty")),
            Some(value) => Ok(value.to_owned()),
        }
    }

    /// The content of a referenced file, which may be a credential of the service manager. Who
    /// could write to it could choose the key or the server, so that ends the start; that all can
    /// read it is only said, for a container's mount may allow nothing else.
    fn content(&self, path: &str, lasts: bool) -> io::Result<String> {
        let path = self.locate(path);
        if let Some(known) = self.contents.borrow_mut().get_mut(&path) {
            // What one value holds until the end of the process, another one cannot change.
            known.lasts |= lasts;
            return Ok(known.text.expose().to_owned());
        }
        self.reach.check(&path).map_err(io::Error::other)?;
        let found = trust::read(&path, REFERENCED_FILE_MAX_BYTES)?;
        self.warn(found.warnings);
        if found.mode & READABLE_BY_ALL_BITS != 0 {
            let path = path.display();
            self.warn([format!(
                "{path} can be read by every user of this host; chmod 600 it if it holds a secret"
            )]);
        }
        let text = text(found.bytes)?;
        let content = Content { text: Secret::new(text.clone()), lasts, stamp: found.stamp };
        self.contents.borrow_mut().insert(path, content);
        Ok(text)
    }

    /// Remembers what the operator should be told, each sentence once.
    pub(crate) fn warn(&self, sentences: impl IntoIterator<Item = String>) {
        let mut warnings = self.warnings.borrow_mut();
        for sentence in sentences {
            if !warnings.contains(&sentence) {
                warnings.push(sentence);
            }
        }
    }

    /// A name without a slash is looked for among the credentials of the service manager first, so
    /// that a unit and its profile need not agree on a directory that exists only at run time.
    fn locate(&self, path: &str) -> PathBuf {
        let directory = self.environment.filled("CREDENTIALS_DIRECTORY").filter(|_| !path.contains('/'));
        let credential = directory.map(|directory| Path::new(directory).join(path));
        credential.filter(|credential| credential.is_file()).unwrap_or_else(|| PathBuf::from(path))
    }
}

/// Checks how a value is written that may be a reference, without following it: for files that are not used yet.
/// Yields the name of the variable that it refers to.
#[cfg(feature = "operator")]
pub(crate) fn syntax<'r>(source: &str, raw: &'r str) -> Result<Option<&'r str>, String> {
    let found = checked(source, raw)?;
    if raw.contains(['\r', '\n']) {
        return Err(format!("{source} cannot contain CR or LF"));
    }
    match found {
        Some(("env", name)) if is_variable_name(name) => Ok(Some(name)),
        Some(("env", _)) => Err(invalid(source, raw, "environment variable name is invalid")),
        _ => Ok(None),
    }
}

/// Tells whether the text begins with `env:` or `file:`, in any case.
pub(crate) fn is_reference(raw: &str) -> bool {
    split(raw).is_some()
}

/// Text of a regular file of at most `limit_bytes`, whosever it is.
#[cfg(feature = "operator")]
pub(crate) fn read_text(path: &Path, limit_bytes: u64) -> io::Result<String> {
    text(trust::read_regular(path, limit_bytes)?.0)
}

/// The library's own error would quote the bytes.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::other("not valid UTF-8"))
}

/// A complaint about a reference. Quoting it is safe: it names a place and is no value.
fn invalid(source: &str, raw: &str, what: &str) -> String {
    format!("invalid {source} reference {raw:?}: {what}")
}

/// Tells whether a shell could export a variable of this name.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tunnel-client-reference-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn values_come_from_variables_files_or_themselves() {
        let environment = Environment::of([("SET", " value "), ("EMPTY", " ")]);
        let references = References::new(&environment);
        let path = file("value", " secret\n", 0o600);
        assert_eq!(references.value("S", "ENV: SET").unwrap(), "value");
        assert_eq!(references.value("S", &format!("file:{}", path.display())).unwrap(), "secret");
        assert_eq!(references.value("S", "literal").unwrap(), "literal");
        for (raw, expected) in [
            ("", "S cannot be empty"),
            ("env:", "invalid S reference \"env:\": environment variable name is required"),
            ("env:NO", "invalid S reference \"env:NO\": environment variable \"NO\" is not set"),
            ("env:EMPTY", "invalid S reference \"env:EMPTY\": environment variable \"EMPTY\" is empty"),
            ("file:", "invalid S reference \"file:\": file path is required"),
        ] {
            assert_eq!(references.value("S", raw).unwrap_err(), expected);
        }
    }

    #[test]
    fn files_that_others_may_write_are_refused_and_readable_ones_reported() {
        let environment = Environment::of([]);
        let references = References::new(&environment);
        let writable = file("writable", "k", 0o620);
        let error = references.content(&writable.to_string_lossy(), false).unwrap_err();
        assert_eq!(error.to_string(), "group or others may write to the file; run chmod go-w on it");
        let readable = file("readable", "k", 0o644);
        references.content(&readable.to_string_lossy(), false).unwrap();
        assert_eq!(references.warnings.borrow().len(), 1);
        // A credential that systemd hands over by an access list: its mask stands where the group's bits do.
        references.content(&file("listed", "k", 0o440).to_string_lossy(), false).unwrap();
        assert_eq!(references.warnings.borrow().len(), 1);
        let large = file("large", &"x".repeat(64 * 1024 + 1), 0o600);
        assert!(references.content(&large.to_string_lossy(), false).is_err());
        assert!(references.content("/dev/null", false).is_err());
    }

    #[test]
    fn plain_names_look_into_the_credentials_directory() {
        let path = file("credential", "from-service-manager", 0o400);
        let directory = path.parent().unwrap().to_str().unwrap();
        let environment = Environment::of([("CREDENTIALS_DIRECTORY", directory)]);
        let references = References::new(&environment);
        assert_eq!(references.value("S", "file:credential").unwrap(), "from-service-manager");
        assert_eq!(references.path("S", "file:credential").unwrap(), path);
        assert_eq!(references.path("S", "file:absent").unwrap(), PathBuf::from("absent"));
    }
}
