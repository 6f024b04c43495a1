//! Help texts, made from the tables of commands and settings, so that they cannot lag behind them.
//!
//! They need no settings and read none: help must work where nothing else does yet.
//!
//! They print what the tables hold and nothing of this host: no value that is set, no path, no name. That is
//! also why they cannot fail.

use crate::config::settings::Row;
use crate::service::help;

use super::command::Command;
use super::topics::TOPICS;

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
        return help::of_program("tunnel-client run");
    }
    let mut text = format!("{}\n\nUsage: tunnel-client {} [flags]\n", command.summary, synopsis(command));
    // Without the table of `run`: it fills several screens, and what is special here would be lost in it.
    let rows: Vec<&Row> = command.own_tables().into_iter().flatten().collect();
    if !rows.is_empty() {
        text.push_str("\nFlags:\n");
    }
    for row in rows {
        help::flag(&mut text, row);
    }
    if command.settings {
        text.push_str("\nEvery flag of run is taken too: see tunnel-client run --help.\n");
    }
    if !command.details.is_empty() {
        text.push_str(&format!("\n{}", command.details));
    }
    text + &format!("\nExample:\n  tunnel-client {}\n", command.example)
}

/// A command with its arguments.
fn synopsis(command: &Command) -> String {
    let words: Vec<&str> = command.path.iter().chain(command.arguments).copied().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_too_long_for_a_terminal() {
        for command in super::super::COMMANDS {
            let text = of_command(command);
            // A grammar without a blank stays in one piece.
            let long = text
                .lines()
                .find(|line| line.trim().contains(' ') && line.chars().count() > help::LINE_CHARS_MAX);
            assert_eq!(long, None, "{}", command.name());
            assert!(command.example.starts_with(&command.name()), "{}", command.example);
        }
        for text in [of_group(super::super::COMMANDS, &[]), help::of_program("tunnel-client run")] {
            let long = text.lines().find(|line| line.trim().contains(' ') && line.chars().count() > 100);
            assert_eq!(long, None);
        }
    }

    /// What an example shows is taken.
    #[test]
    fn examples_are_taken() {
        for command in super::super::COMMANDS {
            let typed = command.example.split(" > ").next().unwrap().replace('\'', "");
            let words = typed.split(' ').skip(command.path.len());
            let words: Vec<_> = words.map(std::ffi::OsString::from).collect();
            let parsed = crate::config::Flags::of_command(words, &command.tables(), usize::MAX);
            assert!(matches!(parsed, Ok(crate::config::Request::Run(_))), "{}", command.example);
        }
    }

    #[test]
    fn the_pages_are_those_of_doctor() {
        for (_, url) in crate::doctor::PLACES {
            assert!(PLACES.contains(url), "{url}");
        }
    }
}
