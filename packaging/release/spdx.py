#!/usr/bin/env python3
"""Writes SPDX 2.3 from a list of components that packaging/sbom.py made (CycloneDX): the same crates, sums, licences
and relations in the other form. The same list gives the same bytes. Run by packaging/release.sh.

    packaging/release/spdx.py PROGRAM.cdx.json PROGRAM.spdx.json

What is in the program DEPENDS_ON; what only ran while it was built is a BUILD_DEPENDENCY_OF it; the crates inside the
standard library are CONTAINED by it.
"""

import json
import re
import sys


def main():
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        bom = json.load(file)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(document(bom), file, indent=2, ensure_ascii=False)
        file.write("\n")


def document(bom):
    metadata = bom["metadata"]
    subject = metadata["component"]
    properties = {one["name"]: one["value"] for one in metadata["properties"]}
    name = f"{properties['cargo:bin']}-{subject['version']}-{properties['cargo:target']}"
    supplier = metadata["supplier"]
    who = f"Organization: {supplier['name']} ({supplier['contact'][0]['email']})"
    packages, relations = [{**package(subject, who), "primaryPackagePurpose": "APPLICATION"}], []
    relations.append(relation("SPDXRef-DOCUMENT", "DESCRIBES", identifier(subject["bom-ref"])))
    for component in bom["components"]:
        packages.append({**package(component), "primaryPackagePurpose": "LIBRARY"})
        for part in component.get("components", []):
            packages.append({**package(part), "primaryPackagePurpose": "LIBRARY"})
            relations.append(relation(identifier(component["bom-ref"]), "CONTAINS", identifier(part["bom-ref"])))
    build_only = {one["bom-ref"] for one in bom["components"] if one.get("scope") == "excluded"}
    for entry in bom["dependencies"]:
        for needed in entry["dependsOn"]:
            relations.append(edge(entry["ref"], needed, build_only))
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        # Two builds of one program differ in their sum, if in nothing else.
        "documentNamespace": f"{supplier['url'][0].rstrip('/')}/spdx/{name}/{subject['hashes'][0]['content']}",
        "creationInfo": {
            "created": metadata["timestamp"],
            "creators": [who, f"Tool: packaging/release/spdx.py-{subject['version']}"],
        },
        "packages": packages,
        "relationships": relations,
    }


def identifier(reference):
    """SPDX allows letters, digits, dots and hyphens."""
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", reference.removeprefix("pkg:"))


def package(component, supplier="NOASSERTION"):
    made = {
        "SPDXID": identifier(component["bom-ref"]),
        "name": component["name"],
        "versionInfo": component["version"],
        "supplier": supplier,
        # The package address below says which crate it is; from which mirror a builder has it is not ours to say.
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": component["licenses"][0]["expression"],
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": component["purl"],
        }],
    }
    if "hashes" in component:
        made["checksums"] = [{"algorithm": "SHA256", "checksumValue": component["hashes"][0]["content"]}]
    return made


def relation(one, kind, other):
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def edge(user, needed, build_only):
    if needed in build_only:
        return relation(identifier(needed), "BUILD_DEPENDENCY_OF", identifier(user))
    return relation(identifier(user), "DEPENDS_ON", identifier(needed))


main()
