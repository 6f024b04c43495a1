//! Counts the code lines that each set of features compiles.
//!
//! The count follows `mod` lines from `src/lib.rs` and leaves out what `#[cfg(...)]` leaves out, blank lines,
//! comments and unit tests. It reads formatted sources: the extent of an item is found by its indentation.

use std::path::{Path, PathBuf};

use super::root;

/// Features in the order in which they are added, each with the most code lines that it may add. Of the service's, the
/// operator's policy with its limits and lists, the pins of tools, and the audit record are 2 600: they decide about every
/// command, so no build is without them. What takes over other files and another profile while calls run is 950, what is
/// kept and counted of each call 150. The page is 1 050 with what it remembers of an hour, of the log and of each part; who
/// may look from another machine is 180, what the text for support shows of a running tunnel and of its settings 280. None of
/// it is in the audited service. The bounds follow every step down.
/// The cage is the list of system calls, the directories that stay open, and what says that it is shut.
const BOUNDS: [(&str, usize); 5] =
    [("service", 20_682), ("page", 1_800), ("harpoon", 4_780), ("operator", 5_561), ("cage", 350)];

#[test]
fn each_program_is_small() {
    // What packages have; the one with OpenSSL is as long.
    let mut features = vec!["ring"];
    let (mut before, mut over) = (0, Vec::new());
    for (name, bound) in BOUNDS {
        if name != "service" {
            features.push(name);
        }
        let whole = program(&features);
        let lines = whole - before;
        println!("{name}: {lines} code lines of at most {bound}; {whole} in all");
        if lines > bound {
            over.push(format!("{name}: {lines} code lines, at most {bound}"));
        }
        before = whole;
    }
    super::report("sizes above their bound", &over);
}

/// Code lines of the largest program that these features make.
fn program(features: &[&str]) -> usize {
    let operator = features.contains(&"operator");
    let main = if operator { "src/bin/tunnel-client.rs" } else { "src/bin/tunnel-clientd.rs" };
    file(&root().join("src/lib.rs"), features) + file(&root().join(main), features)
}

/// Code lines of a file and of the modules that it names.
fn file(path: &Path, features: &[&str]) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (lines, modules) = compiled(&text, features);
    let modules = modules.iter().map(|name| file(&module(path, name), features));
    lines + modules.sum::<usize>()
}

/// The file of a module that another file names.
fn module(parent: &Path, name: &str) -> PathBuf {
    let folder = parent.parent().unwrap();
    let stem = parent.file_stem().unwrap().to_str().unwrap();
    let folder = if ["lib", "mod"].contains(&stem) { folder.to_owned() } else { folder.join(stem) };
    let flat = folder.join(format!("{name}.rs"));
    if flat.is_file() { flat } else { folder.join(name).join("mod.rs") }
}

/// The number of code lines that are compiled, and the modules whose files are.
fn compiled(text: &str, features: &[&str]) -> (usize, Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut count, mut modules, mut at) = (0, Vec::new(), 0);
    while at < lines.len() {
        let line = lines[at].trim();
        if let Some(condition) = line.strip_prefix("#![cfg(").or_else(|| line.strip_prefix("#[cfg(")) {
            let condition = condition.strip_suffix(")]").expect("a condition stands on one line");
            if !holds(condition, features) {
                assert!(!line.starts_with("#!"), "a condition stands at the `mod` line");
                at = after_item(&lines, at + 1);
                continue;
            }
        }
        if !line.is_empty() && !line.starts_with("//") {
            count += 1;
        }
        modules.extend(module_name(line).map(str::to_owned));
        at += 1;
    }
    (count, modules)
}

/// The name in `mod name;`.
fn module_name(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';')?;
    let (visibility, name) = line.rsplit_once("mod ")?;
    let visible = visibility.is_empty() || (visibility.starts_with("pub") && visibility.ends_with(' '));
    (visible && !name.contains(' ')).then_some(name)
}

/// The line behind the item, statement, field or arm that follows an attribute.
fn after_item(lines: &[&str], mut at: usize) -> usize {
    while lines[at].trim().starts_with("#[") || lines[at].trim().starts_with("//") {
        at += 1;
    }
    let indent = indentation(lines[at]);
    loop {
        at += 1;
        let Some(line) = lines.get(at) else { return at };
        let deeper = line.trim().is_empty() || indentation(line) > indent;
        let closes = indentation(line) == indent && line.trim().starts_with(['}', ')', ']']);
        let goes_on =
            line.ends_with(['{', '(', '[']) || lines.get(at + 1).is_some_and(|next| next.trim() == "where");
        if deeper || (closes && goes_on) || ["where", "{"].contains(&line.trim()) {
            continue;
        }
        return at + usize::from(closes);
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a condition of `cfg` holds. One that is not known here has to be added.
fn holds(condition: &str, features: &[&str]) -> bool {
    let inner = |word: &str| condition.strip_prefix(word).and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner("not(") {
        return !holds(inner, features);
    }
    if let Some(inner) = inner("all(") {
        return parts(inner).iter().all(|part| holds(part, features));
    }
    if let Some(inner) = inner("any(") {
        return parts(inner).iter().any(|part| holds(part, features));
    }
    match condition.split_once(" = ") {
        Some(("feature", name)) => features.contains(&name.trim_matches('"')),
        Some(("target_arch", name)) => name == "\"x86_64\"",
        Some(("target_os", name)) => name == "\"linux\"",
        _ if ["test", "doc", "fuzzing"].contains(&condition) => false,
        _ if condition == "unix" => true,
        _ => panic!("unknown condition: {condition}"),
    }
}

/// The conditions of a list, parted at commas outside parentheses.
fn parts(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list.get(start..at).unwrap().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list.get(start..).unwrap().trim());
    parts
}

#[test]
fn the_count_knows_what_is_left_out() {
    let sample = "\
//! A module.

#[cfg(feature = \"page\")]
pub(crate) mod page;
mod always;

#[cfg(not(feature = \"page\"))]
fn absent(
    a: u8,
) -> u8
where
    u8: Copy,
{
    match a {
        // A comment.
        0 => 1,
        #[cfg(all(feature = \"page\", any(feature = \"x\", unix)))]
        1 => {
            2
        }
        #[cfg(feature = \"page\")]
        2 => 3,

        _ => 4,
    }
}

#[cfg(feature = \"page\")]
use a::{
    b,
};
#[cfg(test)]
mod tests;

#[cfg(test)]
mod more {
    fn f() {
    }
}
const LAST: u8 = 1;
";
    assert_eq!(compiled(sample, &["page"]), (8, vec!["page".to_owned(), "always".to_owned()]));
    assert_eq!(compiled(sample, &[]), (14, vec!["always".to_owned()]));
    let statement = "fn f() {\n    #[cfg(feature = \"page\")]\n    if a {\n        b();\n    } else {\n        c();\n    }\n    d()\n}\n";
    assert_eq!(compiled(statement, &[]).0, 3);
    assert_eq!(compiled(statement, &["page"]).0, 9);
    let chain = "#[cfg(feature = \"page\")]\nlet a = b\n    .c()\n    .d();\nlet e = 1;\n";
    assert_eq!(compiled(chain, &[]).0, 1);
}
