//! Proxies: what somebody configured, and what the environment says.
//!
//! A proxy URL may hold a password, so no error text repeats any part of one but its scheme. Which
//! proxy a connection takes, and what `NO_PROXY` excepts, is decided by `net`.

use super::lookup::Lookup;
use super::reference::{References, is_reference};
use super::{EnvironmentProxies, Error, Proxy};
use crate::url::Url;

/// The proxy of a setting.
pub(crate) fn load(lookup: &Lookup, flag: &str) -> Result<Option<Proxy>, Error> {
    lookup.read(flag, |found| explicit(&lookup.references, found.name(), found.label(), found.text()))
}

/// A proxy URL, or a reference to one. `source` names the setting in complaints; `label` says who named the
/// proxy, for logs and start-up summary: a reference is its own label, since it says more.
pub(crate) fn explicit(
    references: &References,
    source: &str,
    label: &str,
    raw: &str,
) -> Result<Proxy, String> {
    let raw = raw.trim();
    if raw.is_empty() {
        return Err(format!("invalid {source} proxy: value is required"));
    }
    let url = references.value(source, raw)?;
    let (label, from) =
        if is_reference(raw) { (raw, format!(" from {raw}")) } else { (label, String::new()) };
    parse(&url, label).map_err(|fault| format!("invalid {source} proxy{from}: {fault}"))
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as Go reads them: upper case before lower case,
/// empty means not set, and a bare `host:port` is an `http` proxy. A bad one is an error although
/// Go ignores it: the traffic would go round the proxy that a site prescribes.
pub(crate) fn environment(lookup: &Lookup) -> Result<EnvironmentProxies, Error> {
    let environment = lookup.references.environment;
    let proxy = |name: &str, lower: &str| {
        let given = [name, lower].into_iter().find_map(|name| Some((name, environment.filled(name)?)));
        let Some((name, text)) = given else { return Ok(None) };
        let text = text.trim();
        let url = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let proxy = parse(&url, "environment");
        proxy.map(Some).map_err(|fault| Error::invalid(format!("invalid {name}: {fault}")))
    };
    let no_proxy = environment.filled("NO_PROXY").or(environment.filled("no_proxy"));
    Ok(EnvironmentProxies {
        http: proxy("HTTP_PROXY", "http_proxy")?,
        https: proxy("HTTPS_PROXY", "https_proxy")?,
        no_proxy: no_proxy.unwrap_or_default().to_string(),
    })
}

/// The parts of a proxy URL; credentials go out of sight at once. A path is ignored, as by every
/// program that reads `HTTP_PROXY`. The scheme may be quoted in the complaint, since credentials
/// stand behind the `://` that ends it.
fn parse(text: &str, label: &str) -> Result<Proxy, String> {
    let url = Url::parse(text).map_err(|fault| format!("proxy URL {fault}"))?;
    let origin =
        url.origin().map_err(|_| format!("proxy URL scheme must be http or https, got {:?}", url.scheme))?;
    Ok(Proxy { origin, credentials: url.credentials, label: label.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    fn explicit_with(environment: &Environment, raw: &str) -> Result<Proxy, String> {
        explicit(&References::new(environment), "mcp.http-proxy", "mcp.http-proxy", raw)
    }

    #[test]
    fn explicit_proxies_are_urls_or_references() {
        let environment =
            Environment::of([("P", "https://u:p%20w@[::1]/"), ("E", ""), ("S", "socks5://u:hidden@h")]);
        let proxy = explicit_with(&environment, "env:P").unwrap();
        assert_eq!(
            (proxy.origin.tls, proxy.origin.host.as_str(), proxy.origin.port, proxy.label.as_str()),
            (true, "::1", 443, "env:P")
        );
        assert_eq!(proxy.credentials.unwrap().expose(), "u:p w");
        assert_eq!(explicit_with(&environment, "http://proxy:3128").unwrap().origin.port, 3128);
        for (raw, expected) in [
            ("", "invalid mcp.http-proxy proxy: value is required"),
            ("proxy:3128", "invalid mcp.http-proxy proxy: proxy URL must include scheme and host"),
            (
                "ftp://u:hidden@h",
                "invalid mcp.http-proxy proxy: proxy URL scheme must be http or https, got \"ftp\"",
            ),
            ("env:", "invalid mcp.http-proxy reference \"env:\": environment variable name is required"),
            ("env:X", "invalid mcp.http-proxy reference \"env:X\": environment variable \"X\" is not set"),
            ("env:E", "invalid mcp.http-proxy reference \"env:E\": environment variable \"E\" is empty"),
            (
                "env:S",
                "invalid mcp.http-proxy proxy from env:S: proxy URL scheme must be http or https, got \"socks5\"",
            ),
        ] {
            assert_eq!(explicit_with(&environment, raw).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_environment_is_read_as_go_reads_it() {
        let variables = Environment::of([
            ("HTTP_PROXY", "10.0.0.1:3128"),
            ("http_proxy", "http://other"),
            ("HTTPS_PROXY", ""),
            ("https_proxy", "http://lower:8080"),
            ("no_proxy", "a,.b"),
        ]);
        let flags = Flags::default();
        let proxies = environment(&Lookup::of(&flags, &variables, None, false)).unwrap();
        assert_eq!(proxies.http.unwrap().origin.host, "10.0.0.1");
        assert_eq!(proxies.https.unwrap().origin.port, 8080);
        assert_eq!(proxies.no_proxy, "a,.b");
        let variables = Environment::of([("HTTPS_PROXY", "socks5://u:hidden@h:1")]);
        let error = environment(&Lookup::of(&flags, &variables, None, false)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid HTTPS_PROXY: proxy URL scheme must be http or https, got \"socks5\""
        );
    }
}
