# What build.sh, vendor.sh and licenses.sh share; sourced, never run.
# shellcheck shell=bash

# The features of the programs that are shipped. Cargo would unite them in one build, so each has a build of its own.
# shellcheck disable=SC2034 # for those who source this
readonly TOOL_FEATURES=operator,harpoon,page,cage,ring SERVICE_FEATURES=harpoon,page,cage,ring BARE_FEATURES=ring

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The Rust that builds for target $1: sets `cargo`, `rustc` and `standard_library`, which stays empty when the compiler
# brings a built standard library for the target.
choose_toolchain() {
    standard_library=''
    if rustup target list --installed 2>/dev/null | grep -qx "$1"; then
        cargo=$(rustup which cargo) rustc=$(rustup which rustc)
        return
    fi
    cargo=/usr/bin/cargo rustc=/usr/bin/rustc
    if test -x "$cargo" && test -x "$rustc"; then
        standard_library=$("$rustc" --print sysroot)/lib/rustlib/src/rust/library
    fi
    test -e "$standard_library/Cargo.lock" || fail "no Rust that can build for $1. Either: rustup target add $1." \
        "Or, on Debian: apt-get install rustc-web cargo-web rust-web-src"
}

# The version that a Cargo.toml on stdin gives.
package_version() {
    sed -nE '0,/^version = /s/^version = "(.*)"/\1/p'
}

# Archive, on stdout, of folder $2 in folder $1: in order of names, of nobody in particular, everything at time $3.
archive() {
    tar --create --directory "$1" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$3" \
        --mode='u+rw,go+r,go-w,a+X,a-s' "$2"
}
