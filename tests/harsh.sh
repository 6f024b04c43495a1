#!/usr/bin/env bash
# The suite on harsher ground than a developer's machine: whatever is refused, cut short or interrupted there, its tests
# hold all the same: each command gets its one answer, no program panics, and readiness tells the truth.
#
#   tests/harsh.sh [PART...] [FILTER...]     parts by name, or all of them in the order of this list; filters have `::`
#                                            and are for the tests of the suite, such as posting::
#     calls     programs that are killed at the first system call that their unit would refuse, for both units
#     files     programs that may have 64 open files
#     readonly  a file system that cannot be written, but for the folder of temporary files; needs root
#     full      a disk without room below audit record and log; needs root
#     signals   programs that are stopped and continued all the time, which ends waits on sockets with EINTR
#     eintr     programs of which every third read, write, wait and accept fails with EINTR; needs strace
#     asan      tests and programs with the address sanitizer, C code too; builds for some minutes
#
# Programs are started behind what TUNNEL_CLIENT_UNDER names (tests/support/programs.rs). Tests that are left out stand
# beside their part with the reason. It installs python3-seccomp and strace where it may, and takes an hour or more.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
# Strangers start programs in some tests.
chmod 755 "$folder"

# under LINE...: has every program of the suite started behind this line of a shell.
under() {
    printf '#!/bin/sh\nexec %s "$@"\n' "$*" >"$folder/under"
    chmod +x "$folder/under"
}

# suite [SKIPPED...]: those tests of the suite that were asked for, without the ones of these names.
suite() {
    TUNNEL_CLIENT_UNDER=$folder/under timeout 3600 \
        cargo test --quiet --locked --test suite -- "${filters[@]}" "${@/#/--skip=}"
}

# calls UNIT: the names of the calls that SystemCallFilter= of a unit leaves, one a line. As systemd reads them, each list
# adds to those before it or takes from them, and some calls are always allowed.
calls() {
    local list left=$folder/left
    : >"$left"
    while read -r list; do
        # shellcheck disable=SC2086 # A list of words.
        if [[ $list = '~'* ]]; then
            comm -23 <(sort -u "$left") <(expand ${list#'~'} | sort -u) >"$left.now"
            mv "$left.now" "$left"
        else
            expand $list >>"$left"
        fi
    done < <(sed -n 's/^SystemCallFilter=//p' "$1")
    expand @default | sort -u - "$left"
}

# expand NAME...: calls by name, and those of groups and of the groups in these.
expand() {
    local name inner
    for name; do
        if [[ $name = @* ]]; then
            # shellcheck disable=SC2046 # Names have no blanks.
            inner=$(systemd-analyze syscall-filter "$name" | sed -n 's/^    \([^#]\)/\1/p')
            # shellcheck disable=SC2086
            expand $inner
        else
            echo "$name"
        fi
    done
}

part_calls() {
    local unit
    for unit in packaging/systemd/tunnel-client@.service packaging/systemd/tunnel-client-stdio@.service; do
        calls "$unit" >"$folder/calls"
        echo "$unit leaves $(wc -l <"$folder/calls") calls"
        under /usr/bin/python3 -I "$PWD/tests/harsh/cage.py" "$PWD/$unit" "$folder/calls"
        suite
    done
}

part_files() {
    under prlimit --nofile=64:64
    # Two servers over stdio need 70 with the default settings, as the refused start says.
    suite stdio_deaths::a_death_costs_one_channel stdio_deaths::a_server_that_stops_reading_blocks_nobody
}

part_readonly() {
    namespace || return 0
    mkdir -p target/harsh
    # What cargo and the tests write lies below target.
    # shellcheck disable=SC2016 # The words are for the inner shell.
    TMPDIR=$PWD/target/harsh unshare --mount bash -euc '
        mount --bind "$PWD/target" "$PWD/target"
        mount -o remount,bind,ro /
        ! touch "$HOME/written" 2>/dev/null
        "$@"' - timeout 3600 cargo test --quiet --locked --test suite -- "${filters[@]}"
}

part_full() {
    namespace || return 0
    mkdir -p target/harsh/disk
    # shellcheck disable=SC2016
    TUNNEL_CLIENT_SMALL_DISK=$PWD/target/harsh/disk unshare --mount bash -euc '
        mount -t tmpfs -o size=128k tmpfs "$TUNNEL_CLIENT_SMALL_DISK"
        "$@"' - timeout 600 cargo test --quiet --locked --test suite -- --ignored a_file_system_without_room
}

# Whether this user may make a mount namespace.
namespace() {
    unshare --mount true 2>/dev/null || { echo "SKIPPED: this user may not make a mount namespace" && return 1; }
    cargo test --quiet --locked --test suite --no-run
}

part_signals() {
    under /usr/bin/python3 -I "$PWD/tests/harsh/storm.py"
    suite
}

part_eintr() {
    # The first calls are those of the dynamic linker, which does not try again.
    local early=recvfrom,sendto,poll,ppoll,accept4,wait4,waitid,clock_nanosleep late=read,write,openat
    under strace -D -f -qqq --seccomp-bpf -o /dev/null -e "trace=$early,$late" \
        -e "inject=$early:error=EINTR:when=2+3" -e "inject=$late:error=EINTR:when=30+3" --
    # Wants more than 50 lines within a second, for which this is too slow.
    suite calls::lines_about_failed_calls_are_limited
}

part_asan() {
    # What lives as long as the program is no leak. Memory of the sanitizer counts as that of the program, whose bounds
    # other tests hold, and it takes longer than 50 lines a second.
    under env ASAN_OPTIONS=detect_leaks=0
    local flags="-fsanitize=address -fno-omit-frame-pointer"
    local cargo=(env ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address
        CFLAGS_x86_64_unknown_linux_gnu="$flags" cargo)
    local to=(--quiet --locked --target x86_64-unknown-linux-gnu --target-dir target/asan)
    "${cargo[@]}" build "${to[@]}" --example stdio-server
    TUNNEL_CLIENT_UNDER=$folder/under "${cargo[@]}" test "${to[@]}" --test suite -- "${filters[@]}" \
        --skip=memory:: --skip=small_host:: --skip=hostile:: --skip=calls::lines_about_failed_calls_are_limited
}

parts=() filters=()
for word; do
    if [[ $word = *::* ]]; then filters+=("$word"); else parts+=("$word"); fi
done
mapfile -t all < <(sed -nE 's/^#     ([a-z]+)  .*/\1/p' "$0")
((${#parts[@]})) || parts=("${all[@]}")
for part in "${parts[@]}"; do
    declare -F "part_$part" >/dev/null || { echo "no part '$part'; the parts are ${all[*]}" >&2 && exit 2; }
done
if [ "$(id -u)" = 0 ] && ! { command -v strace && /usr/bin/python3 -c 'import seccomp'; } >/dev/null 2>&1; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends strace python3-seccomp
fi
cargo build --quiet --locked --example stdio-server
for part in "${parts[@]}"; do
    start=$SECONDS
    "part_$part"
    echo "== $part: green after $((SECONDS - start)) s"
done
