#!/usr/bin/env bash
# Rebuilds the source RPM as a customer's build host does: with the Rust that is in the PATH, without a network, from
# nothing but the two tarballs in it, with %check. Then holds the package to what is said of it. Takes three to four
# minutes on two cores.
#
#   tests/packaging/source-rpm.sh [--with fips] [FILE.src.rpm]     target/package/*.src.rpm without
#
# With fips: the build with the system's OpenSSL. Needs rpm (Debian) or rpm-build (RHEL), cpio, cargo and rustc 1.85 or
# later, gcc, python3, ip, for fips OpenSSL's headers and pkg-config, and root. packages.sh makes the source RPM.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

fips=''
if [[ ${1:-} == --with ]]; then
    [[ ${2:-} == fips ]] || { echo "--with knows fips alone" >&2; exit 2; }
    fips=yes
    shift 2
fi
source=$(realpath "${1:-$(echo target/package/tunnel-client-*.src.rpm)}")
[[ -f $source ]] || { echo "$source is missing: tests/packaging/packages.sh makes it" >&2; exit 1; }
unshare --net true 2>/dev/null ||
    { echo "SKIPPED: $0 because this user may not make a network namespace (unshare --net)"; exit 0; }
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT

# Where the requirements are not rpm packages, its database cannot know that they are there.
words=(${fips:+--with fips})
rpm --query rpm >/dev/null 2>&1 || words+=(--nodeps)

# No interface but a loopback that works, for the tests.
unshare --net bash -c 'ip link set lo up && exec "$@"' - \
    rpmbuild --rebuild "${words[@]}" --define "_topdir $top" "$source"
rpm=$(find "$top/RPMS" -name 'tunnel-client-[0-9]*.rpm')

# No list of components, which stable compilers do not write; a drop-in that lets it load its libraries.
same "it holds what the static package holds" \
    "$({ awk '!/^#/ && $3 != "deb" && !/cdx.json/ { print $2 }' tests/packaging/files.txt
        printf '/usr/lib/systemd/system/tunnel-client@.service.d%s\n' "" /dynamic-build.conf ${fips:+/fips.conf}
    } | sort)" \
    "$(rpm -qpl "$rpm" | grep -vxE '/usr/share/(fish|zsh)(/[a-z_-]*(\.d)?)?|/usr/lib/(\.build-id|debug).*' | sort)"
same "it asks for a C library" "libc.so.6()(64bit)" "$(rpm -qp --requires "$rpm" | grep -x 'libc.so.6()(64bit)')"
mkdir "$top/unpacked"
(cd "$top/unpacked" && rpm2cpio "$rpm" | cpio --quiet --extract --make-directories)
for program in tunnel-client tunnel-clientd; do
    same "$program runs" "$(rpm -qp --qf '%{VERSION}' "$rpm")" \
        "$("$top/unpacked/usr/bin/$program" --version | cut -d' ' -f1)"
    same "$program: OpenSSL in its features" "${fips:+openssl}" \
        "$("$top/unpacked/usr/bin/$program" --version | grep -ow openssl || true)"
    same "$program: the OpenSSL that it loads" "${fips:+libcrypto.so.3}" \
        "$(readelf --dynamic --wide "$top/unpacked/usr/bin/$program" | grep -o 'libcrypto\.so\.3' || true)"
    [[ -z $fips ]] || same "$program: code of ring in it" "" \
        "$(grep --text --only-matching --max-count 1 -E 'ring_core_|/ring-0' "$top/unpacked/usr/bin/$program" || true)"
done
if [[ -n $fips ]]; then
    same "the release says so" "1.fips" "$(rpm -qp --qf '%{RELEASE}' "$rpm")"
    same "it asks for OpenSSL" "libcrypto.so.3()(64bit)" "$(rpm -qp --requires "$rpm" | grep -x 'libcrypto.so.3()(64bit)')"
    packaging/tests/on-rhel.sh --programs "$top/unpacked/usr/bin"
fi
mkdir -p target/package/from-source
cp "$rpm" target/package/from-source
echo "target/package/from-source/${rpm##*/}: $(stat -c %s "$rpm") bytes"
