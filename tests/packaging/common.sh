# What the checks of packages share; sourced, never run.
# shellcheck shell=bash

# Who publishes what tests make: below "test", where nobody has an address.
publish_as_test() {
    export TUNNEL_CLIENT_PUBLISHER='Test Publisher <releases@publisher.test>'
    export TUNNEL_CLIENT_PUBLISHER_URL=https://publisher.test/tunnel-client
}

# Tells what does not hold and goes on; whoever counts ends with the number of failures.
complain() {
    echo "FAILED: $*" >&2
    failures=$((${failures:-0} + 1))
}

# same TEXT WANTED SEEN: ends the check where the two differ, and shows how.
same() {
    if [[ $2 != "$3" ]]; then
        printf 'FAIL  %s\n' "$1"
        diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | sed 's/^/      /' || true
        exit 1
    fi
    echo "ok    $1"
}
