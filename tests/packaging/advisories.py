#!/usr/bin/env python3
"""What packaging/release/advisories.py makes of a database, and where it stops. Needs nothing but Python 3.11 and takes a
second: database and lists of components are made here.

    tests/packaging/advisories.py
"""

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "packaging/release"))
import versions

TODAY = datetime.date.today().isoformat()
JUDGED = """[[statement]]
advisory = "RUSTSEC-2031-0001"
crate = "parser"
version = "0.3.4"
date = 2031-01-31
status = "not_affected"
justification = "vulnerable_code_not_in_execute_path"
text = "Nobody calls read_all."
"""


def advisory(folder, identifier, package, patched, **more):
    path = folder / f"{package}/{identifier}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"id": identifier, "package": package, "date": TODAY, "aliases": ["CVE-2031-12345"], **more}
    head = "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
    path.write_text(f'```toml\n[advisory]\n{head}\n\n[versions]\npatched = {json.dumps(patched)}\n```\n\n# It reads too far\n\nText.\n')


class Case:
    """A release with two crates and a standard library, and a database."""

    def __init__(self, folder):
        self.folder, self.database, self.written = folder, folder / "database", folder / "vex.toml"
        (self.database / "crates").mkdir(parents=True)
        self.written.write_text("")
        subject = {"name": "tunnel-client", "version": "1.0.0", "purl": "pkg:cargo/tunnel-client@1.0.0",
                   "hashes": [{"content": "0" * 64}]}
        inside = {"name": "hashes", "version": "0.16.0", "purl": "pkg:cargo/hashes@0.16.0"}
        crates = [{"name": name, "version": version, "purl": f"pkg:cargo/{name}@{version}"}
                  for name, version in [("parser", "0.3.4"), ("macros", "1.0.0")]]
        library = {"name": "rust-std", "version": "1.96.0", "purl": "pkg:generic/rust-std@1.96.0", "components": [inside]}
        (folder / "one.cdx.json").write_text(json.dumps({"metadata": {"component": subject}, "components": [*crates, library]}))

    def run(self, database=None):
        command = [ROOT / "packaging/release/advisories.py", "--database", database or self.database, "--components",
                   self.folder / "one.cdx.json", "--statements", self.written, "--publisher", "Test <a@publisher.test>",
                   "--publisher-url", "https://publisher.test", "--date", "1800000000", "--out", self.folder / "out"]
        return subprocess.run(command, capture_output=True, text=True)

    def passes(self, database=None):
        done = self.run(database)
        assert done.returncode == 0, done.stderr
        path = self.folder / "out/tunnel-client-1.0.0.openvex.json"
        statements = json.loads(path.read_text())["statements"] if path.exists() else []
        csaf = json.loads((self.folder / "out/tunnel-client-1_0_0-vex.json").read_text())
        assert len(csaf.get("vulnerabilities", [])) == len(statements)
        assert done.stdout.strip() in (self.folder / "out/README.txt").read_text()
        return done.stdout, statements

    def stops(self, *words):
        done = self.run()
        assert done.returncode == 1, f"it went on: {done.stdout}"
        for word in words:
            assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
        assert not (self.folder / "out").exists(), "documents were written all the same"


def an_advisory_of_other_versions_is_listed(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [">= 0.3.4"])
    said, (one,) = case.passes()
    assert said.startswith("1 advisories of RustSec's database") and TODAY in said, said
    assert one["status"] == "not_affected" and one["justification"] == "vulnerable_code_not_present", one
    assert one["vulnerability"]["aliases"] == ["CVE-2031-12345"], one


def an_advisory_of_ours_stops_until_it_is_judged(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [">= 0.3.5"])
    case.stops("RUSTSEC-2031-0001 (parser 0.3.4): It reads too far", "packaging/vex.toml")
    case.written.write_text(JUDGED)
    _, (one,) = case.passes()
    assert one["justification"] == "vulnerable_code_not_in_execute_path" and "read_all" in one["status_notes"], one


def crates_of_the_standard_library_and_itself_count(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0002", "hashes", [])
    advisory(case.database / "rust", "CVE-2031-0003", "std", [">= 1.97"])
    case.stops("RUSTSEC-2031-0002 (hashes 0.16.0)", "CVE-2031-0003 (std 1.96.0)")


def what_is_affected_says_what_to_do(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [])
    affected = JUDGED.replace("not_affected", "affected")
    case.written.write_text(affected)
    case.stops("'action'")
    case.written.write_text(affected.replace('justification = "vulnerable_code_not_in_execute_path"', 'action = "Upgrade."'))
    _, (one,) = case.passes()
    assert one["status"] == "affected" and one["action_statement"] == "Upgrade.", one


def a_statement_that_nothing_needs_stops(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [">= 0.3.4"])
    case.written.write_text(JUDGED)
    case.stops("RUSTSEC-2031-0001 parser 0.3.4")


def a_statement_for_another_version_does_not_count(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [])
    case.written.write_text(JUDGED.replace("0.3.4", "0.3.3"))
    case.stops("RUSTSEC-2031-0001 (parser 0.3.4)")


def what_cannot_be_read_stops(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", ["newer than that"])
    case.stops("RUSTSEC-2031-0001")
    (case.database / "crates/parser/RUSTSEC-2031-0001.md").write_text(f'date = "{TODAY}"\n')
    case.stops("can be read")


def an_old_database_or_none_stops(case):
    case.stops("holds no advisories")
    advisory(case.database / "crates", "RUSTSEC-2020-0001", "other", [], date="2020-01-01")
    case.stops("2020-01-01")


def withdrawn_advisories_and_other_crates_do_not_count(case):
    advisory(case.database / "crates", "RUSTSEC-2031-0001", "parser", [], withdrawn=TODAY)
    advisory(case.database / "crates", "RUSTSEC-2031-0002", "other", ["not read at all"])
    said, statements = case.passes()
    assert said.startswith("2 advisories") and not statements, said


def nobody_looked_is_said(case):
    said, statements = case.passes(database="none")
    assert said.startswith("No advisories were looked at") and not statements, said


def versions_are_compared_as_cargo_does(_):
    rows = """>= 0.17.12 | 0.17.12 0.17.14 0.18.0 | 0.17.9 0.17.12-rc.1
        < 1.0 | 0.9.9 1.0.0-rc.1 | 1.0.0
        ^0.3.4 | 0.3.4 0.3.9 | 0.3.3 0.4.0
        1.2 | 1.2.0 1.9.0 | 1.1.9 2.0.0
        ~1.2.3 | 1.2.9 | 1.2.2 1.3.0
        ~1 | 1.9.0 | 2.0.0
        > 1.2 | 1.3.0 | 1.2.9
        <= 1.2 | 1.2.9 | 1.3.0
        = 1.2.3 | 1.2.3 | 1.2.4
        >= 1.0, < 1.5 | 1.4.9 | 1.5.0 0.9.0
        ^0.0.3 | 0.0.3 | 0.0.4
        >= 1.0.0-alpha.4 | 1.0.0-alpha.10 1.0.0 | 1.0.0-alpha.3
        * | 0.0.1 | """
    for row in rows.splitlines():
        requirement, inside, outside = (cell.strip() for cell in row.split("|"))
        for version in inside.split():
            assert versions.matches(requirement, version), (requirement, version)
        for version in outside.split():
            assert not versions.matches(requirement, version), (requirement, version)


def main():
    cases = [value for name, value in globals().items() if callable(value) and name.count("_") > 2]
    for one in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                one(Case(Path(folder)))
            except AssertionError as error:
                sys.exit(f"FAILED: {one.__name__}: {error}")
        print(f"ok: {one.__name__.replace('_', ' ')}")


main()
