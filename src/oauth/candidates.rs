//! The URLs at which metadata may be, in the order in which they are asked.
//!
//! Made of configured and learned URLs as text: paths keep their spelling, queries go. Asks nobody; a URL that
//! cannot be made is left out.

use ureq::http::Uri;

use crate::url::{self, Origin};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";

/// Longest URL that is taken from a document; no real one comes near it.
const URL_BYTES_MAX: usize = 4096;

/// Absolute URL that was learned, without its fragment, and its origin.
pub(super) fn learned(text: &str) -> Option<(Uri, Origin)> {
    url::named_by_peer(text).filter(|_| text.len() <= URL_BYTES_MAX)
}

/// Where the metadata of the resource at `server` may be: where it says itself, then at its own path, then at
/// the root. None is asked twice.
pub(super) fn resource(server: &Uri, advertised: Option<&Uri>) -> Vec<Uri> {
    let path = server.path().trim_matches('/');
    let own = match path {
        "" => None,
        _ if server.path().starts_with(RESOURCE) => at(server, server.path()),
        _ => at(server, &format!("{RESOURCE}/{path}")),
    };
    let all = advertised.cloned().into_iter().chain(own).chain(at(server, RESOURCE));
    let mut once: Vec<Uri> = Vec::new();
    for candidate in all {
        if !once.contains(&candidate) {
            once.push(candidate);
        }
    }
    once
}

/// Where the metadata of an authorization server may be, in the order of the 2025-11-25 revision. The reference
/// also appends the first name to a path, which comes last here.
pub(super) fn server(issuer: &Uri) -> Vec<Uri> {
    let path = issuer.path().trim_matches('/');
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
    paths.iter().filter_map(|path| at(issuer, path)).collect()
}

/// This path at the origin of `uri`.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    format!("{}://{}{path}", uri.scheme_str()?, uri.authority()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(candidates: Vec<Uri>) -> Vec<String> {
        candidates.iter().map(Uri::to_string).collect()
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn mcp_150_the_order_and_nothing_twice() {
        let advertised = uri("https://h/x");
        assert_eq!(
            texts(resource(&uri("https://h:8/a/mcp/?q=1"), Some(&advertised))),
            [
                "https://h/x",
                "https://h:8/.well-known/oauth-protected-resource/a/mcp",
                "https://h:8/.well-known/oauth-protected-resource"
            ]
        );
        let root = uri("https://h/.well-known/oauth-protected-resource");
        assert_eq!(texts(resource(&uri("https://h/"), Some(&root))), [root.to_string()]);
        let own = uri("https://h/.well-known/oauth-protected-resource/mcp");
        assert_eq!(texts(resource(&own, None)), [own.to_string(), root.to_string()]);
    }

    #[test]
    fn rev_059_an_issuer_with_a_path_has_more_places() {
        assert_eq!(
            texts(server(&uri("https://h/t/"))),
            [
                "https://h/.well-known/oauth-authorization-server/t",
                "https://h/.well-known/openid-configuration/t",
                "https://h/t/.well-known/openid-configuration",
                "https://h/t/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(
            texts(server(&uri("https://h"))),
            [
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration"
            ]
        );
    }

    #[test]
    fn learned_urls_are_plain_and_absolute() {
        assert_eq!(learned("https://H/a#b").unwrap().1.to_string(), "https://h");
        for text in ["/a", "h/a", "ftp://h/", "https://u:p@h/", "javascript:x", "https://", "//h/"] {
            assert!(learned(text).is_none(), "{text}");
        }
    }
}
