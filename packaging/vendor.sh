#!/usr/bin/env bash
# Makes what a build host without a network needs, and prints how to build there.
#
#   packaging/vendor.sh [--revision COMMIT] [--out DIR]
#     -> DIR/tunnel-client-VERSION.tar.xz         the source, as committed (HEAD unless given)
#        DIR/tunnel-client-VERSION-vendor.tar.xz  vendor/: every crate of Cargo.lock and those of the standard library
#        DIR/tunnel-client-VERSION-tools.tar      wheels/: cargo-zigbuild and ziglang, for hosts like this one
#        DIR/SHA256SUMS
#
# DIR is target/package unless given. The same commit, compiler and xz give the same bytes. Each archive unpacks into
# the folder tunnel-client-VERSION; without the third, build.sh needs target/package-build/tools to be there already.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/common.sh

read_options() {
    revision=HEAD out=target/package
    while test $# -gt 0; do
        case $1 in
        --revision) revision=${2:?"$1 needs a value"} && shift 2 ;;
        --out) out=${2:?"$1 needs a value"} && shift 2 ;;
        *) fail "unknown option '$1'; the options are --revision COMMIT and --out DIR" ;;
        esac
    done
    git rev-parse --quiet --verify "$revision^{commit}" >/dev/null || fail "no commit '$revision'"
}

# Archive $2 of the stage's folder $1. The number of threads is fixed because xz cuts its blocks by it.
pack() {
    local compress=(cat)
    case $2 in *.xz) compress=(xz --threads=2 -6 --stdout) ;; esac
    archive "$stage/$1" "$name" "$epoch" | "${compress[@]}" >"$out/$2"
}

source_archive() {
    git archive --prefix="$name/" "$revision" | tar --extract --directory "$stage/source"
    epoch=$("$stage/source/$name/packaging/source-date.sh")
    pack source "$name.tar.xz"
}

# The crates lie as cargo wants them, beside the settings that make it use them.
vendor_archive() {
    local folder=$stage/vendor/$name
    mkdir -p "$folder/vendor"
    (
        cd "$folder"
        RUSTC=$rustc "$cargo" vendor --quiet --locked --versioned-dirs \
            --manifest-path "$stage/source/$name/Cargo.toml" \
            ${standard_library:+--sync "$standard_library/Cargo.toml"} vendor >config.toml
        mv config.toml vendor/config.toml
    )
    pack vendor "$name-vendor.tar.xz"
}

tools_archive() {
    local folder=$stage/tools/$name
    mkdir -p "$folder"
    python3 -m venv "$stage/pip" || fail "python3 cannot make an environment; on Debian: apt-get install python3-venv"
    "$stage/pip/bin/python" -m pip download --quiet --no-deps --require-hashes --dest "$folder/wheels" \
        --requirement "$stage/source/$name/packaging/toolchain.txt"
    pack tools "$name-tools.tar"
}

# Sums of the three, and how to use them.
finish() {
    local archives=("$name.tar.xz" "$name-vendor.tar.xz" "$name-tools.tar")
    (cd "$out" && sha256sum "${archives[@]}" | tee SHA256SUMS && stat --format '%n: %s bytes' "${archives[@]}")
    echo "$(find "$stage/vendor/$name/vendor" -mindepth 1 -maxdepth 1 -type d | wc -l) crates"
    cat <<END
On the build host, which needs python3 with venv and the same compiler ($("$rustc" --version)):
    sha256sum --check SHA256SUMS
    for archive in $name*.tar*; do tar -xf "\$archive"; done
    cd $name
    packaging/build.sh --offline
END
}

read_options "$@"
choose_toolchain x86_64-unknown-linux-musl
name=tunnel-client-$(git show "$revision:Cargo.toml" | package_version)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/source" "$out"
source_archive
vendor_archive
tools_archive
finish
