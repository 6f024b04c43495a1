//! Holds the source tree to its aims: sizes, crates, and what must not occur.
//!
//! Every test lists all offenders at once. An aim that bends good code is bent in [`BENT`], with a reason.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/size.rs"]
mod size;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "tidy/statements.rs"]
mod statements;

/// Files and functions (`path` or `path::function`) for which an aim is bent, each with its reason.
const BENT: &[(&str, &str)] = &[];

/// Longer files are two files.
const FILE_MAX_LINES: usize = 400;
/// Longer functions are two functions.
const FUNCTION_MAX_LINES: usize = 60;
/// Every crate is somebody else's code to trust.
const CRATES_MAX: usize = 48;
/// What may stand at the top of the tree.
const TOP_LEVEL: &[&str] = &[
    ".cargo", // the number of test threads
    ".ci",
    ".gitattributes", // an archive carries its commit
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml", // which lints tests are free of
    "deny.toml",
    "man",
    "packaging",
    "rustfmt.toml", // lines of 110 columns
    "src",
    "tests",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A Rust file, relative to the root, with its text.
struct Source {
    path: String,
    text: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    found.iter().map(read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn bent(name: &str) -> bool {
    BENT.iter().any(|(known, _)| *known == name)
}

fn report(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}\n", offenders.join("\n  "));
}

/// The lines before the unit tests, which stand at the end of a file.
fn product_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod "));
    // `mod tests;` in the middle names another file; only a body cuts the rest off.
    match tests {
        Some(at) if lines[at + 1].trim_end().ends_with('{') => lines[..at].to_vec(),
        _ => lines,
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

fn product() -> Vec<Source> {
    let all = sources("src").into_iter();
    all.filter(|s| !s.path.contains("/dev/") && !is_test_file(&s.path)).collect()
}

/// Whether a line is a comment, of any kind.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        if lines > FILE_MAX_LINES && !bent(&source.path) {
            long.push(format!("{}: {lines} lines", source.path));
        }
    }
    report("files above 400 lines", &long);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        for (name, lines) in functions(&source.text) {
            let full = format!("{}::{name}", source.path);
            if lines > FUNCTION_MAX_LINES && !bent(&full) {
                long.push(format!("{full}: {lines} lines"));
            }
        }
    }
    report("functions above 60 lines", &long);
}

/// Name and length of every function. The formatter puts the closing brace under the first word.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let Some(name) = function_name(body) else {
            continue;
        };
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[at..].iter().position(|l| {
            *l == closing
                || (l.ends_with(';') && !l.contains('{') && l.len() - l.trim_start().len() == indent)
        });
        found.push((name, end.map_or(1, |end| end + 1)));
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let words = ["pub", "const", "unsafe", "extern", "async"];
    let mut rest = line;
    loop {
        if let Some(after) = rest.strip_prefix("fn ") {
            return after.split(['(', '<']).next().map(str::to_owned);
        }
        let word = rest.split([' ', '(']).next().unwrap_or_default();
        if !words.contains(&word) {
            return None;
        }
        rest = rest.split_once(' ')?.1;
    }
}

#[test]
fn every_module_says_what_it_is() {
    let all = [sources("src"), sources("tests")].concat_sources();
    let bare = all.iter().filter(|s| !s.text.starts_with("//! ") && !bent(&s.path));
    report("modules without an opening", &bare.map(|s| s.path.clone()).collect::<Vec<_>>());
}

/// Joins lists of sources.
trait Concat {
    fn concat_sources(self) -> Vec<Source>;
}

impl<const N: usize> Concat for [Vec<Source>; N] {
    fn concat_sources(self) -> Vec<Source> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn nothing_is_unsafe_and_nothing_is_taken_for_granted() {
    // Spelt in pieces, so that this file does not find itself.
    let keyword = concat!(" un", "safe ");
    let mut found = Vec::new();
    for source in product() {
        let lines = product_lines(&source.text);
        for (at, line) in lines.iter().enumerate() {
            let place = format!("{}:{}: {}", source.path, at + 1, line.trim());
            if is_comment(line) {
                continue;
            }
            if format!(" {line}").contains(keyword) && !line.contains("forbid") {
                found.push(place.clone());
            }
            let assumes = line.contains(".unwrap()") || line.contains(".expect(");
            if assumes && !has_proof(&lines, at) {
                found.push(place);
            }
        }
    }
    report("unsafe code, or assumptions without a proof beside them", &found);
}

/// Whether an `#[expect(clippy::…, reason = …)]` stands within the function's length above.
fn has_proof(lines: &[&str], at: usize) -> bool {
    let start = at.saturating_sub(FUNCTION_MAX_LINES);
    let above = lines[start..at].join("\n");
    above.contains("expect(clippy::")
        || above.contains("clippy::unwrap_used")
        || above.contains("clippy::expect_used")
}

#[test]
fn few_crates_are_linked() {
    // Those of the cage do not count: they are here to take rights away, from all the others too.
    let crates = linked(&["--no-default-features", "--features", "operator,harpoon,page,dev,ring"]);
    assert!(crates.len() <= CRATES_MAX, "{} crates:\n{}", crates.len(), crates.join("\n"));
}

/// What OpenSSL is to compute, nothing else may: a second library in the tree is one that may be called.
#[test]
fn a_build_holds_one_library_for_cryptography() {
    let parts = "operator,harpoon,page,cage,dev";
    for (library, other) in [("ring", "openssl"), ("openssl", "ring")] {
        let crates = linked(&["--no-default-features", "--features", &format!("{parts},{library}")]);
        let of = |name: &str| crates.iter().filter(|one| one.contains(name)).cloned().collect::<Vec<_>>();
        assert!(!of(library).is_empty(), "{library} is missing:\n{}", crates.join("\n"));
        report(&format!("crates of {other} in a build with {library}"), &of(other));
    }
}

/// Crates that a build with these options links, each with its version.
fn linked(options: &[&str]) -> Vec<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "-e", "normal", "--prefix", "none", "--locked", "--offline", "-f", "{p}"])
        .args(options)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> =
        text.lines().map(|l| l.trim_end_matches(" (*)")).filter(|l| !l.is_empty()).collect();
    crates.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    // What git knows, so that build output and an editor's files do not count.
    let output = std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let listed = output.ok().filter(|o| o.status.success()).map(|o| o.stdout).unwrap_or_default();
    let listed = String::from_utf8(listed).unwrap();
    let top: BTreeSet<&str> = listed.lines().map(|path| path.split('/').next().unwrap()).collect();
    let odd: Vec<String> = top.iter().filter(|t| !TOP_LEVEL.contains(t)).map(|t| (*t).to_owned()).collect();
    report("top-level entries that the design does not name", &odd);
}
