#!/usr/bin/env bash
# Each client sees through the tunnel what it sees directly: every list, calls that succeed and fail, prompts and
# resources, byte for byte as the client tells it, and of progress (TypeScript, Python) its order.
#
#   mirror.sh [CLIENT...]     typescript, python, rmcp; typescript unless named
#
# Over HTTP the client is given the server's URL and that of the tunnel; over stdio it starts the server by itself, and
# the tunnel another one. What is asked for stands in mirror.json. Needs what install.sh installs, and a release build;
# `rmcp` builds tests/interop/rmcp, and adds the server there. Prints a line for each pair, and exits with 1 if one
# differs.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/interop/peers.sh

clients=("$@")
((${#clients[@]})) || clients=(typescript)
packages=$servers/node_modules
rmcp=target/interop/rmcp/debug/interop-rmcp
if [[ " ${clients[*]} " = *" rmcp "* ]]; then
    CARGO_TARGET_DIR=target/interop/rmcp cargo build --quiet --locked --manifest-path tests/interop/rmcp/Cargo.toml
fi
seen=target/interop/mirror
rm -rf "$seen"
mkdir -p "$seen/home"
result=0 equal=0

# see CLIENT ERA SERVER TARGET...: what a client sees.
see() {
    local who=$1
    shift
    case $who in
    typescript) timeout 120 node tests/interop/mirror.mjs "$@" ;;
    python) timeout 120 "$python" tests/interop/mirror.py "$@" ;;
    rmcp) timeout 120 "$rmcp" mirror "$@" ;;
    *) echo "no client '$who'" >&2 && return 2 ;;
    esac
}

# compare SERVER TRANSPORT TARGET...: what each client sees at the target and through the tunnel that is started to it,
# in the $eras of the server. Each has a tunnel of its own: clients of one share the session of a server over stdio.
compare() {
    local server=$1 transport=$2 who era name through
    shift 2
    for who in "${clients[@]}"; do
        for era in "${eras[@]}"; do
            name=$server-$transport-$who-$era
            tunnel "$name-proxy" "$transport" "$@"
            through=$url
            if see "$who" "$era" "$server" "$@" >"$seen/$name.direct" 2>"$seen/$name.direct.err" &&
                see "$who" "$era" "$server" "$through" >"$seen/$name.through" 2>"$seen/$name.through.err" &&
                diff -u --label directly --label "through the tunnel" "$seen/$name.direct" "$seen/$name.through" \
                    >"$seen/$name.diff"; then
                echo "$name: equal, $(wc -c <"$seen/$name.direct") bytes"
                equal=$((equal + 1))
            else
                echo "$name: DIFFERS"
                { tail -n 20 "$seen/$name".*err "$seen/$name.diff" 2>/dev/null || true; } | sed 's/^/    /'
                result=1
            fi
        done
    done
}

# tunnel NAME stdio|http TARGET...: sets $url.
tunnel() {
    local name=$1 transport=$2 word line=
    shift 2
    if [ "$transport" = http ]; then
        proxy "$name" --mcp-server-url "$1"
        return
    fi
    for word; do line+=" '$word'"; done
    proxy "$name" --mcp-command "$line"
}

# stdio SERVER COMMAND...
stdio() {
    compare "$1" stdio "${@:2}"
}

# http SERVER: the one whose address is in $url.
http() {
    compare "$1" http "$url"
}

# listening SERVER PATH COMMAND...: starts a server that has to be told its port, for which PORT stands in the command.
listening() {
    local name=$1 path=$2 port left=300
    shift 2
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    start "$name" "${@//PORT/$port}"
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        if [ $((left -= 1)) = 0 ] || ! kill -0 "$last_pid" 2>/dev/null; then
            tail -n 20 "$logs/$name" "$logs/$name.err" >&2
            return 1
        fi
        sleep 0.1
    done
    url=http://127.0.0.1:$port$path
}

# Servers keep settings and results there.
export HOME=$PWD/$seen/home

eras=(2025-11-25)
stdio everything node "$packages/@modelcontextprotocol/server-everything/dist/index.js" stdio
serve everything node tests/interop/everything_http.mjs
http everything
stdio filesystem node "$packages/@modelcontextprotocol/server-filesystem/dist/index.js" "$PWD/tests/interop"
stdio time-python "$python" -m mcp_server_time --local-timezone UTC

if go=$packages/mcp-time-linux-x64/bin/mcp-time && [ -x "$go" ]; then
    # Over HTTP alone: each process of it lists its formats in another order.
    listening time-go /mcp "$go" --transport stream --address "http://127.0.0.1:PORT/mcp"
    http time-go
    go=$packages/mcp-cron-linux-amd64/bin/mcp-cron
    stdio cron-go "$go" -transport stdio -log-file "$HOME/cron-stdio.log"
    listening cron-go / "$go" -transport http -address 127.0.0.1 -port PORT -log-file "$HOME/cron-http.log"
    http cron-go
else
    echo "SKIPPED: servers in Go, whose programs are for x86_64"
fi

# Over HTTP alone: over stdio it gives up five seconds after its start when no client has come (README.md).
listening biomcp-rust /mcp "$servers/venv/bin/biomcp" serve-http --host 127.0.0.1 --port PORT
http biomcp-rust

eras=(2025-11-25 2026-07-28)
stdio fastmcp "$python" tests/support/fastmcp_server.py
serve fastmcp "$python" tests/interop/fastmcp_http.py
http fastmcp
if [ -d "$servers/full" ]; then
    serve fixture node tests/interop/fixture.mjs
    http fixture
fi
if [[ " ${clients[*]} " = *" rmcp "* ]]; then
    stdio rmcp "$rmcp" serve
    serve rmcp "$rmcp" serve http
    http rmcp
fi

echo "$equal equal"
exit $result
