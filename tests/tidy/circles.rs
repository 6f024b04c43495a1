//! Circles of files: those that import each other, directly or over others, cannot be read one after the other.
//!
//! What counts are `use` lines of the product, followed through re-exports to the file that has the name. A parent's
//! `mod` lines and re-exports do not count, since a parent has to name its children.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;

use super::{is_test_file, product_lines, report, sources};

/// Longest way through re-exports that is followed.
const HOPS_MAX: usize = 6;

/// Path of a module or of something in it: `["config", "mcp"]`.
type Path = Vec<String>;

/// What one file imports and re-exports.
#[derive(Default)]
struct Imports {
    uses: Vec<Path>,
    exports: Vec<Path>,
    text: String,
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let read = sources("src").into_iter().filter(|source| !is_test_file(&source.path));
    let read = read.map(|source| (module(&source.path), product_lines(&source.text).join("\n")));
    report("circles of files", &circles(&read.collect()));
}

/// The module of a file.
fn module(path: &str) -> Path {
    let name = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if name == "lib" { Vec::new() } else { name.split('/').map(str::to_owned).collect() }
}

/// Every circle among these modules, as a line.
fn circles(texts: &BTreeMap<Path, String>) -> Vec<String> {
    let imports: BTreeMap<&Path, Imports> =
        texts.iter().map(|(module, text)| (module, read(module, text, texts))).collect();
    let reached = |module: &Path| -> BTreeSet<Path> {
        let uses = imports[module].uses.iter().filter_map(|path| owner(path, &imports, 0));
        uses.filter(|other| other != module).collect()
    };
    let edges: BTreeMap<&Path, BTreeSet<Path>> =
        texts.keys().map(|module| (module, reached(module))).collect();
    // What can be reached from a module, and reaches it, is in a circle with it.
    let beyond = |from: &Path| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            let fresh: Vec<Path> =
                edges[&module].iter().filter(|one| seen.insert((*one).clone())).cloned().collect();
            next.extend(fresh);
        }
        seen
    };
    let all: BTreeMap<&Path, BTreeSet<Path>> = texts.keys().map(|module| (module, beyond(module))).collect();
    let circle = |module: &Path| -> BTreeSet<String> {
        let mutual = all[module].iter().filter(|other| all[*other].contains(module));
        mutual.map(|path| path.join("::")).collect()
    };
    let found: BTreeSet<BTreeSet<String>> =
        texts.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    found.iter().map(|circle| circle.iter().cloned().collect::<Vec<_>>().join(", ")).collect()
}

/// The imports of a module.
fn read(module: &Path, text: &str, all: &BTreeMap<Path, String>) -> Imports {
    let line = Regex::new(r"(?m)^ *(pub(?:\([^)]*\))? )?use ([^;]+);").unwrap();
    let mut imports = Imports { text: text.to_owned(), ..Imports::default() };
    for found in line.captures_iter(text) {
        let paths = expanded(&found[2].split_whitespace().collect::<Vec<_>>().join(" "));
        let paths = paths.iter().filter_map(|path| absolute(module, path, all));
        if found.get(1).is_some() { imports.exports.extend(paths) } else { imports.uses.extend(paths) }
    }
    imports
}

/// The paths that `a::{b, c::{d}}` stands for.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().to_owned()];
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expanded(part)).map(|part| format!("{before}{part}")).collect()
}

/// A path from the root of the crate; `None` for one into another crate.
fn absolute(module: &Path, path: &str, all: &BTreeMap<Path, String>) -> Option<Path> {
    let mut words: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base = module.clone();
    match words[0] {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while words.get(1) == Some(&"super") {
                words.remove(0);
                base.pop();
            }
            base.pop();
        }
        child => {
            base.push(child.to_owned());
            all.get(&base)?;
        }
    }
    base.extend(words[1..].iter().filter(|word| **word != "self").map(|word| (*word).to_owned()));
    Some(base)
}

/// The module that has what a path names, looked for through re-exports.
fn owner(path: &Path, imports: &BTreeMap<&Path, Imports>, hops: usize) -> Option<Path> {
    let (module, rest) = (0..=path.len()).rev().map(|at| path.split_at(at)).find_map(|(module, rest)| {
        let module = module.to_vec();
        imports.contains_key(&module).then_some((module, rest))
    })?;
    let Some(name) = rest.first().filter(|_| hops < HOPS_MAX) else { return Some(module) };
    let all = &imports[&module];
    let mut exports = all.exports.iter();
    if let Some(export) = exports.clone().find(|export| export.last() == Some(name)) {
        return owner(export, imports, hops + 1);
    }
    // Of a name that stands nowhere here, one of the files whose names are all exported has it.
    let own = format!(r"\b(?:struct|enum|trait|fn|const|type|mod|static) {name}\b");
    let glob = exports.find(|export| export.last().is_some_and(|last| last == "*"));
    match glob.filter(|_| !Regex::new(&own).unwrap().is_match(&all.text)) {
        Some(glob) => owner(&[&glob[..glob.len() - 1], rest].concat(), imports, hops + 1),
        None => Some(module),
    }
}

#[test]
fn a_circle_is_found_through_a_re_export_and_a_chain_is_none() {
    let texts = |files: &[(&str, &str)]| -> BTreeMap<Path, String> {
        files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect()
    };
    let chain = [
        ("src/lib.rs", "mod a;\nmod b;"),
        ("src/a/mod.rs", "mod c;\npub use c::Thing;"),
        ("src/a/c.rs", "use std::fmt;\npub struct Thing;"),
        ("src/b.rs", "use crate::a::{Thing, other::{X}};\n"),
    ];
    assert_eq!(circles(&texts(&chain)), Vec::<String>::new());
    let mut circle = chain;
    circle[2].1 = "use super::super::b::Other;";
    assert_eq!(circles(&texts(&circle)), ["a::c, b"]);
}
