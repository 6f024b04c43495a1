//! Commands: those of the help text, of page 1, and of the completions.

use std::collections::BTreeSet;

use tunnel_client::settings::ROWS;

use super::page::{Item, PAGES, Part, source};
use super::{Listed, code, commands, head, help, listed, report};
use crate::support::client::Builder;

/// What packages are built without, and its own help alone explains.
const UNPACKAGED_COMMANDS: [&str; 2] = ["demo", "dev "];

fn is_packaged(command: &str) -> bool {
    !UNPACKAGED_COMMANDS.iter().any(|begin| command.starts_with(begin))
}

/// Every command has its place in page 1, and every flag of its own stands under its group.
#[test]
fn every_command_is_in_page_1() {
    let text = source(PAGES[0]);
    let all = Part(&text).under(".Sh COMMANDS");
    let unpackaged = all.under(".Ss Not in packages").plain();
    let mut mistakes = Vec::new();
    let mut groups = BTreeSet::from(["Not in packages".to_owned()]);
    for (command, arguments) in commands() {
        if !is_packaged(&command) {
            if !unpackaged.contains(&command) {
                mistakes.push(format!("{command} is not among what packages lack"));
            }
            continue;
        }
        let group = command.split(' ').next().unwrap();
        groups.insert(group.to_owned());
        let section = all.under(&format!(".Ss {group}"));
        let arguments = arguments.replace('<', "Ar ").replace('>', "");
        let item = format!("Cm {command} {}", arguments.replace('[', "Op Ar ").replace("...]", " ..."));
        if command != group && !section.items().iter().any(|found| found.head == item.trim_end()) {
            mistakes.push(format!("no item .It {item}"));
        }
        if command != "run" {
            mistakes.extend(missing_flags(&command, section, all.under(".Ss init")));
        }
    }
    for name in all.headings(".Ss") {
        if !groups.contains(name) {
            mistakes.push(format!("not a command: {name}"));
        }
        let known = |item: &Item<'_>| {
            let line = item.part.0.lines().next().unwrap();
            let words = line.split(" Op ").next().unwrap().split(" Ar ").next().unwrap().to_owned();
            commands().iter().any(|(command, _)| format!("Cm {command}") == words)
        };
        let items = all.under(&format!(".Ss {name}")).items();
        let strangers = items.iter().filter(|item| item.head.starts_with("Cm ") && !known(item));
        mistakes.extend(strangers.map(|item| format!("not a command: {}", item.head)));
    }
    report("commands and page 1 differ", &mistakes);
}

/// What a section lacks of a command's own flags. A default stands there or with `init`, which has the same.
fn missing_flags(command: &str, section: Part<'_>, init: Part<'_>) -> Vec<String> {
    let (items, of_init) = (section.items(), init.items());
    let mut mistakes = Vec::new();
    for Listed { flag, placeholder, default } in listed(command) {
        let name = format!("-{flag}");
        let of_flag = |item: &&Item<'_>| item.part.words("Fl").first() == Some(&&*name);
        let Some(item) = items.iter().find(of_flag) else {
            // Settings that a command takes are named, and explained with the others.
            let is_setting = ROWS.iter().any(|row| row.flag == flag);
            if !is_setting || !section.words("Fl").contains(&&*name) {
                mistakes.push(format!("{command}: no item .It Fl {name}"));
            }
            continue;
        };
        let wanted = format!("Fl {name} {placeholder}");
        if head(item) != wanted.trim_end() {
            mistakes.push(format!("{command}: not .It {wanted}"));
        }
        let Some(default) = default.map(|text| format!("Default: {text} ")) else { continue };
        if ![Some(item), of_init.iter().find(of_flag)]
            .iter()
            .flatten()
            .any(|item| item.part.plain().contains(&default))
        {
            mistakes.push(format!("{command}: {name}: not {default:?}"));
        }
    }
    mistakes
}

/// Page 1 names the topics of `help`, and page 8 metrics that are counted.
#[test]
fn topics_and_metrics_are_those_of_the_program() {
    let root = help("");
    let topics =
        root.lines().filter_map(|line| line.strip_prefix("  tunnel-client help ")?.split(' ').next());
    let text = source(PAGES[0]);
    let named = Part(&text).under(".Sh COMMANDS").under(".Ss help").words("Cm");
    assert_eq!(named, topics.collect::<Vec<_>>());
    let text = source(PAGES[2]);
    let metrics = Part(&text).under(".Sh HEALTH").words("Ql").into_iter().filter(|word| word.contains('_'));
    let metrics: Vec<&str> = metrics.collect();
    let code = code();
    assert!(
        metrics.len() >= 5 && metrics.iter().all(|name| code.contains(&format!("\"{name}\""))),
        "{metrics:?}"
    );
}

/// Bash, zsh and fish are offered every command and every flag that its help lists.
#[test]
fn completions_have_every_command_and_flag() {
    let script = |shell: &str| Builder::bare("completion").argument(shell).outcome().stdout;
    let (shared, fish) = ([script("bash"), script("zsh")], script("fish"));
    let quoted = |text: &str| format!("'{text}'");
    let mut mistakes = Vec::new();
    for (command, _) in commands() {
        let (group, word) = command.rsplit_once(' ').unwrap_or(("", &command));
        let flags: Vec<String> = listed(&command).into_iter().map(|found| found.flag).collect();
        for text in &shared {
            let place = |words: &str| {
                text.lines().find(|line| line.trim().starts_with(&format!("{})", quoted(words))))
            };
            let offers = |place: Option<&str>, word: &str| {
                place.is_some_and(|line| line.split([' ', '\'', '=']).any(|found| found == word))
            };
            if !offers(place(group), word) {
                mistakes.push(format!("{command}: not offered"));
            }
            let lacks = |flag: &&String| !offers(place(&command), &format!("--{flag}"));
            mistakes
                .extend(flags.iter().filter(lacks).map(|flag| format!("{command}: --{flag} not offered")));
        }
        let at = format!("__tunnel_client_at \\'{command}\\''");
        let lacks = |flag: &&String| {
            !fish.lines().any(|line| line.contains(&at) && line.contains(&format!(" -l {flag} ")))
        };
        mistakes.extend(
            flags.iter().filter(lacks).map(|flag| format!("{command}: --{flag} not offered by fish")),
        );
    }
    report("commands and completions differ", &mistakes);
}
