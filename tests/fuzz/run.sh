#!/usr/bin/env bash
# Fuzzes what reads bytes of others, with libFuzzer, after one build for all targets. Needs a C++ compiler.
#
#   tests/fuzz/run.sh [--seconds N] [--seed N] [--new DIR] [TARGET...]
#
# Each target runs for N seconds (10), two at a time, from the inputs in tests/fuzz/corpus; with a seed it tries the same
# inputs every time, as far as it gets. What is new and reaches more code goes below DIR (target/fuzz/new), an input that
# fails to target/fuzz/failed, what libFuzzer says to target/fuzz/logs. Prints executions and result of each target, and
# fails when one failed.
#
#   tests/fuzz/run.sh --list             names of the targets
#   tests/fuzz/run.sh --input TARGET F   runs one input
#   tests/fuzz/run.sh --shorten TARGET F writes shorter inputs that fail like this one to target/fuzz/failed
#   tests/fuzz/run.sh --merge TARGET     adds to the target's corpus the shortest of the new inputs that reach more code
set -euo pipefail
cd "$(dirname "$0")/../.."

# Such of libFuzzer's instrumentation as any toolchain has; no sanitizer, because there is no unsafe code to watch.
flags=(--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)
# Naming the host's own target keeps the flags away from build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
out=target/fuzz
fuzz=$out/$host/release/fuzz

# What the product links has one lock file; Cargo.toml pins the rest.
build() {
    cp Cargo.lock tests/fuzz/Cargo.lock
    RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out \
        cargo build --quiet --release --target "$host" --manifest-path tests/fuzz/Cargo.toml
}

# one TARGET: runs it, and prints a line.
one() {
    local log=$out/logs/$1 failed=0 count rate
    mkdir -p "$new/$1"
    FUZZ_TARGET=$1 "$fuzz" -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$out/failed/$1-" "$new/$1" "tests/fuzz/corpus/$1" >"$log" 2>&1 || failed=$?
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    if ((failed)); then
        printf '%-12s FAILED after %s executions, see %s\n' "$1" "${count:-no}" "$log"
        tail -n 20 "$log"
    else
        printf '%-12s %12s executions, %8s a second\n' "$1" "$count" "$rate"
    fi
    return "$failed"
}

all() {
    local failed=0 name running=0
    mkdir -p "$out/logs" "$out/failed"
    for name; do
        if ((running == 2)); then
            wait -n || failed=1
            running=1
        fi
        one "$name" &
        running=$((running + 1))
    done
    while ((running)); do
        wait -n || failed=1
        running=$((running - 1))
    done
    return "$failed"
}

seconds=10 seed=0 new=$out/new targets=()
while (($#)); do
    case $1 in
    --seconds) seconds=${2:?"--seconds needs a number"} && shift 2 ;;
    --seed) seed=${2:?"--seed needs a number"} && shift 2 ;;
    --new) new=${2:?"--new needs a folder"} && shift 2 ;;
    --list)
        build
        exec "$fuzz"
        ;;
    --input)
        build
        FUZZ_TARGET=${2:?"--input needs a target"} exec "$fuzz" "${3:?"--input needs a file"}"
        ;;
    --shorten)
        build
        FUZZ_TARGET=${2:?"--shorten needs a target"} exec "$fuzz" -minimize_crash=1 -runs=100000 \
            -artifact_prefix="$out/failed/$2-" "${3:?"--shorten needs a file"}"
        ;;
    --merge)
        build
        FUZZ_TARGET=${2:?"--merge needs a target"} exec "$fuzz" -merge=1 "tests/fuzz/corpus/$2" "$new/$2"
        ;;
    -*) echo "unknown option '$1'; see the head of $0" >&2 && exit 2 ;;
    *) targets+=("$1") && shift ;;
    esac
done
build
((${#targets[@]})) || mapfile -t targets < <("$fuzz")
all "${targets[@]}"
