//! Precedence: who set a setting, and to what.
//!
//! Flags win over the environment, the environment over the YAML file, the file over defaults.
//! Lists replace, they never add up. A variable that is set but empty hides the file.
//!
//! This room's one way from a text to a value is [`Lookup::read`]: it finds the text, has it
//! parsed, and gives a complaint its place. The grammars therefore need not know who gave what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::binding::Entry;
use super::document::{self, File, Raw};
use super::reference::References;
use super::settings::{Kind, Least, ROWS, Row};
use super::yaml::{Fault, Node};
use super::{Environment, Error, Flags, ListenAddress, literal, value};

/// Answers questions about settings.
pub(crate) struct Lookup<'a> {
    flags: &'a Flags,
    file: Option<&'a File>,
    /// The API key is not asked for.
    pub(crate) keyless: bool,
    /// The address of the listener, where its name was resolved before.
    pub(crate) listen: Option<&'a ListenAddress>,
    /// Resolves what values refer to.
    pub(crate) references: References<'a>,
}

/// Source of a value.
#[derive(Clone, Copy)]
pub(crate) enum Giver<'l> {
    /// The command line.
    Flag,
    /// This variable.
    Environment(&'static str),
    /// This line of the file at this path.
    File(&'l Path, usize),
    /// Nobody: it is the default of the table.
    Table,
}

/// A value, and what a complaint about it has to name. Who gave it is kept beside it and not
/// looked up again, since a key is read differently from a flag, a variable and a file.
pub(crate) struct Found<'l> {
    pub(crate) row: &'static Row,
    pub(crate) giver: Giver<'l>,
    pub(crate) raw: Raw,
}

impl<'a> Lookup<'a> {
    /// Settings of a file, if there is one. What it refers to is looked up when it is used: what somebody overrides may
    /// be broken, so that one profile can serve hosts that lack some of its secrets.
    pub(crate) fn of(
        flags: &'a Flags,
        environment: &'a Environment,
        file: Option<&'a File>,
        keyless: bool,
    ) -> Self {
        let references = References::new(environment);
        references.warn(literal::of_flags(flags));
        if let Some(file) = file {
            references.warn(file.warnings.iter().cloned());
            references.warn(literal::of_file(&file.path, &file.document));
        }
        Lookup { flags, file, keyless, listen: None, references }
    }

    /// The value of a setting, be it given or the default; `None` when there is neither.
    fn find(&self, flag: &str) -> Result<Option<Found<'_>>, Error> {
        let row = row(flag)?;
        let Some(mut found) = self.given(row) else {
            // The default goes the way of every other value, so that the table cannot hold one that
            // its own grammar refuses.
            let default = Some(row.default).filter(|default| !default.is_empty());
            let raw = default.map(|text| Raw::Text(text.to_string()));
            return Ok(raw.map(|raw| Found { row, giver: Giver::Table, raw }));
        };
        if let (Giver::File(..), true, Raw::Text(text)) = (found.giver, row.reference, &found.raw) {
            let value = self.references.lasting(row.yaml, text).map_err(|fault| found.fault(&fault))?;
            found.raw = Raw::Text(value);
        }
        Ok(Some(found))
    }

    /// The value of a key of an entry, which in a file may be a reference, and holds until the process ends.
    pub(crate) fn value(&self, found: &Found, entry: &Entry, key: &str) -> Result<String, String> {
        match (found.giver, entry.get(key).unwrap_or_default()) {
            (Giver::File(..), text) => self.references.lasting(&format!("{}.{key}", found.row.yaml), text),
            (_, text) => Ok(text.to_owned()),
        }
    }

    /// The value that was given for a row; no default.
    pub(crate) fn given(&self, row: &'static Row) -> Option<Found<'_>> {
        if let Some(raw) = self.flag(row) {
            return Some(Found { row, giver: Giver::Flag, raw });
        }
        let variable = |name: &&'static str| Some((*name, self.references.environment.get(name)?));
        let own = row.env.first().and_then(variable);
        // Further names are fall-backs of the first one, and the file speaks for the first one:
        // a profile's key wins over an `OPENAI_API_KEY` that is there for other programs.
        if let (None, Some(file)) = (own, self.file) {
            if let Some((_, line, raw)) = file.document.iter().find(|(known, ..)| known.flag == row.flag) {
                return Some(Found { row, giver: Giver::File(&file.path, *line), raw: raw.clone() });
            }
        }
        let (name, text) = own.or_else(|| row.env.iter().find_map(variable))?;
        Some(Found { row, giver: Giver::Environment(name), raw: of_variable(row, text)? })
    }

    /// Source of a setting, and of the value that it hides, in words for people.
    #[cfg(feature = "operator")]
    pub(crate) fn giver(&self, flag: &str) -> String {
        let Ok(Some(found)) = self.find(flag) else { return "nobody".to_owned() };
        let of_file = self.file.iter().flat_map(|file| &file.document);
        let hides = of_file.map(|(row, ..)| row).any(|row| row.flag == flag);
        let hidden = format!(", which wins over {} of the file", found.row.yaml);
        match found.giver {
            Giver::Table => "the default".to_owned(),
            Giver::File(..) => format!("set by {}", found.row.yaml),
            giver => {
                let dashes = if matches!(giver, Giver::Flag) { "--" } else { "" };
                format!("set by {dashes}{}{}", found.label(), if hides { hidden.as_str() } else { "" })
            }
        }
    }

    /// A setting as `parse` understands it; `None` where there is neither a value nor a default.
    pub(crate) fn read<T>(
        &self,
        flag: &str,
        parse: impl FnOnce(&Found) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let parsed = self.find(flag)?.map(|found| parse(&found).map_err(|fault| found.fault(&fault)));
        parsed.transpose()
    }

    /// A section that only a file can hold, as `read` understands it.
    pub(crate) fn tree<T>(
        &self,
        name: &str,
        read: impl FnOnce(Node) -> Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        let Some(file) = self.file else { return Ok(None) };
        let node = file.document.iter().find_map(|(row, _, raw)| match raw {
            Raw::Tree(node) if row.yaml == name => Some(node.clone()),
            _ => None,
        });
        let located = |fault: Fault| document::located(&file.path, fault.line, &fault.text);
        node.map(|node| read(node).map_err(located)).transpose()
    }

    /// A path as it is. Where YAML may hold a reference to it, that has been resolved already.
    pub(crate) fn plain_path(&self, flag: &str) -> Result<Option<PathBuf>, Error> {
        self.read(flag, |found| Ok(PathBuf::from(found.text())))
    }

    /// A path, or a reference that yields one.
    pub(crate) fn path(&self, flag: &str) -> Result<Option<PathBuf>, Error> {
        self.read(flag, |found| self.references.path(flag, found.text()))
    }

    /// A setting as one of the grammars of single values understands it.
    fn parsed<T: Default>(&self, flag: &str, parse: fn(&str) -> Result<T, String>) -> Result<T, Error> {
        let value = self.read(flag, |found| {
            parse(found.text()).map_err(|why| format!("invalid {}: {why}", found.name()))
        })?;
        Ok(value.unwrap_or_default())
    }

    /// A boolean.
    pub(crate) fn boolean(&self, flag: &str) -> Result<bool, Error> {
        self.parsed(flag, value::boolean)
    }

    /// An integer within the bounds of the table.
    pub(crate) fn integer(&self, flag: &str) -> Result<usize, Error> {
        let number = self.parsed(flag, value::integer)?;
        let (min, max) = match row(flag)?.kind {
            Kind::Integer { min, max } => (min, max),
            _ => (0, i64::MAX),
        };
        let what = match usize::try_from(number) {
            _ if number < min && min == 1 => "must be greater than zero".to_owned(),
            _ if number < min => format!("must be at least {min}"),
            _ if number > max => format!("must be less than or equal to {max}"),
            Ok(number) => return Ok(number),
            // A bound of the table may be beyond what 32 bits can count.
            Err(_) => "is too large for this machine".to_owned(),
        };
        Err(self.refuse(flag, &what))
    }

    /// A duration above the least of the table.
    pub(crate) fn duration(&self, flag: &str) -> Result<Duration, Error> {
        let nanoseconds = u64::try_from(self.parsed(flag, value::duration_ns)?);
        match (row(flag)?.kind, nanoseconds) {
            (Kind::Duration(Least::AboveZero), Ok(0) | Err(_)) => {
                Err(self.refuse(flag, "must be greater than zero"))
            }
            (_, Err(_)) => Err(self.refuse(flag, "must not be negative")),
            (_, Ok(nanoseconds)) => Ok(Duration::from_nanos(nanoseconds)),
        }
    }

    /// An error about a setting whose text is fine by itself but does not go with others.
    pub(crate) fn fault(&self, flag: &str, text: &str) -> Error {
        match self.find(flag) {
            Ok(Some(found)) => found.fault(text),
            _ => Error::invalid(text),
        }
    }

    /// An error of that kind whose text begins with the name of the setting.
    pub(crate) fn refuse(&self, flag: &str, what: &str) -> Error {
        let name = self.find(flag).ok().flatten().map_or(flag, |found| found.name());
        self.fault(flag, &format!("{name} {what}"))
    }

    /// The value on the command line; as in Go, the last of several values counts unless all do.
    fn flag(&self, row: &Row) -> Option<Raw> {
        let values = self.flags.all(row.flag)?;
        if row.repeatable() {
            return Some(Raw::List(values.to_vec()));
        }
        let last = values.last()?;
        // An empty proxy or tunnel id is a mistake; any other empty flag stands for none.
        let counts =
            !last.is_empty() || row.kind == Kind::Proxy || (row.empty_counts && row.kind == Kind::Text);
        counts.then(|| Raw::Text(last.clone()))
    }
}

impl Found<'_> {
    /// The value as one text.
    pub(crate) fn text(&self) -> &str {
        match &self.raw {
            Raw::Text(text) => text,
            _ => "",
        }
    }

    /// The value as several texts.
    pub(crate) fn list(&self) -> &[String] {
        match &self.raw {
            Raw::List(items) => items,
            _ => &[],
        }
    }

    /// The name that a complaint about the value uses. The key of a file stands before the complaint already.
    pub(crate) fn name(&self) -> &'static str {
        match self.giver {
            Giver::Environment(name) => name,
            _ => self.row.flag,
        }
    }

    /// The name of the place that the value came from, for people.
    pub(crate) fn label(&self) -> &'static str {
        match self.giver {
            Giver::Environment(name) => name,
            Giver::File(..) => self.row.yaml,
            Giver::Flag | Giver::Table => self.row.flag,
        }
    }

    /// An error about the value; where it stands in a file, file, line and key are added.
    pub(crate) fn fault(&self, text: &str) -> Error {
        let key = self.row.yaml;
        let error = match self.giver {
            // Most complaints name their setting themselves, and twice helps nobody.
            Giver::File(path, line) if text.contains(key) => document::located(path, Some(line), text),
            Giver::File(path, line) => document::located(path, Some(line), &format!("{key}: {text}")),
            _ => Error::invalid(text),
        };
        error.of(self.row.flag)
    }
}

/// The row of a setting. A name that the table lacks is a mistake of this program; every load asks for all of
/// them, so no test can miss it.
fn row(flag: &str) -> Result<&'static Row, Error> {
    let row = ROWS.iter().find(|row| row.flag == flag);
    row.ok_or_else(|| Error::invalid(format!("there is no setting {flag}")))
}

/// A variable's value, split where the table says so; an empty one counts as not given unless
/// the table says otherwise.
fn of_variable(row: &Row, text: &str) -> Option<Raw> {
    if text.is_empty() && !row.empty_counts {
        return None;
    }
    // A value cannot hold its separators: whoever needs a comma in a header uses a flag or YAML.
    let separators: &[char] = match row.kind {
        Kind::Headers => &[',', ';'],
        Kind::Entries { separators, .. } | Kind::List(separators) => separators,
        _ => return Some(Raw::Text(text.to_string())),
    };
    let items = text.split(separators);
    Some(Raw::List(if row.empty_counts {
        // Kept as they are: poll channels are refused when they are not canonical.
        items.map(str::to_string).collect()
    } else {
        // Without blank ones: a trailing separator is no mistake.
        items.map(str::trim).filter(|item| !item.is_empty()).map(str::to_string).collect()
    }))
}
