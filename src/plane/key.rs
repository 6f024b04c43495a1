//! API key on the wire, and the one that has taken its place in its file since the start.
//!
//! A key in a file may be replaced while we run; it is read again when the old one is refused. The redactor learns a
//! key before it is used. A file that cannot be used is said in the log and changes nothing.

use std::sync::{Arc, Mutex, OnceLock};

use ureq::http::HeaderValue;

use crate::config::{ControlPlane, Secret};
use crate::ops::redact::Redactor;
use crate::sync;

/// The key, where it may be renewed.
pub struct Key {
    /// Where it came from: a reference, or the name of a setting.
    label: String,
    /// The header of the key that was read last, when one was.
    renewed: Mutex<Option<HeaderValue>>,
    /// Without one no other key than the first is used.
    redactor: OnceLock<Arc<Redactor>>,
}

impl Key {
    pub(super) fn new(label: &str) -> Key {
        Key { label: label.to_owned(), renewed: Mutex::default(), redactor: OnceLock::new() }
    }

    /// Lets the key be read again.
    pub fn renew_with(&self, redactor: &Arc<Redactor>) {
        // The first one stays; there is one in a process.
        drop(self.redactor.set(Arc::clone(redactor)));
    }

    /// Whether it stands in a file, where another one may come to stand.
    pub(super) fn may_change(&self) -> bool {
        ControlPlane::key_is_in_file(&self.label) && self.redactor.get().is_some()
    }

    /// Reads its file anew.
    pub(super) fn read_again(&self) {
        let Some(redactor) = self.redactor.get() else { return };
        match ControlPlane::key_of_file(&self.label) {
            Ok(key) => {
                redactor.learn(&key);
                *sync::lock(&self.renewed) = authorization(&key);
            }
            Err(error) => {
                log::warn!(error = error.as_str(); "the API key's file cannot be used; the key stays")
            }
        }
    }

    /// The header that takes the place of the first key's.
    pub(super) fn renewed(&self) -> Option<HeaderValue> {
        sync::lock(&self.renewed).clone()
    }
}

/// The header that carries a key, if it can be one. Sensitive values are hidden by `Debug` and by dumps of raw traffic.
pub(super) fn authorization(key: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    header.set_sensitive(true);
    Some(header)
}
