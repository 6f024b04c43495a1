#!/usr/bin/env bash
# The lists of components name what cargo builds for each program, and nothing else:
#
#   tests/packaging/sbom.sh [FOLDER]     target/package/<this machine> unless given
#
# Needs python3 and cargo, and the crates that packaging/build.sh has fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh

# What the list says of its build: its target, its features.
property() {
    python3 -c '
import json, sys
print({one["name"]: one["value"] for one in json.load(open(sys.argv[1]))["metadata"]["properties"]}[sys.argv[2]])' \
        "$list" "$1"
}

# Lines "NAME VERSION" of what the list says of $1: `linked` crates alone, or `all`.
listed() {
    python3 -c '
import json, sys
bom = json.load(open(sys.argv[1]))
crates = [c for c in bom["components"] if c["purl"].startswith("pkg:cargo/")] + [bom["metadata"]["component"]]
for crate in crates:
    assert crate["purl"] == "pkg:cargo/{name}@{version}".format(**crate), crate
    assert crate["licenses"][0]["expression"], crate
    assert crate["hashes"][0]["content"], crate
    if sys.argv[2] == "all" or crate.get("scope") != "excluded":
        print(crate["name"], crate["version"])' "$list" "$1" | sort
}

# The same of what cargo's resolver says; `no-proc-macro` leaves macros and what they need out.
resolved() {
    cargo tree --offline --locked --no-default-features --features "$(property cargo:features)" \
        --target "$(property cargo:target)" --prefix none --no-dedupe --edges "$1" |
        sed -E 's/^([^ ]+) v([^ ]+).*/\1 \2/' | sort -u
}

compare() {
    listed "$1" >"$scratch/list"
    resolved "$2" >"$scratch/cargo"
    diff --unified=0 "$scratch/list" "$scratch/cargo" ||
        fail "$list and cargo tree --edges $2 name different crates (-: the list, +: cargo)"
    echo "ok: the list names the $(wc -l <"$scratch/list") crates of cargo tree --edges $2"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# list_of PROGRAM FEATURES
list_of() {
    list=$folder/$1.cdx.json
    test -f "$list" || fail "no $list; packaging/build.sh makes it"
    test "$(property cargo:features)" = "$2" || fail "$list is of a build with the features '$(property cargo:features)'"
    compare all normal,build
    compare linked normal,no-proc-macro
}

folder=${1:-target/package/$(uname -m)}
list_of tunnel-client "$TOOL_FEATURES"
list_of tunnel-clientd "$SERVICE_FEATURES"
list_of bare/tunnel-clientd "$BARE_FEATURES"
