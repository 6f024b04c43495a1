//! Terminal output of commands: JSON, colours, and progress on standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::text::{self, MAX_FOREIGN_BYTES};

/// An object or array on indented lines. Characters that a terminal would act on occur within texts only,
/// and there JSON has a spelling for each.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut out = String::new();
    // Members are texts and numbers: there is nothing that cannot be written.
    for c in serde_json::to_string_pretty(value).unwrap_or_default().chars() {
        match c != '\n' && text::must_escape(c) {
            true => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")))
            }
            false => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// What somebody else wrote, as it may stand on a terminal: one line, cut, and without effects.
pub(super) fn foreign(text: &str) -> String {
    text::bounded(text, MAX_FOREIGN_BYTES)
}

/// Colours of words that a reader looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// It works.
    Green,
    /// It does not.
    Red,
    /// It was not tried.
    Yellow,
}

/// A word in a colour, where standard output is a terminal that knows colours and `NO_COLOR` is not set.
pub(super) fn paint(word: &str, colour: Colour) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb")
        || !io::stdout().is_terminal();
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    if plain { word.to_owned() } else { format!("\x1b[{code}m{word}\x1b[0m") }
}

/// What a check has found.
pub(super) fn verdict(ok: bool) -> String {
    if ok { paint("PASS", Colour::Green) } else { paint("FAIL", Colour::Red) }
}

/// A line on standard error that says what is being waited for, and goes when it is done. Nothing is shown
/// where that is no terminal.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Nothing to say yet.
    pub(super) fn new() -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Progress { shown: io::stderr().is_terminal() && !dumb }
    }

    /// Replaces the line.
    pub(super) fn show(&self, text: &str) {
        if self.shown {
            // Progress is a courtesy: losing it is no failure.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
