#!/usr/bin/env bash
# The build with OpenSSL on a system that has a FIPS module and post-quantum key agreement: OpenSSL 3.5 of Debian 13 and its
# package openssl-provider-fips, in a root of their own. packaging/tests/on-rhel.sh looks at it there twice, as the host
# is and in FIPS mode: `tls.require_fips` is refused in the first and met in the second, and X25519MLKEM768 is agreed on.
#
#   tests/packaging/fips.sh FOLDER     with a tunnel-client that was built with the feature openssl
#
# Debian's module is validated for nobody, and its kernel knows no FIPS mode: a file that says 1 stands in for it.
# Needs root, debootstrap, and a mirror with Debian 13, which is the one that this machine's own apt uses. The root is kept
# in target/package-fips. Where it cannot be made this says so and succeeds, unless TUNNEL_CLIENT_FIPS=required is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

programs=$(realpath "${1:?"name the folder of tunnel-client"}")
codename=trixie
kept=target/package-fips
root=$kept/$codename

skip() {
    echo "SKIPPED: tests/packaging/fips.sh because $1"
    [[ ${TUNNEL_CLIENT_FIPS:-} != required ]]
    exit
}

[[ $("$programs/tunnel-client" --version) == *openssl* ]] || { echo "$programs holds no build with OpenSSL" >&2; exit 1; }
((EUID == 0)) || skip "only root can make a system"
unshare --mount --net true 2>/dev/null || skip "this user may not mount (unshare --mount --net)"
command -v debootstrap >/dev/null || skip "debootstrap is missing (Debian: debootstrap)"
command -v apt-get >/dev/null || skip "there is no apt here to name a mirror"

debian_root() {
    [[ -e $root/usr/bin/openssl ]] && return
    rm -rf --one-file-system "$root.new"
    debian "$codename" openssl,openssl-provider-fips "$root.new" "$kept/debootstrap.log"
    mv "$root.new" "$root"
}

# The module's sums, and a configuration that has nothing else than the module compute.
fips_mode() {
    local module
    module=$(echo "$root"/usr/lib/*/ossl-modules/fips.so)
    chroot "$root" openssl fipsinstall -quiet -out /check/fipsmodule.cnf -module "${module#"$root"}"
    cat >"$root/check/fips.cnf" <<'CONFIG'
openssl_conf = init
.include /check/fipsmodule.cnf
[init]
providers = providers
alg_section = properties
[providers]
fips = fips_sect
base = base
[base]
activate = 1
[properties]
default_properties = fips=yes
[req]
distinguished_name = name
[name]
CONFIG
    # The service itself, in its cage where it has one: a page instead of a control plane shows that TLS was spoken.
    cat >"$root/check/service" <<'SERVICE'
#!/bin/bash
cd /check
: >log
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=fips -keyout peer.key -out peer.pem \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null
openssl s_server -accept 127.0.0.1:4433 -cert peer.pem -key peer.key -www -quiet >/dev/null 2>&1 &
until (exec 3<>/dev/tcp/127.0.0.1/4433) 2>/dev/null; do sleep 0.1; done
CONTROL_PLANE_API_KEY=fips timeout 60 ./tunnel-client run --tls.require-fips --tls.roots none --ca-bundle peer.pem \
    --log.format json --health.listen-addr 127.0.0.1:0 --control-plane.base-url https://127.0.0.1:4433 \
    --control-plane.tunnel-id tunnel_0123456789abcdefghijklmnopqrstuv --mcp.server-url http://127.0.0.1:9/mcp >>log 2>&1 &
for _ in {1..300}; do
    grep -q 'metadata fetch failed' log && break
    sleep 0.1
done
grep -q ', in FIPS mode' log && grep -q 'answered 200 with a web page' log && echo 'PASS     the service speaks TLS' || cat log
SERVICE
    chmod +x "$root/check/service"
}

# look NAME MODE COMMAND...: what it reports where the kernel says MODE.
look() {
    echo "-- $1"
    # shellcheck disable=SC2016 # for the shell within
    unshare --mount --net --pid --fork --kill-child sh -euc 'ip link set lo up
        root=$1 mode=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/proc/sys"
        mkdir "$root/proc/sys/crypto"
        echo "$mode" >"$root/proc/sys/crypto/fips_enabled"
        exec chroot "$root" env -i PATH=/usr/bin:/bin "$@"' \
        - "$root" "$2" "${@:3}" | tee "$kept/$1"
}

# must NAME LINE...: the report has a PASS of each.
must() {
    local line
    for line in "${@:2}"; do
        grep -q "^PASS  *$line" "$kept/$1" || { echo "FAILED: $1: no PASS of '$line'" >&2; exit 1; }
    done
}

debian_root
mkdir -p "$root/check"
cp "$programs/tunnel-client" packaging/tests/on-rhel.sh "$root/check"
fips_mode
look ordinary 0 /check/on-rhel.sh --programs /check
must ordinary 'tls.require_fips is refused outside' 'TLSv1_3' 'TLSv1_2' 'X25519MLKEM768'
look fips 1 OPENSSL_CONF=/check/fips.cnf /check/on-rhel.sh --programs /check
must fips 'OpenSSL is in FIPS mode' 'tls.require_fips is met' 'TLSv1_3' 'TLSv1_2' 'AES'
look service 1 OPENSSL_CONF=/check/fips.cnf /check/service
must service 'the service speaks TLS'
echo "fips: with and without the module of $(chroot "$root" openssl version | cut -d' ' -f1,2)"
