# Starts servers and `dev proxy`, and ends them with the script that sources this. Runs at the top of the tree.
# shellcheck shell=bash disable=SC2034

servers=$(realpath "${TUNNEL_CLIENT_REAL_SERVERS:-target/real-servers}")
export TUNNEL_CLIENT_REAL_SERVERS=$servers
client=${TUNNEL_CLIENT:-target/release/tunnel-client}
python=$servers/venv/bin/python
logs=target/interop/logs/$(basename "$0" .sh)
rm -rf "$logs"
mkdir -p "$logs"
started=()

# start NAME COMMAND...: runs it beside us, with its output in $logs/NAME.
start() {
    local name=$1
    shift
    "$@" >"$logs/$name" 2>"$logs/$name.err" &
    last_pid=$!
    started+=("$last_pid")
}

# Ends what was started, by force after ten seconds.
stop_all() {
    local pid left=100
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ $((left -= 1)) -gt 0 ]; do sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null && echo "process $pid did not end by itself" >&2
        wait "$pid" 2>/dev/null || true
    done
    started=()
}
trap stop_all EXIT
trap 'exit 143' TERM

# url_in FILE: waits for the last one started to write a URL there, and sets $url.
url_in() {
    local left=600
    # A file of JSON may name other URLs, too.
    until url=$(grep -oE '"mcp_url" *: *"[^"]+"' "$1" 2>/dev/null | grep -m1 -oE 'http[^"]+') ||
        url=$(grep -v '"' "$1" 2>/dev/null | grep -m1 -oE '^http[^ ]+'); do
        if [ $((left -= 1)) = 0 ] || ! kill -0 "$last_pid" 2>/dev/null; then
            echo "no URL in $1" >&2
            tail -n 20 "${logs:?}"/*.err >&2
            return 1
        fi
        sleep 0.1
    done
}

# serve NAME COMMAND...: starts a server that prints its URL, and sets $url.
serve() {
    start "$@"
    url_in "$logs/$1"
}

# proxy NAME ARGUMENT...: starts `dev proxy`, and sets $url.
proxy() {
    local name=$1
    shift
    rm -f "$logs/$name.url"
    start "$name" "$client" dev proxy "$@" --url-file "$logs/$name.url"
    url_in "$logs/$name.url"
}
