#!/usr/bin/env bash
# Runs the official conformance suite at two URLs that lead to one server, and compares what it found:
# conformance.sh DIRECT_URL SECOND_URL [OUT]
#
# What differs on purpose stands in excuses.txt. Exits with 1 if anything else differs.
set -euo pipefail
cd "$(dirname "$0")/../.."

direct=${1:?"usage: conformance.sh DIRECT_URL SECOND_URL [OUT]"}
second=${2:?"usage: conformance.sh DIRECT_URL SECOND_URL [OUT]"}
out=${3:-target/interop/conformance}
bin=$(cd "${TUNNEL_CLIENT_REAL_SERVERS:-target/real-servers}/full/node_modules/.bin" && pwd)

# The suite needs a newer Node than machines have. It fails with failing checks, which are compared instead.
suite() {
    PATH="$bin:$PATH" conformance server --url "$1" --requirements "$2" -o "$3" >"$3.log" 2>&1 || true
    grep -q '^Total:' "$3.log" || { cat "$3.log" >&2; return 1; }
}

rm -rf "$out"
mkdir -p "$out"
result=0
for revision in 2025-11-25 2026-07-28; do
    suite "$direct" "$revision" "$out/$revision-direct"
    suite "$second" "$revision" "$out/$revision-second"
    echo "conformance $revision"
    node tests/interop/compare.mjs "$out/$revision-direct" "$out/$revision-second" tests/interop/excuses.txt || result=1
done
exit $result
