#!/usr/bin/env bash
# Builds the programs that are shipped: static-pie files for any Linux of their architecture, with musl, without the
# `dev` feature, and for each the list of what is in it.
#
#   packaging/build.sh [--arch x86_64|aarch64] [--offline] [--out DIR]
#     -> DIR/tunnel-clientd            the service, with Harpoon and the operator's page
#        DIR/bare/tunnel-clientd       the service with no feature but ring
#        DIR/tunnel-client             all commands for people
#        each with PROGRAM.cdx.json    what was compiled for it, and what of that is in it (CycloneDX)
#        DIR/LICENSE.dependencies, DIR/cargo-vendor.txt   what is in the two of packages, with every licence text
#        DIR/bare/LICENSE.dependencies, DIR/bare/cargo-vendor.txt   the same of the bare one, which holds less
#
# DIR is target/package/ARCH unless given; a relative one is taken from the top of the project.
#
# It needs, from the distribution, python3 with venv and either
#   a) rustup with the target ARCH-unknown-linux-musl added (taken when it is there; it was not tried), or
#   b) a Rust in /usr/bin with the source of its standard library, which is then built along. On Debian:
#      rustc-web cargo-web rust-web-src python3-venv
# and from PyPI what toolchain.txt names: cargo-zigbuild and ziglang, which bring the linker, the C compiler and musl.
# Their musl asks a name server again over TCP when an answer was cut; that of Debian 12 does not.
#
# Where the archives of vendor.sh are unpacked, crates come from vendor/ and the PyPI packages from wheels/.
# Nothing is fetched with --offline; and the compiler itself never runs with more than the settings given here, so
# that flags of the caller (those of rpmbuild, say) and the place of the build do not change a byte. The lists of
# components name the publisher, where packaging/publisher.sh knows one.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/common.sh
. packaging/publisher.sh
readonly root=$PWD work=$PWD/target/package-build

read_options() {
    arch=$(uname -m) offline='' out=''
    while test $# -gt 0; do
        case $1 in
        --arch) arch=${2:?"$1 needs a value"} && shift 2 ;;
        --offline) offline=--offline && shift ;;
        --out) out=${2:?"$1 needs a value"} && shift 2 ;;
        *) fail "unknown option '$1'; the options are --arch x86_64|aarch64, --offline and --out DIR" ;;
        esac
    done
    case $arch in
    x86_64 | aarch64) ;;
    *) fail "no architecture '$arch'; there are x86_64 and aarch64" ;;
    esac
    out=${out:-target/package/$arch}
    target=$arch-unknown-linux-musl
}

# Linker, C compiler and musl, in a Python environment of their own.
install_tools() {
    local wanted source=()
    wanted=$(sha256sum <packaging/toolchain.txt)
    tools=$work/tools
    test "$(cat "$tools/installed" 2>/dev/null)" = "$wanted" && return
    if test -d wheels; then
        source=(--no-index --find-links wheels)
    elif test -n "$offline"; then
        fail "no wheels/ here, so cargo-zigbuild and ziglang cannot be installed offline; packaging/vendor.sh makes it"
    fi
    python3 -m venv --clear "$tools" || fail "python3 cannot make an environment; on Debian: apt-get install python3-venv"
    "$tools/bin/python" -m pip install --quiet --no-deps --require-hashes "${source[@]}" -r packaging/toolchain.txt
    echo "$wanted" >"$tools/installed"
}

# Brings the crates here, so that the build needs no network, and names the folders they are in.
fetch_crates() {
    if test -d vendor; then
        # A cargo home of our own, because cargo-zigbuild does not hand `--config` to every cargo that it runs.
        cargo_home=$work/cargo-home
        crate_folders=("$root/vendor")
        mkdir -p "$cargo_home"
        printf '[source.crates-io]\nreplace-with = "vendor"\n[source.vendor]\ndirectory = "%s"\n' "$root/vendor" \
            >"$cargo_home/config.toml"
        return
    fi
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    local manifest
    for manifest in Cargo.toml ${standard_library:+"$standard_library/Cargo.toml"}; do
        RUSTC=$rustc "$cargo" fetch --quiet --locked $offline --target "$target" --manifest-path "$manifest"
    done
    crate_folders=("$cargo_home"/registry/src/*)
}

# The compiler's flags, in the form that allows spaces in paths.
encode_flags() {
    local folder flags=(-C target-feature=+crt-static -C relocation-model=pie -C link-self-contained=no
        -C link-arg=-pie
        # The program aborts on a panic and holds nothing that reads unwind tables.
        -C force-unwind-tables=no
        # What panic messages would say of the builder's disk. Of several that fit the last is used: crates may lie
        # below the project. They have one name wherever they came from.
        "--remap-path-prefix=$root=/tunnel-client")
    for folder in "${crate_folders[@]}"; do
        flags+=("--remap-path-prefix=$folder=/crates")
    done
    if test -n "$standard_library"; then
        folder=${standard_library%/library}
        flags+=("--remap-path-prefix=$folder=/rust" "--remap-path-prefix=$(realpath "$folder")=/rust")
    fi
    local IFS=$'\037'
    encoded_flags=${flags[*]}
}

# Runs cargo offline and with a clean environment.
clean_cargo() {
    env --ignore-environment PATH="$tools/bin:/usr/bin:/bin" HOME="${HOME:-/}" CARGO_HOME="$cargo_home" LC_ALL=C \
        TMPDIR="${TMPDIR:-/tmp}" ${CARGO_BUILD_JOBS:+CARGO_BUILD_JOBS="$CARGO_BUILD_JOBS"} \
        CARGO="$cargo" RUSTC="$rustc" RUSTC_BOOTSTRAP=1 CARGO_NET_OFFLINE=true CARGO_TARGET_DIR="$work" \
        CARGO_ENCODED_RUSTFLAGS="$encoded_flags" CARGO_BUILD_SBOM=true SOURCE_DATE_EPOCH="$epoch" \
        ${commit:+TUNNEL_CLIENT_COMMIT="$commit"} \
        CARGO_ZIGBUILD_PYTHON_PATH="$tools/bin/python" CARGO_ZIGBUILD_CACHE_DIR="$work/zig/wrappers" \
        ZIG_GLOBAL_CACHE_DIR="$work/zig/global" ZIG_LOCAL_CACHE_DIR="$work/zig/local" \
        "$@"
}

# build PROGRAM FEATURES
build() {
    local standard=()
    if test -n "$standard_library"; then
        # Sorting, and numbers as text, in their short forms: each use of the long ones is kilobytes of code, and no call
        # waits for either.
        standard=(-Z 'build-std=std,panic_abort' -Z build-std-features=optimize_for_size)
    fi
    clean_cargo "$tools/bin/cargo-zigbuild" zigbuild -Z sbom "${standard[@]}" --locked --release \
        --no-default-features --features "$2" --bin "$1" --target "$target"
}

# list_components PROGRAM FEATURES FOLDER: what is in the program, and the licences of it, from what cargo wrote of this
# very build.
list_components() {
    local program=$1 features=$2 folder=$3
    local described=$work/$target/release musl=("$tools"/lib/python*/site-packages/ziglang/lib/libc/musl)
    local rust_licence=${standard_library%/library}/COPYRIGHT manifest version lists=() metadata=()
    test -n "$standard_library" || rust_licence=$("$rustc" --print sysroot)/share/doc/rust/licenses/MIT.txt
    for manifest in Cargo.toml ${standard_library:+"$standard_library/Cargo.toml"}; do
        lists+=(--lock "${manifest%.toml}.lock")
        metadata+=(--metadata "$work/metadata-${#lists[@]}.json")
        clean_cargo "$cargo" metadata --quiet --format-version 1 --locked --filter-platform "$target" \
            --manifest-path "$manifest" >"${metadata[-1]}"
    done
    version=$(sed -nE 's/^#define VERSION "(.*)"$/\1/p' "${musl[0]}/src/internal/version.h")
    packaging/sbom.py --cargo-sbom "$described/$program.cargo-sbom.json" "${lists[@]}" "${metadata[@]}" \
        --features "$features" --date "$epoch" --musl "$version" --binary "$described/$program" \
        --publisher "$publisher" --publisher-url "$publisher_url" --output "$folder/$program.cdx.json" >"$work/standard-crates"
    clean_cargo packaging/licenses.py texts --features "$features" --target "$target" \
        --crates "$work/standard-crates" "${metadata[@]: -2}" \
        --also "Rust's standard library ($("$rustc" --version))" 'MIT OR Apache-2.0' "$rust_licence" \
        --also "musl $version" MIT "${musl[0]}/COPYRIGHT" >"$work/LICENSE.dependencies"
    clean_cargo packaging/licenses.py manifest --features "$features" --target "$target" >"$work/cargo-vendor.txt"
}

# keep_licences FOLDER [PROGRAM]: one list of licences is shipped, so a further program must hold the same crates.
keep_licences() {
    local list
    for list in LICENSE.dependencies cargo-vendor.txt; do
        if test -z "${2:-}"; then
            install -m 0644 "$work/$list" "$1/$list"
        else
            cmp "$work/$list" "$1/$list" || fail "$2 holds other crates than the program before it; ship a list for each"
        fi
    done
}

# deliver PROGRAM FEATURES FOLDER
deliver() {
    local program=$1 folder=$3 size sum
    build "$program" "$2"
    mkdir -p "$folder"
    install -m 0755 "$work/$target/release/$program" "$folder/$program"
    list_components "$@"
    size=$(stat --format %s "$folder/$program")
    sum=$(sha256sum <"$folder/$program")
    echo "$folder/$program: $size bytes, sha256 ${sum%% *}"
}

read_options "$@"
read_publisher
epoch=$(packaging/source-date.sh)
commit=$(packaging/commit.sh)
choose_toolchain "$target"
install_tools
fetch_crates
encode_flags
deliver tunnel-client "$TOOL_FEATURES" "$out"
keep_licences "$out"
deliver tunnel-clientd "$SERVICE_FEATURES" "$out"
keep_licences "$out" tunnel-clientd
deliver tunnel-clientd "$BARE_FEATURES" "$out/bare"
keep_licences "$out/bare"
