//! Names of headers that no caller may send, wherever a name comes from: with a command, or out of a template.
//!
//! Servers differ in how they read a name, so names are compared as the least careful one reads them.

use ureq::http::HeaderName;

/// Names that are never forwarded from a command.
///
/// * Framing and hop-by-hop names would let a caller end our request early and begin one of its own.
/// * `Accept-Encoding` would bring replies that nothing here undoes.
/// * Names of identity and of forwarded addresses are believed by servers behind proxies: only
///   the caller's own proxy may write them, and here that is nobody.
/// * `Proxy` becomes `HTTP_PROXY` in a CGI program, and its own requests go where the caller says.
/// * `Content-Type` belongs to the body, which is ours to describe.
const REFUSED: &str = " \
    accept-encoding cf-connecting-ip connection content-encoding content-length content-type cookie \
    expect fastly-client-ip forwarded host keep-alive openai-organization openai-project proxy \
    proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding true-client-ip \
    upgrade user-agent via x-azure-clientip x-client-ip x-cluster-client-ip x-custom-cf-witness-actor \
    x-custom-cf-witness-authorization x-envoy-external-address x-host x-http-method \
    x-http-method-override x-method-override x-oai-brte-redeemable-token x-openai-actor-authorization \
    x-openai-authorization x-openai-authorization-error x-openai-brte-redeemable-token \
    x-openai-internal-caller x-openai-request-path x-openai-skip-auth x-original-forwarded-for \
    x-original-host x-original-url x-real-ip x-rewrite-url x-tunnel-shard-token x-tunnel-traffic-source ";

/// What names begin with that proxies write to say who calls, and that servers behind them believe. The manual
/// lists all of them. Credentials of callers, such as `X-Goog-Api-Key`, begin with none.
const REFUSED_PREFIXES: &str = " \
    cf-access- client-cert oidc-claim- remote- ssl-client- tailscale- x-amzn-mtls- x-amzn-oidc- \
    x-appengine- x-arr-clientcert x-auth-request- x-authenticated- x-authentik- x-client-cert \
    x-consumer- x-forwarded x-goog-authenticated- x-goog-iap- x-ms-client-principal x-pomerium- \
    x-remote- x-ssl- x-vouch- x-webauth-";

/// The name as the least careful server may read it: CGI and its heirs make one of `_` and `-`, and some of all
/// that is neither letter nor digit.
pub fn plain(name: &HeaderName) -> String {
    name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// Whether no caller may send this, in any spelling that a server could take for it.
pub fn is_refused(name: &HeaderName) -> bool {
    // Between spaces, as the tables have it: one search, where looking at each of them cost more than all the rest
    // that is done with a header. Few names begin as a prefix does.
    let name = [" ", &plain(name), " "].concat();
    let begins_so = name.get(..5).is_some_and(|start| REFUSED_PREFIXES.contains(start));
    let begins_with = |prefix| name.trim_start().starts_with(prefix);
    REFUSED.contains(&name) || begins_so && REFUSED_PREFIXES.split_ascii_whitespace().any(begins_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In order, so that a reader finds a name, and each once.
    #[test]
    fn the_refused_names_are_in_order() {
        for (table, count) in [(REFUSED, 50), (REFUSED_PREFIXES, 24)] {
            let names: Vec<&str> = table.trim().split(' ').collect();
            assert!(names.is_sorted_by(|one, next| one < next) && names.len() == count, "{names:?}");
            assert!(names.iter().all(|name| name.parse::<HeaderName>().is_ok()));
        }
    }

    #[test]
    fn the_manual_lists_all_prefixes() {
        let page = include_str!("../man/tunnel-client.yaml.5");
        for prefix in REFUSED_PREFIXES.trim().split(' ') {
            let item = |line: &str| line.split(' ').nth(1) == Some(prefix) && line.starts_with(".Ql ");
            assert!(page.lines().any(item), "{prefix}");
        }
    }
}
