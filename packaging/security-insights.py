#!/usr/bin/env python3
"""Writes SECURITY-INSIGHTS.yml (OpenSSF Security Insights 2.2) for whoever publishes this program.

    packaging/security-insights.py 'NAME <MAIL>' URL [DAY]     prints the file
    packaging/security-insights.py --check FILE                exits 1 where a file is not what the specification asks for

The specification wants the file at the root of a repository or in its .github, with addresses of people. Whoever publishes has
them, and this source does not: so the file is made with a release, from the publisher that the release names, and the
publisher puts it where the repository is served. DAY is that of the release, YYYY-MM-DD; without it, that of the newest
version in CHANGELOG.md.

Facts that a machine can know (version, licence, documents) are read here, so that they stay true. Python's standard library is
enough; --check needs PyYAML.
"""

import datetime
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = """\
# OpenSSF Security Insights, made by packaging/security-insights.py for version {version}. Paths below the address of the
# repository are those of the source.
header:
  schema-version: 2.2.0
  last-updated: '{day}'
  last-reviewed: '{day}'
  url: {url}/SECURITY-INSIGHTS.yml

project:
  name: {name}
  homepage: {url}
  administrators:
    - name: {publisher}
      email: {mail}
      primary: true
  repositories:
    - name: {name}
      url: {url}
      comment: The whole project is this one repository.
  vulnerability-reporting:
    reports-accepted: true
    bug-bounty-available: false
    contact:
      name: {publisher}
      email: {mail}
      primary: true
    comment: SECURITY.md says how to report, which versions get fixes and in which times a report is handled.
    in-scope:
      - Everything that makes a claim of SECURITY.md or of src/threat-model.md untrue.
    out-of-scope:
      - What SECURITY.md lists under "What remains".
      - MCP servers, the control plane and the product.

repository:
  url: {url}
  status: active
  bug-fixes-only: false
  accepts-change-request: true
  accepts-automated-change-request: false
  no-third-party-packages: false
  core-team:
    - name: {publisher}
      email: {mail}
      primary: true
  license:
    url: {url}/LICENSE
    expression: {licence}
  release:
    automated-pipeline: false
    distribution-points:
      - uri: {url}
        comment: Packages, source archives, lists of components and signed sums of version {version}.
  security:
    assessments:
      self:
        date: '{day}'
        comment: >-
          src/threat-model.md names for each threat the protection, its module and its tests;
          tests/packaging/evidence.sh holds the page to the source. packaging/compliance.md sets it beside
          catalogues of controls. Nobody else has assessed the program.
    tools:
      - name: Clippy
        type: SAST
        version: that of the Rust toolchain
        comment: Warnings are errors, for each set of features that ships. Unsafe code is forbidden.
        rulesets: [default, lints of Cargo.toml, clippy.toml]
        integration: {{adhoc: true, ci: true, release: true}}
        results: {{}}
      - name: cargo-deny
        type: SCA
        comment: Licences, sources and bans always; advisories where a database is given (tests/packaging/deny.sh).
        rulesets: [deny.toml]
        integration: {{adhoc: true, ci: true, release: true}}
        results: {{}}
      - name: libFuzzer
        type: fuzzing
        version: that of libfuzzer-sys in tests/fuzz/Cargo.toml
        comment: What reads bytes of others, each target beside an oracle (tests/fuzz); ten minutes a target before a release.
        rulesets: [tests/fuzz/corpus]
        integration: {{adhoc: true, ci: true, release: true}}
        results: {{}}
      - name: mutants.py
        type: other
        comment: Takes each protection of the threat model away, and a test has to notice.
        rulesets: [tests/packaging/mutants.txt]
        integration: {{adhoc: true, ci: false, release: true}}
        results: {{}}
"""
URL = re.compile(r"https?://\S+")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
STATUS = {"active", "abandoned", "concept", "inactive", "moved", "suspended", "unsupported", "WIP"}
TYPES = {"fuzzing", "container", "secret", "SCA", "SAST", "other"}
# What the specification demands of each object, as path: kind. `*` stands for every item of a list, `?` for an option.
DEMANDED = {
    "header/last-reviewed": DAY, "header/last-updated": DAY, "header/schema-version": re.compile(r"2\.\d+\.\d+"), "header/url": URL,
    "project/name": str, "project/homepage?": URL, "project/administrators/*/name": str, "project/administrators/*/primary": bool,
    "project/administrators/*/email?": EMAIL, "project/repositories/*/name": str, "project/repositories/*/comment": str,
    "project/repositories/*/url": URL, "project/vulnerability-reporting/reports-accepted": bool,
    "project/vulnerability-reporting/bug-bounty-available": bool, "project/vulnerability-reporting/contact/email?": EMAIL,
    "project/vulnerability-reporting/contact/name": str, "project/vulnerability-reporting/contact/primary": bool,
    "project/vulnerability-reporting/in-scope/*": str, "project/vulnerability-reporting/out-of-scope/*": str,
    "repository/status": STATUS, "repository/url": URL, "repository/accepts-change-request": bool,
    "repository/accepts-automated-change-request": bool, "repository/bug-fixes-only?": bool,
    "repository/no-third-party-packages?": bool, "repository/core-team/*/name": str, "repository/core-team/*/primary": bool,
    "repository/core-team/*/email?": EMAIL, "repository/license/url": URL, "repository/license/expression": str,
    "repository/release/automated-pipeline": bool, "repository/release/distribution-points/*/uri": str,
    "repository/release/distribution-points/*/comment": str, "repository/security/assessments/self/comment": str,
    "repository/security/assessments/self/date?": DAY, "repository/security/tools/*/name": str,
    "repository/security/tools/*/type": TYPES, "repository/security/tools/*/rulesets/*": str,
    "repository/security/tools/*/version?": str, "repository/security/tools/*/comment?": str,
    "repository/security/tools/*/integration/adhoc": bool, "repository/security/tools/*/integration/ci": bool,
    "repository/security/tools/*/integration/release": bool, "repository/security/tools/*/results": dict,
    "header/comment?": str, "project/vulnerability-reporting/comment?": str,
}


def written(publisher, url, day):
    """The file."""
    named = re.fullmatch(r"([^<>\x00-\x1f]*[^<>\s]) <([^<>\s]+)>", publisher)
    if not named or not EMAIL.fullmatch(named[2]) or not URL.fullmatch(url):
        sys.exit(f"'{publisher}' is not 'NAME <MAIL>', or '{url}' is no address")
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    released = re.search(r"^## \[\d[^]]*\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    day = day or (released[1] if released else None)
    if not day or not DAY.fullmatch(day):
        sys.exit("no version in CHANGELOG.md has a day: name one")
    datetime.date.fromisoformat(day)
    fields = {key: package[key] for key in ("name", "version")}
    # A text of JSON is one of YAML, whatever the name holds.
    return TEMPLATE.format(publisher=json.dumps(named[1]), mail=named[2], url=url.rstrip("/"), day=day, licence=package["license"], **fields)


def leaves(value, path=()):
    """Every path of a document with what stands there; an index is `*`, and an empty object stands for itself."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, (*path, "*"))
    else:
        yield "/".join(path), value


def holders(value, steps):
    """The objects in which the last step of a path has to stand."""
    if not steps:
        return [value]
    if steps[0] == "*":
        return [found for each in value or [] for found in holders(each, steps[1:])] if isinstance(value, list) else [None]
    return holders(value.get(steps[0]) if isinstance(value, dict) else None, steps[1:])


def faults(document):
    """What the specification does not allow, or misses."""
    known = {path.rstrip("?"): kind for path, kind in DEMANDED.items()}
    for path, value in leaves(document):
        kind = known.get(path)
        if kind is None:
            yield f"{path}: this is not in the specification, or nobody has said what it has to be"
        elif isinstance(kind, type) and not isinstance(value, kind):
            yield f"{path}: '{value}' is no {kind.__name__}"
        elif isinstance(kind, set) and value not in kind:
            yield f"{path}: '{value}' is none of {', '.join(sorted(kind))}"
        elif isinstance(kind, re.Pattern) and not (isinstance(value, str) and kind.fullmatch(value)):
            yield f"{path}: '{value}' has not the form {kind.pattern}"
    for path in DEMANDED:
        steps = path.split("/")
        if not path.endswith(("?", "*")):
            for holder in holders(document, steps[:-1]):
                if not isinstance(holder, dict) or steps[-1] not in holder:
                    yield f"{path}: is missing"
    for path in ("project/administrators", "repository/core-team"):
        people = next(iter(holders(document, path.split("/"))), None) or []
        if [person.get("primary") for person in people].count(True) != 1:
            yield f"{path}: one person is the first to ask"


def main():
    """Writes or checks."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--check"] and len(arguments) == 2:
        import yaml

        found = list(faults(yaml.safe_load(Path(arguments[1]).read_text())))
        print("\n".join(found) or f"{arguments[1]}: as the specification asks for")
        sys.exit(1 if found else 0)
    if len(arguments) not in (2, 3) or arguments[0].startswith("-"):
        sys.exit(__doc__)
    sys.stdout.write(written(arguments[0], arguments[1], (arguments[2:] or [None])[0]))


if __name__ == "__main__":
    main()
