//! Help text of the service, made from the table of settings, so that it cannot lag behind.
//!
//! The frame is that of the reference client, whose output people search with `grep`. The text holds what the table
//! holds and nothing of this host: no value that is set, no path, no name. So it cannot fail.

use crate::config::settings::{Kind, ROWS, Row};

/// Longest line of a help text whose words can be parted; two columns of it still fit a wide terminal.
pub(crate) const LINE_CHARS_MAX: usize = 96;

/// What a unit's author has to know of `run`, and cannot see in its flags.
const RUNNING: &str = "\
Under a service manager (NOTIFY_SOCKET is set, as with Type=notify of systemd):
  READY=1     once the control plane was reached, or has been waited for 30 s
  STATUS=     what /readyz says, whenever it changes
  RELOADING=1 at SIGHUP, which has files and the profile read again; then READY=1
  STOPPING=1  at SIGTERM and SIGINT; then the answers under way are finished,
              within process.drain-timeout and 18 s
  WATCHDOG=1  at half the time of WATCHDOG_USEC, while no thread is stuck

Exit codes: 0 stopped, every caller told by an answer or a failure; 1 not
started, made to stop at once, or answers lost in the drain; 78 in place of 1
under a service manager when settings cannot be used, for
RestartPreventExitStatus=78.
";

/// What `tunnel-clientd --help` and `tunnel-client run --help` print. Settings whose features are absent are not
/// listed.
pub(crate) fn of_program(program: &str) -> String {
    let name = program.rsplit(' ').next().unwrap_or(program);
    let mut text = format!("{name} version {}\n\nUsage of {name}:\n", env!("CARGO_PKG_VERSION"));
    for row in listed() {
        flag(&mut text, row);
    }
    text.push_str(&format!("\n{RUNNING}\nEnvironment variables:\n"));
    // Below the flags and not beside them: a unit's author looks for these alone.
    for row in listed() {
        for name in row.env {
            wrapped(&mut text, &format!("  {name}\t"), "      ", &of_variable(row, name));
        }
    }
    text.push_str("\nNext steps:\n");
    text.push_str("  Set the tunnel id, the API key and one MCP server, for example:\n");
    text.push_str(&format!("  {program} --control-plane.tunnel-id tunnel_... \\\n"));
    text.push_str("    --control-plane.api-key file:/etc/tunnel-client/key \\\n");
    text.push_str("    --mcp.server-url http://127.0.0.1:3000/mcp\n");
    text + &format!("  Or name a profile:\n  {program} --profile prod\n")
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
        _ => format!("{}{}", row.help, default(row)),
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
    wrapped(text, &indent, &indent, &format!("{}{repeated}{}", row.help, default(row)));
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
