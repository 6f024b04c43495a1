#!/usr/bin/env bash
# Copies what a package contains into a staging folder: the one list of files, for the RPM and for the DEB.
#
#   packaging/install.sh --destdir DIR --layout rpm|deb --programs FOLDER [--run FILE] [--dynamic] [--fips]
#
# --programs  a folder with tunnel-client and tunnel-clientd, and with the lists of their components, if there are any
# --run       a tunnel-client of the same version that runs here, for the completions, when those are for another machine
# --dynamic   the programs need their loader and libraries: the unit is told by a drop-in that it may execute them
# --fips      they compute with the system's OpenSSL: the unit is told that it may look whether the host is in FIPS mode
#
# Licences are not here: each packaging system has its own place for them.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

destdir='' layout='' programs='' run='' dynamic='' fips=''
while (($#)); do
    case $1 in
        --destdir | --layout | --programs | --run)
            (($# > 1)) || usage
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        --dynamic) dynamic=yes && shift ;;
        --fips) fips=yes && shift ;;
        *) usage ;;
    esac
done
[[ -n $destdir && -n $programs ]] || usage
run=${run:-$programs/tunnel-client}

case $layout in
    # Where each looks for what packages bring; all other paths agree.
    rpm) zsh=/usr/share/zsh/site-functions ;;
    deb) zsh=/usr/share/zsh/vendor-completions ;;
    *) usage ;;
esac
units=/usr/lib/systemd/system
documents=/usr/share/doc/tunnel-client

# put MODE SOURCE PATH: PATH is absolute, as it will be on the host.
put() {
    install -D -p -m "$1" "$2" "$destdir$3"
}

# Compressed without name and time, so that the same page is the same bytes.
put_compressed() {
    mkdir -p "$destdir$(dirname "$2")"
    gzip -9 -n -c "$1" > "$destdir$2"
    chmod 0644 "$destdir$2"
}

# The script that the program itself writes, so that it fits its flags.
put_completion() {
    mkdir -p "$destdir$(dirname "$2")"
    "$run" completion "$1" > "$destdir$2"
    chmod 0644 "$destdir$2"
}

umask 022
for program in tunnel-client tunnel-clientd; do
    put 0755 "$programs/$program" "/usr/bin/$program"
    if [[ -e $programs/$program.cdx.json ]]; then
        put 0644 "$programs/$program.cdx.json" "$documents/$program.cdx.json"
    fi
done

for unit in packaging/systemd/*.service; do
    put 0644 "$unit" "$units/${unit##*/}"
done
if [[ -n $dynamic ]]; then
    put 0644 packaging/systemd/examples/dynamic-build.conf "$units/tunnel-client@.service.d/dynamic-build.conf"
fi
if [[ -n $fips ]]; then
    put 0644 packaging/systemd/examples/fips.conf "$units/tunnel-client@.service.d/fips.conf"
fi
put 0644 packaging/systemd/tunnel-client.sysusers /usr/lib/sysusers.d/tunnel-client.conf

put 0644 packaging/etc/example.yaml /etc/tunnel-client/example.yaml
put 0644 packaging/profile.schema.json /usr/share/tunnel-client/profile.schema.json
chmod 0755 "$destdir/etc/tunnel-client"

for page in man/*.[1-8]; do
    put_compressed "$page" "/usr/share/man/man${page##*.}/${page##*/}.gz"
done
put_completion bash /usr/share/bash-completion/completions/tunnel-client
put_completion zsh "$zsh/_tunnel-client"
put_completion fish /usr/share/fish/vendor_completions.d/tunnel-client.fish

put 0644 README.md "$documents/README.md"
put 0644 SECURITY.md "$documents/SECURITY.md"
put 0644 src/threat-model.md "$documents/threat-model.md"
put 0644 packaging/README.md "$documents/packaging.md"
put 0644 packaging/audit.md "$documents/audit.md"
put 0644 packaging/rotation.md "$documents/rotation.md"
put 0644 packaging/compliance.md "$documents/compliance.md"
put 0644 packaging/DEPENDENCIES.md "$documents/DEPENDENCIES.md"
put 0644 packaging/REVIEWS.md "$documents/REVIEWS.md"
for file in packaging/monitoring/*; do
    put 0644 "$file" "$documents/monitoring/${file##*/}"
done
for example in packaging/systemd/examples/*; do
    put 0644 "$example" "$documents/examples/${example##*/}"
done
# The policy as source: a compiled one fits the system that it was compiled on.
for file in packaging/selinux/*; do
    put 0644 "$file" "$documents/selinux/${file##*/}"
done
# Debian has its own name for the changelog of the program.
case $layout in
    rpm) put 0644 CHANGELOG.md "$documents/CHANGELOG.md" ;;
    deb) put_compressed CHANGELOG.md "$documents/changelog.gz" ;;
esac
