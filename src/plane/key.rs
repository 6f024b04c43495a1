//! API key on the wire, and the one that has taken its place in its file.
//!
//! A key in a file may be replaced while we run; it is read again when the old one is refused. The redactor learns a
//! key before it is used. A file that cannot be used is said in the log and changes nothing.

use ureq::http::HeaderValue;

use crate::config::{ControlPlane, Secret};
use crate::ops::redact::Redactor;

/// The header of the key that stands now in the file of this label.
pub(super) fn of_file(label: &str, redactor: &Redactor) -> Option<HeaderValue> {
    match ControlPlane::key_of_file(label) {
        Ok(key) => {
            redactor.learn(&key);
            authorization(&key)
        }
        Err(error) => {
            log::warn!(error = error.as_str(); "the API key's file cannot be used; the key stays");
            None
        }
    }
}

/// The header that carries a key, if it can be one. Sensitive values are hidden by `Debug` and by dumps of raw traffic.
pub(super) fn authorization(key: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    header.set_sensitive(true);
    Some(header)
}
