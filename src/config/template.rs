//! Templates: an endpoint whose URL, headers and body a caller may choose within rules.
//!
//! Everything that a caller could ever make of a template is decided while the profile is read: where it leads stands
//! in it literally, and what fills it has bounds, so that a call needs only to be compared. Nothing is resolved here;
//! a fixed header is a text or the name of a place where its value is.

mod body;
mod fields;
mod header;
mod header_names;
mod parameter;
mod pattern;
mod route;
mod rule;

use ureq::http::{HeaderName, Method};

use super::yaml::{Fault, Node, Value};
use fields::Fields;

pub use body::BodyPolicy;
pub use header::{HEADERS_BYTES_MAX, HEADERS_MAX, HeaderPolicy};
pub(super) use header_names::{RESERVED as RESERVED_HEADERS, is_among};
pub use parameter::Parameter;
pub use route::Route;
pub use rule::Rule;

/// The one version of the form.
const VERSION: &str = "1";

/// Template of an endpoint.
#[derive(Debug)]
pub struct Template {
    /// The one method.
    pub method: Method,
    /// Where it leads.
    pub route: Route,
    /// By name; at least one.
    pub parameters: Vec<Parameter>,
    /// Headers that a caller may set.
    pub headers: HeaderPolicy,
    /// What a body must be; nothing where there is none.
    pub body: Option<BodyPolicy>,
}

/// Fixed headers as they are written: a value may be a reference.
pub(super) type Fixed = Vec<(String, String)>;

impl Template {
    /// Reads a template; `path` is what complaints call it.
    pub(super) fn read(path: String, node: Node) -> Result<(Template, Fixed), Fault> {
        const MEMBERS: &str = "version origin method path_template query parameters headers allowed_headers \
                               header_rules body_policy follow_redirects";
        let mut fields = Fields::of(path, node, MEMBERS)?;
        let version = fields.take("version").map(|(_, node)| node.value);
        if !matches!(version, Some(Value::Scalar { text, plain: true }) if text == VERSION) {
            return Err(fields.fault("version must be 1"));
        }
        let method = fields.required_text("method", method)?;
        if fields.truth("follow_redirects")? == Some(true) {
            return Err(fields.fault("follow_redirects must be false: redirects are handed back"));
        }
        let (path, node) = fields.required("parameters")?;
        let parameters = Parameter::read_all(&path, node)?;
        let route = Route::read(&mut fields, &parameters)?;
        let body = fields.take("body_policy").map(|(path, node)| BodyPolicy::read(path, node)).transpose()?;
        match (&body, method == Method::GET) {
            (Some(_), true) => return Err(fields.fault("with method GET cannot have body_policy")),
            (None, false) => return Err(fields.fault("with method POST or PUT requires body_policy")),
            _ => {}
        }
        let fixed = fixed(&mut fields)?;
        let names: Vec<HeaderName> = fixed.iter().filter_map(|(name, _)| name.parse().ok()).collect();
        let headers = HeaderPolicy::read(&mut fields, &names, body.is_some())?;
        Ok((Template { method, route, parameters, headers, body }, fixed))
    }
}

fn method(text: &str) -> Result<Method, String> {
    let known = [Method::GET, Method::POST, Method::PUT].into_iter().find(|method| method == text);
    known.ok_or_else(|| "must be GET, POST or PUT".into())
}

/// The headers that the operator sets.
fn fixed(fields: &mut Fields) -> Result<Fixed, Fault> {
    let Some((path, node)) = fields.take("headers") else { return Ok(Fixed::new()) };
    let mut fixed = Fixed::new();
    for (name, node) in node.map(&path)? {
        let line = node.line;
        header::header_name(&name).map_err(|what| Fault::at(line, format!("{path}: each name {what}")))?;
        if matches!(node.value, Value::Null) {
            return Err(Fault::at(line, format!("{path} must have a value for each name")));
        }
        fixed.push((name, fields::text(&path, node, |text| Ok(text.to_owned()))?));
    }
    Ok(fixed)
}

#[cfg(test)]
pub(super) mod tests;
