//! What a value that a caller chooses must be: a pattern, an enumeration and bounds, of parameters, headers and bodies alike.

use super::fields::Fields;
use super::pattern::{Pattern, Use};
use crate::config::yaml::Fault;

/// Most values that are allowed or reserved.
pub(super) const CHOICES_MAX: usize = 64;

/// Rule for a value.
#[derive(Debug, Default)]
pub struct Rule {
    /// What all of it must match.
    pub pattern: Option<Pattern>,
    /// The only values, where there are any.
    pub choices: Vec<String>,
    /// Fewest characters.
    pub min_length: Option<usize>,
    /// Most characters.
    pub max_length: Option<usize>,
}

impl Rule {
    /// Reads pattern and enumeration, for values of at most so many bytes.
    pub(super) fn read(
        fields: &mut Fields,
        of: Use,
        bytes_max: usize,
        is_choice: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Rule, Fault> {
        Ok(Rule {
            pattern: fields.text("pattern", |text| Pattern::read(text, of, bytes_max))?,
            choices: fields.texts("enum", 1..=CHOICES_MAX, is_choice)?,
            ..Rule::default()
        })
    }

    /// Whether nothing is asked for but a length.
    pub(super) fn is_empty(&self) -> bool {
        self.pattern.is_none() && self.choices.is_empty()
    }

    /// Whether the length is right. The complaint is the tail of a sentence and does not repeat the value.
    pub fn check_length(&self, value: &str) -> Result<(), &'static str> {
        let length = value.chars().count();
        let fits = self.min_length.is_none_or(|least| length >= least);
        let fits = fits && self.max_length.is_none_or(|most| length <= most);
        if fits { Ok(()) } else { Err("length is outside its bounds") }
    }

    /// Whether all else is.
    pub fn check(&self, value: &str) -> Result<(), &'static str> {
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.matches(value)) {
            return Err("does not match its pattern");
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == value) {
            return Err("is outside its enum");
        }
        Ok(())
    }
}
