//! Help text of the service, made from the table of settings, so that it cannot lag behind.
//!
//! The frame is that of the reference client, whose output people search with `grep`. The text holds what the table
//! holds and nothing of this host: no value that is set, no path, no name. So it cannot fail.

use crate::config::settings::{Kind, ROWS, Row};

/// Longest line of a help text whose words can be parted; two columns of it still fit a wide terminal.
pub(crate) const LINE_CHARS_MAX: usize = 96;

/// What stands between the lists of flags and variables, and behind them, in two parts.
const PROSE: &str = include_str!("help.txt");

/// What `tunnel-clientd --help` and `tunnel-client run --help` print. Settings whose features are absent are not
/// listed.
pub(crate) fn of_program(program: &str) -> String {
    let name = program.rsplit(' ').next().unwrap_or(program);
    let mut text = format!("{name} version {}\n\nUsage of {name}:\n", env!("CARGO_PKG_VERSION"));
    listed().for_each(|row| flag(&mut text, row));
    let prose = PROSE.replace("PROGRAM", program);
    let (running, next) = prose.split_once("Next steps:").unwrap_or_default();
    text.push_str(running);
    // Below the flags and not beside them: a unit's author looks for these alone.
    for row in listed() {
        for name in row.env {
            wrapped(&mut text, &format!("  {name}\t"), "      ", &of_variable(row, name));
        }
    }
    text + "\nNext steps:" + next
}

/// What a variable holds. That of a secret may hold the secret itself, which a flag never does.
fn of_variable(row: &Row, name: &str) -> String {
    match (row.kind, row.env.first()) {
        (Kind::Secret, Some(first)) if *first == name => {
            format!(
                "The key or token itself, or env:NAME or file:PATH, as for --{}{}",
                row.flag,
                default(row)
            )
        }
        (Kind::Secret, Some(first)) => format!("The same; either will do, and {first} wins"),
        _ => format!("{}{}", row.help(), default(row)),
    }
}

/// Text that goes on in the next line at a blank, below `indent`.
fn wrapped(text: &mut String, head: &str, indent: &str, words: &str) {
    text.push_str(head);
    let mut column = head.chars().count();
    for (number, word) in words.split(' ').enumerate() {
        let width = word.chars().count();
        if number > 0 && column + 1 + width > LINE_CHARS_MAX {
            text.push_str(&format!("\n{indent}"));
            column = indent.len();
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

/// What can be used today: a listed setting that is then refused would only annoy.
fn listed() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.is_live())
}

/// One flag on a line of its own, since the longest leave no room beside them.
/// Other names that are accepted for it are not shown, so that new set-ups agree on one.
pub(crate) fn flag(text: &mut String, row: &Row) {
    let placeholder = match row.placeholder {
        "" => String::new(),
        word => format!(" {word}"),
    };
    let repeated = if row.repeatable() { " (repeatable)" } else { "" };
    text.push_str(&format!("      --{}{placeholder}\n", row.flag));
    let indent = " ".repeat(12);
    wrapped(text, &indent, &indent, &format!("{}{repeated}{}", row.help(), default(row)));
}

/// A default of false or nothing goes without saying.
fn default(row: &Row) -> String {
    match (row.kind, row.default) {
        (_, "") | (Kind::Boolean, "false") => String::new(),
        (Kind::Text, default) => format!(" (default {default:?})"),
        (_, default) => format!(" (default {default})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_setting_is_listed_and_nothing_else() {
        let help = of_program("tunnel-client run");
        for row in ROWS {
            let live = row.is_live();
            assert_eq!(help.contains(&format!("      --{}", row.flag)), live, "{}", row.flag);
            assert!(row.alias.is_empty() || !help.contains(&format!("--{} ", row.alias)), "{}", row.alias);
            for name in row.env {
                assert_eq!(help.contains(&format!("  {name}\t")), live, "{name}");
            }
        }
        let key = "\n  CONTROL_PLANE_API_KEY\tThe key or token itself, or env:NAME or file:PATH, as for";
        assert!(help.contains(key), "{help}");
        assert!(
            help.contains("\n  OPENAI_API_KEY\tThe same; either will do, and CONTROL_PLANE_API_KEY wins\n")
        );
        assert!(help.contains("(default \"https://api.openai.com\")"));
    }
}
