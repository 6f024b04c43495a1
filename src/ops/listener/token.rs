//! Token that a request shows.

#[cfg(feature = "page")]
use base64::{Engine, engine::general_purpose::STANDARD};

use super::http::Request;
use crate::config::Secret;
use crate::crypto;

/// Whether a request shows the token, as programs do.
pub(super) fn is_bearer(request: &Request, token: &Secret) -> bool {
    shown(request, "bearer").is_some_and(|text| crypto::is_same_secret(text, token.expose()))
}

/// Whether a request shows the token, as programs do or as the password of anybody, which browsers ask for.
#[cfg(feature = "page")]
pub(super) fn is_bearer_or_password(request: &Request, token: &Secret) -> bool {
    let basic = shown(request, "basic").and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
    let password = basic.as_deref().and_then(|pair| pair.split_once(':'));
    is_bearer(request, token) || password.is_some_and(|(_, it)| crypto::is_same_secret(it, token.expose()))
}

/// The credentials of this scheme, if a request has them alone.
fn shown<'r>(request: &'r Request, scheme: &str) -> Option<&'r str> {
    let mut all = request.all("authorization");
    let (own, credentials) = all.next().filter(|_| all.next().is_none())?.split_once(' ')?;
    own.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn with(values: &[&str]) -> [bool; 2] {
        let headers = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned()));
        let request = Request { headers: headers.collect(), ..Request::default() };
        let token = Secret::new(TOKEN.to_owned());
        [is_bearer(&request, &token), is_bearer_or_password(&request, &token)]
    }

    #[test]
    fn the_token_is_shown_once_and_whole() {
        for good in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert_eq!(with(&[good]), [true; 2], "{good}");
        }
        for wrong in ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "Basic :"]
        {
            assert_eq!(with(&[wrong]), [false; 2], "{wrong}");
        }
        assert_eq!(with(&[]), [false; 2]);
        assert_eq!(with(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]), [false; 2]);
    }

    #[test]
    fn a_password_is_taken_from_anybody_where_browsers_ask() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for good in [format!(":{TOKEN}"), format!("anybody:{TOKEN}")] {
            assert_eq!(with(&[&basic(&good)]), [false, true], "{good}");
        }
        for wrong in [TOKEN.to_owned(), format!("{TOKEN}:"), format!("a:{TOKEN}:"), format!("a:b:{TOKEN}")] {
            assert_eq!(with(&[&basic(&wrong)]), [false; 2], "{wrong}");
        }
        let pair = basic(&format!("a:{TOKEN}"));
        assert_eq!(with(&[&pair, &pair]), [false; 2]);
    }
}
