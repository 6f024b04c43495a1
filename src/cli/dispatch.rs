//! From words to a command: how the arguments find their row of the table.
//!
//! Options of a group may stand before the command's last word (`profiles --profile-dir d list`). An
//! unknown word is an error that names the nearest command; it is never taken for an argument.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::config::settings::Kind;
use crate::config::{Environment, Flags, Request, nearest, profile};
use crate::service::{Failure, print, run, version};

use super::command::Command;
use super::usage;

/// Commands of the reference that do not exist here and will not. They are named so that whoever comes
/// from there is not sent looking for a typing mistake.
const ABSENT: [&str; 5] = ["admin-profiles", "cloudflared", "codex", "plugin", "runtimes"];

/// Starts a command with what follows its words.
fn start(command: &Command, arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    // `[word...]` stands for as many as there are.
    let endless = command.arguments.last().is_some_and(|name| name.ends_with("...]"));
    // One word too many is taken here where it may be a profile's name.
    let own = command.arguments.len() + usize::from(command.settings);
    let most = if endless { usize::MAX } else { own };
    let flags = match Flags::of_command(arguments, &command.tables(), most) {
        Ok(Request::Run(flags)) => flags,
        Ok(Request::Help) => return Ok(print(&usage::of_command(command))),
        Ok(Request::Version) => return Ok(version()),
        Err(error) => return run::refuse(error.into()),
    };
    if let Some(word) = flags.arguments().get(command.arguments.len()).filter(|_| !endless) {
        return run::refuse(Failure(stray(word, &flags)));
    }
    let needed = command.arguments.iter().filter(|name| name.starts_with('<')).count();
    let given = flags.arguments().len();
    if given < needed {
        let (name, arguments) = (command.name(), command.arguments.join(" "));
        return Err(Failure(format!(
            "accepts {needed} arg(s), received {given}; usage: tunnel-client {name} {arguments}"
        )));
    }
    (command.run)(&flags)
}

/// A word that no command takes. It is repeated only where a profile has this name: it may be the value of
/// another flag, and a secret.
fn stray(word: &str, flags: &Flags) -> String {
    let environment = Environment::of_process().ok();
    let file = environment.and_then(|environment| profile::file(flags, &environment, word).ok());
    match file.is_some_and(|file| file.is_file()) {
        true => format!("unexpected argument \"{word}\"; did you mean --profile {word}?"),
        false => {
            "unexpected argument: write every value as --flag=value, and a profile as --profile NAME".into()
        }
    }
}

/// Finds the command among the arguments and runs it.
pub(super) fn dispatch(commands: &'static [Command], arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let mut words: Vec<String> = Vec::new();
    let mut rest: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        match text.as_str() {
            "--help" | "-h" => return Ok(print(&usage::of_group(commands, &words))),
            "--version" | "-V" | "-v" => return Ok(version()),
            "version" if words.is_empty() => return Ok(version()),
            _ if text.starts_with('-') => {
                let takes_value = flag_of_group(commands, &words, &text)?;
                rest.push(argument);
                rest.extend(takes_value.then(|| arguments.next()).flatten());
            }
            _ => {
                words.push(text);
                if let Some(command) = commands.iter().find(|c| c.path == words.as_slice()) {
                    rest.extend(arguments);
                    return start(command, rest);
                }
                if !commands.iter().any(|command| command.begins_with(&words)) {
                    return Err(unknown(commands, &words));
                }
            }
        }
    }
    // A group alone: what was asked for is what it holds.
    Ok(print(&usage::of_group(commands, &words)))
}

/// Whether the option that stands among a group's words takes the next argument for its value.
fn flag_of_group(commands: &[Command], words: &[String], text: &str) -> Result<bool, Failure> {
    let name = text.trim_start_matches('-');
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    let within = commands.iter().filter(|command| !words.is_empty() && command.begins_with(words));
    let row = within.flat_map(Command::tables).flatten().find(|row| row.flag == name);
    match row {
        Some(row) => Ok(row.kind != Kind::Boolean && !text.contains('=')),
        None => Err(Failure(format!("unknown flag: --{}", name.escape_debug()))),
    }
}

/// Names what was typed and the nearest command. A terminal would act on control characters.
fn unknown(commands: &'static [Command], words: &[String]) -> Failure {
    let (typed, group) = match words.split_last() {
        Some((typed, group)) => (typed.as_str(), group),
        None => ("", words),
    };
    if group.is_empty() && ABSENT.contains(&typed) {
        return Failure(format!(
            "tunnel-client {typed} does not exist in this program; tunnel-client --help lists what does, and \
             man tunnel-client what is absent"
        ));
    }
    if group.is_empty() && cfg!(not(feature = "dev")) && ["demo", "dev"].contains(&typed) {
        return Failure(format!(
            "tunnel-client {typed} is not in this build: packages leave feature dev out"
        ));
    }
    let place: String = group.iter().map(|word| format!(" {word}")).collect();
    let known = commands.iter().filter(|c| c.begins_with(group)).filter_map(|c| c.path.get(group.len()));
    let hint = match nearest(typed, known.copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("see tunnel-client{place} --help"),
    };
    Failure(format!("unknown command \"{}\" for \"tunnel-client{place}\"; {hint}", typed.escape_debug()))
}
