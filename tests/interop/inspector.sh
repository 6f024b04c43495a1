#!/usr/bin/env bash
# Calls the tool `echo` N times with the official inspector, a process and a session for each call:
# inspector.sh URL [N [PARALLEL]]
#
# Prints a line of JSON. Exits with 1 if a call failed or did not get its own answer.
set -euo pipefail
cd "$(dirname "$0")/../.."

url=${1:?"usage: inspector.sh URL [N [PARALLEL]]"}
calls=${2:-1000}
parallel=${3:-4}
bin=$(cd "${TUNNEL_CLIENT_REAL_SERVERS:-target/real-servers}/full/node_modules/.bin" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 143' TERM
# Prints `ok`, or what came instead. Not told, it would guess the transport from the URL.
one() {
    local answer
    answer=$(mcp-inspector --cli --server-url "$url" --transport http --method tools/call --tool-name echo \
        --tool-arg "message=call $1" --format json --quiet 2>&1) || true
    case $answer in
    *"\"Echo: call $1\""*) echo ok ;;
    *) echo "call $1: $answer" | tr '\n' ' ' && echo ;;
    esac
}
export -f one
# The inspector keeps files in the home folder.
export url PATH="$bin:$PATH" HOME="$scratch"

start=$SECONDS
seq "$calls" | xargs -P "$parallel" -I{} bash -c 'one {}' >"$scratch/answers"
good=$(grep -cx ok "$scratch/answers" || true)
grep -vx ok "$scratch/answers" | head -n 5 >&2 || true
echo "{\"client\":\"inspector\",\"calls\":$calls,\"failures\":$((calls - good)),\"seconds\":$((SECONDS - start))}"
[ "$good" = "$calls" ]
