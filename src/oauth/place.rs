//! URLs at which metadata may be, in the order in which they are asked.
//!
//! They are made of configured and learned URLs as text: paths keep their spelling, queries go. Nothing here asks
//! anybody; a URL that cannot be made is left out.

use std::fmt;

use ureq::http::Uri;

use crate::url::{self, Origin};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";

/// Longest URL that is taken from a document; no real one comes near it.
const URL_BYTES_MAX: usize = 4096;

/// Absolute URL and its origin.
#[derive(Clone, PartialEq)]
pub struct Place {
    /// The URL, without its fragment.
    pub url: Uri,
    /// Its origin.
    pub origin: Origin,
}

impl Place {
    /// A URL out of a document or a header.
    pub fn learned(text: &str) -> Option<Place> {
        let (url, origin) = url::named_by_peer(text).filter(|_| text.len() <= URL_BYTES_MAX)?;
        Some(Place { url, origin })
    }

    /// A URL of metadata, or why nobody is asked there.
    pub(super) fn named(text: &str) -> Result<Place, &'static str> {
        const INVALID: &str =
            "oauth discovery: invalid metadata URL; require HTTP(S) without credentials or fragments";
        Place::learned(text).filter(|_| !text.contains('#')).ok_or(INVALID)
    }

    /// Where the metadata of the resource here may be: where its server says, then at its own path, then at the
    /// root. No place is asked twice.
    pub(super) fn of_resource(&self, advertised: Option<Place>) -> Vec<Place> {
        let path = self.url.path();
        let own = match path.trim_matches('/') {
            "" => None,
            _ if path.starts_with(RESOURCE) => self.at(path),
            trimmed => self.at(&format!("{RESOURCE}/{trimmed}")),
        };
        let mut places: Vec<Place> = Vec::new();
        for place in advertised.into_iter().chain(own).chain(self.at(RESOURCE)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Where the metadata of the authorization server here may be, in the order of the 2025-11-25 revision. The
    /// reference also appends the first name to a path, which comes last here.
    pub(super) fn of_server(&self) -> Vec<Place> {
        let path = self.url.path().trim_matches('/');
        let paths = if path.is_empty() {
            vec![format!("/.well-known/{SERVER}"), format!("/.well-known/{OPENID}")]
        } else {
            vec![
                format!("/.well-known/{SERVER}/{path}"),
                format!("/.well-known/{OPENID}/{path}"),
                format!("/{path}/.well-known/{OPENID}"),
                format!("/{path}/.well-known/{SERVER}"),
            ]
        };
        paths.iter().filter_map(|path| self.at(path)).collect()
    }

    /// This path at the same origin.
    fn at(&self, path: &str) -> Option<Place> {
        let url = format!("{}://{}{path}", self.url.scheme_str()?, self.url.authority()?).parse().ok()?;
        Some(Place { url, origin: self.origin.clone() })
    }
}

/// The URL without its query, which may be a key.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.url.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(places: Vec<Place>) -> Vec<String> {
        places.iter().map(|place| place.url.to_string()).collect()
    }

    fn place(text: &str) -> Place {
        Place::learned(text).unwrap()
    }

    #[test]
    fn mcp_150_the_order_and_nothing_twice() {
        let advertised = place("https://h/x");
        assert_eq!(
            texts(place("https://h:8/a/mcp/?q=1").of_resource(Some(advertised))),
            [
                "https://h/x",
                "https://h:8/.well-known/oauth-protected-resource/a/mcp",
                "https://h:8/.well-known/oauth-protected-resource"
            ]
        );
        let root = "https://h/.well-known/oauth-protected-resource";
        assert_eq!(texts(place("https://h/").of_resource(Some(place(root)))), [root]);
        let own = "https://h/.well-known/oauth-protected-resource/mcp";
        assert_eq!(texts(place(own).of_resource(None)), [own, root]);
    }

    #[test]
    fn rev_059_an_issuer_with_a_path_has_more_places() {
        assert_eq!(
            texts(place("https://h/t/").of_server()),
            [
                "https://h/.well-known/oauth-authorization-server/t",
                "https://h/.well-known/openid-configuration/t",
                "https://h/t/.well-known/openid-configuration",
                "https://h/t/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(
            texts(place("https://h").of_server()),
            [
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration"
            ]
        );
    }

    /// NEW-113: which spellings name one origin.
    #[test]
    fn new_113_origins_are_equal_by_scheme_host_and_port() {
        let of = |text: &str| Place::named(text).ok().map(|place| place.origin);
        let same = [
            ("https://H.example/a", "https://h.example:443/b"),
            ("http://h", "http://h:080"),
            ("http://h", "http://h:"),
            ("http://[2001:DB8:0::1]", "http://[2001:db8::1]:80"),
        ];
        for (one, other) in same {
            assert!(of(one).is_some() && of(one) == of(other), "{one} {other}");
        }
        let different = [
            ("https://h", "https://h."),
            ("https://h", "http://h:443"),
            ("https://h", "https://h:8443"),
            ("https://h.example", "https://a.h.example"),
            ("http://[::ffff:10.0.0.1]", "http://10.0.0.1"),
        ];
        for (one, other) in different {
            assert!(of(one).is_some() && of(other).is_some() && of(one) != of(other), "{one} {other}");
        }
        for text in [
            "https://h/#f",
            "ftp://h",
            "http://h:0",
            "http://h:65536",
            "http://u@h",
            "http://[fe80::1%25eth0]",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn learned_urls_are_plain_and_absolute() {
        let learned = place("https://H/a?key#b");
        assert_eq!(
            (learned.origin.to_string(), learned.to_string()),
            ("https://h".into(), "https://h/a".into())
        );
        for text in ["/a", "h/a", "ftp://h/", "https://u:p@h/", "javascript:x", "https://", "//h/"] {
            assert!(Place::learned(text).is_none(), "{text}");
        }
    }
}
