#!/usr/bin/env python3
"""Holds the documents of a release to what their specifications demand, and to each other and the files of the release.

    tests/packaging/documents.py FOLDER

CycloneDX 1.5, SPDX 2.3, in-toto statement v1 with SLSA provenance v1, OpenVEX 0.2.0, CSAF 2.0. The rules are written down
here and not taken from the schemas of others, so that nothing has to be fetched. Needs nothing but Python.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SHA256 = re.compile(r"[0-9a-f]{64}")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:\S+")


class Checks:
    """What was seen, with the place of what does not hold."""

    def __init__(self, place):
        self.place = place

    def that(self, holds, text):
        if not holds:
            sys.exit(f"FAILED: {self.place}: {text}")

    def fields(self, value, **patterns):
        """Each field is there and a text of this form; None takes any that is not empty."""
        for name, pattern in patterns.items():
            text = value.get(name)
            self.that(isinstance(text, str) and text.strip() and (pattern is None or re.fullmatch(pattern, text)),
                      f"{name} is {text!r}")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_cyclonedx(check, bom):
    check.that((bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.5", 1), "another form")
    check.fields(bom, serialNumber=r"urn:uuid:[0-9a-f-]{36}")
    check.fields(bom["metadata"], timestamp=TIME)
    check.fields(bom["metadata"]["supplier"], name=None)
    references = [bom["metadata"]["component"]["bom-ref"]]
    for one in bom["components"]:
        references += [part["bom-ref"] for part in [one, *one.get("components", [])]]
    check.that(len(set(references)) == len(references), "a reference is there twice")
    for entry in bom["dependencies"]:
        check.that({entry["ref"], *entry["dependsOn"]} <= set(references), f"{entry['ref']} names something unknown")


def check_spdx(check, document, bom):
    check.fields(document, spdxVersion="SPDX-2.3", dataLicense="CC0-1.0", SPDXID="SPDXRef-DOCUMENT", name=None,
                 documentNamespace=r"https://[^#\s]+")
    check.fields(document["creationInfo"], created=TIME)
    for creator in document["creationInfo"]["creators"]:
        check.that(re.fullmatch(r"(Person|Organization|Tool): .+", creator), f"creator {creator}")
    known = {"SPDXRef-DOCUMENT"}
    for package in document["packages"]:
        check.fields(package, SPDXID=r"SPDXRef-[A-Za-z0-9.-]+", name=None, versionInfo=None, downloadLocation=None,
                     licenseDeclared=r"[A-Za-z0-9.+() -]+", copyrightText=None)
        check.that(package["SPDXID"] not in known, f"{package['SPDXID']} is there twice")
        known.add(package["SPDXID"])
        check.that(package["filesAnalyzed"] is False, "files are said to be analysed")
        for sum_ in package.get("checksums", []):
            check.fields(sum_, algorithm="SHA256", checksumValue=SHA256)
    for one in document["relationships"]:
        check.that({one["spdxElementId"], one["relatedSpdxElement"]} <= known, f"a relation of something unknown: {one}")
        check.fields(one, relationshipType="DESCRIBES|DEPENDS_ON|BUILD_DEPENDENCY_OF|CONTAINS")
    described = [one for one in document["relationships"] if one["relationshipType"] == "DESCRIBES"]
    check.that(len(described) == 1, "it does not describe one thing")
    # The same components as in the other form.
    parts = [bom["metadata"]["component"]]
    for one in bom["components"]:
        parts += [one, *one.get("components", [])]
    check.that(sorted((one["name"], one["version"]) for one in parts)
               == sorted((one["name"], one["versionInfo"]) for one in document["packages"]), "other components than CycloneDX")
    edges = sum(len(one["dependsOn"]) for one in bom["dependencies"])
    contained = sum(len(one.get("components", [])) for one in bom["components"])
    check.that(len(document["relationships"]) == 1 + edges + contained, "other relations than CycloneDX")


def check_provenance(check, statement, release):
    check.fields(statement, _type="https://in-toto.io/Statement/v1", predicateType="https://slsa.dev/provenance/v1")
    check.that(statement["subject"], "it is about nothing")
    for one in statement["subject"]:
        check.that(one["digest"] == {"sha256": digest(release / one["name"])}, f"{one['name']} is another file")
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    check.fields(definition, buildType=ADDRESS)
    check.that(isinstance(definition["externalParameters"], dict), "externalParameters")
    check.fields(run["builder"], id=ADDRESS)
    for one in definition["resolvedDependencies"] + run["builder"]["builderDependencies"]:
        kinds = {"sha256": SHA256, "dirHash": SHA256, "gitCommit": r"[0-9a-f]{40}|[0-9a-f]{64}"}
        check.that(len(one["digest"]) == 1 and set(one["digest"]) <= set(kinds), f"digest of {one['name']}")
        check.fields(one["digest"], **{kind: kinds[kind] for kind in one["digest"]})
        check.that(ADDRESS.fullmatch(one.get("uri", "file:builder")), f"address of {one['name']}")
        inside = release / one["name"]
        check.that(not inside.is_file() or one["digest"] == {"sha256": digest(inside)}, f"{one['name']} is another file")
    return {one["name"] for one in statement["subject"]}, {one["name"] for one in definition["resolvedDependencies"]}


def check_openvex(check, document):
    check.fields(document, **{"@context": r"https://openvex\.dev/ns/v0\.2\.0", "@id": ADDRESS, "author": None, "timestamp": TIME})
    check.that(document["version"] == 1 and document["statements"], "version or statements")
    for one in document["statements"]:
        check.fields(one["vulnerability"], name=None)
        check.fields(one, status="not_affected|affected|fixed|under_investigation", timestamp=TIME)
        check.that(all(ADDRESS.fullmatch(part["@id"]) for product in one["products"]
                       for part in [product, *product["subcomponents"]]), "a product without address")
        # The schema takes one of the two and not both.
        check.that(one["status"] != "not_affected" or ("justification" in one) != ("impact_statement" in one), "no reason")
        check.that(one["status"] != "affected" or one.get("action_statement"), "affected, and nothing to do")


def check_csaf(check, advisory, name):
    document = advisory["document"]
    check.fields(document, category="csaf_vex|csaf_base", csaf_version=r"2\.0", title=None)
    check.fields(document["publisher"], category="vendor", name=None, namespace=ADDRESS)
    tracking = document["tracking"]
    check.fields(tracking, id=r"\S.*\S", status="final", version=r"[1-9]\d*", initial_release_date=TIME, current_release_date=TIME)
    check.that([one["number"] for one in tracking["revision_history"]] == [tracking["version"]], "the revision history")
    check.that(name == re.sub(r"[^+\-a-z0-9]+", "_", tracking["id"].lower()) + ".json", "the name of the file")
    product = advisory["product_tree"]["branches"][0]["branches"][0]["branches"][0]["product"]
    check.fields(product, name=None, product_id=None)
    check.that((document["category"] == "csaf_vex") == bool(advisory.get("vulnerabilities")), "the profile")
    numbers = [one["cve"] for one in advisory.get("vulnerabilities", []) if "cve" in one]
    check.that(len(set(numbers)) == len(numbers), "a CVE is there twice")
    for one in advisory.get("vulnerabilities", []):
        check.that(one["ids"] and one["notes"], "no id, or no note")
        (status, products), = one["product_status"].items()
        check.that(products == [product["product_id"]], "another product")
        needed = {"known_not_affected": "flags", "known_affected": "remediations", "under_investigation": "notes"}
        check.that(one.get(needed[status]), f"{status} without {needed[status]}")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def main():
    release = Path(sys.argv[1])
    lists = sorted(release.glob("*/**/*.cdx.json"))
    Checks(release).that(lists, "no lists of components")
    for path in lists:
        check_cyclonedx(Checks(path), read(path))
        other = path.with_name(path.name.replace(".cdx.", ".spdx."))
        check_spdx(Checks(other), read(other), read(path))
    made, used = set(), set()
    for path in sorted(release.glob("provenance/*")):
        subjects, materials = check_provenance(Checks(path), read(path), release)
        made |= subjects
        used |= materials
    files = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    built = {name for name in files if name.split("/")[0] in ("x86_64", "aarch64", "packages")}
    check = Checks(release / "provenance")
    check.that(made == built, f"not said how these were made: {sorted(built ^ made)}")
    check.that({name for name in files if name.startswith("source/") and "tools" not in name} <= used, "the archives are no material")
    for path in sorted(release.glob("advisories/*.json")):
        if path.name.endswith(".openvex.json"):
            check_openvex(Checks(path), read(path))
        else:
            check_csaf(Checks(path), read(path), path.name)
    check = Checks(release / "advisories")
    check.that(list(release.glob("advisories/*-vex.json")) and (release / "advisories/README.txt").is_file(), "documents are missing")
    print(f"ok: {len(lists)} lists of components in two forms, {len(made)} files whose making is told, advisories")


main()
