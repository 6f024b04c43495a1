#!/usr/bin/env bash
# Makes a release, without a network, from the archives of packaging/vendor.sh. The same archives, compiler and publisher
# give the same bytes, apart from the signatures.
#
#   packaging/release.sh (--sign-with gpg:KEY | --sign-with minisign:FILE | --unsigned)
#                        (--advisories FOLDER | --no-advisories) [--archives DIR] [--arch ARCH] [--out DIR]
#     -> DIR/source/       the archives of vendor.sh
#        DIR/ARCH/         for x86_64 and aarch64 what build.sh makes: the programs, their components (CycloneDX, and the
#                          same as SPDX), their licences
#        DIR/packages/     RPM and DEB of both, and the source RPM
#        DIR/provenance/   in-toto statements with SLSA provenance: what was made of what
#        DIR/advisories/   which advisories were looked at, and what of them concerns this release: OpenVEX, CSAF
#        DIR/SECURITY-INSIGHTS.yml    for the root of the repository that the publisher serves
#        DIR/verify.sh     for whoever gets the folder
#        DIR/SHA256SUMS    of all of that; signed by the key of the publisher: release/sign.sh
#
# TUNNEL_CLIENT_PUBLISHER and TUNNEL_CLIENT_PUBLISHER_URL say who publishes (packaging/publisher.sh).
#
# --unsigned      for a second machine whose result is to be compared, or where the key is elsewhere
# --advisories    a copy of RustSec's advisory-db. Those that concern this release are answered in packaging/vex.toml.
# --no-advisories nobody looked, and the release says so
# --archives      where vendor.sh has put them; target/package unless given
# --arch          that architecture alone, for rehearsals; it has to be the one of this machine
# --out           target/tunnel-client-VERSION unless given; it must not be there
#
# The day of everything is that of VERSION in CHANGELOG.md; for a rehearsal SOURCE_DATE_EPOCH gives another one. It needs
# what build.sh needs, and rpmbuild, dpkg-deb and Python 3.11. It takes as long as two builds.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/common.sh
. packaging/publisher.sh

read_options() {
    architectures=(x86_64 aarch64) archives=target/package out='' key='' advisories=''
    while (($#)); do
        case $1 in
        --sign-with | --advisories | --archives | --arch | --out) (($# > 1)) || fail "$1 needs a value" ;;&
        --sign-with) key=$2 && shift 2 ;;
        --unsigned) key=none && shift ;;
        --advisories) advisories=$(realpath "$2") && shift 2 ;;
        --no-advisories) advisories=none && shift ;;
        --archives) archives=$2 && shift 2 ;;
        --arch) architectures=("$2") && shift 2 ;;
        --out) out=$2 && shift 2 ;;
        *) fail "unknown option '$1'; the head of this script names them" ;;
        esac
    done
    [[ $key == none || $key == gpg:?* || $key == minisign:?* ]] ||
        fail "which key signs? --sign-with gpg:KEY, --sign-with minisign:FILE, or --unsigned"
    test -n "$advisories" || fail "which advisories are looked at? --advisories FOLDER, or --no-advisories"
    native=$(uname -m)
    ((${#architectures[@]} == 2)) || [[ ${architectures[0]} == "$native" ]] ||
        fail "the packages hold completions that a program of this machine writes: --arch $native, or both"
    version=$(package_version <Cargo.toml)
    name=tunnel-client-$version
    archives=$(realpath "$archives")
    out=$(realpath -m "${out:-target/$name}")
    test ! -e "$out" || fail "$out is there already"
    [[ $key != minisign:* ]] || key=minisign:$(realpath "${key#*:}")
}

# Everything is made in the unpacked source, by its own scripts.
unpack() {
    local archive
    for archive in "$name.tar.xz" "$name-vendor.tar.xz" "$name-tools.tar"; do
        test -f "$archives/$archive" || fail "$archives/$archive is missing: packaging/vendor.sh makes it"
        (cd "$archives" && grep "  $archive\$" SHA256SUMS | sha256sum --check --strict --quiet) ||
            fail "$archive is not the one that vendor.sh made"
        tar --extract --directory "$scratch" --file "$archives/$archive"
    done
    cmp --quiet packaging/release.sh "$scratch/$name/packaging/release.sh" ||
        fail "the archives are of another state of the source than this script: run packaging/vendor.sh again"
    commit=$(sed -n '/^[0-9a-f]\{40,\}$/p' "$scratch/$name/packaging/COMMIT")
    test -n "$commit" || fail "the source archive does not say of which commit it is"
}

# A release has a day. source-date.sh would take the one before.
choose_day() {
    local day
    if test -z "${SOURCE_DATE_EPOCH:-}"; then
        day=$(sed -nE "s/^## \[${version//./\\.}\] - ([0-9]{4}-[0-9]{2}-[0-9]{2})\$/\1/p" CHANGELOG.md)
        test -n "$day" || fail "CHANGELOG.md gives no day for $version; a rehearsal sets SOURCE_DATE_EPOCH"
        SOURCE_DATE_EPOCH=$(date --utc --date "$day" +%s)
    fi
    export SOURCE_DATE_EPOCH
}

# Shows what it said only when it fails.
quietly() {
    "$@" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2 && fail "failed: $*"; }
}

# The machine's own architecture first: its program writes the completions for the other.
build_programs() {
    local arch
    for arch in "$native" "${architectures[@]}"; do
        test ! -d "$release/$arch" || continue
        packaging/build.sh --offline --arch "$arch" --out "$release/$arch"
        # After the first already, so that a statement that is missing shows before the second was built.
        look_for_advisories
    done
}

build_packages() {
    local arch words
    mkdir -p target/package
    ln "$release/source/"*.tar* target/package
    for arch in "${architectures[@]}"; do
        words=(--arch "$arch" --input "$release/$arch" --run "$release/$native/tunnel-client" --out "$release/packages")
        quietly packaging/deb/build.sh "${words[@]}"
        quietly packaging/rpm/build.sh "${words[@]}"
    done
    quietly packaging/rpm/build.sh --source --out "$release/packages"
}

# The components as SPDX, beside those as CycloneDX.
write_spdx() {
    local list
    while read -r list; do
        packaging/release/spdx.py "$list" "${list%.cdx.json}.spdx.json"
    done < <(find "$release" -name '*.cdx.json')
}

# statement NAME SUBJECTS MATERIALS...: what every statement says, and what is said of these.
statement() {
    packaging/release/provenance.py --output "$release/provenance/$1.intoto.json" --root "$release" --subjects "$2" \
        --publisher-url "$publisher_url" --builder packaging/release.sh --version "$version" --commit "$commit" \
        --parameter "publisher=$publisher" --parameter "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
        --file "$publisher_url=$release/source/$name.tar.xz" "${@:3}"
}

# The compiler, as far as it is files: programs, their libraries, and the source of the standard library.
compiler_materials() {
    local file number
    choose_toolchain "$1-unknown-linux-musl"
    number=$("$rustc" --version | cut -d' ' -f2)
    while read -r file; do
        materials+=(--file "pkg:generic/rust@$number=$file")
    done < <(printf '%s\n' "$cargo" "$rustc" && ldd "$rustc" | awk '/librustc_driver|libLLVM/ { print $3 }')
    test -z "$standard_library" || materials+=(--folder "pkg:generic/rust-std@$number=$standard_library")
}

write_provenance() {
    local arch wheel file all=()
    mkdir "$release/provenance"
    for arch in "${architectures[@]}"; do
        materials=(--parameter "architecture=$arch" --parameter "features of tunnel-client=$TOOL_FEATURES"
            --parameter "features of tunnel-clientd=$SERVICE_FEATURES" --parameter "features of bare/tunnel-clientd=$BARE_FEATURES"
            --file "$publisher_url=$release/source/$name-vendor.tar.xz"
            --lock Cargo.lock --components "$release/$arch/tunnel-client.cdx.json")
        for wheel in wheels/*.whl; do
            file=${wheel##*/}
            materials+=(--file "pkg:pypi/$(cut -d- -f1 <<<"$file" | tr _ -)@$(cut -d- -f2 <<<"$file")=$wheel")
        done
        compiler_materials "$arch"
        statement "programs-$arch" "$arch" "${materials[@]}"
        for file in tunnel-client tunnel-clientd LICENSE.dependencies cargo-vendor.txt; do
            all+=(--file "$publisher_url=$release/$arch/$file")
        done
    done
    for file in rpmbuild dpkg-deb; do
        all+=(--file "pkg:generic/$file=$(realpath "$(command -v $file)")")
    done
    statement packages packages --file "$publisher_url=$release/source/$name-vendor.tar.xz" "${all[@]}"
}

look_for_advisories() {
    local lists
    mapfile -t lists < <(cd "$release" && find . -name '*.cdx.json' -printf '%P\n' | LC_ALL=C sort)
    (cd "$release" && "$scratch/$name/packaging/release/advisories.py" --database "$advisories" \
        --components "${lists[@]}" --statements "$scratch/$name/packaging/vex.toml" --publisher "$publisher" \
        --publisher-url "$publisher_url" --date "$SOURCE_DATE_EPOCH" --out "$release/advisories")
}

# One list of everything, in order of names, and modes that do not depend on the umask.
seal() {
    install -m 0755 packaging/verify.sh "$release/verify.sh"
    packaging/security-insights.py "$publisher" "$publisher_url" "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%F)" \
        >"$release/SECURITY-INSIGHTS.yml"
    chmod -R u=rwX,go=rX "$release"
    (cd "$release" && find . -type f -printf '%P\0' | LC_ALL=C sort --zero-terminated |
        xargs --null sha256sum) >"$scratch/sums"
    install -m 0644 "$scratch/sums" "$release/SHA256SUMS"
    find "$release" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

read_options "$@"
demand_publisher
choose_day
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 022
unpack
release=$scratch/$name-release
mkdir -p "$release/source" "$release/packages"
cp "$archives/$name.tar.xz" "$archives/$name-vendor.tar.xz" "$archives/$name-tools.tar" "$release/source"
cd "$scratch/$name"
build_programs
build_packages
write_spdx
write_provenance
seal
mkdir -p "$(dirname "$out")"
mv "$release" "$out"
test "$key" = none || packaging/release/sign.sh "$out" "$key"
echo "$out: $(wc -l <"$out/SHA256SUMS") files, sha256 of their list $(sha256sum <"$out/SHA256SUMS" | cut -d' ' -f1)"
