#!/usr/bin/env python3
"""Turns what cargo says of a build (`-Z sbom`) into CycloneDX 1.5.

cargo's own list holds what was compiled, and nothing of what was merely locked: it is the compiler's side of the
build, not a guess from the manifest. Licences come from `cargo metadata`, sums from the lock files. The same build
gives the same bytes. Run by packaging/build.sh.

Of the components, those with `pkg:cargo/` are the crates of the program; what cargo compiled to build or generate
code only (build scripts, macros and what they need) has the scope "excluded", what is in the file "required". The
standard library, with the crates inside it, and musl are components of their own.

Prints the crates inside the standard library, one a line: name and version.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import sys
import uuid


def main():
    options = parse_options()
    build = read_json(options.cargo_sbom)
    known = Knowledge(options.metadata, options.lock)
    crates = build["crates"]
    program = reachable(crates, build["root"], lambda crate, _: not is_local(crate) or is_root(crate, build))
    linked = reachable(crates, build["root"], lambda crate, kind: is_linked(crate, kind) and
                       (not is_local(crate) or is_root(crate, build)))
    bom = document(build, known, program, linked, options)
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(bom, file, indent=2, ensure_ascii=False)
        file.write("\n")
    for part in bom["components"][-1].get("components", []):
        print(part["name"], part["version"])


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cargo-sbom", required=True, help="the file cargo wrote beside the program")
    parser.add_argument("--metadata", action="append", required=True, help="output of cargo metadata")
    parser.add_argument("--lock", action="append", required=True, help="a Cargo.lock")
    parser.add_argument("--binary", required=True, help="the program")
    parser.add_argument("--musl", required=True, help="version of the musl that is linked")
    parser.add_argument("--features", required=True, help="what cargo built it with, separated by commas")
    parser.add_argument("--date", required=True, type=int, help="seconds since 1970")
    parser.add_argument("--publisher", default="", help="name and mail address of who publishes, if anybody does")
    parser.add_argument("--publisher-url", default="")
    parser.add_argument("--output", required=True)
    return parser.parse_args()


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Knowledge:
    """Licence and sum of a crate, by name and version."""

    def __init__(self, metadata, locks):
        self.licences = {}
        for path in metadata:
            for package in read_json(path)["packages"]:
                self.licences[package["name"], package["version"]] = package["license"]
        self.sums = {}
        for path in locks:
            with open(path, encoding="utf-8") as file:
                for entry in file.read().split("[[package]]")[1:]:
                    field = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', entry, re.M))
                    self.sums[field["name"], field["version"]] = field.get("checksum")

    def licence(self, name, version):
        text = self.licences.get((name, version))
        if not text:
            sys.exit(f"sbom.py: no licence is known for {name} {version}")
        # The older way of cargo to write a choice, which is not SPDX.
        return text.replace("/", " OR ")


def is_local(crate):
    return crate["id"].startswith("path+")


def is_root(crate, build):
    """Program and library of the package are two entries with one id."""
    return crate["id"] == build["crates"][build["root"]]["id"]


def is_linked(crate, kind):
    return kind == "normal" and not {"proc-macro", "custom-build"} & set(crate["kind"])


def reachable(crates, start, enter):
    """Indices of the entries that can be reached over those that `enter` accepts."""
    found, todo = {start}, [start]
    while todo:
        for edge in crates[todo.pop()]["dependencies"]:
            if edge["index"] not in found and enter(crates[edge["index"]], edge["kind"]):
                found.add(edge["index"])
                todo.append(edge["index"])
    return found


def name_and_version(crate):
    """From `registry+URL#name@1.2.3`, or `path+URL/name#1.2.3` where folder and crate have one name."""
    place, _, rest = crate["id"].partition("#")
    name, _, version = rest.rpartition("@")
    return (name or place.rsplit("/", 1)[-1]), version


def purl(name, version):
    return f"pkg:cargo/{name}@{version}"


def component(name, version, licence, reference=None, checksum=None, scope=None):
    made = {"type": "library", "bom-ref": reference or purl(name, version), "name": name, "version": version}
    if scope:
        made["scope"] = scope
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    made["licenses"] = [{"expression": licence}]
    made["purl"] = reference or purl(name, version)
    return made


def components(crates, indices, linked, known):
    named = {}
    for index in indices:
        pair = name_and_version(crates[index])
        named[pair] = named.get(pair, False) or index in linked
    return [
        component(name, version, known.licence(name, version), checksum=known.sums.get((name, version)),
                  scope="required" if is_in else "excluded")
        for (name, version), is_in in sorted(named.items())
    ]


def dependencies(crates, indices):
    """One entry a crate, whose build script and library cargo lists apart."""
    edges = {}
    for index in indices:
        name = purl(*name_and_version(crates[index]))
        needs = edges.setdefault(name, set())
        needs.update(purl(*name_and_version(crates[edge["index"]]))
                     for edge in crates[index]["dependencies"] if edge["index"] in indices)
        needs.discard(name)
    return [{"ref": name, "dependsOn": sorted(edges[name])} for name in sorted(edges)]


def standard_library(build, known, program):
    """The standard library; where it was built along, with the crates it took in."""
    crates, version = build["crates"], build["rustc"]["version"]
    made = component("rust-std", version, "MIT OR Apache-2.0", f"pkg:generic/rust-std@{version}", scope="required")
    inside = {name_and_version(crate) for index, crate in enumerate(crates)
              if index not in program and not is_local(crate)}
    if inside:
        # A reference of their own: the program may use the same crate.
        made["components"] = [
            {**component(name, number, known.licence(name, number), checksum=known.sums.get((name, number))),
             "bom-ref": f"rust-std/{purl(name, number)}"}
            for name, number in sorted(inside)
        ]
    return made


def supplier(options):
    """Who publishes the program: a "Name <mail address>" taken apart."""
    if not options.publisher:
        return {}
    name, _, mail = options.publisher.rstrip(">").partition(" <")
    return {"supplier": {"name": name, "url": [options.publisher_url], "contact": [{"email": mail}]}}


def document(build, known, program, linked, options):
    crates = build["crates"]
    root = name_and_version(crates[build["root"]])
    with open(options.binary, "rb") as file:
        binary = hashlib.sha256(file.read()).hexdigest()
    subject = component(*root, known.licence(*root), checksum=binary)
    subject["type"] = "application"
    others = {index for index in program if not is_root(crates[index], build)}
    std = standard_library(build, known, program)
    musl = component("musl", options.musl, "MIT", f"pkg:generic/musl@{options.musl}", scope="required")
    relations = dependencies(crates, program)
    for relation in relations:
        if relation["ref"] == subject["bom-ref"]:
            relation["dependsOn"] += [musl["bom-ref"], std["bom-ref"]]
    date = datetime.datetime.fromtimestamp(options.date, datetime.timezone.utc)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(hex=binary[:32], version=4)}",
        "version": 1,
        "metadata": {
            "timestamp": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [
                {"type": "application", "name": "rustc", "version": build["rustc"]["version"]},
            ]},
            "component": subject,
            **supplier(options),
            "properties": [
                {"name": "cargo:target", "value": build["target"]},
                {"name": "cargo:bin", "value": os.path.basename(options.binary)},
                {"name": "cargo:features", "value": options.features},
            ],
        },
        "components": components(crates, others, linked, known) + [musl, std],
        "dependencies": relations,
    }


main()
