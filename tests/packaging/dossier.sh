#!/usr/bin/env bash
# The dossier names exactly the crates that are built, in their versions, and says why each is here; and beside it stands
# what was read of each, in the same version.
#
# Crates and versions are compared here by other means than those that write the file, so that a mistake
# of the writer does not confirm itself. Needs cargo with the crates fetched, and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Crates of targets that nobody has built for yet are not in cargo's cache, and that is no fault of the file.
cargo fetch --locked --offline 2>/dev/null >&2 || {
    echo "crates are missing from cargo's cache: run cargo fetch --locked, then this again" >&2
    exit 1
}

targets=(x86_64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-gnu aarch64-unknown-linux-musl)

# `name version` of what is compiled for any of the targets, by the programs that are shipped, with ring or OpenSSL.
compiled() {
    local target library
    for target in "${targets[@]}"; do
        for library in ring openssl; do
            cargo tree --locked --offline --edges normal,build --no-default-features \
                --features "operator,harpoon,page,cage,$library" --target "$target" --prefix none --format '{p}'
        done
    done | awk '$1 != "tunnel-client" && NF { sub(/^v/, "", $2); print $1, $2 }' | sort -u
}

# The same of the rows of the file.
written() {
    awk -F '|' '/^\| `/ { gsub(/[ `]/, "", $2); gsub(/ /, "", $3); print $2, $3 }' packaging/DEPENDENCIES.md | sort
}

built=$(compiled)
test -n "$built" || { echo "cargo tree names no crates" >&2; exit 1; }
if ! diff <(echo "$built") <(written); then
    echo "packaging/DEPENDENCIES.md differs from cargo tree (< built, > written): run packaging/dossier.py" >&2
    exit 1
fi
if ! packaging/dossier.py --check; then
    echo "packaging/DEPENDENCIES.md is out of date: run packaging/dossier.py, and write the last two columns" >&2
    exit 1
fi
python3 -B - <<'EOF'
import sys

sys.path.insert(0, "packaging")
import dossier

late = [dossier.too_new([{"name": "a", "version": "1", "rust_version": each}], "1.85") for each in ("1.86", "1.85.1", None)]
assert [len(list(each)) for each in late] == [1, 0, 0], "a crate that asks for a later Rust is not noticed"
EOF
if ! packaging/reviews.py --check; then
    echo "packaging/REVIEWS.md is out of date: read what has changed, and say so with packaging/reviews.py" >&2
    exit 1
fi
# A version that nobody has read, a row that is left over and an amount that is none have to be noticed.
changed=$(mktemp)
trap 'rm -f "$changed"' EXIT
for edit in 's/^\(| .ring. |\) [^|]*/\1 0.0.1 /' '/^| .ring. /d' 's/^\(| .\)ring/\1gnir/' 's/| searched |/| skimmed |/'; do
    sed "$edit" packaging/REVIEWS.md >"$changed"
    if packaging/reviews.py --check packaging/DEPENDENCIES.md "$changed" >/dev/null; then
        echo "packaging/reviews.py --check does not notice $edit" >&2
        exit 1
    fi
done
echo "dossier: $(wc -l <<<"$built") crates, each with its reasons and with what was read of it"
