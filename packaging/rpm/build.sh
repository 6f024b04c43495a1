#!/usr/bin/env bash
# The RPM around the static binary, OUT/tunnel-client-VERSION-RELEASE.ARCH.rpm, and with --source the source RPM, from
# which a distribution's own Rust builds the same program offline.
#
#   packaging/rpm/build.sh [--source] [--arch x86_64|aarch64] [--input DIR] [--release N] [--out DIR] [--run FILE]
#
# The other options are described in packaging/package.sh, and who publishes it in packaging/publisher.sh. Needs
# rpmbuild and the source tarball of packaging/vendor.sh in target/package (for --source the vendor tarball too);
# fetches nothing. The same inputs give the same bytes. The SELinux sub-package is built on RHEL and Fedora only: a policy has to be compiled against that of
# the system that loads it.
# shellcheck disable=SC1091,SC2154 # packaging/package.sh sets arch, input, release, out and run; publisher.sh the publisher
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh
. packaging/package.sh
. packaging/publisher.sh

source_package=''
if [[ ${1:-} == --source ]]; then
    source_package=yes
    shift
fi
package_options "$@"
read_publisher
need rpmbuild "rpm-build (RHEL) or rpm (Debian)"
version=$(package_version < Cargo.toml)
SOURCE_DATE_EPOCH=$(package_epoch)
export SOURCE_DATE_EPOCH

top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
umask 022
mkdir "$top/SOURCES" "$top/SPECS"

# A source package for the one, a tarball without crates for the other.
tarballs=("tunnel-client-$version.tar.xz")
[[ -z $source_package ]] || tarballs+=("tunnel-client-$version-vendor.tar.xz")
for tarball in "${tarballs[@]}"; do
    [[ -f target/package/$tarball ]] || fail "target/package/$tarball is missing: packaging/vendor.sh makes it"
    install -m 0644 -t "$top/SOURCES" "target/package/$tarball"
done
sed "s/^\(Release: *\)1/\1$release/" packaging/rpm/tunnel-client.spec > "$top/SPECS/tunnel-client.spec"
touch -d "@$SOURCE_DATE_EPOCH" "$top"/SOURCES/* "$top"/SPECS/*

defines=(
    # What two builds have to agree on: times, and the name of the machine.
    --define "use_source_date_epoch_as_buildtime 1"
    --define "clamp_mtime_to_source_date_epoch 1"
    --define "_buildhost reproducible"
    # Without a line of the building system in front of the release.
    --define "dist %{nil}"
)
# Not in the spec: what others rebuild from the source package is not of this publisher.
[[ -z $publisher ]] ||
    defines+=(--define "publisher $publisher" --define "publisher_name $publisher_name" --define "publisher_url $publisher_url")
# On a system without rpm's own packages nothing can be looked up in its database.
rpm --query rpm >/dev/null 2>&1 || defines+=(--nodeps)

if [[ -n $source_package ]]; then
    # A source package holds the spec as rpm read it, paths included, so the folder has no name here.
    (cd "$top" && rpmbuild -bs "${defines[@]}" --define "_topdir ." SPECS/tunnel-client.spec)
    mv "$top"/SRPMS/*.src.rpm "$out"
    exit
fi

check_input
defines+=(--with prebuilt --define "prebuilt_dir $input" --define "bundled_crates $input/cargo-vendor.txt")
if [[ $run != "$input/tunnel-client" ]]; then
    defines+=(--define "completions_by $run")
fi
rpmbuild -bb --target "$arch" "${defines[@]}" --define "_topdir $top" "$top/SPECS/tunnel-client.spec"
mv "$top"/RPMS/*/*.rpm "$out"
