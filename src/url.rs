//! URLs: the one module that takes them apart, puts them together and compares them.
//!
//! Two readers of one URL could disagree about its host, and a password would go elsewhere than was checked. So every
//! room asks here. Credentials leave the text here and go into a [`Secret`]. Every failure is a fixed sentence, so
//! no part of a URL can reach an error text. The parser is our own because the usual ones keep
//! user information in what they print and take a port that is no number for none.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;

use ureq::http::Uri;

use crate::secret::Secret;
use crate::text;

/// Parts of an absolute URL, as written.
pub(crate) struct Parts<'t> {
    /// Everything before the path.
    pub(crate) front: &'t str,
    /// Scheme.
    pub(crate) scheme: &'t str,
    /// `user[:password]`.
    pub(crate) userinfo: Option<&'t str>,
    /// `host[:port]`.
    pub(crate) place: &'t str,
    /// Path, which may be empty.
    pub(crate) path: &'t str,
    /// Query and fragment, with the `?` or `#` before them.
    pub(crate) tail: &'t str,
}

impl<'t> Parts<'t> {
    /// Takes `scheme://[user[:password]@]host[:port][path][?query][#fragment]` apart and checks none of it.
    pub(crate) fn of(text: &'t str) -> Option<Parts<'t>> {
        let (scheme, after) = text.split_once("://")?;
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let (front, _) = text.split_at(text.len() - rest.len());
        // The last `@` ends the credentials: a password may be written with a bare one in it, and
        // cutting at the first would make its tail part of the host that is dialled and logged.
        let (userinfo, place) = match authority.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, authority),
        };
        let (path, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        Some(Parts { front, scheme, userinfo, place, path, tail })
    }
}

/// Absolute URL that was checked. The fragment is dropped, since no request carries one.
pub(crate) struct Url {
    /// Lower-cased scheme.
    pub(crate) scheme: String,
    /// `user:password`, percent-decoded; a missing password is an empty one.
    pub(crate) credentials: Option<Secret>,
    /// Lower-cased host, never empty, without brackets.
    host: String,
    /// The port, when one was written.
    port: Option<u16>,
    /// Path and query, not yet checked: [`Url::uri`] does that.
    rest: String,
}

/// Complaint about a missing scheme or host.
const INCOMPLETE: &str = "must include scheme and host";
/// Complaint about a port that is none.
const PORT_INVALID: &str = "port is invalid";

impl Url {
    /// Parses and checks an absolute URL.
    pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
        let parts = Parts::of(text).filter(|parts| is_scheme(parts.scheme)).ok_or(INCOMPLETE)?;
        let (host, port) = host_and_port(parts.place)?;
        let query = parts.tail.split('#').next().unwrap_or_default();
        Ok(Url {
            scheme: parts.scheme.to_ascii_lowercase(),
            credentials: parts.userinfo.map(credentials).transpose()?,
            host,
            port,
            rest: format!("{}{query}", parts.path),
        })
    }

    /// Scheme, host and port, for `http` and `https`; nothing else is ever spoken.
    pub(crate) fn origin(&self) -> Result<Origin, &'static str> {
        let tls = match self.scheme.as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("scheme must be http or https"),
        };
        Ok(Origin { tls, host: self.host.clone(), port: self.port.unwrap_or(default_port(tls)) })
    }

    /// Tells whether anything but the host's root is named.
    pub(crate) fn has_path(&self) -> bool {
        !self.rest.trim_matches('/').is_empty()
    }

    /// The URL as requests use it, without credentials.
    pub(crate) fn uri(&self) -> Result<Uri, &'static str> {
        let host = bracketed(&self.host);
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("{}://{host}{port}{}", self.scheme, self.rest);
        text.parse().map_err(|_| "contains characters that must be percent-encoded")
    }
}

/// Scheme, lower-cased host and effective port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// True for `https`.
    pub tls: bool,
    /// Host name or address, lower-cased, without brackets.
    pub host: String,
    /// Effective port.
    pub port: u16,
}

impl Origin {
    /// Origin of an absolute `http` or `https` URL. `None` for whatever a setting could not
    /// name either, so that the target of a redirect is held to the grammar of the settings. What is
    /// dialled goes by this one as well.
    pub fn of(uri: &Uri) -> Option<Origin> {
        Url::parse(&uri.to_string()).ok()?.origin().ok()
    }

    /// An origin that is written alone, with a final slash at most. The complaints are those of the reference client.
    #[cfg(feature = "harpoon")]
    pub(crate) fn parse(text: &str) -> Result<Origin, &'static str> {
        const ALONE: &str =
            "expected an absolute HTTP(S) origin without credentials, path, query, or fragment";
        let is_alone = |parts: &Parts| {
            parts.userinfo.is_none() && matches!(parts.path, "" | "/") && parts.tail.is_empty()
        };
        let place = Parts::of(text).filter(is_alone).ok_or(ALONE)?.place;
        let is_bracketed = place.starts_with('[');
        match Url::parse(text).and_then(|url| url.origin()) {
            Ok(_) if place.ends_with(':') => Err("origin port must not be empty"),
            Ok(origin) => Ok(origin),
            Err(what) if what == PORT_INVALID && (is_bracketed || place.matches(':').count() == 1) => {
                Err("origin port must be between 1 and 65535")
            }
            Err(_) if place.contains('[') || place.matches(':').count() > 1 => {
                Err("origin IPv6 host must use a valid bracketed address")
            }
            Err(_) => Err(ALONE),
        }
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Tells whether traffic stays on this machine: `localhost` or a loopback address, the latter also
    /// when an IPv4 address is written as an IPv6 one. Other names are not resolved to find out,
    /// for the answer could be another one by the time of the connection.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// `scheme://host`, with brackets around IPv6 addresses and without a default port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", bracketed(&self.host))?;
        if self.port != default_port(self.tls) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Absolute `http` or `https` URL that a peer named, without its fragment, and its origin. `None` for one with
/// credentials: whoever followed it would send them.
pub(crate) fn named_by_peer(text: &str) -> Option<(Uri, Origin)> {
    let uri: Uri = text.split('#').next()?.parse().ok()?;
    let origin = Origin::of(&uri)?;
    uri.authority().is_some_and(|authority| !authority.as_str().contains('@')).then_some((uri, origin))
}

/// The URL that a `Location` means, seen from the URL `from`. Dot segments stay: the path is the server's own
/// business, and whoever asked checks the result. `//host/` names another host in a way that is easily
/// taken for a path, so it is no URL here.
pub(crate) fn resolve(from: &str, location: &str) -> Option<String> {
    if location.starts_with("//") {
        return None;
    }
    // A colon before the first slash makes a scheme; later ones may stand in any query. Schemes that no host
    // follows are not spoken here.
    if location.split(['/', '?', '#']).next()?.contains(':') {
        return location.contains("://").then(|| location.to_owned());
    }
    let Parts { front, path, .. } = Parts::of(from)?;
    let path = if path.is_empty() { "/" } else { path };
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(match location.chars().next() {
        Some('/') => format!("{front}{location}"),
        None | Some('?' | '#') => format!("{front}{path}{location}"),
        _ => format!("{front}{directory}/{location}"),
    })
}

/// The text with everything hidden that may be a credential: what stands between the first
/// `://` and the last `@`, all before the latter where an `@` comes first, queries and fragments. Rather too much than too
/// little: the text may be a whole entry with several URLs, and a password in it may hold `@`, commas and `://`.
pub(crate) fn without_credentials(text: &str) -> String {
    let scheme = text.find("://").filter(|end| text.find('@').is_none_or(|at| at > *end));
    let (before, after) = text.split_at(scheme.map_or(0, |at| at + "://".len()));
    let visible = match after.rsplit_once('@') {
        Some((_, place)) => format!("{before}[redacted]@{place}"),
        None => text.to_string(),
    };
    match visible.split_inclusive(['?', '#']).next() {
        Some(start) if start.ends_with(['?', '#']) => format!("{start}[redacted]"),
        _ => visible,
    }
}

/// The port of a scheme.
fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

/// A host as URLs write it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

/// The grammar of RFC 3986; it also keeps credentials from being taken for a scheme.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Takes `host[:port]` or `[v6][:port]` apart. Names are ASCII: nothing here knows IDNA, and a
/// name that looked like another one would be worse than an error.
pub(crate) fn host_and_port(place: &str) -> Result<(String, Option<u16>), &'static str> {
    const INVALID: &str = "host is invalid";
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => {
            let (host, tail) = inner.split_once(']').ok_or(INVALID)?;
            // In one spelling, so that equal addresses are equal origins.
            (host.parse::<Ipv6Addr>().map_err(|_| INVALID)?.to_string(), tail)
        }
        None => {
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            (host.to_ascii_lowercase(), port)
        }
    };
    if host.is_empty() {
        return Err(INCOMPLETE);
    }
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c)) {
        return Err(INVALID);
    }
    let port = match port.strip_prefix(':') {
        // `host:` is legal and means the default port.
        Some("") => None,
        // Nobody listens on port 0, and programs differ in what they take it for.
        Some(port) => Some(text::number::<NonZero<u16>>(port).ok_or(PORT_INVALID)?.get()),
        None if port.is_empty() => None,
        None => return Err(INVALID),
    };
    Ok((host, port))
}

/// `user[:password]` of a URL, decoded as Basic authentication wants it.
fn credentials(userinfo: &str) -> Result<Secret, &'static str> {
    let mut text = percent_decoded(userinfo).ok_or("user information is not valid percent-encoding")?;
    if !userinfo.contains(':') {
        text.push(':');
    }
    Ok(Secret::new(text))
}

/// Undoes percent-encoding; `None` when it is broken or not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("HTTPS://al%40ice:p%3Aw@[::1]:8443/a/b?q=1#f").ok().unwrap();
        assert_eq!(url.credentials.as_ref().unwrap().expose(), "al@ice:p:w");
        assert_eq!(url.origin().unwrap().to_string(), "https://[::1]:8443");
        assert_eq!(url.uri().unwrap().to_string(), "https://[::1]:8443/a/b?q=1");
        let url = Url::parse("http://user@Host.Example:80").ok().unwrap();
        assert_eq!(url.credentials.as_ref().unwrap().expose(), "user:");
        assert_eq!(url.origin().unwrap().to_string(), "http://host.example");
        assert_eq!(Origin::of(&url.uri().unwrap()), url.origin().ok());
        let v6: Uri = "http://[2001:DB8::1]/".parse().unwrap();
        assert_eq!(Origin::of(&v6).unwrap().host, "2001:db8::1");
    }

    #[test]
    fn origins_of_targets_are_complete_or_none() {
        let of = |text: &str| Origin::of(&text.parse().unwrap());
        assert_eq!(of("http://h:99999/"), None);
        assert_eq!(of("http://h:0/"), None);
        assert_eq!(of("http://h:/").unwrap().port, 80);
        assert_eq!(of("ftp://h/"), None);
        assert_eq!(of("/path"), None);
        assert!(of("http://[::ffff:127.0.0.1]/").unwrap().is_loopback());
        assert!(!of("http://[::ffff:10.0.0.1]/").unwrap().is_loopback());
    }

    #[test]
    fn locations_are_seen_from_where_they_came() {
        let to = |location: &str| resolve("http://h:1/a/b?x=1", location);
        assert_eq!(to("/c/").as_deref(), Some("http://h:1/c/"));
        assert_eq!(to("c?y#z").as_deref(), Some("http://h:1/a/c?y#z"));
        assert_eq!(to("https://o/p").as_deref(), Some("https://o/p"));
        assert_eq!(to("?y=2").as_deref(), Some("http://h:1/a/b?y=2"));
        assert_eq!(to("").as_deref(), Some("http://h:1/a/b"));
        assert_eq!(to("/c?next=http://o/").as_deref(), Some("http://h:1/c?next=http://o/"));
        assert_eq!(resolve("http://h", "c").as_deref(), Some("http://h/c"));
        assert_eq!(resolve("http://h?x=/y", "c").as_deref(), Some("http://h/c"));
        assert_eq!(to("//evil/"), None);
        assert_eq!(to("javascript:alert(1)"), None);
    }

    #[test]
    fn what_peers_name_holds_no_credentials() {
        assert_eq!(named_by_peer("https://h/a#f").unwrap().0, "https://h/a");
        assert!(named_by_peer("https://u:p@h/").is_none());
        assert!(named_by_peer("/a").is_none());
    }

    #[test]
    fn broken_urls_are_refused() {
        for text in [
            "",
            "host",
            "host:80",
            "http://",
            "http://:80",
            "://host",
            "http://h:99999",
            "http://h:0",
            "https://h:000",
            "http://h:x",
            "http://[::1",
            "http://[::1]x",
            "http://a b",
            "http://%zz@h",
            "http://::1/",
            "1http://h",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redaction_prefers_too_much() {
        assert_eq!(without_credentials("url=https://u:p,w@h/x"), "url=https://[redacted]@h/x");
        assert_eq!(without_credentials("https://u:p@ss@h"), "https://[redacted]@h");
        assert_eq!(without_credentials("https://h/x?token=1"), "https://h/x?[redacted]");
        assert_eq!(without_credentials("url=https://u:p://x@h,y"), "url=https://[redacted]@h,y");
        assert_eq!(without_credentials("https:/u:p@h"), "[redacted]@h");
        assert_eq!(without_credentials("https://h/x#token"), "https://h/x#[redacted]");
        assert_eq!(without_credentials("u:p@h,x://y@z"), "[redacted]@z");
        assert_eq!(without_credentials("channel=a"), "channel=a");
    }
}
