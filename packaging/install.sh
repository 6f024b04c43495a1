#!/usr/bin/env bash
# Copies what a package contains into a staging folder: the one list of files, for the RPM and for the DEB.
#
#   packaging/install.sh --destdir DIR --layout rpm|deb --binary FILE [--sbom FILE] [--run FILE] [--dynamic]
#
# --sbom     the list of components made with the binary; without it none is installed
# --run      a binary of the same version that runs here, for the completions, when FILE is for another machine
# --dynamic  the binary needs its loader and libraries: the unit is told by a drop-in that it may execute them
#
# Licences are not here: each packaging system has its own place for them.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

destdir='' layout='' binary='' sbom='' run='' dynamic=''
while (($#)); do
    case $1 in
        --destdir | --layout | --binary | --sbom | --run)
            (($# > 1)) || usage
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        --dynamic) dynamic=yes && shift ;;
        *) usage ;;
    esac
done
[[ -n $destdir && -n $binary ]] || usage
run=${run:-$binary}

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
put 0755 "$binary" /usr/bin/tunnel-client

for unit in packaging/systemd/*.service; do
    put 0644 "$unit" "$units/${unit##*/}"
done
if [[ -n $dynamic ]]; then
    put 0644 packaging/systemd/examples/dynamic-build.conf "$units/tunnel-client@.service.d/dynamic-build.conf"
fi
put 0644 packaging/systemd/tunnel-client.sysusers /usr/lib/sysusers.d/tunnel-client.conf

put 0644 packaging/etc/example.yaml /etc/tunnel-client/example.yaml
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
put 0644 packaging/DEPENDENCIES.md "$documents/DEPENDENCIES.md"
for example in packaging/systemd/examples/*; do
    put 0644 "$example" "$documents/examples/${example##*/}"
done
# The policy as source: a compiled one fits the system that it was compiled on.
for file in packaging/selinux/*; do
    put 0644 "$file" "$documents/selinux/${file##*/}"
done
if [[ -n $sbom ]]; then
    put 0644 "$sbom" "$documents/tunnel-client.cdx.json"
fi
# Debian has its own name for the changelog of the program.
case $layout in
    rpm) put 0644 CHANGELOG.md "$documents/CHANGELOG.md" ;;
    deb) put_compressed CHANGELOG.md "$documents/changelog.gz" ;;
esac
