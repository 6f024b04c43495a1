//! The command line of one command: which flags were given, with which values.
//!
//! Knows tables and nothing else: that of the settings, and those of the commands' own options. What
//! the values mean is decided later. They are not repeated in error texts unless their kind cannot hold
//! a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;

use lexopt::Arg;

#[cfg(any(test, feature = "dev"))]
use super::settings::ROWS;
use super::settings::{Kind, Row};
use super::{Error, value};

/// The flags that were given.
#[derive(Default)]
pub struct Flags {
    /// By canonical name; every value in the order given.
    values: BTreeMap<&'static str, Vec<String>>,
    /// Positional arguments.
    #[cfg(feature = "operator")]
    arguments: Vec<String>,
    /// The tables that know the flags; they hold the defaults.
    #[cfg(feature = "operator")]
    tables: Vec<&'static [Row]>,
}

/// Request of a command line.
pub enum Request {
    /// Do the work with these flags.
    Run(Flags),
    /// Print the help text.
    Help,
    /// Print the version.
    Version,
}

/// Words this far from a known one are taken for a misspelling of it; farther ones are as likely
/// to be meant for another program.
#[cfg(feature = "operator")]
const MISSPELLING_MAX_EDITS: usize = 3;

impl Flags {
    /// Parses the flags of `run`.
    #[cfg(any(test, feature = "dev"))]
    pub fn parse(arguments: impl IntoIterator<Item: Into<OsString>>) -> Result<Request, Error> {
        Flags::of_command(arguments, &[ROWS], 0)
    }

    /// Parses what stands after a command's name: flags of these tables, and up to so many arguments.
    /// Most commands take none: a stray `false` behind a boolean flag would otherwise turn on what it
    /// meant to turn off.
    pub fn of_command(
        arguments: impl IntoIterator<Item: Into<OsString>>,
        tables: &[&'static [Row]],
        arguments_max: usize,
    ) -> Result<Request, Error> {
        let rows = || tables.iter().copied().flatten();
        let mut positional = Vec::new();
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut values: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut aliased: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        loop {
            let name = match parser.next().map_err(|_| Error::usage("unexpected value"))? {
                None => break,
                Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Request::Help),
                Some(Arg::Long("version")) => return Ok(Request::Version),
                Some(Arg::Long(name)) => name.to_string(),
                Some(Arg::Short(letter)) => {
                    return Err(Error::usage(format!("unknown shorthand flag: {letter:?} in -{letter}")));
                }
                Some(Arg::Value(value)) if positional.len() < arguments_max => {
                    positional.push(
                        value.into_string().map_err(|_| Error::usage("an argument is not valid UTF-8"))?,
                    );
                    continue;
                }
                // Not echoed: it may be the value of a flag that takes a secret.
                Some(Arg::Value(_)) => {
                    return Err(Error::usage("unexpected argument: write every value as --flag=value"));
                }
            };
            // `--=x` has an empty name, which is not the alias of the rows without one.
            let named = |row: &&Row| row.flag == name || (row.alias == name && !name.is_empty());
            let row = rows().find(named).ok_or_else(|| unknown(&name, rows().map(|row| row.flag)))?;
            let value = value_of(&mut parser, row, &name)?;
            check(row, &name, &value)?;
            let into = if row.flag == name { &mut values } else { &mut aliased };
            into.entry(row.flag).or_default().push(value);
        }
        // The canonical spelling wins where both were given.
        for (flag, given) in aliased {
            values.entry(flag).or_insert(given);
        }
        Ok(Request::Run(Flags {
            values,
            #[cfg(feature = "operator")]
            arguments: positional,
            #[cfg(feature = "operator")]
            tables: tables.to_vec(),
        }))
    }

    /// The positional arguments.
    #[cfg(feature = "operator")]
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// An option's value, given or default; empty where there is neither.
    #[cfg(feature = "operator")]
    pub(crate) fn option(&self, flag: &str) -> &str {
        let row = || self.tables.iter().copied().flatten().find(|row| row.flag == flag);
        self.last(flag).or_else(|| row().map(|row| row.default)).unwrap_or_default()
    }

    /// Value of a boolean option. Its text was checked when it was parsed.
    #[cfg(feature = "operator")]
    pub(crate) fn is_on(&self, flag: &str) -> bool {
        value::boolean(self.option(flag)).unwrap_or_default()
    }

    /// An option that is a duration, checked like the above; a negative one counts as zero.
    #[cfg(feature = "operator")]
    pub(crate) fn duration(&self, flag: &str) -> std::time::Duration {
        let nanoseconds = value::duration_ns(self.option(flag)).unwrap_or_default();
        std::time::Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
    }

    /// The flags of a table that were given, with all their values, by name.
    pub(crate) fn given(&self, table: &'static [Row]) -> impl Iterator<Item = (&'static Row, &[String])> {
        let row = |flag: &str| table.iter().find(|row| row.flag == flag);
        self.values.iter().filter_map(move |(flag, values)| Some((row(flag)?, values.as_slice())))
    }

    /// Every value of a flag; `None` when it was not given.
    pub(crate) fn all(&self, flag: &str) -> Option<&[String]> {
        self.values.get(flag).map(Vec::as_slice)
    }

    /// The last value of a flag.
    pub(crate) fn last(&self, flag: &str) -> Option<&str> {
        self.all(flag)?.last().map(String::as_str)
    }
}

/// The value of the flag just read. A boolean takes one only after `=`, as in Go: in
/// `--flag false` the second word is a positional argument.
fn value_of(parser: &mut lexopt::Parser, row: &Row, name: &str) -> Result<String, Error> {
    let value = if row.kind == Kind::Boolean {
        parser.optional_value().unwrap_or_else(|| "true".into())
    } else {
        parser.value().map_err(|_| Error::usage(format!("flag needs an argument: --{name}")))?
    };
    value.into_string().map_err(|_| Error::usage(format!("the value of --{name} is not valid UTF-8")))
}

/// Refuses values that cannot be read as their kind; whether they are in range is seen later. An
/// unreadable one may be quoted, for no secret is of such a kind.
fn check(row: &Row, name: &str, text: &str) -> Result<(), Error> {
    let verdict = match row.kind {
        Kind::Boolean => value::boolean(text).map(drop),
        Kind::Integer { .. } => value::integer(text).map(drop),
        Kind::Duration(_) => value::duration_ns(text).map(drop),
        _ => Ok(()),
    };
    verdict.map_err(|fault| Error::usage(format!("invalid argument {text:?} for \"--{name}\" flag: {fault}")))
}

/// Names the flag, and for people the known one that was probably meant; never its value.
fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> Error {
    let typed = name.escape_debug().to_string();
    #[cfg(feature = "operator")]
    if let Some(flag) = nearest(&typed, known) {
        return Error::usage(format!("unknown flag: --{typed} (did you mean --{flag}?)"));
    }
    #[cfg(not(feature = "operator"))]
    drop(known);
    Error::usage(format!("unknown flag: --{typed}"))
}

/// The known word that a mistyped one was probably meant to be. A word of which nothing would be left is
/// no guess.
#[cfg(feature = "operator")]
pub fn nearest(typed: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let (distance, word) = known.map(|word| (edits(typed, word), word)).min()?;
    (distance <= MISSPELLING_MAX_EDITS && distance < word.chars().count()).then_some(word)
}

/// The number of insertions, removals and replacements between two words, by the usual table, of
/// which only the row for the letters of `left` so far is kept.
#[cfg(feature = "operator")]
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, a) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        let mut next = vec![before];
        for (b, up) in right.chars().zip(row.iter().skip(1)) {
            before = (diagonal + usize::from(a != b)).min(up + 1).min(before + 1);
            diagonal = *up;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        match Flags::parse(arguments) {
            Ok(Request::Run(flags)) => flags,
            Ok(_) => panic!("not a run"),
            Err(error) => panic!("{error}"),
        }
    }

    fn refusal(arguments: &[&str]) -> String {
        Flags::parse(arguments).err().unwrap().to_string()
    }

    #[test]
    fn values_follow_or_are_attached_and_the_last_one_wins() {
        let flags = flags(&["--log.level", "warn", "--log.level=debug", "--pid.file="]);
        assert_eq!(flags.last("log.level"), Some("debug"));
        assert_eq!(flags.last("pid.file"), Some(""));
        assert_eq!(flags.all("ca-bundle"), None);
    }

    #[test]
    fn booleans_need_no_value() {
        assert_eq!(flags(&["--log.http-raw-unsafe"]).last("log.http-raw-unsafe"), Some("true"));
        assert_eq!(flags(&["--log.http-raw-unsafe=false"]).last("log.http-raw-unsafe"), Some("false"));
        assert!(
            refusal(&["--log.http-raw-unsafe=maybe"])
                .starts_with("invalid argument \"maybe\" for \"--log.http-raw-unsafe\" flag: ")
        );
    }

    #[test]
    fn aliases_lose_against_the_canonical_name() {
        let flags = flags(&["--mcp.command", "a", "--mcp-command", "b", "--mcp-server-url", "http://h/"]);
        assert_eq!(flags.all("mcp.command"), Some(&["a".to_string()][..]));
        assert_eq!(flags.last("mcp.server-url"), Some("http://h/"));
    }

    #[test]
    fn mistakes_are_named() {
        let meant = if cfg!(feature = "operator") { " (did you mean --log.level?)" } else { "" };
        assert_eq!(refusal(&["--log.levle=x"]), format!("unknown flag: --log.levle{meant}"));
        assert_eq!(refusal(&["--nothing-like-it=secret"]), "unknown flag: --nothing-like-it");
        assert_eq!(refusal(&["--=x"]), "unknown flag: --");
        assert_eq!(refusal(&["--pid.file"]), "flag needs an argument: --pid.file");
        let stray = "unexpected argument: write every value as --flag=value";
        assert_eq!(refusal(&["--log.http-raw-unsafe", "false"]), stray);
        assert!(
            refusal(&["--control-plane.poll-timeout", "abc"])
                .starts_with("invalid argument \"abc\" for \"--control-plane.poll-timeout\" flag: ")
        );
    }

    #[test]
    fn help_and_version_come_first() {
        assert!(matches!(Flags::parse(["--log.level", "x", "--help", "--bogus"]), Ok(Request::Help)));
        assert!(matches!(Flags::parse(["-h"]), Ok(Request::Help)));
        assert!(matches!(Flags::parse(["--version"]), Ok(Request::Version)));
    }

    #[test]
    #[cfg(feature = "operator")]
    fn edit_distance_counts_single_letters() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }
}
