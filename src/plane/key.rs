//! API key on the wire, and the one that has taken its place in its file.
//!
//! A key in a file may be replaced while we run; it is read again when the old one is refused. The redactor learns a
//! key before it is used. A file that cannot be used is said in the log and changes nothing.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ureq::http::HeaderValue;

use crate::config::{ControlPlane, Secret};
use crate::ops::redact::Redactor;
use crate::sync;

use super::retry::Repeats;

/// Reader of keys that stand in files.
pub(super) struct KeyFile {
    redactor: Option<Arc<Redactor>>,
    faults: Mutex<Repeats>,
}

impl KeyFile {
    /// Without a redactor, which learns a key before it is used, no key is read.
    pub(super) fn new(redactor: Option<Arc<Redactor>>) -> KeyFile {
        KeyFile { redactor, faults: Mutex::default() }
    }

    /// Whether a key of this label stands in a file, where another one may come to stand.
    pub(super) fn may_change(&self, label: &str) -> bool {
        ControlPlane::key_is_in_file(label) && self.redactor.is_some()
    }

    /// The header of the key that stands now in the file of this label.
    pub(super) fn read(&self, label: &str) -> Option<HeaderValue> {
        let redactor = self.redactor.as_ref().filter(|_| ControlPlane::key_is_in_file(label))?;
        match ControlPlane::key_of_file(label) {
            Ok(key) => {
                redactor.learn(&key);
                authorization(&key)
            }
            Err(error) => {
                // Under load every request is refused.
                if let Some(left_out) = sync::lock(&self.faults).line(&error, Instant::now()) {
                    log::warn!(error = error.as_str(), repeated = left_out; "the API key's file cannot be used; the key stays");
                }
                None
            }
        }
    }
}

/// The header that carries a key, if it can be one. Sensitive values are hidden by `Debug` and by dumps of raw traffic.
pub(super) fn authorization(key: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    header.set_sensitive(true);
    Some(header)
}
