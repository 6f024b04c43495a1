//! The ledger of statements, `tests/statements`: complete, in plain sentences, and in step with the tests.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

use super::{Source, report, root, sources};

/// Files of the ledger, with the prefix and the number of their statements.
const RANGES: [(&str, &str, usize); 4] = [
    ("control-plane", "CP", 170),
    ("mcp", "MCP", 184),
    ("revisions", "REV", 60),
    ("reference-0.0.16", "NEW", 130),
];
/// Longest sentence, in bytes.
const SENTENCE_MAX: usize = 120;

/// One statement of the ledger.
struct Statement {
    id: String,
    status: String,
    sentence: String,
    /// What we do in place of it, and why.
    here: Option<String>,
    tests: Vec<String>,
}

/// All statements. A block is `ID STATUS`, the sentence, `Here: REASON` where one is due, and tests indented by two.
fn ledger() -> Vec<Statement> {
    let mut found = Vec::new();
    for (file, ..) in RANGES {
        let text = std::fs::read_to_string(root().join(format!("tests/statements/{file}.txt"))).unwrap();
        // The first block says what the file is.
        for block in text.split("\n\n").skip(1).filter(|block| !block.starts_with("# ")) {
            let mut lines = block.lines().peekable();
            let (id, status) =
                lines.next().unwrap().split_once(' ').expect("a block begins with `ID STATUS`");
            found.push(Statement {
                id: id.to_owned(),
                status: status.to_owned(),
                sentence: lines.next().unwrap_or_default().to_owned(),
                here: lines
                    .next_if(|line| line.starts_with("Here: "))
                    .map(|line| line.replacen("Here: ", "", 1)),
                tests: lines
                    .map(|line| line.strip_prefix("  ").unwrap_or("(not indented)").to_owned())
                    .collect(),
            });
        }
    }
    found
}

/// Tests with the statements that their names and comments mention, and all statements that are mentioned anywhere.
fn mentioned() -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let test = Regex::new(r"(?m)((?:^ *//.*\n|^ *#\[.*\n)*)^ *(?:pub )?fn (\w+)\(").unwrap();
    let (mut tests, mut anywhere) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeSet::new());
    for Source { text, .. } in sources("tests/suite").iter().chain(&sources("src")) {
        anywhere.extend(ids(text));
        for found in test.captures_iter(text).filter(|found| found[1].contains("#[test]")) {
            let named = ids(&found[1]).into_iter().chain(ids_of_name(&found[2]));
            tests.entry(found[2].to_owned()).or_default().extend(named);
        }
    }
    (tests, anywhere)
}

/// The statements that a text names: `CP-001`, `MCP-027 to MCP-029`.
fn ids(text: &str) -> Vec<String> {
    let shape = Regex::new(r"\b(CP|MCP|REV|NEW)-(\d{3})\b(?: to (?:CP|MCP|REV|NEW)-(\d{3})\b)?").unwrap();
    let ranges = shape.captures_iter(text).map(|found| {
        let last = found.get(3).map_or(&found[2], |last| last.as_str());
        (found[1].to_owned(), found[2].parse().unwrap(), last.parse().unwrap())
    });
    ranges.flat_map(range).collect()
}

/// The statements that the name of a test begins with: `cp_046_047_waits_grow`, `cp_049_to_052_retry_after`.
fn ids_of_name(name: &str) -> Vec<String> {
    let shape = Regex::new(r"^(cp|mcp|rev|new)_(\d{3}(?:_to_\d{3}|_\d{3})*)").unwrap();
    let Some(found) = shape.captures(name) else {
        return Vec::new();
    };
    let (prefix, numbers) = (found[1].to_uppercase(), found[2].replace("_to_", "-"));
    let ranges = numbers.split('_').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        (prefix.clone(), first.parse().unwrap(), last.parse().unwrap())
    });
    ranges.flat_map(range).collect()
}

fn range((prefix, first, last): (String, usize, usize)) -> impl Iterator<Item = String> {
    (first..=last).map(move |number| format!("{prefix}-{number:03}"))
}

#[test]
fn every_statement_is_there_once_in_order() {
    let held: Vec<String> = ledger().into_iter().map(|statement| statement.id).collect();
    let wanted = RANGES.iter().flat_map(|(_, prefix, last)| range(((*prefix).to_owned(), 1, *last)));
    assert_eq!(held, wanted.collect::<Vec<_>>());
}

#[test]
fn statements_are_short_sentences_with_a_reason_where_we_differ() {
    let mut bad = Vec::new();
    for Statement { id, status, sentence, here, tests } in ledger() {
        for text in [Some(&sentence), here.as_ref()].into_iter().flatten() {
            if !text.ends_with('.') || text.contains(". ") || text.len() > SENTENCE_MAX {
                bad.push(format!("{id}: not one sentence of at most {SENTENCE_MAX} bytes: {text}"));
            }
        }
        let complete = match status.as_str() {
            "held" => here.is_none() && !tests.is_empty(),
            "differs" => here.is_some(),
            "not ours" => here.is_some() && tests.is_empty(),
            _ => false,
        };
        if !complete {
            bad.push(format!("{id}: {status} needs a test when it is held, and else a reason"));
        }
    }
    report("statements that are not as tests/README.md says", &bad);
}

#[test]
fn statements_and_tests_name_each_other() {
    let (tests, anywhere) = mentioned();
    let ledger: BTreeMap<String, Statement> =
        ledger().into_iter().map(|each| (each.id.clone(), each)).collect();
    let mut bad = Vec::new();
    for Statement { id, tests: named, .. } in ledger.values() {
        for name in named.iter().filter(|name| !tests.contains_key(*name)) {
            bad.push(format!("{id}: there is no test {name}"));
        }
    }
    for (name, ids) in &tests {
        for id in ids {
            if !ledger.get(id).is_some_and(|statement| statement.tests.contains(name)) {
                bad.push(format!("{id}: {name} mentions it and is not listed there"));
            }
        }
    }
    bad.extend(
        anywhere.iter().filter(|id| !ledger.contains_key(*id)).map(|id| format!("{id}: no such statement")),
    );
    report("the ledger and the tests do not agree", &bad);
}
