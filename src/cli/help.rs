//! `tunnel-client help`: a topic, a command, or the list of both.
//!
//! Topics are texts that are part of the program, for hosts where nobody can look anything up. It reads no
//! settings and contacts nobody; it fails only for a word that is neither topic nor command.

use std::process::ExitCode;

use crate::config::{Flags, nearest};

use super::topics::TOPICS;
use super::{COMMANDS, Failure, print, usage};

/// Prints what the arguments name. A topic wins over the command of its name, whose own help says less.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let words = flags.arguments();
    let topic = TOPICS.iter().find(|(name, ..)| matches!(words, [word] if word == name));
    let text = match (topic, COMMANDS.iter().find(|command| command.path == words)) {
        (Some((.., text)), _) => (*text).to_owned(),
        (None, Some(command)) => usage::of_command(command),
        (None, None) if COMMANDS.iter().any(|command| command.begins_with(words)) => {
            usage::of_group(COMMANDS, words)
        }
        (None, None) => return Err(unknown(&words.join(" "))),
    };
    Ok(print(&text))
}

fn unknown(typed: &str) -> Failure {
    let mut topics = TOPICS.map(|(name, ..)| name);
    topics.sort_unstable();
    let commands = COMMANDS.iter().filter_map(|command| command.path.first().copied());
    let hint = nearest(typed, topics.into_iter().chain(commands));
    let hint = hint.map(|word| format!(" (did you mean \"{word}\"?)")).unwrap_or_default();
    let (typed, topics) = (super::terminal::foreign(typed), topics.join(", "));
    Failure(format!("unknown help topic \"{typed}\"; available topics: {topics}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command line that a text shows: an indented line that starts with the program's name, or a part
    /// of one between backticks. A backslash goes on with the next line.
    fn command_lines(text: &str) -> Vec<String> {
        let text = text.replace("\\\n", " ");
        let inline = text.split('`').skip(1).step_by(2);
        let shown = text.lines().filter_map(|line| line.strip_prefix("  ")).map(str::trim).chain(inline);
        shown.filter(|line| line.starts_with("tunnel-client ")).map(str::to_owned).collect()
    }

    /// Finds the command, and checks that it knows the flags.
    fn check(line: &str) {
        let line = line.split(" #").next().unwrap().split([';', '|', '>']).next().unwrap();
        let words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
        // Named in the text as what packages leave out.
        if words.first().is_some_and(|word| word == "demo") && !cfg!(feature = "dev") {
            return;
        }
        let matches = |command: &&super::super::Command| {
            let given = words.iter().take(command.path.len());
            given.eq(command.path.iter().copied())
        };
        let found = COMMANDS.iter().filter(matches).max_by_key(|command| command.path.len());
        let command = found.unwrap_or_else(|| panic!("no such command: {line}"));
        for word in words.iter().filter_map(|word| word.strip_prefix("--")) {
            let name = word.split('=').next().unwrap();
            let known = command.tables().into_iter().flatten().any(|row| row.flag == name);
            assert!(known || ["help", "version"].contains(&name), "no such flag: {line}");
        }
        if command.path == ["help"] && words.len() > 1 {
            let topic = TOPICS.iter().any(|(name, ..)| *name == words[1]);
            assert!(topic || COMMANDS.iter().any(|c| c.begins_with(&words[1..])), "no such topic: {line}");
        }
    }

    #[test]
    fn every_command_line_of_a_help_text_exists() {
        let topics = TOPICS.iter().map(|(.., text)| (*text).to_owned());
        let commands = COMMANDS.iter().map(usage::of_command);
        let texts: Vec<String> = topics.chain(commands).chain([usage::of_group(COMMANDS, &[])]).collect();
        let lines: Vec<String> = texts.iter().flat_map(|text| command_lines(text)).collect();
        assert!(lines.len() > 30, "{lines:?}");
        lines.iter().for_each(|line| check(line));
    }

    #[test]
    fn topics_fit_a_terminal() {
        for (name, _, text) in TOPICS {
            let wide = text.lines().find(|line| line.chars().count() > 80 || line.ends_with(' '));
            assert_eq!(wide, None, "{name}");
            assert!(text.is_ascii() && text.ends_with('\n') && !text.contains('\t'), "{name}");
        }
    }
}
