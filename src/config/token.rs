//! Token that a peer of the listener must show.

use super::Secret;
use super::lookup::{Found, Lookup};

/// A token that can be guessed is none: this is what `openssl rand -hex 8` makes, at least.
const TOKEN_MIN_BYTES: usize = 16;
/// It has to fit into a request's head.
const TOKEN_MAX_BYTES: usize = 4096;

/// Reads a token; an empty text is none. By reference alone: the command line is everybody's to read.
pub(super) fn read(lookup: &Lookup, found: &Found) -> Result<Option<Secret>, String> {
    let text = found.text();
    if text.is_empty() {
        return Ok(None);
    }
    let token = lookup.references.secret(found.label(), text)?;
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || !(TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.len()) {
        let (flag, bounds) = (found.row.flag, format!("{TOKEN_MIN_BYTES} to {TOKEN_MAX_BYTES}"));
        return Err(format!("{flag} must be {bounds} visible ASCII characters"));
    }
    Ok(Some(Secret::new(token)))
}
