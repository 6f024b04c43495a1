#!/usr/bin/env bash
# The conformance suite at a server directly and through the tunnel, what the newest SDKs see in both ways, and a load of
# the inspector's calls. To be run before releases: run.sh [CALLS]
set -euo pipefail
cd "$(dirname "$0")/../.."

calls=${1:-1000}
tests/interop/install.sh --full "${TUNNEL_CLIENT_REAL_SERVERS:-target/real-servers}"
[ "${TUNNEL_CLIENT-}" ] || cargo build --locked --release
source tests/interop/peers.sh

serve fixture node tests/interop/fixture.mjs
direct=$url
proxy proxy --mcp-server-url "$direct"
through=$url

result=0
table=$logs/table
tests/interop/conformance.sh "$direct" "$through" | tee "$logs/conformance" || result=1
# The counts stand last in each part.
grep -E '^(conformance |\{)' "$logs/conformance" | paste -d ' ' - - >"$table"
tests/interop/mirror.sh typescript python rmcp | tee "$logs/mirror" || result=1
echo "mirror $(tail -n 1 "$logs/mirror")" >>"$table"
tests/interop/inspector.sh "$through" "$calls" >"$logs/inspector" || result=1
echo "inspector $(cat "$logs/inspector")" >>"$table"

echo
tr -d '{}"' <"$table" | sed -E 's/:/ /g; s/,/  /g'
[ $result = 0 ] && echo "all as expected" || echo "FAILED: the lines above name what differs"
exit $result
