//! The grammar of one entry of `harpoon.targets`: its two forms, its URL, and what may be set for it.
//!
//! Later the text of a URL is compared, and the system decides which host is dialled. So
//! a URL is refused here when two readers could disagree about either. No error text repeats a query, what
//! could be credentials, or the value of a header.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ureq::http::{HeaderMap, HeaderName, Method, Uri};

use super::binding::{Entry, Pairs};
use super::document::Raw;
use super::lookup::{Found, Giver, Lookup};
use super::template::{RESERVED_HEADERS, is_among};
use super::{Cidr, Origin, Template, headers, value};
use crate::url::{Parts, Url, percent_decoded, without_credentials};

/// The keys of the form in one line, which is the reference client's, and what YAML calls them.
const KEYS: [(&str, &str); 4] =
    [("label", "label"), ("url", "url"), ("unix-socket", "unix_socket"), ("desc", "description")];

/// A label becomes a label of metrics and the host of a `harpoon://` URL.
const LABEL_MAX_BYTES: usize = 64;

/// A body comes inside a command, which has a bound of its own; nothing that is called this way needs more.
const REQUEST_MAX_BYTES: usize = 1 << 20;

/// Endpoint: an exact URL with a name.
#[derive(Debug, Clone)]
pub struct HarpoonTarget {
    /// Its name towards the product: `[a-z0-9][a-z0-9_-]{0,63}`.
    pub label: String,
    /// Its URL as configured, ASCII, without credentials and fragment.
    pub url: String,
    /// The same, parsed.
    pub uri: Uri,
    /// The URL's origin.
    pub origin: Origin,
    /// Dial this socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Description for the product; may be empty.
    pub description: String,
    /// Methods that it may be called with: of GET, POST and PUT, in that order, at least one.
    pub methods: Vec<Method>,
    /// Sent with every call. The caller neither sees nor replaces them.
    pub headers: HeaderMap,
    /// The largest body that a caller may send.
    pub max_request_bytes: usize,
    /// Networks that its addresses must be in; any when empty.
    pub allowed_networks: Vec<Cidr>,
    /// What a caller may choose; the URL is the origin then, and nothing else is called by it.
    pub template: Option<Arc<Template>>,
}

/// What holds for all endpoints.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Allows `http` URLs.
    pub(super) allow_plaintext_http: bool,
    /// The largest body of a reply; a call may send as much, unless its endpoint says otherwise.
    pub(super) max_response_bytes: usize,
}

impl HarpoonTarget {
    /// An endpoint with this URL and nothing else.
    pub(super) fn at(label: String, url: String, rules: Rules) -> Result<HarpoonTarget, &'static str> {
        let (uri, origin) = address(&url, rules.allow_plaintext_http)?;
        Ok(HarpoonTarget {
            label,
            url,
            uri,
            origin,
            unix_socket: None,
            description: String::new(),
            methods: Vec::new(),
            headers: HeaderMap::new(),
            max_request_bytes: rules.max_response_bytes,
            allowed_networks: Vec::new(),
            template: None,
        })
    }

    /// Tells whether every segment of its path stays one.
    pub(super) fn has_plain_path(&self) -> bool {
        self.uri.path().split('/').all(is_segment)
    }
}

/// The entries of the setting.
pub(crate) fn entries(found: &Found) -> Result<Vec<Entry>, String> {
    match &found.raw {
        Raw::Entries(entries) => Ok(entries.clone()),
        _ => found.list().iter().filter(|text| !text.trim().is_empty()).map(|text| of_text(text)).collect(),
    }
}

/// `label=L,url=U[,unix-socket=P][,desc=D]`. The reference ignores keys that it does not know; here `methods`
/// would be ignored among them, and everything allowed.
pub(super) fn of_text(text: &str) -> Result<Entry, String> {
    let shown = without_credentials(text.trim());
    let invalid = |what: &str| format!("invalid harpoon target {shown:?}: {what}");
    let mut pairs = Pairs::new();
    for piece in text.split(',') {
        let (key, value) = piece.split_once('=').ok_or_else(|| invalid("expected key=value pairs"))?;
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() {
            return Err(invalid("empty key"));
        }
        // Not quoted: what looks like a key may be the tail of a token that holds a comma.
        let (_, name) = KEYS.iter().find(|(known, _)| *known == key).ok_or_else(|| {
            invalid("unsupported key; use label, url, unix-socket and desc, and YAML for everything else")
        })?;
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        pairs.push(((*name).to_owned(), value.to_owned()));
    }
    let entry = Entry { pairs, shown: shown.clone(), ..Entry::default() };
    match (entry.get("label"), entry.get("url")) {
        (Some(_), Some(_)) => Ok(entry),
        _ => Err(invalid("label and url are required")),
    }
}

/// Validates one entry, with its references resolved.
pub(crate) fn target(
    lookup: &Lookup,
    found: &Found,
    rules: Rules,
    entry: &Entry,
) -> Result<HarpoonTarget, String> {
    let label = entry.get("label").unwrap_or_default();
    let template = &entry.template;
    // Of a template only the origin is fixed here; what a call makes of the rest was checked as it was read.
    let url = match template {
        Some(template) => template.route.origin.to_string(),
        None => lookup.value(found, entry, "url")?,
    };
    let is_of_file = matches!(found.giver, Giver::File(..));
    let invalid = |what: String| match is_of_file {
        true => format!("harpoon.targets entry {label:?}: {what}"),
        false => format!("invalid harpoon target {:?}: {what}", entry.shown),
    };
    if !is_label(label) {
        let what = "label must match ^[a-z0-9][a-z0-9_-]{0,63}$";
        return Err(if is_of_file { format!("harpoon.targets {what}") } else { invalid(what.into()) });
    }
    let shown = without_credentials(&url);
    let target = HarpoonTarget::at(label.to_owned(), url, rules).map_err(|what| match is_of_file {
        true => invalid(what.into()),
        false => format!("invalid harpoon target url {shown:?}: {what}"),
    })?;
    if !target.has_plain_path() {
        return Err(format!("harpoon: target {label:?} base URL contains invalid path segments"));
    }
    let socket = entry.get("unix_socket");
    let unix_socket =
        socket.map(|text| lookup.references.path("harpoon.target unix-socket", text)).transpose()?;
    let blocks = entry.all("allowed_networks").map(|text| {
        let wrong = || invalid(format!("{text:?} in allowed_networks is no block such as 10.0.0.0/8"));
        Cidr::parse(text).ok_or_else(wrong)
    });
    let allowed_networks: Vec<Cidr> = blocks.collect::<Result<_, _>>()?;
    // Nothing would be checked: a socket has no address.
    if unix_socket.is_some() && !allowed_networks.is_empty() {
        return Err(invalid("unix_socket cannot be combined with allowed_networks".into()));
    }
    let methods = match template {
        Some(template) => vec![template.method.clone()],
        None => methods(entry).map_err(invalid)?,
    };
    Ok(HarpoonTarget {
        unix_socket,
        description: entry.get("description").unwrap_or_default().to_owned(),
        methods,
        headers: target_headers(lookup, entry)?,
        max_request_bytes: max_request_bytes(entry, rules.max_response_bytes).map_err(invalid)?,
        allowed_networks,
        template: template.clone(),
        ..target
    })
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= LABEL_MAX_BYTES
        && text.starts_with(plain)
        && text.chars().all(|c| plain(c) || c == '_' || c == '-')
}

/// The URL, in the one spelling that everybody reads alike.
pub(super) fn address(text: &str, plaintext: bool) -> Result<(Uri, Origin), &'static str> {
    if !text.is_ascii() {
        return Err("must be ASCII; write an international host as xn--, and percent-encode the rest");
    }
    let url = Url::parse(text)?;
    if url.scheme != "https" && !plaintext {
        return Err("https is required");
    }
    // A password in a URL is shown wherever the URL is; headers are kept out of sight.
    if url.credentials.is_some() {
        return Err("must not contain credentials; set a header of the target in YAML");
    }
    if text.contains('#') {
        return Err("must not contain a fragment");
    }
    let (origin, uri) = (url.origin()?, url.uri()?);
    // What the parser of requests lets pass and other parsers read as something else.
    if text.contains(|c: char| "\"<>\\^`{|}".contains(c)) {
        return Err("contains characters that must be percent-encoded");
    }
    let place = Parts::of(text).map(|parts| parts.place.to_ascii_lowercase()).unwrap_or_default();
    if origin.host.contains(':') && !place.starts_with(&format!("[{}]", origin.host)) {
        return Err(SPELLING);
    }
    if uri.authority().is_none_or(|authority| authority.as_str() != place) {
        return Err("port is invalid; leave it out, or write it without zeros in front");
    }
    match host_fault(&origin.host) {
        Some(fault) => Err(fault),
        None => Ok((uri, origin)),
    }
}

/// Complaint about an address that is written in a way of its own.
const SPELLING: &str = "host is an address that is not in its canonical form, such as 10.0.0.1 or [fd00::1]";

/// Refuses hosts that have two readings. The system reads `127.1`, `0x7f.1` and `2130706433` as addresses, and a name with
/// a dot behind as the same name, which no comparison of texts does.
fn host_fault(host: &str) -> Option<&'static str> {
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_hexadecimal = |text: &str| {
        text.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
    };
    if host.contains(':') {
        None
    } else if last.is_empty() {
        Some("host must not end with a dot")
    } else if host.split('.').any(str::is_empty) {
        Some("host is invalid")
    } else if last.chars().all(|c| c.is_ascii_digit()) || is_hexadecimal(last) {
        host.parse::<Ipv4Addr>().is_err().then_some(SPELLING)
    } else {
        None
    }
}

/// Tells whether a segment of a path stays one, and where it is, however often it is decoded on the way.
pub(super) fn is_segment(segment: &str) -> bool {
    let pieces = percent_decoded(segment);
    pieces.is_some_and(|text| text.split(['/', '\\']).all(|piece| piece != "." && piece != ".."))
}

/// The methods, in the order in which they are told. There are no others to allow: what deletes or changes
/// in part is not called by name.
fn methods(entry: &Entry) -> Result<Vec<Method>, String> {
    let known = [Method::GET, Method::POST, Method::PUT];
    let given: Vec<String> = entry.all("methods").map(str::to_ascii_uppercase).collect();
    if let Some(other) = given.iter().find(|name| !known.iter().any(|method| method.as_str() == **name)) {
        return Err(format!("method {other:?} is not supported; use GET, POST or PUT"));
    }
    let is_given = |method: &Method| given.is_empty() || given.iter().any(|name| method.as_str() == name);
    Ok(known.into_iter().filter(is_given).collect())
}

/// The headers that are sent with every call: where a service token stands.
fn target_headers(lookup: &Lookup, entry: &Entry) -> Result<HeaderMap, String> {
    const KEY: &str = "harpoon.targets.headers";
    let mut headers = HeaderMap::new();
    for (name, value) in entry.members("headers") {
        headers::add(lookup, KEY, &mut headers, name.trim(), value.trim())?;
    }
    match headers.keys().map(HeaderName::as_str).find(|name| is_among(name, RESERVED_HEADERS)) {
        Some(name) => Err(format!("{KEY}: {name:?} is set by the client itself; remove it")),
        None => Ok(headers),
    }
}

/// As in the reference, a body may be as large as a reply unless somebody says otherwise.
fn max_request_bytes(entry: &Entry, default: usize) -> Result<usize, String> {
    let Some(text) = entry.get("max_request_bytes") else { return Ok(default) };
    let number = value::integer(text).ok().and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| (1..=REQUEST_MAX_BYTES).contains(number))
        .ok_or_else(|| format!("max_request_bytes must be a number from 1 to {REQUEST_MAX_BYTES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_plain() {
        for label in ["a", "0", "a-b_c", &"a".repeat(64)] {
            assert!(is_label(label), "{label}");
        }
        for label in ["", "A", "-a", "_a", "a.b", "a b", "\u{e4}", &"a".repeat(65)] {
            assert!(!is_label(label), "{label}");
        }
    }

    #[test]
    fn urls_have_one_reading() {
        for (text, origin) in [
            ("https://h/a/b?c=d", "https://h"),
            ("HTTPS://Api.Example:443", "https://api.example"),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443"),
            ("https://[fd00::1]/", "https://[fd00::1]"),
            ("https://xn--bcher-kva.example/%C3%A4", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(address(text, false).unwrap().1.to_string(), origin);
        }
        for (text, expected) in [
            ("h/a", "must include scheme and host"),
            ("https:///a", "must include scheme and host"),
            ("http://h/", "https is required"),
            ("ftp://h/", "https is required"),
            ("https://u:p@h/", "must not contain credentials; set a header of the target in YAML"),
            ("https://good.example@h/", "must not contain credentials; set a header of the target in YAML"),
            ("https://h/#x", "must not contain a fragment"),
            (
                "https://b\u{fc}cher.example/",
                "must be ASCII; write an international host as xn--, and percent-encode the rest",
            ),
            (
                "https://h\u{3002}example/",
                "must be ASCII; write an international host as xn--, and percent-encode the rest",
            ),
            ("https://h./", "host must not end with a dot"),
            ("https://10.0.0.1./", "host must not end with a dot"),
            ("https://a..b/", "host is invalid"),
            ("https://.b/", "host is invalid"),
            ("https://h%2e/", "host is invalid"),
            ("https://h\\@x/", "must not contain credentials; set a header of the target in YAML"),
            ("https://h/a\\b", "contains characters that must be percent-encoded"),
            ("https://h/a b", "contains characters that must be percent-encoded"),
            ("https://h:/", "port is invalid; leave it out, or write it without zeros in front"),
            ("https://h:0/", "port is invalid"),
            ("https://h:0443/", "port is invalid; leave it out, or write it without zeros in front"),
            ("https://h:99999/", "port is invalid"),
            ("https://127.1/", SPELLING),
            ("https://0x7f.1/", SPELLING),
            ("https://0x7f000001/", SPELLING),
            ("https://2130706433/", SPELLING),
            ("https://0177.0.0.1/", SPELLING),
            ("https://1.2.3.4.5/", SPELLING),
            ("https://[FD00:0::1]/", SPELLING),
        ] {
            assert_eq!(address(text, false).unwrap_err(), expected, "{text}");
        }
        assert!(address("http://h/", true).is_ok());
        assert_eq!(address("ftp://h/", true).unwrap_err(), "scheme must be http or https");
    }

    #[test]
    fn segments_stay_where_they_are() {
        for segment in ["", "a", "..a", "%2f", "a%20b", "%252e%252e"] {
            assert!(is_segment(segment), "{segment}");
        }
        for segment in [".", "..", "%2e", ".%2E", "%2e%2e", "..%2fa", "a%5c..", "%", "%zz", "%ff"] {
            assert!(!is_segment(segment), "{segment}");
        }
    }
}
