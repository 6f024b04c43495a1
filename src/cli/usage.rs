//! Help texts, made from the tables of commands and settings, so that they cannot lag behind them.
//!
//! They need no settings and read none: help must work where nothing else does yet. The frame of
//! `run --help` is that of the reference client, whose output people search with `grep`.
//!
//! They print what the tables hold and nothing of this host: no value that is set, no path, no name. That is
//! also why they cannot fail.

use crate::config::settings::{Kind, ROWS, Row, Status};

use super::command::Command;
use super::help::TOPICS;

/// What stands above the list of all commands.
const INTRODUCTION: &str = "\
tunnel-client connects a private MCP server to OpenAI products without any inbound port.
It polls a control plane over HTTPS, forwards each command to your server and posts the answer back.
";

/// Where a newcomer gets what `run` asks for.
pub(super) const PLACES: &str =
    "  Tunnels management: https://platform.openai.com/settings/organization/tunnels
  Runtime API keys: https://platform.openai.com/settings/organization/api-keys
  Admin API keys: https://platform.openai.com/settings/organization/admin-keys
  ChatGPT connector settings: https://chatgpt.com/#settings/Connectors
";

/// Longest line of a help text whose words can be parted; two columns of it still fit a wide terminal.
const LINE_CHARS_MAX: usize = 96;

/// What a unit's author has to know of `run`, and cannot see in its flags.
const RUNNING: &str = "\
Under a service manager (NOTIFY_SOCKET is set, as with Type=notify of systemd):
  READY=1     once the control plane was reached, or has been waited for 30 s
  STATUS=     what /readyz says, whenever it changes
  STOPPING=1  at SIGTERM and SIGINT; then the answers under way are finished,
              within process.drain-timeout and 17 s
  WATCHDOG=1  at half the time of WATCHDOG_USEC, while no thread is stuck

Exit codes: 0 stopped, every caller told by an answer or a failure; 1 not
started, made to stop at once, or answers lost in the drain; 78 in place of 1
under a service manager when settings cannot be used, for
RestartPreventExitStatus=78.
";

/// The commands of a group; of all when `words` is empty.
pub(super) fn of_group(commands: &[Command], words: &[String]) -> String {
    let mut text = if words.is_empty() { format!("{INTRODUCTION}\n") } else { String::new() };
    let place: String = words.iter().map(|word| format!(" {word}")).collect();
    text.push_str(&format!("Usage: tunnel-client{place} <command> [flags]\n\nCommands:\n"));
    let within = |command: &&Command| words.iter().zip(command.path).all(|(word, own)| word == own);
    let lines: Vec<(String, &str)> =
        commands.iter().filter(within).map(|command| (synopsis(command), command.summary)).collect();
    let width = lines.iter().map(|(synopsis, _)| synopsis.chars().count()).max().unwrap_or_default();
    for (synopsis, summary) in lines {
        text.push_str(&format!("  {synopsis:width$}  {summary}\n"));
    }
    text.push_str("\nEvery command explains itself with --help; --version prints the version.\n");
    if words.is_empty() {
        text.push_str("\nHelp topics:\n");
        for (name, summary, _) in TOPICS {
            text.push_str(&format!("  tunnel-client help {name:16} {summary}\n"));
        }
        text.push_str(&format!("\nWhere things come from:\n{PLACES}"));
    }
    text
}

/// What `tunnel-client COMMAND --help` prints.
pub(super) fn of_command(command: &Command) -> String {
    if command.path == ["run"] {
        return run_help();
    }
    let mut text = format!("{}\n\nUsage: tunnel-client {} [flags]\n", command.summary, synopsis(command));
    // Without the table of `run`: it fills several screens, and what is special here would be lost in it.
    let rows: Vec<&Row> = command.own_tables().into_iter().flatten().collect();
    if !rows.is_empty() {
        text.push_str("\nFlags:\n");
    }
    for row in rows {
        flag(&mut text, row);
    }
    if command.settings {
        text.push_str("\nEvery flag of run is taken too: see tunnel-client run --help.\n");
    }
    if !command.details.is_empty() {
        text.push_str(&format!("\n{}", command.details));
    }
    text
}

/// A command with its arguments.
fn synopsis(command: &Command) -> String {
    let words: Vec<&str> = command.path.iter().chain(command.arguments).copied().collect();
    words.join(" ")
}

/// What `tunnel-client run --help` prints. Settings whose features are absent are not listed.
fn run_help() -> String {
    let mut text = format!("run version {}\n\nUsage of run:\n", env!("CARGO_PKG_VERSION"));
    for row in listed() {
        flag(&mut text, row);
    }
    text.push_str("\nNext steps:\n");
    text.push_str("  Set the tunnel id, the API key and one MCP server, for example:\n");
    text.push_str("  tunnel-client run --control-plane.tunnel-id tunnel_... \\\n");
    text.push_str("    --control-plane.api-key file:/etc/tunnel-client/key \\\n");
    text.push_str("    --mcp.server-url http://127.0.0.1:3000/mcp\n");
    text.push_str("  Or name a profile that tunnel-client init wrote: tunnel-client run --profile prod\n");
    text.push_str(&format!("\n{RUNNING}\nEnvironment variables:\n"));
    // Below the flags and not beside them: a unit's author looks for these alone.
    for row in listed() {
        for name in row.env {
            wrapped(&mut text, &format!("  {name}\t"), "      ", &of_variable(row, name));
        }
    }
    text
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
    ROWS.iter().filter(|row| row.status == Status::Live)
}

/// One flag on a line of its own, since the longest leave no room beside them.
/// Other names that are accepted for it are not shown, so that new set-ups agree on one.
fn flag(text: &mut String, row: &Row) {
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
        let help = run_help();
        for row in ROWS {
            let live = row.status == Status::Live;
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

    #[test]
    fn no_line_is_too_long_for_a_terminal() {
        for command in super::super::COMMANDS {
            let text = of_command(command);
            // A grammar without a blank stays in one piece.
            let long =
                text.lines().find(|line| line.trim().contains(' ') && line.chars().count() > LINE_CHARS_MAX);
            assert_eq!(long, None, "{}", command.name());
        }
    }

    #[test]
    fn the_pages_are_those_of_doctor() {
        for (_, url) in crate::doctor::PLACES {
            assert!(PLACES.contains(url), "{url}");
        }
    }
}
