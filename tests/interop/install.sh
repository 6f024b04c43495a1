#!/usr/bin/env bash
# Installs clients and servers that others wrote: install.sh [--full] DIR
#
# DIR gets node_modules and venv; --full adds DIR/full with the conformance suite, the inspector, the newer Node that both
# need, and what the suite's server is written with. Versions are pinned here, and that of rmcp in rmcp/Cargo.toml.
set -euo pipefail

everything=2026.8.31      # a server of the older era
filesystem=2026.8.31      # likewise
sdk=1.32.2                # the TypeScript SDK of the older era
sdk2=2.4.0                # the TypeScript SDK of both eras
mcp=2.3.0                 # the Python SDK of both eras
fastmcp=4.2.3
time=2026.10.19           # a server on the Python SDK
biomcp=0.9.3              # a program, a server on the Rust SDK (rmcp 1.7)
go_cron=0.9.1             # a program, a server on the official Go SDK (1.4.1)
go_time=0.4.0             # a program, a server on mcp-go (0.33)
conformance=0.2.0-alpha.12
inspector=2.12.0
sdk2_node=2.1.2           # what puts that behind the HTTP server of Node
node=22.23.3

full=
if [ "${1-}" = --full ]; then
    full=yes
    shift
fi
into=${1:?"usage: install.sh [--full] DIR"}

# Where `venv` is a package of its own, only `ensurepip` is missing without it.
if ! { command -v node && command -v npm && python3 -c 'import ensurepip, venv'; } >/dev/null 2>&1; then
    test "$(id -u)" = 0 || { echo "nodejs, npm and python3-venv are needed" >&2; exit 1; }
    apt-get update
    apt-get install -y --no-install-recommends nodejs python3-venv
    # Some builds of nodejs bring npm along and conflict with the package.
    command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
fi

# missing FILE WANTED: whether FILE does not hold WANTED. Stamps are written last, so that an install that broke off is
# begun again.
missing() {
    [ "$(cat "$1" 2>/dev/null)" != "$2" ]
}

npm_install() {
    local prefix=$1
    shift
    # A file of its own, or npm would install into a folder further up that has one.
    echo '{ "private": true }' >"$prefix/package.json"
    npm install --prefix "$prefix" --no-audit --no-fund --loglevel=error "$@"
}

stamp="everything $everything, filesystem $filesystem, sdk $sdk $sdk2, mcp $mcp, fastmcp $fastmcp, time $time, \
biomcp $biomcp, go $go_cron $go_time"
if missing "$into/stamp" "$stamp"; then
    rm -rf "$into/stamp" "$into/node_modules" "$into/package-lock.json" "$into/venv"
    mkdir -p "$into"
    # Programs that their authors built for one kind of machine; mirror.sh says what it had to leave out.
    programs=()
    [ "$(uname -m)" != x86_64 ] || programs=("mcp-cron-linux-amd64@$go_cron" "mcp-time-linux-x64@$go_time")
    npm_install "$into" "@modelcontextprotocol/server-everything@$everything" "@modelcontextprotocol/sdk@$sdk" \
        "@modelcontextprotocol/server-filesystem@$filesystem" "@modelcontextprotocol/client@$sdk2" "${programs[@]}"
    python3 -m venv "$into/venv"
    "$into/venv/bin/python" -m pip install --quiet --disable-pip-version-check "mcp==$mcp" "fastmcp==$fastmcp" \
        "mcp-server-time==$time" "biomcp-cli==$biomcp"
    echo "$stamp" >"$into/stamp"
fi

stamp="conformance $conformance, inspector $inspector, sdk2 $sdk2 $sdk2_node, node $node"
if [ "$full" ] && missing "$into/full/stamp" "$stamp"; then
    rm -rf "$into/full"
    mkdir -p "$into/full"
    npm_install "$into/full" "@modelcontextprotocol/conformance@$conformance" \
        "@modelcontextprotocol/inspector@$inspector" "@modelcontextprotocol/server@$sdk2" \
        "@modelcontextprotocol/node@$sdk2_node" "node@$node"
    # The package of node fetches the program in a script, which npm may be told not to run.
    [ "$("$into/full/node_modules/.bin/node" --version 2>/dev/null)" = "v$node" ] ||
        (cd "$into/full/node_modules/node" && node installArchSpecificPackage)
    [ "$("$into/full/node_modules/.bin/node" --version)" = "v$node" ]
    echo "$stamp" >"$into/full/stamp"
fi
