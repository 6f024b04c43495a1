#!/usr/bin/env python3
"""Takes one protection of the threat model away at a time, and looks whether a test that its row names fails.

    mutants.py              all of the table, `mutants.txt` beside this file; an hour or so
    mutants.py A2 B10 ...   those of these rows
    mutants.py --check      builds nothing: every edit still applies, every row has an edit or a reason without one

A mutant is an edit of the source, applied to a copy below target/mutants; the program itself holds no switch that could
turn a protection off. Exit code 1 when a mutant is not noticed, does not compile or no longer applies, or when a named
test fails without any. Needs python3 and cargo alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Nothing is left beside the sources.
sys.dont_write_bytecode = True
import threat_model  # noqa: E402
from threat_model import PAGE, ROOT  # noqa: E402

TABLE = Path(__file__).with_suffix(".txt")
TREE = ROOT / "target" / "mutants" / "tree"
# A mutant may hang where the program waited before; every wait of the tests ends long before this.
SECONDS_MAX = 600


class Mutant:
    """One edit: the row it belongs to, what it takes away, and in which file which lines become which."""

    def __init__(self, row, what):
        self.row, self.what, self.file, self.old, self.new = row, what, "", [], []

    def applied(self, text):
        """The text without the protection; None when the lines are not there exactly once."""
        old, new = ("".join(f"{line}\n" for line in lines) for lines in (self.old, self.new))
        return text.replace(old, new) if self.old and f"\n{text}".count(f"\n{old}") == 1 else None


def table():
    """All mutants, and the rows that have none with the reason."""
    mutants, reasons = [], {}
    for line in TABLE.read_text().splitlines():
        if shape := re.fullmatch(r"== ([A-Z]\d+) (.+)", line):
            mutants.append(Mutant(*shape.groups()))
        elif shape := re.fullmatch(r"!! ([A-Z]\d+) (.+)", line):
            reasons[shape[1]] = shape[2]
        elif line.startswith("@@ "):
            mutants[-1].file = line[3:]
        elif line.startswith("-"):
            mutants[-1].old.append(line[1:])
        elif line.startswith("+"):
            mutants[-1].new.append(line[1:])
        elif line.strip() and not line.startswith("#"):
            sys.exit(f"{TABLE.name}: not understood: {line}")
    return mutants, reasons


def rows(page):
    """The tests that each row of the threat model names, but for those of what remains."""
    labelled = (row for row in threat_model.rows(page) if row.label and row.label[0] in "ABCDEFGHIJKL")
    return {row.label: row.names("Test") for row in labelled}


def faults(page):
    """What does not hold of the table, without building anything."""
    mutants, reasons = table()
    known, covered = rows(page), {mutant.row for mutant in mutants}
    for mutant in mutants:
        file = ROOT / mutant.file
        if mutant.row not in known:
            yield f"mutants.txt: there is no row {mutant.row}"
        if not file.is_file() or mutant.applied(file.read_text()) is None:
            yield f"mutants.txt: the edit of {mutant.row} ({mutant.what}) does not apply to {mutant.file} once"
    for row in known:
        if (row in covered) == (row in reasons):
            yield f"mutants.txt: {row} needs an edit, or a reason why none shows anything"


def cargo(*words):
    """Runs cargo on the copy."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(TREE.parent / "target"), CARGO_INCREMENTAL="1",
                       CARGO_PROFILE_DEV_DEBUG="0", CARGO_PROFILE_TEST_DEBUG="0")
    return subprocess.run(["cargo", *words], cwd=TREE, env=environment, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def program(*target):
    """Builds the tests of a target; the program that runs them, or None when they do not compile."""
    built = cargo("test", "--no-run", "--message-format=json", *target)
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    found = [message["executable"] for message in messages if message.get("profile", {}).get("test")]
    return found[0] if built.returncode == 0 else None


def tests_of(path, *words):
    """Runs a program of tests; all that it says, or None when it does not end."""
    try:
        environment = dict(os.environ, RUST_BACKTRACE="0")
        return subprocess.run([path, *words], cwd=TREE, env=environment, text=True, timeout=SECONDS_MAX, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    except subprocess.TimeoutExpired:
        return None


class Suites:
    """The tests of the tree. Those of the suite and of `tidy` are built once: they look at the program and the files from
    outside, so that only the program and its unit tests are built anew for a mutant."""

    def __init__(self):
        self.outside = {}
        for target in ("suite", "tidy"):
            path = program("--test", target) or sys.exit(f"the tests of {target} do not compile")
            # `tests` is where the unit tests of a module stand, and no part of the name on the page.
            room = "tidy::" if target == "tidy" else ""
            self.outside.update({room + name: (path, full) for name, full in self.listed(path)})
        self.inside = dict(self.listed(program("--lib")))

    @staticmethod
    def listed(path):
        """The tests of a program, as the page names them and as they are called."""
        for full in re.findall(r"^(\S+): test$", tests_of(path, "--list"), re.MULTILINE):
            yield "::".join(part for part in full.split("::") if part != "tests"), full

    def failures(self, wanted):
        """Those of the named tests that fail, until one does; None when nothing compiles. Scripts are not run."""
        if cargo("build", "--bins").returncode:
            return None
        paths = {}
        for name in (name for name in wanted if name in self.outside):
            path, full = self.outside[name]
            paths.setdefault(path, []).append(full)
        for path, names in paths.items():
            if found := self.failed(path, names):
                return found
        names = [self.inside[name] for name in wanted if name in self.inside]
        if not names:
            return []
        path = program("--lib")
        return self.failed(path, names) if path else None

    @staticmethod
    def failed(path, names):
        """Runs these tests of a program, all of them at their full names."""
        output = tests_of(path, "--exact", *names)
        if output is None:
            return ["a test that never ended"]
        found = re.findall(r"^test (\S+) .*FAILED$", output, re.MULTILINE)
        # Some protections keep the process itself alive.
        return found or ([] if "test result: ok" in output else ["the end of the tests' own process"])


def copy():
    """Brings the copy up to date, leaving the times of what has not changed."""
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, check=True)
    files = {name for name in listing.stdout.splitlines() if (ROOT / name).is_file()}
    for name in files:
        source, copied = ROOT / name, TREE / name
        if not copied.exists() or copied.read_bytes() != source.read_bytes():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copied)
    for old in (path for path in TREE.rglob("*") if path.is_file() and str(path.relative_to(TREE)) not in files):
        old.unlink()


def run(wanted):
    """Runs the mutants of these rows, or all; the number of faults."""
    page = PAGE.read_text()
    named, mutants = rows(page), [one for one in table()[0] if not wanted or one.row in wanted]
    copy()
    if cargo("build", "--examples").returncode:
        sys.exit("the servers of the tests do not compile")
    suites, bad = Suites(), list(faults(page))
    # Once without any mutant: a test that fails anyway shows nothing.
    every = {test for mutant in mutants for test in named[mutant.row]}
    broken = suites.failures(every) or []
    bad += [f"{test} fails without a mutant" for test in broken]
    for mutant in () if broken else mutants:
        file = TREE / mutant.file
        text = file.read_text()
        changed = mutant.applied(text)
        if changed is None:
            continue
        file.write_text(changed)
        failed = suites.failures(named[mutant.row])
        file.write_text(text)
        outcome = "does not compile" if failed is None else f"noticed by {failed[0]}" if failed else "NOT NOTICED"
        print(f"{mutant.row:4} {mutant.what}: {outcome}", flush=True)
        if not failed:
            bad.append(f"{mutant.row}: {mutant.what}: {outcome.lower()}")
    print("\n".join(bad) or f"{len(mutants)} mutants, each noticed by a test that its row names")
    return len(bad)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        found = list(faults(PAGE.read_text()))
        print("\n".join(found) or "mutants.txt: every edit applies, and every row has one or a reason")
        sys.exit(1 if found else 0)
    sys.exit(1 if run(sys.argv[1:]) else 0)
