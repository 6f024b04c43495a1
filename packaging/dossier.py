#!/usr/bin/env python3
"""Fills the tables of packaging/DEPENDENCIES.md from cargo and from the crates' own sources.

    packaging/dossier.py            rewrites the tables
    packaging/dossier.py --check    says what would change and exits 1; 0 when nothing would

A row is a crate that is linked into the program or runs while it is built, on any of the targets
that are shipped; a build with `openssl` has tables for what it has more. All columns but the last two are generated;
"why" and "instead" are written by hand and kept. A crate without them is a failure of --check: nothing comes in
unexplained. So is a crate that asks for a later Rust than Cargo.toml claims.

Needs cargo with the crates at hand (registry cache or vendored tree), no network, and nothing but
Python's standard library.
"""

import difflib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOSSIER = ROOT / "packaging" / "DEPENDENCIES.md"
TARGETS = [f"{arch}-unknown-linux-{libc}" for arch in ("x86_64", "aarch64") for libc in ("gnu", "musl")]
OWN = "tunnel-client"
# What the programs of a package are built with, taken together, and what computes in them: ring in most.
FEATURES = "operator,harpoon,page,cage"
LIBRARIES = ("ring", "openssl")
HEAD = ["crate", "version", "features", "lines", "unsafe", "licence", "repository", "needed by", "why", "instead"]
HAND_WRITTEN = 2
TABLES = {
    ("ring", "linked"): "## Linked into the program",
    ("ring", "built"): "## Run at build time only",
    ("openssl", "linked"): "## Linked into a build with OpenSSL besides",
    ("openssl", "built"): "## Run at the build time of such a build besides",
}
FOREIGN = {".c", ".h", ".S", ".asm", ".inl"}
NOT_BUILT = {"tests", "test", "examples", "benches", "src"}


def cargo(*arguments):
    """What a cargo command prints. It may not go to the network, nor touch the lock file."""
    command = ["cargo", *arguments, "--locked", "--offline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def tree(target, edges, library):
    """Crates of one target: (name, version) -> (features, names of those who need it)."""
    form = ["--prefix", "depth", "--no-dedupe", "-f", "{p}|{f}"]
    text = cargo("tree", "-e", edges, "--no-default-features", "--features", f"{FEATURES},{library}", "--target", target, *form)
    found, above = {}, []
    for line in text.splitlines():
        shape = re.fullmatch(r"(\d+)(\S+) v(\S+)[^|]*\|(.*)", line)
        depth, key = int(shape[1]), (shape[2], shape[3])
        del above[depth:]
        features, parents = found.setdefault(key, (set(), set()))
        features.update(filter(None, shape[4].split(",")))
        parents.update(above[-1:])
        above.append(shape[2])
    return {key: value for key, value in found.items() if key[0] != OWN}


def crates(library):
    """All crates over all targets, and which of them are linked."""
    found, linked = {}, set()
    for target in TARGETS:
        for key, (features, parents) in tree(target, "normal,build", library).items():
            all_features, all_parents = found.setdefault(key, (set(), set()))
            all_features |= features
            all_parents |= parents
        linked |= set(tree(target, "normal,no-proc-macro", library))
    return found, linked


def count(folder):
    """Lines of Rust below `src`, how many of them hold the word `unsafe`, and lines of C and assembly
    (of all platforms; tests and examples left out).

    The same by hand, in a crate's folder:
        find src -name '*.rs' -exec cat {} + | wc -l
        find src -name '*.rs' -exec cat {} + | grep -cw unsafe
    Tests and comments count. (`unsafe_code`, as in `forbid(unsafe_code)`, is another word.)
    """
    rust = [path for path in sorted((folder / "src").rglob("*.rs")) if path.is_file()]
    lines = [line for path in rust for line in path.read_bytes().split(b"\n")[:-1]]
    unsafe = sum(1 for line in lines if re.search(rb"\bunsafe\b", line))
    places = [place for place in folder.iterdir() if place.is_dir() and place.name not in NOT_BUILT]
    foreign = [path for place in places for path in place.rglob("*") if path.suffix in FOREIGN]
    return len(lines), unsafe, sum(path.read_bytes().count(b"\n") for path in foreign)


def number(value):
    """Digits in groups of three, so that columns can be compared by eye."""
    return f"{value:,}".replace(",", " ")


def repository(package):
    """Owner and name of the repository, or the authors where there is none."""
    place = re.search(r"://[^/]+/([^/]+/[^/]+)", package.get("repository") or "")
    authors = ", ".join(re.sub(r"\s*<.*?>", "", author) for author in package["authors"])
    return place[1].removesuffix(".git") if place else authors or "not said"


def row(package, features, parents):
    """The generated cells of one crate."""
    rust, unsafe, other = count(Path(package["manifest_path"]).parent)
    lines = number(rust) + (f" + {number(other)} C and assembly" if other else "")
    cells = [f"`{package['name']}`", package["version"], ", ".join(sorted(features)) or "none", lines, number(unsafe)]
    return cells + [package["license"] or "not said", repository(package), ", ".join(sorted(parents))]


def numbers(version):
    """A version of Rust as numbers; nothing counts as 1.0."""
    return tuple(int(part) for part in (version or "1.0").split("."))


def too_new(packages, claimed):
    """Crates that ask for a later Rust than Cargo.toml claims."""
    for package in packages:
        if numbers(package["rust_version"])[:2] > numbers(claimed)[:2]:
            yield f"{package['name']} {package['version']} wants Rust {package['rust_version']}, and Cargo.toml claims {claimed}"


def generated():
    """The generated cells of every row, in order of name: {table: [[cells]]}, and crates that are too new. A crate stands
    in one table."""
    metadata = json.loads(cargo("metadata", "--all-features", "--format-version", "1"))
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    tables, known = {name: [] for name in TABLES}, set()
    for library in LIBRARIES:
        found, linked = crates(library)
        for key in sorted(set(found) - known):
            cells = row(packages[key], *found[key])
            tables[library, "linked" if key in linked else "built"].append(cells)
        known |= set(found)
    claimed = next(package["rust_version"] for package in metadata["packages"] if package["name"] == OWN)
    return tables, list(too_new((packages[key] for key in sorted(known)), claimed))


def named(cells):
    """What tells a row from others: two series of one crate are two crates."""
    return cells[0], cells[1].split(".")[0]


def hand_written(text):
    """The last cells of the rows that stand in the file, by crate and first number of its version."""
    kept = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == len(HEAD) and cells[0].startswith("`"):
            kept[named(cells)] = cells[-HAND_WRITTEN:]
    return kept


def rewritten(text, tables):
    """The file with these tables, and what is still to be written by hand.

    A table is the first block of lines with bars after its section's heading; both must be there.
    """
    kept, missing = hand_written(text), []
    for name, rows in tables.items():
        table = [HEAD, ["---"] * len(HEAD)]
        for cells in rows:
            own = kept.get(named(cells), [""] * HAND_WRITTEN)
            if not all(own):
                missing.append(cells[0])
            table.append(cells + own)
        section = re.compile(rf"(^{re.escape(TABLES[name])}\n.*?\n)((?:\|[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
        block = "".join(f"| {' | '.join(row)} |\n" for row in table)
        text, hits = section.subn(lambda match, block=block: match[1] + block, text)
        if hits != 1:
            sys.exit(f"{DOSSIER.name}: no table below {TABLES[name]!r}")
    return text, missing


def main():
    """Rewrites or checks."""
    arguments = sys.argv[1:]
    if arguments not in ([], ["--check"]):
        sys.exit(__doc__)
    before, (tables, late) = DOSSIER.read_text(), generated()
    after, missing = rewritten(before, tables)
    for fault in late:
        print(fault)
    for crate in missing:
        print(f"{DOSSIER.name}: {crate} has nobody who says why it is here and what would replace it")
    if arguments:
        texts = [text.splitlines() for text in (before, after)]
        difference = list(difflib.unified_diff(*texts, "as it is", "as it should be", lineterm="", n=0))
        for line in difference:
            print(line)
        sys.exit(1 if missing or difference or late else 0)
    DOSSIER.write_text(after)
    print(", ".join(f"{' '.join(name)}: {len(rows)}" for name, rows in tables.items()))
    sys.exit(1 if missing or late else 0)


if __name__ == "__main__":
    main()
