#!/usr/bin/env python3
"""Holds the threat model, SECURITY.md and packaging/compliance.md to the tree: what they name must exist, with the
numbers of the code.

    evidence.py             prints what does not hold and exits 1; 0 when everything does
    evidence.py --self-test breaks copies of the pages and fails where nobody notices

Python's standard library is enough. Nothing is compiled: a test is a function below `#[test]` in the file
that its name leads to.
"""

import re
import sys
from pathlib import Path

# Nothing is left beside the sources.
sys.dont_write_bytecode = True
import mutants  # noqa: E402
import threat_model  # noqa: E402
from threat_model import PAGE, ROOT, tokens  # noqa: E402

# The page for the hurried, which names the rows of the threat model by number.
SUMMARY = ROOT / "SECURITY.md"
# The page that sets the program beside catalogues of controls, and the column that has to name something.
CONTROLS, SHOWN = ROOT / "packaging" / "compliance.md", "shown by"
# Pages whose links must lead to something; nothing else of them is checked here.
LINKED = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "src/threat-model.md", "tests/README.md", "packaging/README.md",
          "packaging/DEPENDENCIES.md", "packaging/REVIEWS.md", "packaging/compliance.md",
          "packaging/kubernetes/README.md"]
# The adversaries of the threat model; each has rows, and R is what remains.
LETTERS = "ABCDEFGHIJKLR"
UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": 1}


def cells(line):
    """The cells of a table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text):
    """All tables as (names of columns, rows)."""
    for block in re.findall(r"(?:^\|[^\n]*\n)+", text, re.MULTILINE):
        lines = block.splitlines()
        if len(lines) > 2:
            yield cells(lines[0]), [cells(line) for line in lines[2:]]


def first(candidates):
    """The first of these files that exists."""
    return next((path for path in candidates if path.is_file()), None)


def module(path):
    """The file of a module of the program."""
    place = ROOT / "src" / Path(*path)
    return first([place.with_suffix(".rs"), place / "mod.rs"])


def is_test(name):
    """Whether a test of this name is in the tree, or a script of this path."""
    if "/" in name:
        script = ROOT / name
        return script.is_file() and script.stat().st_mode & 0o111
    *path, function = name.split("::")
    suite, source = ROOT / "tests" / "suite" / Path(*path), ROOT / "src" / Path(*path)
    beside = source.parent / "tests" / source.name
    files = [suite.with_suffix(".rs"), source.with_suffix(".rs"), source / "mod.rs", source / "tests.rs"]
    files += [beside.with_suffix(".rs"), ROOT / "tests" / f"{path[0]}.rs"]
    shape = re.compile(rf"#\[test\]\n(?:\s*#\[[^\n]*\n|\s*//[^\n]*\n)*\s*fn {re.escape(function)}\(")
    return any(path.is_file() and shape.search(path.read_text()) for path in files)


def constant(name):
    """The value of a constant, in bytes, seconds or as a number; None when it is not there."""
    *path, name = name.split("::")
    file = module(path)
    found = re.search(rf"const {name}: \w+ =\s*([^;]+);", file.read_text()) if file else None
    if not found:
        return None
    text = re.sub(r"Duration::from_secs\(([^)]+)\)", r"(\1)", found[1]).replace("_", "")
    # Nothing but a sum of the source's own numbers is ever evaluated.
    return eval(text) if re.fullmatch(r"[\d\s*()<]+", text) else None  # noqa: S307


def number(text):
    """A number as the page writes it: `64 MiB`, `102 400 bytes`, `12 s`, `10 000`."""
    shape = re.fullmatch(r"(\d[\d ]*?)(?: (bytes|KiB|MiB|s))?", text)
    return int(shape[1].replace(" ", "")) * UNITS.get(shape[2], 1) if shape else None


def defaults():
    """The default of every setting, by its YAML key."""
    text = (ROOT / "src/config/settings.rs").read_text()
    rows = re.findall(r'new\("[^"]+", &\[[^]]*\], "([^"]*)", .*?, "[^"]*", "([^"]*)"\)', text)
    return {key: default for key, default in rows if key}


def names(name):
    """Whether something is a module, a type or a constant of the program, or a test."""
    *path, last = name.split("::")
    if last[0].isupper():
        file = module(path)
        return bool(file and re.search(rf"\b(?:struct|enum|const|use) [^;]*\b{last}\b", file.read_text()))
    return bool(module([*path, last])) or is_test(name)


def function(name):
    """Whether something is a function of the program."""
    *path, last = name.split("::")
    file = module(path)
    return bool(file and re.search(rf"\bfn {last}\b", file.read_text()))


def row_faults(row):
    """What does not hold in a row of the threat model, or in an item with fields."""
    label = row.label or row.text[:40]
    found = row.names("Test")
    yield from (f"{label}: there is no test {each}" for each in found if not is_test(each))
    if row.label and row.label[0] != "R" and not found and not row.fields.get("Test", "").startswith("no test:"):
        yield f"{label}: no test is named"
    for each in row.names("Module"):
        place = ROOT / each
        if not (place.exists() if "/" in each or "." in each else names(each)):
            yield f"{label}: there is no {each}"


def bound_faults(columns, row):
    """What does not hold in a row of the bounds: a constant or a default of another value."""
    cell, label = dict(zip(columns, row)), row[0]
    if len(columns) != len(row):
        yield f"{label}: {len(row)} cells below {len(columns)} columns"
    for each in tokens(cell.get("constant", "")):
        if constant(each) is None or constant(each) != number(cell["bound"]):
            yield f"{label}: {each} is {constant(each)}, not {cell['bound']}"
    for each in tokens(cell.get("setting", "")):
        if defaults().get(each) != cell["default"]:
            yield f"{label}: {each} is {defaults().get(each)}, not {cell['default']}"


def summary_faults(summary, last):
    """What SECURITY.md counts otherwise than the threat model, where `last` is the number of rows of each letter."""
    ranges = dict(re.findall(r"\| ([A-L])1 to [A-L](\d+) \|", summary))
    if ranges != {letter: str(count) for letter, count in last.items() if letter != "R"}:
        yield f"SECURITY.md: the adversaries have the rows {ranges}, in the threat model {last}"
    listed = re.findall(r"^\* R(\d+): ", summary, re.MULTILINE)
    if listed != [str(index) for index in range(1, last["R"] + 1)]:
        yield f"SECURITY.md: what remains is R{', R'.join(listed)}, in the threat model {last['R']} rows"


def drain_faults(text):
    """What may follow the drain, as the page, the manifests' check and the code have it."""
    body = re.search(r"fn drain_bound\(.*?\n    }", (ROOT / "src/service/tunnel.rs").read_text(), re.DOTALL)[0]
    seconds = sum(int(each) for each in re.findall(r"Duration::from_secs\((\d+)\)", body))
    seconds += constant("service::drain::LAST_POSTS_WAIT") + constant("mcp::stdio::keeper::END_MAX") + constant("audit::END_TIME")
    if f"at most {seconds} s follow" not in text:
        yield f"after the drain {seconds} s may follow"
    check = (ROOT / "tests/packaging/kubernetes.py").read_text()
    if f"DRAIN_SECONDS_MIN = {seconds + 15}" not in check:
        yield f"tests/packaging/kubernetes.py: a drain may take {seconds + 15} s"


def anchors(text):
    """The headings of a page, as links name them."""
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE)}


def link_faults(page, text):
    """Links of a page that lead nowhere: to no file of the tree, or to none of the headings there."""
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path
        if not target.exists() or heading and heading not in anchors(target.read_text() if path else text):
            yield f"{page}: {link} leads nowhere"


def labels_in(text):
    """Labels of the threat model, with those between the ends of `A1 to A3`."""
    for letter, first_one, last in re.findall(r"\b([A-LR])(\d+)(?: to \1(\d+))?\b", text):
        yield from (f"{letter}{index}" for index in range(int(first_one), int(last or first_one) + 1))


def control_faults(text, known):
    """What does not hold in the page of controls, where `known` are the labels of the threat model's rows."""
    for columns, rows in tables(text):
        for row in rows:
            cell, label = dict(zip(columns, row)), row[0]
            if len(row) != len(columns) or not all(row[:3]):
                yield f"{CONTROLS.name}: {label}: {len(row)} cells below {', '.join(columns)}, or an empty one"
            shown = cell.get(SHOWN, "")
            evidence, labels = tokens(shown), list(labels_in(re.sub(r"`[^`]*`", "", shown)))
            yield from (f"{CONTROLS.name}: {label}: there is no row {each}" for each in labels if each not in known)
            yield from (f"{CONTROLS.name}: {label}: there is no {each}" for each in evidence
                        if not (is_test(each) if "::" in each else (ROOT / each).is_file()))
            if not evidence and not labels and shown != "None":
                yield f"{CONTROLS.name}: {label}: names neither a test nor a row, and does not say None"
    for each in tokens(text):
        if re.match(r"(src|tests|packaging|man|\.ci)/", each) and not (ROOT / each).exists():
            yield f"{CONTROLS.name}: there is no {each}"


def faults(text, summary, controls):
    """Everything that does not hold of these pages."""
    found, seen = list(drain_faults(text)), {letter: [] for letter in LETTERS}
    for row in threat_model.rows(text):
        found += row_faults(row)
        if row.label:
            seen.setdefault(row.label[0], []).append(row.label)
    for columns, rows in tables(text):
        for row in rows:
            found += bound_faults(columns, row)
    for letter, labels in seen.items():
        if not labels or labels != [f"{letter}{index}" for index in range(1, len(labels) + 1)]:
            found.append(f"the rows of {letter} are {', '.join(labels) or 'missing'}")
    found += summary_faults(summary, {letter: len(labels) for letter, labels in seen.items()})
    for each in re.findall(r"`((?:[a-z_]+::)+\w+)`", text + summary):
        if not (names(each) or is_test(each)):
            found.append(f"there is no {each}")
    found += mutants.faults(text)
    found += control_faults(controls, {label for labels in seen.values() for label in labels})
    given = {PAGE: text, SUMMARY: summary, CONTROLS: controls}
    for page in LINKED:
        content = given.get(ROOT / page) or (ROOT / page).read_text()
        found += link_faults(page, content)
        # Names of other crates are none of ours.
        ours = (name for name in re.findall(r"`((?:[a-z_]+::)+\w+)`", content) if module([name.split("::")[0]]))
        found += [f"{page}: there is no {name}" for name in ours if not (names(name) or is_test(name) or function(name))]
    return list(dict.fromkeys(found))


def self_test(text, summary, controls):
    """Each of these changes is a fault, and has to be found."""
    changes = [
        ("secrets::the_process_is_not_dumpable", "secrets::the_process_is_dumpable"),
        ("tests/packaging/dossier.sh", "tests/packaging/absent.sh"),
        ("Module: `relay::headers`", "Module: `relay::footers`"),
        ("| 64 MiB | `plane::client::", "| 63 MiB | `plane::client::"),
        ("| 5 s | `oauth::discovery::SEARCH_TIME`", "| 6 s | `oauth::discovery::SEARCH_TIME`"),
        ("| 10m | ", "| 11m | "),
        ("**A3**", "**A4**"),
        ("Test: no test: there is", "Test: there is"),
        ("  * Test: ", "  * Tested: "),
        ("at most 18 s follow", "at most 19 s follow"),
        ("**H10**", "**H11**"),
        ("**R18**", "**R19**"),
    ]
    of_summary = [("](#what-remains)", "](#what-has-gone)"), ("A1 to A", "A1 to A1"), ("* R2: ", "* R3: ")]
    of_controls = [
        ("`secrets::nothing_that_is_shown_holds_a_secret`", "`secrets::nothing_is_shown`"),
        ("`tests/packaging/reproducible.sh`", "`tests/packaging/absent.sh`"),
        ("H1 to H10", "H1 to H11"),
        ("| R4 | A filter before", "| Nothing | A filter before"),
        ("| Short-lived keys", "| Short-lived | keys"),
        ("(`packaging/rotation.md`)", "(`packaging/turning.md`)"),
    ]
    pairs = [(old, new, text, lambda changed: faults(changed, summary, controls)) for old, new in changes]
    pairs += [(old, new, summary, lambda changed: faults(text, changed, controls)) for old, new in of_summary]
    pairs += [(old, new, controls, lambda changed: faults(text, summary, changed)) for old, new in of_controls]
    missed = ["the pages have faults of their own"] if faults(text, summary, controls) else []
    for old, new, page, check in pairs:
        if old not in page or not check(page.replace(old, new, 1)):
            missed.append(f"nobody notices {new!r} in the place of {old!r}")
    print("\n".join(missed) or f"self-test: each of {len(pairs)} changes was noticed")
    return missed


def main():
    """Checks, or checks the check."""
    pages = [page.read_text() for page in (PAGE, SUMMARY, CONTROLS)]
    text = pages[0]
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(1 if self_test(*pages) else 0)
    found = faults(*pages)
    counted = {name for row in threat_model.rows(text) for name in row.names("Test")}
    print("\n".join(found) or f"{PAGE.name}: {len(counted)} tests are named, and all of them exist")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
