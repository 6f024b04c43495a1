#!/usr/bin/env bash
# Hostile peers against a service that has 32 MB: each client of these tests gets a cgroup of its own with that limit,
# and the least budget.
#
#   tests/packaging/small.sh [PROGRAM]     the service of target/package/<this machine> unless given
#
# It needs root and a cgroup (of either version) whose memory can be limited. Where there is none it says so, and the
# tests compare the peak that the kernel tells of the process with the same bound.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly LIMIT=$((32 << 20))
program=$(realpath "${1:-target/package/$(uname -m)/tunnel-clientd}")
folder=$(mktemp -d)
group=''

# Makes a group for the groups of the clients, and names the files of the version.
make_group() {
    local parent
    if test -e /sys/fs/cgroup/memory/memory.limit_in_bytes; then
        parent=/sys/fs/cgroup/memory limit=memory.limit_in_bytes peak=memory.max_usage_in_bytes events=memory.oom_control
    elif test -e /sys/fs/cgroup/cgroup.controllers; then
        parent=/sys/fs/cgroup limit=memory.max peak=memory.peak events=memory.events
        echo +memory >"$parent/cgroup.subtree_control" || return
    else
        return 1
    fi
    mkdir "$parent/tunnel-client-$$" || return
    group=$parent/tunnel-client-$$
    test "$limit" != memory.max || echo +memory >"$group/cgroup.subtree_control"
}

clean() {
    rm -rf "$folder"
    test -z "$group" || rmdir "$group"/*/ "$group" 2>/dev/null || true
}

make_group 2>/dev/null || echo "no cgroup can be made here; what counts is the peak of each process"
trap clean EXIT
cat >"$folder/under" <<SCRIPT
#!/bin/sh
shift
if test -n "$group"; then
    mkdir "$group/\$\$" && echo $LIMIT >"$group/\$\$/$limit" && echo \$\$ >"$group/\$\$/cgroup.procs" || exit 99
fi
export MCP_BODY_BUDGET_BYTES=1048576
exec "$program" "\$@"
SCRIPT
chmod +x "$folder/under"
cargo build --quiet --locked --example stdio-server
# Children would share the group, and are larger than the service.
TUNNEL_CLIENT_UNDER=$folder/under cargo test --quiet --locked --test suite -- hostile:: small_host:: --skip children
test -n "$group" || exit 0
for client in "$group"/*/; do
    if grep -q '^oom_kill [1-9]' "$client/$events"; then
        echo "FAILED: a client was killed for its memory" >&2
        exit 1
    fi
    cat "$client/$peak"
done | sort -n | awk '{peak = $1} END {printf "%d clients within 32 MB each, %.1f MB at most\n", NR, peak / 1e6}'
