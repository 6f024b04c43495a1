#!/usr/bin/env bash
# The Debian package around the static binary: OUT/tunnel-client_VERSION-RELEASE_ARCHITECTURE.deb.
#
#   packaging/deb/build.sh [--arch x86_64|aarch64] [--input DIR] [--release N] [--out DIR] [--run FILE]
#
# The options are described in packaging/package.sh, and who publishes it in packaging/publisher.sh. Needs dpkg-deb;
# fetches nothing. The same inputs give the same bytes. The package depends on no other, not even on libc.
# shellcheck disable=SC1091,SC2154 # packaging/package.sh sets arch, input, release, out and run; publisher.sh the publisher
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh
. packaging/package.sh
. packaging/publisher.sh

package_options "$@"
check_input
read_publisher
need dpkg-deb dpkg
case $arch in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
esac
version=$(package_version < Cargo.toml)-$release
SOURCE_DATE_EPOCH=$(package_epoch)
export SOURCE_DATE_EPOCH
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
chmod 0755 "$stage"

packaging/install.sh --destdir "$stage" --layout deb --programs "$input" --run "$run"
documents=$stage/usr/share/doc/tunnel-client
install -m 0644 packaging/deb/copyright "$documents/copyright"
gzip -9 -n -c "$input/LICENSE.dependencies" > "$documents/LICENSE.dependencies.gz"
sed "s|@MAINTAINER@|$packager|" packaging/deb/changelog | gzip -9 -n -c > "$documents/changelog.Debian.gz"
install -D -m 0644 packaging/deb/lintian-overrides "$stage/usr/share/lintian/overrides/tunnel-client"

mkdir "$stage/DEBIAN"
size=$(find "$stage" -type f -printf '%s\n' | awk '{ k += int(($1 + 1023) / 1024) } END { print k }')
fields=(-e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/; s|@MAINTAINER@|$packager|")
fields+=(-e "s|@HOMEPAGE@|$publisher_url|" -e '/^Homepage: $/d')
sed "${fields[@]}" packaging/deb/control > "$stage/DEBIAN/control"
(cd "$stage" && find etc -type f -printf '/%p\n' | sort) > "$stage/DEBIAN/conffiles"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"
for script in postinst prerm postrm; do
    install -m 0755 "packaging/deb/$script" "$stage/DEBIAN/$script"
done

# dpkg-deb sorts and clamps times; xz gives other bytes when it shares the work among threads.
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
package=$out/tunnel-client_${version}_$architecture.deb
dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$stage" "$package"
