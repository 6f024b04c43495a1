//! The manual pages say what the program does: its tables, its help texts, its completions and the pages name
//! the same commands, flags, keys, variables, defaults and bounds.
//!
//! Whoever adds a setting or an option is told here which page lacks it, and whoever takes one away, which page
//! still has it. The pages in `man/` are written by hand.

mod commands;
mod examples;
mod page;

use std::collections::BTreeSet;
use std::path::Path;

use tunnel_client::settings::{Kind, Least, ROWS, Row, Status};

use crate::support::client::Builder;
use page::{Item, PAGES, Part, source};

/// What packages are built without begins so, and is explained by its own help alone.
const UNPACKAGED_FLAGS: &str = "embedded-";

/// A flag as a help text lists it.
struct Listed {
    flag: String,
    placeholder: String,
    default: Option<String>,
}

fn help(words: &str) -> String {
    let words = words.split(' ').filter(|word| !word.is_empty());
    let outcome = words.fold(Builder::none(), Builder::argument).argument("--help").outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.stdout
}

/// The commands by their words, each with its arguments.
fn commands() -> Vec<(String, String)> {
    let text = help("");
    let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.map_while(|line| line.strip_prefix("  "));
    let split = |line: &str| {
        let synopsis = line.split("  ").next().unwrap();
        let end = synopsis.find([' ', '<', '[']).map(|_| synopsis.find(['<', '[']).unwrap_or(synopsis.len()));
        let (words, arguments) = synopsis.split_at(end.unwrap_or(synopsis.len()));
        (words.trim().to_owned(), arguments.to_owned())
    };
    lines.map(split).collect()
}

/// The flags that a command's help lists.
fn listed(words: &str) -> Vec<Listed> {
    let text = help(words);
    let mut lines = text.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(line) = line.strip_prefix("      --") else { continue };
        let (flag, placeholder) = line.split_once(' ').unwrap_or((line, ""));
        let mut said = String::new();
        while let Some(text) = lines.next_if(|text| text.starts_with("            ")) {
            said.push_str(text.trim_start_matches("           "));
        }
        let default = said.split_once("(default ").and_then(|(_, text)| text.strip_suffix(')'));
        let default = default.map(|text| text.trim_matches('"').to_owned());
        found.push(Listed { flag: flag.to_owned(), placeholder: placeholder.to_owned(), default });
    }
    found
}

fn live() -> impl Iterator<Item = &'static Row> {
    let of_page = |row: &&Row| row.status == Status::Live && !row.flag.starts_with(UNPACKAGED_FLAGS);
    ROWS.iter().filter(of_page)
}

/// The rows of features that are not here, with a key.
fn absent() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.status != Status::Live && !row.yaml.is_empty())
}

fn report(what: &str, mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{what}:\n  {}\n", mistakes.join("\n  "));
}

/// The head of a flag's item, without how its placeholder is marked up.
fn head(item: &Item<'_>) -> String {
    let words = item.head.split(' ').filter(|word| !["Ar", "Cm"].contains(word));
    words.collect::<Vec<_>>().join(" ").replace(" | ", "|")
}

/// `run --help` lists the live settings, and page 1 each with placeholder, default and variables.
#[test]
fn every_setting_is_in_page_1() {
    let text = source(PAGES[0]);
    let items = Part(&text).under(".Sh SETTINGS").items();
    let mut mistakes = Vec::new();
    for row in live() {
        let wanted = format!("Fl -{} {}", row.flag, row.placeholder);
        let Some(item) = items.iter().find(|item| head(item) == wanted.trim_end()) else {
            mistakes.push(format!("no item .It {wanted}"));
            continue;
        };
        let plain = item.part.plain();
        // They stand last, after others that the text may name.
        if !item.part.words("Ev").ends_with(row.env) {
            mistakes.push(format!("{}: not the variables {:?}", row.flag, row.env));
        }
        let shown = plain.split_once("Default: ").and_then(|(_, rest)| rest.split(' ').next());
        if shown != Some(row.default).filter(|default| !["", "false"].contains(default)) {
            mistakes.push(format!("{}: not the default {:?}", row.flag, row.default));
        }
    }
    for item in &items {
        let flag = item.part.words("Fl").first().map(|flag| flag.trim_start_matches('-'));
        if !live().any(|row| Some(row.flag) == flag) {
            mistakes.push(format!("not a live setting: {}", item.head));
        }
    }
    report("settings and page 1 differ", &mistakes);
    let shown: BTreeSet<String> = listed("run").into_iter().map(|found| found.flag).collect();
    let rows = ROWS.iter().filter(|row| row.is_live());
    assert_eq!(shown, rows.map(|row| row.flag.to_owned()).collect());
}

/// Page 5 has every key, with type, bounds, default, variables and flag as the table has them.
#[test]
fn every_key_is_in_page_5() {
    let text = source(PAGES[1]);
    let items = Part(&text).under(".Sh KEYS").items();
    let mut mistakes = Vec::new();
    for row in live().filter(|row| !row.yaml.is_empty()) {
        let Some(item) = items.iter().find(|item| words_of_head(item).contains(&row.yaml)) else {
            mistakes.push(format!("no item .It Va {}", row.yaml));
            continue;
        };
        let plain = item.part.plain();
        let mut missing = facts(row);
        missing.retain(|fact| !plain.contains(fact));
        mistakes.extend(missing.iter().map(|fact| format!("{}: does not say {fact:?}", row.yaml)));
        let referring = matches!(row.kind, Kind::Path | Kind::Proxy | Kind::Secret | Kind::Headers);
        if plain.contains("reference") != (row.reference || referring) {
            mistakes.push(format!("{}: whether it may be a reference", row.yaml));
        }
    }
    for item in &items {
        let unknown = |key: &&&str| key.contains('.') && !live().any(|row| row.yaml == **key);
        mistakes
            .extend(words_of_head(item).iter().filter(unknown).map(|key| format!("not a live key: {key}")));
    }
    report("settings and page 5 differ", &mistakes);
}

fn words_of_head<'p>(item: &Item<'p>) -> Vec<&'p str> {
    Part(item.head).words("Va")
}

/// What the last paragraph of an item must say.
fn facts(row: &Row) -> Vec<String> {
    let apart = |separators: &[char]| match separators {
        [','] => "in the variable by commas",
        ['\n'] => "in the variable an entry a line",
        [';', '\n'] => "in the variable by semicolons or lines",
        _ => "in the variable by commas, semicolons or lines",
    };
    let kind = match row.kind {
        Kind::Text | Kind::Path | Kind::Proxy | Kind::Secret => "Text;".to_owned(),
        Kind::Boolean => "Boolean;".to_owned(),
        Kind::Integer { min, max } => format!("Integer, {min} to {max};"),
        Kind::Duration(Least::AboveZero) => "Duration above zero;".to_owned(),
        Kind::Duration(Least::Zero) => "Duration, zero or more;".to_owned(),
        Kind::Headers => "Map of headers, whose values may be references;".to_owned(),
        Kind::List(separators) => format!("List, {};", apart(separators)),
        Kind::Entries { separators, .. } => format!("List of maps, {};", apart(separators)),
        Kind::Tree => "Structure of its own.".to_owned(),
    };
    let mut facts = vec![kind, format!(" -{} ", row.flag)];
    facts.extend(row.env.iter().map(|name| format!(" {name} ")));
    facts.extend(Some(row.default).filter(|text| !text.is_empty()).map(|text| format!("default {text} ;")));
    facts
}

/// The keys of entries are those of the table.
#[test]
fn entries_have_the_keys_of_the_table() {
    let text = source(PAGES[1]);
    for row in ROWS {
        let Kind::Entries { keys, .. } = row.kind else { continue };
        let section = Part(&text).under(&format!(".Ss Entries of {}", row.yaml));
        let items = section.items();
        let named: BTreeSet<&str> = items.iter().flat_map(words_of_head).collect();
        assert_eq!(named, keys.iter().map(|key| key.name).collect(), "{}", row.yaml);
    }
}

/// What is absent is in the one table of page 5, with what becomes of it.
#[test]
fn absent_features_are_in_page_5() {
    let text = source(PAGES[1]);
    let items = Part(&text).under(".Sh KEYS OF ABSENT FEATURES").items();
    let named: BTreeSet<String> =
        items.iter().map(|item| item.head.to_owned()).filter(|head| head.starts_with("Va ")).collect();
    let wanted = absent().map(|row| {
        let what = match (row.status, row.kind) {
            (Status::Never, _) => "always refused",
            (_, Kind::Boolean) => "refused unless it leaves the feature off",
            _ => "accepted without effect",
        };
        format!("Va {} Ta {what}", row.yaml)
    });
    assert_eq!(named, wanted.collect());
}

/// No page names a flag, key or variable that does not exist.
#[test]
fn nothing_is_named_that_does_not_exist() {
    let mut flags: BTreeSet<String> = ROWS.iter().map(|row| row.flag.to_owned()).collect();
    flags.extend(["help", "version"].map(str::to_owned));
    for (command, _) in commands() {
        flags.extend(listed(&command).into_iter().map(|found| found.flag));
    }
    // A variable that stands nowhere in the program is read by nothing.
    let code = code();
    let code: BTreeSet<&str> = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let mut mistakes = Vec::new();
    for name in PAGES {
        let text = source(name);
        let page = Part(&text);
        let unknown =
            |flag: &&str| **flag != *"h" && !flag.strip_prefix('-').is_some_and(|f| flags.contains(f));
        mistakes
            .extend(page.words("Fl").into_iter().filter(unknown).map(|flag| format!("{name}: flag {flag}")));
        let unknown = |key: &&str| !is_key(key);
        mistakes.extend(page.words("Va").into_iter().filter(unknown).map(|key| format!("{name}: key {key}")));
        let unknown = |variable: &&str| !code.contains(variable);
        let variables = page.words("Ev").into_iter().filter(unknown);
        mistakes.extend(variables.map(|variable| format!("{name}: variable {variable}")));
        let own = page.words("Xr").into_iter().filter(|word| word.starts_with("tunnel-client"));
        let unknown = |word: &&str| !PAGES.iter().any(|page| page.rsplit_once('.').unwrap().0 == *word);
        mistakes.extend(own.filter(unknown).map(|word| format!("{name}: page {word}")));
    }
    report("what the pages name and nothing has", &mistakes);
}

/// The code of the program.
fn code() -> String {
    let mut code = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    code
}

/// All Rust code of a folder.
fn gather(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Keys of the section `policy`, which is no row of the table; each has an item under POLICY.
const POLICY_KEYS: [&str; 16] = [
    "policy",
    "policy.mode",
    "policy.channels",
    "tools",
    "prompts",
    "resources",
    "methods",
    "allow",
    "deny",
    "read_only",
    "policy.pins.file",
    "policy.pins.mode",
    "limits",
    "per_minute",
    "burst",
    "concurrent",
];

/// The same of `audit`, under AUDIT.
const AUDIT_KEYS: [&str; 4] = ["audit", "audit.file", "audit.arguments", "audit.on_error"];

#[test]
fn every_key_of_a_section_is_in_page_5() {
    let text = source(PAGES[1]);
    for (heading, keys) in [(".Sh POLICY", &POLICY_KEYS[1..]), (".Sh AUDIT", &AUDIT_KEYS[1..])] {
        let items = Part(&text).under(heading).items();
        let named = |key: &&&str| items.iter().any(|item| words_of_head(item).contains(key));
        let missing = keys.iter().filter(|key| !named(key));
        report("keys without an item", &missing.map(|key| (*key).to_owned()).collect::<Vec<_>>());
    }
}

/// A key of the table, the name of a map of keys, or a key of an entry.
fn is_key(key: &str) -> bool {
    let of_row = |row: &Row| {
        let below = row.yaml.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        below || matches!(row.kind, Kind::Entries { keys, .. } if keys.iter().any(|known| known.name == key))
    };
    key == "config_version"
        || POLICY_KEYS.contains(&key)
        || AUDIT_KEYS.contains(&key)
        || ROWS.iter().any(of_row)
}
