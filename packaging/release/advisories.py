#!/usr/bin/env python3
"""Looks for advisories that concern a release, and writes what it found: README.txt for people, OpenVEX and CSAF 2.0
for programs. Run by packaging/release.sh; by hand with the lists of components of a release.

    packaging/release/advisories.py --database FOLDER|none --components LIST.cdx.json... --statements packaging/vex.toml
        --publisher 'Name <mail address>' --publisher-url URL --date SECONDS --out FOLDER

The folder is a copy of RustSec's advisory-db. It is looked up for every crate in the lists, those that only ran during
the build and those inside the standard library too. An advisory whose versions do not include ours is listed as such;
one whose versions do needs a statement that a person wrote, or this ends with an error. So do a statement that no advisory
needs, an advisory that cannot be read, and a database whose newest advisory is older than 90 days. "none" says that
nobody looked. Needs Python 3.11.
"""

import argparse
import datetime
import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True
import documents
import versions

DATABASE_DAYS_MAX = 90
JUSTIFICATIONS = {
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
}
STATUSES = {"not_affected": {"justification"}, "affected": {"action"}, "under_investigation": set()}


class Mistake(Exception):
    """What a person has to do something about."""


def main():
    options = parse_options()
    try:
        release = Release(options)
        written = read_statements(options.statements)
        looked, findings = look(options.database, release, written)
    except (Mistake, OSError) as error:
        sys.exit(f"advisories.py: {error}")
    documents.write(options.out, release, looked, findings)
    print(looked)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", required=True, metavar="FOLDER|none")
    parser.add_argument("--components", nargs="+", required=True)
    parser.add_argument("--statements", required=True)
    parser.add_argument("--publisher", required=True)
    parser.add_argument("--publisher-url", required=True)
    parser.add_argument("--date", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


class Release:
    """What is published, by whom, and the crates in it."""

    def __init__(self, options):
        self.crates, self.programs, names = set(), [], set()
        for path in options.components:
            bom = json.loads(Path(path).read_text(encoding="utf-8"))
            subject = bom["metadata"]["component"]
            names.add((subject["name"], subject["version"], subject["purl"]))
            self.programs.append((path.removesuffix(".cdx.json"), subject["hashes"][0]["content"]))
            for one in bom["components"]:
                self.crates.update(crate(part) for part in [one, *one.get("components", [])])
        if len(names) != 1:
            raise Mistake(f"the lists of components are of different releases: {sorted(names)}")
        self.name, self.version, self.purl = names.pop()
        self.crates.discard(None)
        self.publisher, self.url = options.publisher, options.publisher_url.rstrip("/")
        date = datetime.datetime.fromtimestamp(options.date, datetime.timezone.utc)
        self.date = date.strftime("%Y-%m-%dT%H:%M:%SZ")


def crate(component):
    """Name and version as RustSec has them. musl is no crate and has advisories elsewhere."""
    if component["purl"].startswith("pkg:cargo/"):
        return component["name"], component["version"]
    return ("std", component["version"]) if component["name"] == "rust-std" else None


def read_statements(path):
    """What people wrote, by advisory and crate."""
    written = {}
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("statement", [])
    except tomllib.TOMLDecodeError as error:
        raise Mistake(f"{path}: {error}") from None
    for entry in entries:
        place = f"{path}: {entry.get('advisory', 'a statement without advisory')}"
        if entry.get("status") not in STATUSES:
            raise Mistake(f"{place}: the status is one of {sorted(STATUSES)}")
        wanted = {"advisory", "crate", "version", "date", "status", "text"} | STATUSES[entry["status"]]
        if set(entry) != wanted:
            raise Mistake(f"{place}: these are to be there and no others: {sorted(wanted)}")
        if entry.get("justification", "component_not_present") not in JUSTIFICATIONS:
            raise Mistake(f"{place}: the justification is one of {sorted(JUSTIFICATIONS)}")
        if not isinstance(entry["date"], datetime.date) or not all(
                isinstance(text, str) and text.strip() for name, text in entry.items() if name != "date"):
            raise Mistake(f"{place}: an empty text, or a date that is none")
        key = entry["advisory"], entry["crate"], entry["version"]
        if key in written:
            raise Mistake(f"{place}: twice for {entry['crate']} {entry['version']}")
        written[key] = entry
    return written


def look(database, release, written):
    """What was looked at, in a sentence, and a finding for each advisory of a crate of the release."""
    if database == "none":
        if written:
            raise Mistake("there are statements, but no database that they could be held to")
        return "No advisories were looked at for this release.", []
    findings, missing, unused = [], [], set(written)
    looked, advisories = read_database(Path(database), {name for name, _ in release.crates})
    for advisory in advisories:
        for name, version in sorted(release.crates):
            if name != advisory["package"]:
                continue
            key = advisory["id"], name, version
            if not concerns(advisory, version):
                findings.append(outside(advisory, version, release.date))
            elif key in written:
                unused.discard(key)
                findings.append(judged(advisory, written[key]))
            else:
                missing.append(f"{advisory['id']} ({name} {version}): {advisory['title']}")
    if missing:
        raise Mistake("\n  ".join([f"{len(missing)} advisories concern this release and have no statement in "
                                   "packaging/vex.toml:", *missing]))
    if unused:
        raise Mistake("statements in packaging/vex.toml that no advisory of this release needs: "
                      + ", ".join(" ".join(key) for key in sorted(unused)))
    return looked, findings


def read_database(folder, names):
    """What the database is, and its advisories for these crates, in order."""
    paths = sorted([*folder.glob("crates/*/RUSTSEC-*.md"), *folder.glob("rust/std/*.md")])
    paths = [path for path in paths if path.stem != "RUSTSEC-0000-0000"]
    if not paths:
        raise Mistake(f"{folder} holds no advisories: it is to be a copy of RustSec's advisory-db")
    digest, found, newest = hashlib.sha256(), [], b"1970-01-01"
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{hashlib.sha256(content).hexdigest()}  {path.relative_to(folder)}\n".encode())
        # Those of other crates give their day alone: a new form of one is no reason to stop.
        newest = max([newest, *re.findall(rb'^date = "(\d{4}-\d\d-\d\d)"$', content, re.M)[:1]])
        if path.parent.name in names:
            advisory = read_advisory(path, content)
            found += [] if advisory["withdrawn"] else [advisory]
    newest = newest.decode()
    age = datetime.date.today() - datetime.date.fromisoformat(newest)
    if age.days > DATABASE_DAYS_MAX:
        raise Mistake(f"the newest advisory of {folder} is of {newest}; an old database is worse than none, so take a new one")
    looked = (f"{len(paths)} advisories of RustSec's database were looked at, the newest of {newest}; sha256 of the list "
              f"of their sums: {digest.hexdigest()}.")
    return looked, sorted(found, key=lambda one: (one["package"], one["id"]))


def read_advisory(path, content):
    """Markdown that begins with a block of TOML."""
    try:
        head, text = re.match(r"```toml\n(.*?)\n```\n(.*)", content.decode(), re.S).groups()
        parsed = tomllib.loads(head)
        advisory = parsed["advisory"]
        title = re.search(r"^# (.+)$", text, re.M)
        made = {
            "id": advisory["id"],
            "package": advisory["package"],
            "date": str(advisory["date"]),
            "withdrawn": advisory.get("withdrawn"),
            "aliases": sorted(advisory.get("aliases", [])),
            "title": title[1].strip() if title else advisory["id"],
            "patched": parsed["versions"].get("patched", []),
            "unaffected": parsed["versions"].get("unaffected", []),
        }
        datetime.date.fromisoformat(made["date"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{path} is no advisory that can be read: {error!r}") from None
    if made["package"] != path.parent.name or made["id"] != path.stem:
        raise Mistake(f"{path} says that it is {made['id']} of {made['package']}")
    return made


def concerns(advisory, version):
    try:
        return not any([versions.matches(wanted, version) for wanted in advisory["patched"] + advisory["unaffected"]])
    except ValueError as error:
        raise Mistake(f"{advisory['id']}: {error}") from None


def outside(advisory, version, date):
    """The finding for an advisory of other versions."""
    ranges = [f"{word} {wanted}" for word in ("patched", "unaffected") for wanted in advisory[word]]
    return {
        "advisory": advisory, "version": version, "date": date, "status": "not_affected",
        "justification": "vulnerable_code_not_present",
        "text": f"{advisory['package']} {version} is not among the affected versions ({'; '.join(ranges)}).",
    }


def judged(advisory, entry):
    """The finding of which a person wrote."""
    return {"advisory": advisory, "version": entry["version"], "date": f"{entry['date'].isoformat()[:10]}T00:00:00Z",
            **{name: entry[name] for name in ("status", "justification", "text", "action") if name in entry}}


if __name__ == "__main__":
    main()
