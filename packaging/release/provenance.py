#!/usr/bin/env python3
"""Writes an in-toto statement (v1) with SLSA provenance (v1): which files were made, by which script, of what. It holds
no time and no name of a machine, so that the same inputs give the same bytes. Run by packaging/release.sh.

    packaging/release/provenance.py --output FILE --root FOLDER --subjects PATH... [MATERIAL...]

A material is named with its address and its digest:

    --file URI=PATH            one file
    --folder URI=PATH          a folder: its digest is in-toto's dirHash, which sha256sum can compute
    --lock Cargo.lock          each crate of a lock file, by the sum that cargo demands of it
    --components LIST.cdx.json the crates that were compiled into the standard library
    --commit COMMIT            the commit of the source
"""

import argparse
import hashlib
import json
import os
import re


def main():
    options = parse_options()
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(statement(options), file, indent=2, ensure_ascii=False)
        file.write("\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--root", required=True, help="the release; subjects are named from here")
    parser.add_argument("--subjects", nargs="+", required=True, help="files below the root, or folders with all files in them")
    parser.add_argument("--publisher-url", required=True)
    parser.add_argument("--builder", required=True, help="the script that made the subjects")
    parser.add_argument("--version", required=True, help="of the program")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="what a person chose")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--file", action="append", default=[], metavar="URI=PATH")
    parser.add_argument("--folder", action="append", default=[], metavar="URI=PATH")
    parser.add_argument("--lock", action="append", default=[])
    parser.add_argument("--components", action="append", default=[])
    return parser.parse_args()


def statement(options):
    page = options.publisher_url.rstrip("/")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path, "digest": {"sha256": file_digest(os.path.join(options.root, path))}}
                    for path in subjects(options)],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{page}/packaging/release.sh",
                "externalParameters": dict(one.split("=", 1) for one in options.parameter),
                "internalParameters": {},
                "resolvedDependencies": materials(options),
            },
            "runDetails": {
                "builder": {
                    # A script on a machine of the publisher: nobody else vouches for what it did (SLSA build level 1).
                    "id": f"{page}/packaging/release.sh",
                    "version": {"tunnel-client": options.version},
                    "builderDependencies": [{
                        "name": "packaging/release.sh",
                        "digest": {"sha256": file_digest(options.builder)},
                    }],
                },
                "metadata": {},
            },
        },
    }


def subjects(options):
    found = []
    for path in options.subjects:
        whole = os.path.join(options.root, path)
        found += [path] if os.path.isfile(whole) else [os.path.join(path, name) for name in files_below(whole)]
    if not found:
        raise SystemExit(f"provenance.py: nothing below {options.subjects}")
    return sorted(found)


def materials(options):
    made = [{"name": "source", "uri": f"git+{options.publisher_url}", "digest": {"gitCommit": options.commit}}]
    for entry in options.file:
        uri, path = entry.split("=", 1)
        # What this release made before has its name there.
        name = os.path.relpath(path, options.root)
        name = os.path.basename(path) if name.startswith("..") else name
        made.append({"name": name, "uri": uri, "digest": {"sha256": file_digest(path)}})
    for entry in options.folder:
        uri, path = entry.split("=", 1)
        made.append({"name": os.path.basename(path), "uri": uri, "digest": {"dirHash": folder_digest(path)}})
    crates = set()
    for path in options.lock:
        crates |= locked(path)
    for path in options.components:
        crates |= compiled(path)
    return made + [{"name": f"{name} {version}", "uri": f"pkg:cargo/{name}@{version}", "digest": {"sha256": digest}}
                   for name, version, digest in sorted(crates)]


def locked(path):
    """Crates of a lock file; those without a sum are part of the source."""
    found = set()
    with open(path, encoding="utf-8") as file:
        for entry in file.read().split("[[package]]")[1:]:
            field = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', entry, re.M))
            if "checksum" in field:
                found.add((field["name"], field["version"], field["checksum"]))
    return found


def compiled(path):
    with open(path, encoding="utf-8") as file:
        parts = [part for one in json.load(file)["components"] for part in one.get("components", [])]
    return {(part["name"], part["version"], part["hashes"][0]["content"]) for part in parts if "hashes" in part}


def file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder):
    """Names from the folder, in order of their bytes."""
    found = [os.path.relpath(os.path.join(place, name), folder)
             for place, _, names in os.walk(folder) for name in names]
    return sorted(found, key=os.fsencode)


def folder_digest(folder):
    """As `find . -type f | cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum` says it in the folder."""
    whole = hashlib.sha256()
    for name in files_below(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            whole.update(f"{file_digest(path)}  {name}\n".encode())
    return whole.hexdigest()


main()
