//! `tunnel-client completion`: a script that makes a shell complete commands, flags and their values.
//!
//! Made from the tables of commands and settings, so that it knows exactly what this build knows. Nothing of
//! this program runs while somebody types; only the names of profiles are looked up then, by the shell. What
//! the scripts have in common for all tables stands beside this file. Bash and zsh share their search.
//!
//! A script runs in the shell of whoever sources it, so it holds nothing but texts of this build: no setting,
//! no variable, no content of a file. Fails for an unknown shell only.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::config::Flags;
use crate::config::settings::{Kind, Row};

use super::command::Command;
use super::topics::TOPICS;
use super::{COMMANDS, Failure, print};

/// The shells.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

const WORDS: &str = include_str!("completion/words.sh");
const BASH: &str = include_str!("completion/bash.sh");
const ZSH: &str = include_str!("completion/zsh.sh");
const FISH: &str = include_str!("completion/fish.fish");

/// What may stand for the value of a flag.
/// It decides what the shell offers and never what this program accepts.
enum Value {
    File,
    Directory,
    Profile,
    Choice(Vec<&'static str>),
    Anything,
}

/// Prints the script of a shell.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let shell = flags.arguments().first().map(String::as_str).unwrap_or_default();
    let script = match shell {
        "bash" => format!("{}{BASH}", words()),
        "zsh" => format!("#compdef tunnel-client\n{}{ZSH}", words()),
        "fish" => fish(),
        _ => {
            let shells = SHELLS.join(", ");
            return Err(Failure(format!("unknown shell {shell:?}; available shells: {shells}")));
        }
    };
    Ok(print(&script))
}

/// Every place in the command line, by its words: those that may follow, with what they are for.
fn places() -> BTreeMap<String, BTreeMap<&'static str, &'static str>> {
    let mut places: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for command in COMMANDS {
        let mut place = String::new();
        for (depth, word) in command.path.iter().enumerate() {
            // The first words of longer commands are places too; what they are for is said at their end.
            let last = depth + 1 == command.path.len();
            let summary = if last { command.summary } else { "" };
            places.entry(place.clone()).or_default().entry(word).or_insert(summary);
            place = format!("{place} {word}").trim_start().to_owned();
        }
        let behind = places.entry(place).or_default();
        match command.path {
            ["help"] => {
                behind.extend(COMMANDS.iter().filter_map(|command| Some((*command.path.first()?, ""))));
                behind.extend(TOPICS.map(|(name, summary, _)| (name, summary)));
            }
            ["completion"] => behind.extend(SHELLS.map(|shell| (shell, ""))),
            _ => {}
        }
    }
    places
}

/// The flags that may stand at a place: those of its command, or of all commands of its group.
fn flags_at(place: &str) -> BTreeMap<&'static str, &'static Row> {
    let words: Vec<String> = place.split_whitespace().map(str::to_owned).collect();
    let here = COMMANDS.iter().filter(|command| !words.is_empty() && command.begins_with(&words));
    let rows = here.flat_map(Command::tables).flatten().filter(|row| row.is_live());
    rows.map(|row| (row.flag, row)).collect()
}

/// Read off the words that help shows, so that a new setting completes without an entry here. A path within a
/// URL is none of this machine, and completing it with files would mislead.
fn value(row: &Row) -> Value {
    match (row.flag, row.placeholder) {
        ("profile", _) => Value::Profile,
        (_, "directory") => Value::Directory,
        (flag, "path") if !flag.ends_with("url-path") => Value::File,
        (_, choices) if choices.contains('|') => Value::Choice(choices.split('|').collect()),
        _ => Value::Anything,
    }
}

/// The part that bash and zsh share.
fn words() -> String {
    let mut by_place = String::new();
    // Flags with the same values share a line, since every shell that starts reads the script.
    let mut by_value: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (place, next) in places() {
        let next: Vec<&str> = next.into_keys().collect();
        let rows = flags_at(&place);
        let flags: Vec<String> = rows.keys().map(|flag| format!(" --{flag}")).collect();
        let (next, flags) = (next.join(" "), flags.concat());
        by_place.push_str(&format!("    '{place}') next='{next}' flags='--help --version{flags}' ;;\n"));
        // A boolean takes no next word, so what follows it is completed as if it were not there.
        for row in rows.into_values().filter(|row| row.kind != Kind::Boolean) {
            let found = match value(row) {
                Value::File => "kind=file".to_owned(),
                Value::Directory => "kind=directory".to_owned(),
                Value::Profile => "kind=profile".to_owned(),
                Value::Choice(choices) => format!("values='{}'", choices.join(" ")),
                Value::Anything => String::new(),
            };
            by_value.entry(found).or_default().insert(row.flag);
        }
    }
    let by_value = by_value.into_iter().map(|(found, flags)| {
        let flags: Vec<String> = flags.into_iter().map(|flag| format!("--{flag}")).collect();
        format!("    {}) {found} ;;\n", flags.join("|"))
    });
    let by_value: String = by_value.collect();
    WORDS.replace("@PLACES@\n", &by_place).replace("@FLAGS@\n", &by_value)
}

/// Fish wants a line for each word and each flag, and shows what they are for.
fn fish() -> String {
    // Fish knows two characters that are special between single quotes, and these are both.
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let places = places();
    // It has to tell a word that leads on from one that is an argument, which only the list of places can.
    let known: Vec<String> =
        places.keys().filter(|place| !place.is_empty()).map(|place| quoted(place)).collect();
    let mut script = format!("{FISH}set -g __tunnel_client_places {}\n", known.join(" "));
    for (place, next) in &places {
        let at = format!("complete -c tunnel-client -n {}", quoted(&format!("__tunnel_client_at '{place}'")));
        for (word, summary) in next {
            script.push_str(&format!("{at} -a {word} -d {}\n", quoted(summary)));
        }
        for (flag, row) in flags_at(place) {
            let takes = match value(row) {
                _ if row.kind == Kind::Boolean => String::new(),
                Value::File => " -r -F".to_owned(),
                Value::Directory => " -x -a '(__fish_complete_directories)'".to_owned(),
                Value::Profile => " -x -a '(__tunnel_client_profiles)'".to_owned(),
                Value::Choice(choices) => format!(" -x -a {}", quoted(&choices.join(" "))),
                Value::Anything => " -x".to_owned(),
            };
            script.push_str(&format!("{at} -l {flag}{takes} -d {}\n", quoted(row.help())));
        }
    }
    script
}
