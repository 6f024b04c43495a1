#!/usr/bin/env bash
# Clients that others wrote, at servers that others wrote, with `dev proxy` between them: clients.sh
#
# Needs what install.sh installs, and a release build. Prints a line for each pair, and exits with 1 if one failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/interop/peers.sh

result=0
# run NAME COMMAND...: prints what the client counted.
run() {
    local name=$1 counts
    shift
    if counts=$(timeout 120 "$@" 2>"$logs/$name.client"); then
        echo "$name: $counts"
    else
        echo "$name: FAILED"
        tail -n 30 "$logs/$name.client" >&2
        result=1
    fi
}

everything() {
    run "server-everything, $1, TypeScript" node tests/interop/client.mjs "$url" "${2-}"
    run "server-everything, $1, Python" "$python" tests/interop/client.py "$url"
}

fastmcp() {
    local era
    for era in 2025-11-25 2026-07-28; do
        run "fastmcp, $1, $era" "$python" tests/interop/fastmcp_client.py "$url" "$era"
    done
}

script=$servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js
proxy everything-stdio-proxy --mcp-command "'$(command -v node)' '$script' stdio"
everything stdio

serve everything node tests/interop/everything_http.mjs
proxy everything-proxy --mcp-server-url "$url"
everything HTTP sessions

proxy fastmcp-stdio-proxy --mcp-command "'$python' '$PWD/tests/support/fastmcp_server.py'"
fastmcp stdio

serve fastmcp "$python" tests/interop/fastmcp_http.py
proxy fastmcp-proxy --mcp-server-url "$url"
fastmcp HTTP

serve oauth "$python" tests/interop/oauth_server.py
# Its endpoints are called in plain text, which it takes a word to allow.
HARPOON_ALLOW_PLAINTEXT_HTTP=true proxy oauth-proxy --mcp-server-url "$url"
run "protected server, sign-in, Python" "$python" tests/interop/oauth_client.py "$url"

exit $result
