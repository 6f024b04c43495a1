#!/usr/bin/env bash
# Builds both packages and the source RPM around the static binary, and holds them to what is said of them: contents,
# modes, owners, no dependencies, the binary unchanged, one version everywhere, licences complete, nothing for rpmlint
# and lintian to say, and the same bytes from another folder by another user's settings.
#
#   tests/packaging/packages.sh
#
# Needs rpm, rpm2cpio, cpio, rpmlint, lintian and binutils (Debian's names), cargo, and what packaging/build.sh and
# packaging/vendor.sh leave in target/package. With selinux-policy-dev the policy's sub-package is built as well, to see
# that the spec can.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

for tool in rpmbuild:rpm rpmlint:rpmlint lintian:lintian dpkg-deb:dpkg readelf:binutils rpm2cpio:rpm2cpio cpio:cpio; do
    command -v "${tool%:*}" >/dev/null || { echo "${tool%:*} is missing (Debian: ${tool#*:})" >&2; exit 1; }
done

input=$PWD/target/package/x86_64
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
spec=packaging/rpm/tunnel-client.spec
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quietly LOG COMMAND...: shows what it said only when it fails.
quietly() {
    local log=$work/$1.log
    shift
    "$@" > "$log" 2>&1 || { cat "$log"; echo "failed: $*" >&2; exit 1; }
}

# build FOLDER OUT: in this tree or in a copy of it.
build() {
    mkdir -p "$2"
    quietly "deb" "$1/packaging/deb/build.sh" --input "$input" --out "$2"
    quietly "rpm" "$1/packaging/rpm/build.sh" --input "$input" --out "$2"
    quietly "source" "$1/packaging/rpm/build.sh" --source --input "$input" --out "$2"
}

# Times of files, umask, language, time zone and place differ.
build_again() {
    mkdir -p "$work/elsewhere/target/package"
    git ls-files --cached --others --exclude-standard -z | tar --null --files-from=- -cf - |
        tar -xmf - -C "$work/elsewhere"
    cp "target/package/tunnel-client-$version"*.tar.xz "$work/elsewhere/target/package"
    (
        umask 077
        export TZ=Asia/Kathmandu LC_ALL=C.UTF-8
        build "$work/elsewhere" "$work/second"
    )
}

check_reproducible() {
    local name
    same "two builds make the same files" "$(ls "$work/first")" "$(ls "$work/second")"
    for name in "$deb" "$rpm" "$source"; do
        same "${name##*/}: $(stat -c %s "$name") bytes, the same twice" "$(sha256sum < "$name")" \
            "$(sha256sum < "$work/second/${name##*/}")"
    done
}

# wanted rpm|deb: the lines of files.txt for one of them.
wanted() {
    awk -v kind="$1" '!/^#/ && ($3 == "" || $3 == kind) { print $1, "root root", $2 }' tests/packaging/files.txt |
        sort -k 4
}

# Lines of files and of the folders that files.txt names; parents such as /usr are in the DEB and nobody's.
own() {
    awk 'NR == FNR { if (!/^#/) named[$2] = 1; next } $1 !~ /^d/ || named[$4]' tests/packaging/files.txt - | sort -k 4
}

# sums ONE OTHER: of the files of one that the other has too.
sums() {
    (cd "$work/$1" && find . -type f | sort | while read -r path; do
        [[ ! -f $work/$2/$path ]] || sha256sum "$path"
    done)
}

check_contents() {
    same "the RPM holds what is listed" "$(wanted rpm)" \
        "$(rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]' "$rpm" | own)"
    same "the DEB holds what is listed" "$(wanted deb)" \
        "$(dpkg-deb --contents "$deb" |
            awk '{ sub("/", " ", $2); sub(/^\./, "", $6); sub(/\/$/, "", $6); print $1, $2, $6 }' | own)"
    same "rpm keeps a changed profile" "/etc/tunnel-client/example.yaml" "$(rpm -qp --configfiles "$rpm")"
    same "and knows that it is not to be replaced" "cn" \
        "$(rpm -qp --qf '[%{FILENAMES} %{FILEFLAGS:fflags}\n]' "$rpm" | sed -n 's|^/etc/.*/example.yaml ||p')"
    same "dpkg keeps a changed profile" "/etc/tunnel-client/example.yaml" "$(dpkg-deb --info "$deb" conffiles)"
    mkdir "$work/deb" "$work/rpm"
    dpkg-deb --extract "$deb" "$work/deb"
    (cd "$work/rpm" && rpm2cpio "$rpm" | cpio --quiet --extract --make-directories)
    # The RPM takes its files from the source tarball and the DEB from this tree: an old tarball shows here.
    same "what both hold is the same in both" "$(sums deb rpm)" "$(sums rpm deb)"
    local kind program
    for kind in deb rpm; do
        for program in tunnel-client tunnel-clientd; do
            same "$kind: $program is the one that was tested" "$(sha256sum < "$input/$program")" \
                "$(sha256sum < "$work/$kind/usr/bin/$program")"
            same "$kind: its list of components is the one of that build" "$(sha256sum < "$input/$program.cdx.json")" \
                "$(sha256sum < "$work/$kind/usr/share/doc/tunnel-client/$program.cdx.json")"
        done
    done
    same "the checksums in the DEB" "" \
        "$(cd "$work/deb" && dpkg-deb --info "$deb" md5sums | md5sum --check --quiet 2>&1)"
}

check_dependencies() {
    same "the DEB depends on nothing" "" \
        "$(dpkg-deb --field "$deb" Pre-Depends Depends Recommends Suggests)"
    same "the RPM depends on a shell for its scripts" "/bin/sh" \
        "$(rpm -qp --requires "$rpm" | grep -vE '^(rpmlib|config)\(' | sort -u)"
    same "the RPM names the crates that it holds" "$(packaging/licenses.py manifest)" \
        "$(rpm -qp --provides "$rpm" | sed -n 's/^bundled(crate(\(.*\))) = \(.*\)$/\1 v\2/p')"
}

# Licence terms, one a line and in one spelling: the order in which a choice is offered means nothing.
terms() {
    python3 -c 'import sys
terms = {term for line in sys.stdin for term in line.strip().replace("(", "").replace(")", "").split(" AND ") if term}
print("\n".join(sorted({" OR ".join(sorted(term.split(" OR "))) for term in terms})))'
}

check_licences() {
    local linked
    # The list at the head of the file, for the static program, and the crates alone, for a build from the source RPM.
    linked=$(awk '/^$/ { part++; next } part == 1 { sub(/: .*/, ""); print }' "$input/LICENSE.dependencies" &&
        packaging/licenses.py expression)
    same "the License tag names the terms of all that is linked" "$(printf 'Apache-2.0\n%s\n' "$linked" | terms)" \
        "$(rpm -qp --qf '%{LICENSE}\n' "$rpm" | terms)"
    same "rpm: the licence texts are those of that build" "$(sha256sum < "$input/LICENSE.dependencies")" \
        "$(sha256sum < "$work/rpm/usr/share/licenses/tunnel-client/LICENSE.dependencies")"
    same "deb: the licence texts are those of that build" "$(sha256sum < "$input/LICENSE.dependencies")" \
        "$(gzip -dc "$work/deb/usr/share/doc/tunnel-client/LICENSE.dependencies.gz" | sha256sum)"
}

check_versions() {
    local program
    for program in tunnel-client tunnel-clientd bare/tunnel-clientd; do
        same "version of $program" "$version" "$("$input/$program" --version | cut -d' ' -f1)"
    done
    same "version of the RPM" "$version-1" "$(rpm -qp --qf '%{VERSION}-%{RELEASE}' "$rpm")"
    same "version of the source RPM" "$version-1" "$(rpm -qp --qf '%{VERSION}-%{RELEASE}' "$source")"
    same "newest entry of the spec" "$version-1" "$(sed -n '/^%changelog/,$s/^\* .* - //p' "$spec" | sed -n 1p)"
    same "version of the DEB" "$version-1" "$(dpkg-deb --field "$deb" Version)"
    same "newest entry of Debian's changelog" "$version-1" \
        "$(sed -n '1s/^tunnel-client (\(.*\)) .*/\1/p' packaging/deb/changelog)"
    same "both changelogs of packages have one day" \
        "$(date --date "$(sed -n '/^ -- /s/.*  //p' packaging/deb/changelog | sed -n 1p)" +%F)" \
        "$(date --date "$(sed -n '/^%changelog/,$s/^\* \(... ... .. ....\) .*/\1/p' "$spec" | sed -n 1p)" +%F)"
    # Between releases the newest heading has no number.
    same "newest release in CHANGELOG.md, if there is one" "" \
        "$(sed -n 's/^## \[\([0-9].*\)\].*/\1/p' CHANGELOG.md | sed -n 1p | grep -vxF "$version" || true)"
    same "other versions in man pages" "" \
        "$(grep -ohE 'tunnel-client [0-9]+\.[0-9]+\.[0-9]+' man/*.[1-8] | grep -vxF "tunnel-client $version" || true)"
}

check_lint() {
    quietly rpmlint rpmlint --rpmlintrc packaging/rpm/rpmlintrc "$rpm" "$source" "$spec"
    same "rpmlint" "0 errors, 0 warnings" "$(grep -o '[0-9]* errors, [0-9]* warnings' "$work/rpmlint.log")"
    quietly lintian lintian --allow-root --display-info --pedantic --fail-on=error,warning,info,pedantic "$deb"
    same "lintian" "" "$(cat "$work/lintian.log")"
}

# The packages are a publisher's, for the checks above. Those of nobody say so, and name no address that nobody has.
check_nobody() {
    mkdir "$work/local"
    (
        unset TUNNEL_CLIENT_PUBLISHER TUNNEL_CLIENT_PUBLISHER_URL
        quietly local-deb packaging/deb/build.sh --input "$input" --out "$work/local"
    )
    same "the DEB that somebody builds for themselves" "Maintainer: local build <root@localhost>" \
        "$(dpkg-deb --field "$work"/local/*.deb Maintainer Homepage)"
    same "the RPM likewise" "(none) (none) (none)" \
        "$(rpmspec --query --srpm --qf '%{VENDOR} %{PACKAGER} %{URL}' "$spec" 2>/dev/null)"
    same "the RPM that somebody publishes" "Test Publisher $TUNNEL_CLIENT_PUBLISHER $TUNNEL_CLIENT_PUBLISHER_URL" \
        "$(rpm -qp --qf '%{VENDOR} %{PACKAGER} %{URL}' "$rpm")"
    same "the DEB that somebody publishes" "$(printf '%s\n' "Maintainer: $TUNNEL_CLIENT_PUBLISHER" \
        "Homepage: $TUNNEL_CLIENT_PUBLISHER_URL")" "$(dpkg-deb --field "$deb" Maintainer Homepage)"
}

# Compiled against Debian's policy: it shows that the spec is whole, and is not for any host.
check_selinux() {
    if [[ ! -e /usr/share/selinux/devel/Makefile ]]; then
        echo "SKIPPED: the sub-package for SELinux because selinux-policy-dev is missing"
        return
    fi
    mkdir -p "$work/selinux/SOURCES"
    cp "target/package/tunnel-client-$version.tar.xz" "$work/selinux/SOURCES"
    quietly selinux rpmbuild -bb --nodeps --with prebuilt --with selinux --define "_topdir $work/selinux" \
        --define "prebuilt_dir $input" "$spec"
    same "the sub-package for SELinux" \
        "$(printf '%s\n' /usr/share/licenses/tunnel-client{,/LICENSE} \
            /usr/share/selinux/devel/include/distributed{,/tunnel-client.if} \
            /usr/share/selinux/packages/targeted/tunnel-client.pp.bz2)" \
        "$(rpm -qpl "$work"/selinux/RPMS/noarch/tunnel-client-selinux-*.rpm)"
}

publish_as_test
build "$PWD" "$work/first"
deb=$(echo "$work"/first/*.deb) rpm=$(echo "$work"/first/*.x86_64.rpm) source=$(echo "$work"/first/*.src.rpm)
build_again
check_reproducible
check_contents
check_dependencies
check_licences
check_versions
check_lint
check_nobody
check_selinux
mkdir -p target/package
cp "$work"/first/* target/package
