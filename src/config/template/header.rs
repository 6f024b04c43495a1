//! Headers of a template: which ones a caller may set, and under which names they go on.

use ureq::http::HeaderName;

use super::fields::{self, Fields, plain};
use super::header_names::{is_credential, is_forbidden, may_be_credential};
use super::parameter::DESCRIPTION_BYTES_MAX;
use super::pattern::Use;
use super::rule::Rule;
use crate::config::yaml::{Fault, Node, Value};
use crate::header_names::{is_refused, plain as plain_name};

/// Most headers of one request, those of the operator and of the caller together.
pub const HEADERS_MAX: usize = 32;
/// Longest name.
const NAME_BYTES_MAX: usize = 128;
/// All headers of one request together, with the name of this program.
pub const HEADERS_BYTES_MAX: usize = 8192;

/// Headers that a caller may set.
#[derive(Debug)]
pub struct HeaderPolicy {
    /// By name.
    pub rules: Vec<HeaderRule>,
    /// Whether any of them is more than a name. Then a call is bound to the policy that its caller has seen.
    pub is_bound: bool,
}

/// Header that a caller may set.
#[derive(Debug)]
pub struct HeaderRule {
    /// What the caller calls it.
    pub name: HeaderName,
    /// What it is sent as.
    pub forward_as: HeaderName,
    /// For the caller; may be empty.
    pub description: String,
    /// Whether there must be one.
    pub required: bool,
    /// What its value must be.
    pub rule: Rule,
}

impl PartialEq for HeaderRule {
    /// What makes two rules one too many.
    fn eq(&self, other: &HeaderRule) -> bool {
        plain_name(&self.name) == plain_name(&other.name)
    }
}

impl HeaderPolicy {
    /// Reads both forms of the list. `fixed` are the names that the operator sets.
    pub(super) fn read(
        fields: &mut Fields,
        fixed: &[HeaderName],
        has_body: bool,
    ) -> Result<HeaderPolicy, Fault> {
        let allowed = fields.list("allowed_headers", 0..=HEADERS_MAX, named)?;
        let ruled = fields.list("header_rules", 0..=HEADERS_MAX, |path, node| match &node.value {
            Value::Map(_) => HeaderRule::read(path.to_owned(), node),
            _ => named(path, node),
        })?;
        if allowed.is_some() && ruled.is_some() {
            return Err(fields.fault("header_rules and allowed_headers cannot be combined"));
        }
        let mut rules = allowed.or(ruled).unwrap_or_default();
        // A rule that is no name alone describes itself.
        let is_bound = rules.iter().any(|rule| !rule.description.is_empty());
        rules.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        if fixed.len() + rules.len() > HEADERS_MAX {
            return Err(fields.fault(&format!("has more than {HEADERS_MAX} headers in all")));
        }
        let policy = HeaderPolicy { rules, is_bound };
        policy.check_names(fixed, has_body).map_err(|what| fields.fault(&what))?;
        Ok(policy)
    }

    /// Checks what must hold of all names together: no two of them may be one to a server.
    fn check_names(&self, fixed: &[HeaderName], has_body: bool) -> Result<(), String> {
        let callers = self.rules.iter().flat_map(|rule| {
            let sent_as = Some(&rule.forward_as).filter(|name| **name != rule.name);
            [Some(&rule.name), sent_as].into_iter().flatten()
        });
        let mut seen = Vec::new();
        for (name, is_callers) in
            fixed.iter().map(|name| (name, false)).chain(callers.map(|name| (name, true)))
        {
            let (plain, shown) = (plain_name(name), name.as_str());
            if is_forbidden(name, self.is_bound, has_body) {
                return Err(format!("cannot set header {shown:?}"));
            }
            // What no caller may send with a command, none may by a template.
            if is_callers && is_refused(name) {
                return Err(format!("cannot let callers set header {shown:?}; remove it"));
            }
            if seen.contains(&plain) {
                return Err(format!("has header {shown:?} twice: names must not overlap"));
            }
            seen.push(plain);
        }
        Ok(())
    }
}

impl HeaderRule {
    fn read(path: String, node: Node) -> Result<HeaderRule, Fault> {
        let mut fields =
            Fields::of(path, node, "name description required credential forward_as validation")?;
        let name = fields.required_text("name", header_name)?;
        let rule = HeaderRule {
            forward_as: fields.text("forward_as", header_name)?.unwrap_or_else(|| name.clone()),
            name,
            description: fields
                .required_text("description", |text| plain(text, 1..=DESCRIPTION_BYTES_MAX))?,
            required: fields.truth("required")?.unwrap_or_default(),
            rule: fields
                .take("validation")
                .map(|(path, node)| validation(path, node))
                .transpose()?
                .unwrap_or_default(),
        };
        let is_trusted = fields.truth("credential")?.unwrap_or_default();
        rule.check_credential(is_trusted).map_err(|what| fields.fault(what))?;
        Ok(rule)
    }

    /// Credentials are the operator's: a caller may bring one only where it was thought of.
    fn check_credential(&self, is_trusted: bool) -> Result<(), &'static str> {
        let names = [&self.name, &self.forward_as];
        let may_be = names.iter().any(|name| may_be_credential(name));
        let Rule { pattern, choices, min_length, max_length } = &self.rule;
        let has_bounds = min_length.is_some_and(|least| least > 0) && max_length.is_some();
        let is_ruled = pattern.is_some() && has_bounds && choices.is_empty();
        match is_trusted {
            false if names.iter().any(|name| is_credential(name)) => Err(CREDENTIAL),
            true if !may_be => Err("can be a credential only as authorization, x-api-key or api-key"),
            true if !is_ruled => Err(
                "with credential: true requires a pattern, min_length of at least 1 and max_length, without enum",
            ),
            _ => Ok(()),
        }
    }
}

fn validation(path: String, node: Node) -> Result<Rule, Fault> {
    let mut fields = Fields::of(path, node, "pattern enum min_length max_length")?;
    let max_length = fields.number("max_length", 0..=HEADERS_BYTES_MAX)?;
    let min_length = fields.number("min_length", 0..=max_length.unwrap_or(HEADERS_BYTES_MAX))?;
    let is_value = |text: &str| plain(text, 1..=HEADERS_BYTES_MAX).map(drop);
    let rule = Rule::read(&mut fields, Use::Value, HEADERS_BYTES_MAX, is_value)?;
    Ok(Rule { min_length, max_length, ..rule })
}

const CREDENTIAL: &str =
    "names what looks like a credential, which callers set only by a rule with credential: true";

/// Name of a header.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = text.parse().ok().filter(|_| text.len() <= NAME_BYTES_MAX);
    name.ok_or_else(|| format!("must be a header name of at most {NAME_BYTES_MAX} bytes"))
}

/// Header that a caller may set as it is.
fn named(path: &str, node: Node) -> Result<HeaderRule, Fault> {
    let name = fields::text(path, node, |text| match header_name(text)? {
        name if is_credential(&name) => Err(CREDENTIAL.into()),
        name => Ok(name),
    })?;
    let (forward_as, description, rule) = (name.clone(), String::new(), Rule::default());
    Ok(HeaderRule { name, forward_as, description, required: false, rule })
}
