//! URLs: what decides, what is dialled and what is shown must be one and the same.

use ureq::http::Uri;

use crate::url::{self, Origin, Url};

/// The first line is a URL, the second what refers to another from there.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, location) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(url) = Url::parse(text) {
        configured(text, &url);
    }
    if let Ok(uri) = text.parse::<Uri>() {
        dialled(&uri);
    }
    if let Some((uri, origin)) = url::named_by_peer(text) {
        assert_eq!(read(&uri), Some(origin));
        assert!(!uri.authority().unwrap().as_str().contains('@'));
    }
    redirected(text, location);
    hidden(text);
}

/// Scheme, host and port as the HTTP library has them, which is what it dials.
fn read(uri: &Uri) -> Option<Origin> {
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    // Addresses have one spelling here.
    let host = match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    Some(Origin { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
}

/// A URL of a setting: its origin is that of the requests made from it.
fn configured(text: &str, url: &Url) {
    let (Ok(origin), Ok(uri)) = (url.origin(), url.uri()) else { return };
    assert_eq!(read(&uri).as_ref(), Some(&origin), "{text}");
    assert_eq!(Origin::of(&uri).as_ref(), Some(&origin), "{text}");
    assert!(uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
    // Shown and read again it is the same.
    let shown = Url::parse(&origin.to_string()).expect("a URL").origin();
    assert_eq!(shown.as_ref(), Ok(&origin));
    let naive = naively(text).expect("a URL");
    assert_eq!(naive, (origin.host.clone(), url_port(text, origin.port)));
}

/// Host and port by cutting, without a look at what is legal.
fn naively(text: &str) -> Option<(String, u16)> {
    let after = &text[text.find("://")? + 3..];
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let place = &after[..end];
    let place = &place[place.rfind('@').map_or(0, |at| at + 1)..];
    let (host, port) = match place.rfind(']') {
        Some(end) => {
            let address: std::net::Ipv6Addr = place[1..end].parse().ok()?;
            (address.to_string(), &place[end + 1..])
        }
        None => {
            let colon = place.find(':').unwrap_or(place.len());
            (place[..colon].to_ascii_lowercase(), &place[colon..])
        }
    };
    let https = text[..5].eq_ignore_ascii_case("https");
    let default = if https { 443 } else { 80 };
    Some((host, port.trim_start_matches(':').parse().unwrap_or(default)))
}

/// The port that is meant; here to say that a written one is not changed.
fn url_port(_: &str, port: u16) -> u16 {
    port
}

/// Whatever the HTTP library takes for a URL: when it has an origin here, that is where it leads.
fn dialled(uri: &Uri) {
    if let Some(origin) = Origin::of(uri) {
        let read = read(uri).expect("an origin");
        assert_eq!((read.tls, &read.host, read.port), (origin.tls, &origin.host, origin.port), "{uri}");
        assert!(!origin.host.is_empty() && origin.port > 0);
    }
}

/// A relative location stays at its origin.
fn redirected(from: &str, location: &str) {
    let Some(led) = url::resolve(from, location) else { return };
    let origin = |text: &str| Url::parse(text).ok().and_then(|url| url.origin().ok());
    let (Some(from), Some(led)) = (origin(from), origin(&led)) else { return };
    if !location.contains("://") {
        assert_eq!(from, led, "{location}");
    }
}

/// Nothing of the credentials is shown: they end at an `@`.
fn hidden(text: &str) {
    let shown = url::without_credentials(text);
    if url::Parts::of(text).is_some_and(|parts| parts.userinfo.is_some()) {
        let (before, rest) = shown.split_once("[redacted]@").unwrap_or(("", &shown));
        assert!(!before.contains('@') && !rest.contains('@'), "{shown}");
    }
}
