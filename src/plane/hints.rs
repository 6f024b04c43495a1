//! What an operator can do about an error code of the control plane.
//!
//! A failed poll is logged at four in the morning; the sentence here is what stands beside the code then.
//! Codes are the plane's and may grow without notice: an unknown one falls back to its status, and no
//! hint is better than a wrong one.
//!
//! They are constants and never quote what the plane said, so that whatever answers in its place cannot put a
//! command into an operator's hands. Nothing is decided by them.

use super::refusal::StatusError;
use crate::net::{Error, Kind};

/// What to do about a refusal of the control plane, or of what answers in its place.
pub fn of(error: &StatusError) -> &'static str {
    match error.redirect {
        Some(_) => {
            "The control plane makes no redirects: a captive portal or a proxy answers in its place, or \
             control-plane.base-url names another host."
        }
        None if error.is_page => {
            "A web page is no answer of the control plane: a captive portal or a proxy answers in its place; sign \
             in there, or set control-plane.http-proxy."
        }
        None => hint(error.code.as_deref(), error.status),
    }
}

/// One sentence for the log about a connection that failed before the plane answered.
pub(super) fn of_connection(error: &Error) -> &'static str {
    match (error.kind, error.proxy) {
        (Kind::Proxy(407), _) => hint(None, 407),
        (Kind::NotTls, true) => "The proxy does not speak TLS: its URL should begin with http://.",
        (Kind::NotTls, false) => "Check control-plane.base-url: what answers there is no https server.",
        (Kind::Timeout, _) => "",
        (_, true) => {
            "The proxy failed, not the control plane: check the proxy's URL and what it allows, or ask whoever runs it."
        }
        _ => "",
    }
}

/// One sentence for the log, by the error code and, failing that, by the status. A status may also be that of a
/// proxy which was not configured, which is why 407 has a hint. Nothing, where there is nothing that anybody could do.
pub fn hint(code: Option<&str>, status: u16) -> &'static str {
    // A walk over a few lines, since a refusal is rare. The colon belongs to the match: one code may begin
    // like another.
    let of = |key: &str| HINTS.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let of_status = || of(&if status < 500 { status.to_string() } else { "5xx".to_owned() });
    code.and_then(of).or_else(of_status).unwrap_or_default()
}

/// One line a status or a code: it, a colon, what to do. The codes are those that the contract publishes, in
/// their order; those of calls and of tunnel management are among them, because the same table serves
/// whoever looks one up.
const HINTS: &str = include_str!("hints.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_beat_statuses_and_every_refusal_has_a_hint() {
        let codes = HINTS.lines().filter(|line| !line.starts_with(|first: char| first.is_ascii_digit()));
        assert!(HINTS.lines().is_sorted() && codes.count() == 29);
        assert!(HINTS.lines().all(|line| line.contains(": ") && line.ends_with('.') && !line.contains("  ")));
        assert_eq!(
            hint(Some("tunnel_use_forbidden"), 401),
            "The key's project may not use this tunnel; allow it in the tunnel's settings."
        );
        assert!(hint(Some("new_code"), 403).starts_with("The API key may not use"));
        assert_eq!(hint(None, 400), "");
    }

    #[test]
    fn what_is_not_the_planes_is_not_explained_as_the_planes() {
        let error = |is_page, redirect: Option<&str>| StatusError {
            status: 403,
            is_page,
            redirect: redirect.map(str::to_owned),
            ..StatusError::default()
        };
        assert!(of(&error(false, None)).starts_with("The API key may not use"));
        assert!(of(&error(true, None)).contains("captive portal"));
        assert!(of(&error(true, Some("portal.example"))).starts_with("The control plane makes no redirects"));
    }
}
