# What the checks of packages share; sourced, never run.
# shellcheck shell=bash

# Who publishes what tests make: below "test", where nobody has an address.
publish_as_test() {
    export TUNNEL_CLIENT_PUBLISHER='Test Publisher <releases@publisher.test>'
    export TUNNEL_CLIENT_PUBLISHER_URL=https://publisher.test/tunnel-client
}

# debian CODENAME PACKAGES FOLDER LOG: unpacks a small Debian with these packages, from the mirror that this machine's own
# apt uses. The script that calls says by its `skip` that none can be had.
debian() {
    local here mirror
    here=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # apt-get replaces $(SITE), not the shell
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Release: $here" 'Component: main' |
        sort -u | sed -n 1p)
    [[ -n $mirror ]] || skip "apt here knows no archive of $here"
    mkdir -p "${4%/*}"
    debootstrap --variant=minbase --include="$2" "$1" "$3" "$mirror" >"$4" 2>&1 ||
        { tail "$4"; skip "debootstrap could not make a system (log: $4)"; }
    rm -rf "$3"/var/cache/apt/archives/*.deb "$3"/var/lib/apt/lists/*
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
