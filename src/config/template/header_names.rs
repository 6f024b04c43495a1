//! Names of headers that nobody may set, and those that look like credentials.
//!
//! They stand beside those that no caller may send at all (`crate::header_names`), and are compared like them.

use ureq::http::HeaderName;

use crate::header_names::plain;

/// Headers that frame and route a request, or name this program: a second value there
/// would break the request apart, or ask for a reply that cannot be read.
pub(in crate::config) const RESERVED: &str = "accept-encoding connection content-length expect host keep-alive \
    proxy-authorization proxy-connection te trailer transfer-encoding upgrade user-agent";

/// Names by which proxies say who calls, and what was asked before they changed it.
const OF_PROXIES: &str = "remote-user x-authenticated-user x-remote-user";
const PREFIXES_OF_PROXIES: &str = "x-auth-request- x-envoy- x-forwarded- x-original- x-rewrite-";
/// What is refused besides where callers' headers have rules of their own.
const PREFIXES_OF_PROTOCOLS: &str = "mcp- proxy- x-mcp- x-openai- x-tunnel-";
/// What describes a body, which has a policy of its own.
const OF_BODIES: &str = "content-encoding content-type";

/// Parts of names whose values are credentials.
const CREDENTIAL_PARTS: &str = "accesskey accesstoken apikey authorization authtoken bearertoken clientsecret cookie \
    credential credentials idtoken key passwd password privatekey refreshtoken secret secretkey sessiontoken token";

/// Where a caller's credential may go when the operator says so.
const CREDENTIALS: &str = "api-key authorization x-api-key";

/// Whether a name is one of these.
pub(in crate::config) fn is_among(name: &str, names: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// Whether no template may set this, by itself or for a caller. `has_rules` where headers of callers have rules of
/// their own, `has_body` where a body has.
pub(super) fn is_forbidden(name: &HeaderName, has_rules: bool, has_body: bool) -> bool {
    let name = plain(name);
    let begins = |prefixes: &str| prefixes.split(' ').any(|prefix| name.starts_with(prefix));
    is_among(&name, RESERVED)
        || is_among(&name, OF_PROXIES)
        || begins(PREFIXES_OF_PROXIES)
        || (has_rules && begins(PREFIXES_OF_PROTOCOLS))
        || (has_body && is_among(&name, OF_BODIES))
}

/// Whether its value is likely a credential.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    plain(name).split('-').any(|part| is_among(part, CREDENTIAL_PARTS))
}

/// Whether a caller's credential may have this name.
pub(super) fn may_be_credential(name: &HeaderName) -> bool {
    is_among(&plain(name), CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    /// NEW-097: framing, proxies, and more where there are rules or a body.
    #[test]
    fn names_are_forbidden_in_every_spelling() {
        for text in [
            "Host",
            "content-length",
            "Transfer_Encoding",
            "X-Forwarded-For",
            "x_forwarded_for",
            "x.original.url",
            "X-Rewrite-URL",
            "x-envoy-peer",
            "X-Auth-Request-User",
            "remote_user",
            "X-Remote-User",
            "x-authenticated-user",
            "User-Agent",
        ] {
            assert!(is_forbidden(&name(text), false, false), "{text}");
        }
        for text in ["proxy-x", "Mcp-Session-Id", "x_mcp_y", "X-Tunnel-Shard-Token", "x-openai-actor"] {
            assert!(
                is_forbidden(&name(text), true, false) && !is_forbidden(&name(text), false, true),
                "{text}"
            );
        }
        for text in ["Content-Type", "content_encoding"] {
            assert!(
                is_forbidden(&name(text), false, true) && !is_forbidden(&name(text), true, false),
                "{text}"
            );
        }
        for text in ["accept", "x-tenant", "x-forwarded", "remote-username", "authorization"] {
            assert!(!is_forbidden(&name(text), true, true), "{text}");
        }
    }

    /// NEW-098: by the parts of a name, not by what it contains.
    #[test]
    fn names_look_like_credentials_by_their_parts() {
        for text in [
            "authorization",
            "X-Api-Key",
            "x_api_key",
            "X-ApiKey",
            "session.token",
            "cookie",
            "Client-Secret",
            "x-accesstoken",
        ] {
            assert!(is_credential(&name(text)), "{text}");
        }
        for text in ["x-tenant", "x-monkey", "keyword", "x-tokens-left", "x-author"] {
            assert!(!is_credential(&name(text)), "{text}");
        }
        assert!(may_be_credential(&name("X_API_KEY")) && !may_be_credential(&name("x-token")));
    }
}
