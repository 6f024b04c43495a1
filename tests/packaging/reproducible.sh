#!/usr/bin/env bash
# A host without a network makes the same bytes: the archives of packaging/vendor.sh are unpacked elsewhere and made a
# release of there by packaging/release.sh, of this machine's architecture, with the network off, an empty cargo home and
# another HOME. Program, list of components and licences must equal what the build in this tree made, with crates from
# the registry.
#
#   tests/packaging/reproducible.sh [--archives DIR]
#
# With --archives the archives are there already, of this very tree; else they are made. Takes one build (two when
# target/package has none yet). Needs what release.sh needs, git, xz and unshare, and root or user namespaces to turn the
# network off. Leaves the release, unsigned, in target/package/release, for release.sh beside this.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh
# shellcheck source=tests/packaging/common.sh
. tests/packaging/common.sh

# Archives of the tree as it is, changes that are not committed included.
make_archives() {
    local revision
    [[ -z $archives ]] || return 0
    archives=$scratch/archives
    revision=$(git -c user.name=test -c user.email=test stash create)
    packaging/vendor.sh --revision "${revision:-HEAD}" --out "$archives"
}

# Unpacks them as the recipe says.
unpack() {
    local archive
    (cd "$archives" && sha256sum --quiet --check SHA256SUMS)
    mkdir -p "$scratch/host/home"
    for archive in "$archives/$name"*.tar*; do
        tar --extract --directory "$scratch/host" --file "$archive"
    done
}

# Other times, owners and permissions on the disk do not reach an archive.
same_archive() {
    local folder=$scratch/again packed epoch
    packed=$(xz --decompress --stdout "$archives/$name.tar.xz" | sha256sum)
    mkdir "$folder"
    tar --extract --directory "$folder" --file "$archives/$name.tar.xz"
    epoch=$(stat --format %Y "$folder/$name/Cargo.toml")
    find "$folder" -exec touch {} + -exec chmod g+w {} +
    test "$(archive "$folder" "$name" "$epoch" | sha256sum)" = "$packed" || fail "the source archive depends on the disk"
    echo "ok: an archive of the same files has the same bytes"
}

# The archives carry the commit that they were made of. Changes that are not committed have one of their own there.
same_commit() {
    commit=$(cat "$scratch/host/$name/packaging/COMMIT")
    [[ $commit =~ ^[0-9a-f]{40}$ ]] || fail "packaging/COMMIT of the source archive holds no commit: $commit"
    if test -z "$(git status --porcelain --untracked-files=no)"; then
        test "$(packaging/commit.sh)" = "${commit:0:12}" || fail "the source archive is of commit $commit, not of this tree's"
    fi
    test "$("$scratch/host/$name/packaging/commit.sh")" = "${commit:0:12}" || fail "the unpacked source does not know its commit"
    echo "ok: the source archive knows its commit"
}

choose_cage() {
    cage=(unshare --net)
    test "$(id -u)" = 0 || cage=(unshare --map-current-user --net)
    if ! "${cage[@]}" true 2>/dev/null; then
        cage=()
        echo "SKIPPED: turning the network off, because this user may not make a network namespace (unshare --net)"
    fi
}

build_there() {
    (
        cd "$scratch/host/$name"
        env --unset CARGO_HOME HOME="$scratch/host/home" "${cage[@]}" packaging/release.sh --unsigned --no-advisories \
            --archives "$archives" --arch "$(uname -m)" --out "$scratch/release"
    )
}

compare() {
    local file here
    here=target/package/$(uname -m)
    for file in {tunnel-client,tunnel-clientd,bare/tunnel-clientd}{,.cdx.json} {,bare/}{LICENSE.dependencies,cargo-vendor.txt}; do
        cmp "$here/$file" "$scratch/release/$(uname -m)/$file" || fail "$file differs between the two builds; both are from" \
            "the same source unless git status shows files it does not know"
        echo "ok: $file has the same bytes from two folders, from registry and archives, with and without a network"
    done
}

archives=''
case "$#:${1:-}" in
    0:) ;;
    2:--archives) archives=$(realpath "$2") ;;
    *) fail "the option is --archives DIR" ;;
esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
name=tunnel-client-$(package_version <Cargo.toml)
make_archives
unpack
same_archive
same_commit
publish_as_test
SOURCE_DATE_EPOCH=$(packaging/source-date.sh)
export SOURCE_DATE_EPOCH
TUNNEL_CLIENT_COMMIT=$commit packaging/build.sh
choose_cage
build_there
compare
rm -rf target/package/release
mv "$scratch/release" target/package/release
