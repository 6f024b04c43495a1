//! Row of the table of commands: its words, what it takes, and what it does.

use std::process::ExitCode;

use crate::config::Flags;
use crate::config::settings::{ROWS, Row};
use crate::service::Failure;

/// One command.
pub(super) struct Command {
    /// Its words: `["profiles", "list"]`.
    pub(super) path: &'static [&'static str],
    /// One sentence without a full stop.
    pub(super) summary: &'static str,
    /// Names of its arguments, `<name>`, or `[name]` when it may be left out.
    pub(super) arguments: &'static [&'static str],
    /// Its own options.
    pub(super) options: &'static [Row],
    /// It takes the flags of `run` too.
    pub(super) settings: bool,
    /// Or only these of them.
    selected: &'static [&'static str],
    /// What its help says after the flags.
    pub(super) details: &'static str,
    /// How it is typed, for example, behind the program's name.
    pub(super) example: &'static str,
    pub(super) run: fn(&Flags) -> Result<ExitCode, Failure>,
}

impl Command {
    /// A command without arguments and options.
    pub(super) const fn new(
        path: &'static [&'static str],
        summary: &'static str,
        example: &'static str,
        run: fn(&Flags) -> Result<ExitCode, Failure>,
    ) -> Command {
        let (arguments, options, selected): (&[&str], &[Row], &[&str]) = (&[], &[], &[]);
        Command { path, summary, arguments, options, settings: false, selected, details: "", example, run }
    }

    /// Takes these options.
    pub(super) const fn with_options(mut self, options: &'static [Row]) -> Command {
        self.options = options;
        self
    }

    /// Takes these arguments.
    pub(super) const fn with_arguments(mut self, arguments: &'static [&'static str]) -> Command {
        self.arguments = arguments;
        self
    }

    /// Takes the flags of `run` too.
    pub(super) const fn with_settings(mut self) -> Command {
        self.settings = true;
        self
    }

    /// Takes these flags of `run`, with their variables.
    pub(super) const fn with_selected(mut self, flags: &'static [&'static str]) -> Command {
        self.selected = flags;
        self
    }

    /// Has more to say in its help.
    pub(super) const fn with_details(mut self, text: &'static str) -> Command {
        self.details = text;
        self
    }

    /// The tables that know its flags.
    pub(super) fn tables(&self) -> Vec<&'static [Row]> {
        let mut tables = self.own_tables();
        tables.extend(self.settings.then_some(ROWS));
        tables
    }

    /// The same without the long one of `run`.
    pub(super) fn own_tables(&self) -> Vec<&'static [Row]> {
        let selected = ROWS.iter().filter(|row| self.selected.contains(&row.flag));
        [self.options].into_iter().chain(selected.map(std::slice::from_ref)).collect()
    }

    /// Its words as they are typed.
    pub(super) fn name(&self) -> String {
        self.path.join(" ")
    }

    pub(super) fn begins_with(&self, words: &[String]) -> bool {
        self.path.len() >= words.len() && self.path.iter().zip(words).all(|(own, word)| own == word)
    }
}
