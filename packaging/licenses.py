#!/usr/bin/env python3
"""What is linked into the program and under which terms, from Cargo's own answers. Nothing is fetched.

    licenses.py texts       LICENSE.dependencies: the crates, and the licence texts that must go with them
    licenses.py manifest    cargo-vendor.txt: one "name vVERSION" a line, from which rpm makes bundled(crate(name))
    licenses.py expression  the sorted licence terms of all crates, one a line, for the License tag of the spec

Every mode takes [--target TRIPLE], by default x86_64-unknown-linux-gnu, and [--features LIST], by default those of a
package's programs together. Crates that only run while others are
compiled (build scripts, procedural macros) are not in the program and not in the lists.
The static program holds more: packaging/build.sh names to `texts` the crates inside the standard library with
--crates (lines "name version") and --metadata (what cargo says of them), and what is no crate with --also.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN = "tunnel-client"
# What the programs of a package are built with, taken together.
FEATURES = "operator,harpoon,page,cage,ring"
TEXTS = ("license", "licence", "copying", "copyright", "notice", "unlicense")
# Code and settings that are named so.
NOT_TEXTS = (".rs", ".c", ".h", ".py", ".toml", ".json")


def cargo(features, *words):
    command = [os.environ.get("CARGO", "cargo"), words[0], "--offline", "--locked", "--no-default-features",
               "--features", features, *words[1:]]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(features, target):
    """(name, version) of each crate in the program, our own left out."""
    tree = cargo(features, "tree", "--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe",
                 "--target", target, "--format", "{p}")
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    return sorted((name, version.removeprefix("v")) for name, version in crates if name != OWN)


def described(features, target):
    """The linked crates with what their manifests say."""
    metadata = cargo(features, "metadata", "--format-version", "1", "--filter-platform", target)
    return chosen(linked(features, target), metadata)


def chosen(crates, metadata):
    packages = {(package["name"], package["version"]): package for package in json.loads(metadata)["packages"]}
    return [packages[crate] for crate in crates]


def further(arguments):
    """The crates inside the standard library."""
    if not arguments.crates:
        return []
    crates = sorted(tuple(line.split()) for line in arguments.crates.read_text("utf-8").splitlines())
    return chosen(crates, arguments.metadata.read_text("utf-8"))


def terms(package):
    """The licence as an SPDX expression; old manifests write a slash for OR."""
    expression = (package["license"] or "").replace("/", " OR ")
    if not expression:
        sys.exit(f"{package['name']} names no licence")
    return " OR ".join(sorted(" ".join(expression.split()).split(" OR ")))


def files(package):
    """The licence files of a crate; those of code that it took in lie deeper."""
    folder = pathlib.Path(package["manifest_path"]).parent
    found = sorted(path for path in folder.rglob("*") if path.is_file()
                   and path.name.lower().startswith(TEXTS) and path.suffix not in NOT_TEXTS)
    if not found:
        sys.exit(f"{package['name']} {package['version']} carries no licence text: add it by hand")
    return found


def texts(packages, also):
    """The list, then each different text once, headed by what it comes with."""
    lines = ["What is linked into tunnel-client, and the terms of each. Where they offer a choice, any of it",
             "may be taken. The texts follow, each once. tunnel-client itself: Apache-2.0, see LICENSE or copyright.", ""]
    lines += [f"{terms(package)}: {package['name']} v{package['version']}" for package in packages]
    lines += [f"{expression}: {label}" for label, expression, _ in also]
    sources = [(f"{package['name']} {package['version']} ({path.name})", path)
               for package in packages for path in files(package)]
    seen = {}
    for owner, path in sources + [(label, pathlib.Path(path)) for label, _, path in also]:
        text = "\n".join(line.rstrip() for line in path.read_text("utf-8").strip().splitlines())
        # The same words in other line breaks are the same text.
        seen.setdefault(" ".join(text.split()), (text, []))[1].append(owner)
    for text, owners in seen.values():
        lines += ["", "=" * 78, *owners, "=" * 78, "", text]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["texts", "manifest", "expression"])
    parser.add_argument("--features", default=FEATURES)
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    parser.add_argument("--crates", type=pathlib.Path)
    parser.add_argument("--metadata", type=pathlib.Path)
    parser.add_argument("--also", action="append", default=[], nargs=3, metavar=("LABEL", "EXPRESSION", "FILE"))
    arguments = parser.parse_args()
    if arguments.mode == "manifest":
        lines = [f"{name} v{version}" for name, version in linked(arguments.features, arguments.target)]
    elif arguments.mode == "expression":
        lines = sorted({terms(package) for package in described(arguments.features, arguments.target)})
    else:
        lines = texts(described(arguments.features, arguments.target) + further(arguments), arguments.also)
    sys.stdout.reconfigure(encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
