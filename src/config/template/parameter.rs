//! Parameters of a template: what a caller may put into a path or a query.
//!
//! A value is one identifier of unreserved ASCII characters, so it needs no encoding, and no decoder on the way
//! can make two segments, a dot segment or a second member of a query out of it.

use super::fields::{Fields, plain};
use super::pattern::Use;
use super::rule::{CHOICES_MAX, Rule};
use crate::config::yaml::{Fault, Node};

/// Most parameters of a template.
const PARAMETERS_MAX: usize = 16;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;
/// Longest value.
pub(super) const VALUE_BYTES_MAX: usize = 256;
/// Longest description.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Most examples.
const EXAMPLES_MAX: usize = 8;

/// Parameter, with what its values must be.
#[derive(Debug)]
pub struct Parameter {
    /// Its name: `[A-Za-z][A-Za-z0-9_]{0,63}`.
    pub name: String,
    /// For the caller; may be empty.
    pub description: String,
    /// What a value must be.
    pub rule: Rule,
    /// Values that are refused, in any case of letters.
    pub reserved: Vec<String>,
    /// Values that are right.
    pub examples: Vec<String>,
}

impl Parameter {
    /// Reads all parameters, sorted by name.
    pub(super) fn read_all(path: &str, node: Node) -> Result<Vec<Parameter>, Fault> {
        let line = node.line;
        let members = node.map(path)?;
        if !(1..=PARAMETERS_MAX).contains(&members.len()) {
            return Err(Fault::at(line, format!("{path} must have 1 to {PARAMETERS_MAX} entries")));
        }
        let mut parameters = Vec::new();
        for (name, node) in members {
            if !is_name(&name) {
                let what = format!("{path}: names must match ^[A-Za-z][A-Za-z0-9_]{{0,63}}$");
                return Err(Fault::at(node.line, what));
            }
            parameters.push(Parameter::read(format!("{path}.{name}"), name, node)?);
        }
        parameters.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(parameters)
    }

    fn read(path: String, name: String, node: Node) -> Result<Parameter, Fault> {
        const MEMBERS: &str =
            "type required pattern enum min_length max_length reserved_values description examples";
        let mut fields = Fields::of(path, node, MEMBERS)?;
        let is_text = fields.text("type", |text| Ok(text == "string"))?;
        if (is_text, fields.truth("required")?) != (Some(true), Some(true)) {
            return Err(fields.fault("requires type: string and required: true"));
        }
        let max_length = fields.number("max_length", 1..=VALUE_BYTES_MAX)?;
        let max_length = max_length.ok_or_else(|| fields.fault("requires max_length"))?;
        let min_length = fields.number("min_length", 1..=max_length)?.unwrap_or(1);
        let identifier = |text: &str| match is_identifier(text) {
            true => Ok(()),
            false => Err("must be of letters, digits and _.~- and not a dot segment".to_owned()),
        };
        let rule = Rule::read(&mut fields, Use::Value, max_length, |_| Ok(()))?;
        if rule.is_empty() {
            return Err(fields.fault("requires pattern or enum"));
        }
        let description = fields.text("description", |text| plain(text, 0..=DESCRIPTION_BYTES_MAX))?;
        let mut parameter = Parameter {
            name,
            description: description.unwrap_or_default(),
            rule: Rule { min_length: Some(min_length), max_length: Some(max_length), ..rule },
            reserved: fields.texts("reserved_values", 0..=CHOICES_MAX, identifier)?,
            examples: Vec::new(),
        };
        if let Some(Err(what)) =
            parameter.rule.choices.iter().map(|one| parameter.check(one)).find(Result::is_err)
        {
            return Err(fields.fault(&format!("has an enum with a value that is not right: {what}")));
        }
        let judged = |text: &str| parameter.check(text).map_err(|what| format!("is not right: {what}"));
        parameter.examples = fields.texts("examples", 0..=EXAMPLES_MAX, judged)?;
        Ok(parameter)
    }

    /// Whether a value is right. The complaint does not repeat it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let of_identifier = |what| format!("identifier {what}");
        self.rule.check_length(value).map_err(of_identifier)?;
        if !is_identifier(value) {
            return Err(of_identifier("contains forbidden characters or path segments"));
        }
        if self.reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(value)) {
            return Err(of_identifier("is reserved"));
        }
        self.rule.check(value).map_err(of_identifier)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a value stays one segment, and the one that it says, whoever decodes it and however often.
fn is_identifier(value: &str) -> bool {
    is_unreserved(value) && value != "." && value != ".."
}

/// Whether a text is of unreserved characters alone.
pub(super) fn is_unreserved(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_.~-".contains(c))
}
