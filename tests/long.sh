#!/usr/bin/env bash
# What takes longer than a change may wait for: run it at night, and whole before a release. Prints each step and how
# long it took.
#
#   tests/long.sh [PART...]    parts by name, or all of them in the order of this list:
#     soak         ten minutes of calls, with answers counted; and with faults
#     faults       3000 runs (or TUNNEL_CLIENT_FAULT_RUNS) between peers that a seed makes fail, and 60 over a link
#                  that loses packets: every history holds
#     fuzz         every fuzz target for ten minutes, or for FUZZ_SECONDS, two at a time
#     interop      the conformance suite and the newest SDKs directly and through the tunnel, and a thousand calls of an
#                  inspector
#     fips         the build with OpenSSL: the suite, its RPM, and a root of Debian 13 with a FIPS module and without
#     rebuild      the source RPM as a customer builds it, with %check
#     release      the whole release, both architectures, made twice without a network: the same bytes
#     msrv         the programs and unit tests with the oldest Rust that is claimed, which Debian 13 has
#     harsh        the suite where much is refused, cut short or interrupted
#     simulation   fifty thousand tunnels over a simulated clock and network
#     mutants      every protection of the threat model taken away once: a test has to notice
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    local start=$SECONDS
    echo "== $*"
    "$@"
    echo "-- $((SECONDS - start)) s"
}

part_soak() {
    step cargo build --locked --release
    step cargo bench --locked --bench relay -- soak 600
    step cargo bench --locked --bench relay -- faults
}

# Other seeds every day; a run that fails says how it is repeated.
part_faults() {
    local first
    first=$(date +%y%j00000)
    step env TUNNEL_CLIENT_FAULT_SEEDS="$first..$((first + ${TUNNEL_CLIENT_FAULT_RUNS:-3000}))" \
        cargo test --locked --test suite -- --nocapture histories_hold
    step tests/lossy.sh
}

part_fuzz() {
    step tests/fuzz/run.sh --seconds "${FUZZ_SECONDS:-600}"
}

part_interop() {
    step tests/interop/run.sh
}

# The source RPM, here and below, is what `.ci/run packages` leaves behind.
part_fips() {
    local features=openssl,operator,harpoon,page,cage,dev
    step cargo test --locked --no-default-features --features "$features" --lib
    step cargo build --locked --no-default-features --features "$features" --example stdio-server
    step cargo test --locked --no-default-features --features "$features" --test suite
    step packaging/tests/on-rhel.sh --programs target/debug
    step tests/packaging/fips.sh target/debug
    step tests/packaging/source-rpm.sh --with fips
}

part_rebuild() {
    step tests/packaging/source-rpm.sh
}

part_release() {
    step tests/packaging/release.sh --complete
}

part_msrv() {
    step tests/packaging/msrv.sh
}

part_harsh() {
    step tests/harsh.sh
}

part_simulation() {
    step env TUNNEL_CLIENT_SEEDS=1..50001 CARGO_TARGET_DIR=target/simulation CARGO_PROFILE_TEST_OPT_LEVEL=2 \
        cargo test --locked --lib simulation:: -- --nocapture
}

part_mutants() {
    step tests/packaging/mutants.py
}

mapfile -t all < <(sed -nE 's/^#     ([a-z]+)  .*/\1/p' "$0")
parts=("$@")
((${#parts[@]})) || parts=("${all[@]}")
for part in "${parts[@]}"; do
    declare -F "part_$part" >/dev/null || { echo "no part '$part'; the parts are ${all[*]}" >&2 && exit 2; }
done
for part in "${parts[@]}"; do
    "part_$part"
    echo "== $part: all green after $SECONDS s"
done
