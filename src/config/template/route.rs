//! Where a template leads: its origin, path and query, with places that parameters fill.

use std::collections::{BTreeMap, BTreeSet};

use ureq::http::Uri;

use super::fields::{Fields, text};
use super::parameter::{Parameter, VALUE_BYTES_MAX, is_unreserved};
use crate::config::Origin;
use crate::config::endpoint::{address, is_segment};
use crate::config::yaml::Fault;

/// Longest URL of a request.
const URL_BYTES_MAX: usize = 4096;
/// Most members of a query.
const QUERY_MAX: usize = 32;
/// Longest name of one.
const QUERY_NAME_BYTES_MAX: usize = 64;
/// Longest fixed value of one.
const QUERY_VALUE_BYTES_MAX: usize = 256;

/// Where a template leads.
#[derive(Debug)]
pub struct Route {
    /// Nothing that a caller sends changes it.
    pub origin: Origin,
    /// Path and query, one behind another.
    pieces: Vec<Piece>,
}

/// Part of a URL.
#[derive(Debug)]
enum Piece {
    /// As it stands on the wire.
    Fixed(String),
    /// The value of this parameter.
    Filled(String),
}

impl Route {
    /// Reads the three members, which must use all parameters and no others.
    pub(super) fn read(fields: &mut Fields, parameters: &[Parameter]) -> Result<Route, Fault> {
        let origin = fields.required_text("origin", origin)?;
        let mut pieces = fields.required_text("path_template", path)?;
        if let Some((path, node)) = fields.take("query") {
            let line = node.line;
            // By name, which is the order on the wire.
            let members = BTreeMap::from_iter(node.map(&path)?);
            if members.len() > QUERY_MAX {
                return Err(Fault::at(line, format!("{path} must have at most {QUERY_MAX} entries")));
            }
            for (number, (name, node)) in members.into_iter().enumerate() {
                if !(1..=QUERY_NAME_BYTES_MAX).contains(&name.len()) || !is_unreserved(&name) {
                    let what = "names must have 1 to 64 letters, digits and _.~-";
                    return Err(Fault::at(node.line, format!("{path}: {what}")));
                }
                let sign = if number == 0 { '?' } else { '&' };
                pieces.push(Piece::Fixed(format!("{sign}{name}=")));
                pieces.push(text(&format!("{path}.{name}"), node, member)?);
            }
        }
        let route = Route { origin, pieces };
        route.check(parameters).map_err(|what| fields.fault(&what))?;
        Ok(route)
    }

    /// Checks what must hold of all parts together.
    fn check(&self, parameters: &[Parameter]) -> Result<(), String> {
        let filled = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Filled(name) => Some(name),
            Piece::Fixed(_) => None,
        });
        let declared = parameters.iter().map(|parameter| &parameter.name);
        if filled.collect::<BTreeSet<_>>() != declared.collect() {
            return Err("must use all parameters that are declared, and no others".into());
        }
        let longest = "x".repeat(VALUE_BYTES_MAX);
        let of_longest = |name: &str| {
            let length = parameters.iter().find(|one| one.name == name).and_then(|one| one.rule.max_length);
            longest.get(..length?)
        };
        let is_short = self.url(of_longest).is_some();
        is_short.then_some(()).ok_or_else(|| format!("can become a URL of more than {URL_BYTES_MAX} bytes"))
    }

    /// The URL with these values, which are right. Nothing of them is encoded, since nothing needs it.
    pub fn url<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Option<Uri> {
        let url = self.filled(|name| value(name).map(str::to_owned))?;
        url.parse().ok().filter(|_| url.len() <= URL_BYTES_MAX)
    }

    /// All of it as it was written, for digests. It is not for callers.
    pub fn summary(&self) -> String {
        self.filled(|name| Some(format!("{{{name}}}"))).unwrap_or_default()
    }

    fn filled(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let text = |piece: &Piece| match piece {
            Piece::Fixed(text) => Some(text.clone()),
            Piece::Filled(name) => value(name),
        };
        let rest: String = self.pieces.iter().map(text).collect::<Option<_>>()?;
        Some(format!("{}{rest}", self.origin))
    }
}

fn origin(text: &str) -> Result<Origin, String> {
    const FORM: &str = "must be an origin such as https://api.internal:8443";
    if text.contains(['{', '}', '\\', '%', '#', '?']) {
        return Err(FORM.into());
    }
    let (uri, origin) = address(text, false).map_err(|what| format!("{FORM}: {what}"))?;
    if uri.path() != "/" { Err(FORM.into()) } else { Ok(origin) }
}

/// The segments of a path. What is fixed is written as it goes out, and stays where it is however often it is decoded.
fn path(path: &str) -> Result<Vec<Piece>, String> {
    let Some(path) = path.strip_prefix('/') else { return Err("must begin with a slash".into()) };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@".contains(c);
    let mut pieces = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        pieces.push(Piece::Fixed("/".into()));
        if let Some(name) = placeholder(segment) {
            pieces.push(Piece::Filled(name.to_owned()));
            continue;
        }
        // Two slashes may be one to a server, and at the beginning they are a host to some.
        let is_whole = !segment.is_empty() || segments.peek().is_none();
        if !is_whole || !segment.chars().all(legal) || !is_segment(segment) {
            return Err("has a segment that is empty, a dot segment or no {parameter} as a whole, or must be percent-encoded".into());
        }
        pieces.push(Piece::Fixed(segment.to_owned()));
    }
    Ok(pieces)
}

/// The value of a member of a query: `{parameter}`, or a text.
fn member(text: &str) -> Result<Piece, String> {
    if let Some(name) = placeholder(text) {
        return Ok(Piece::Filled(name.to_owned()));
    }
    if text.contains(['{', '}']) {
        return Err("must be {parameter} as a whole, or have no braces".into());
    }
    let text = super::fields::plain(text, 0..=QUERY_VALUE_BYTES_MAX)?;
    let encoded = text.bytes().map(|byte| match byte {
        b' ' => "+".to_owned(),
        _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    Ok(Piece::Fixed(encoded.collect()))
}

fn placeholder(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    Some(name).filter(|name| !name.contains(['{', '}']))
}
