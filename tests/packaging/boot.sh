#!/usr/bin/env bash
# Boots a Debian system with real systemd in a container and installs, runs, upgrades and removes both packages in it.
# What is looked at stands in boot/scenario.sh.
#
#   tests/packaging/boot.sh [deb|rpm]...     both without
#
# Needs root, debootstrap, systemd-container (systemd-nspawn), rpm, and the static binary (packaging/build.sh). The
# Debian root is made once, with the mirror of this machine's own apt, and kept in target/package-boot. The container
# has a loopback interface and nothing else. Where no container can boot this says so and succeeds, unless
# TUNNEL_CLIENT_BOOT=required is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

kept=target/package-boot
packages=systemd,systemd-sysv,dbus,rpm,python3,procps
boot_seconds_max=240

skip() {
    echo "SKIPPED: tests/packaging/boot.sh because $1"
    [[ ${TUNNEL_CLIENT_BOOT:-} != required ]]
    exit
}

((EUID == 0)) || skip "only root can boot a container"
command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is missing (Debian: systemd-container)"
command -v debootstrap >/dev/null || skip "debootstrap is missing (Debian: debootstrap)"
command -v apt-get >/dev/null || skip "there is no apt here to name a mirror"

kinds=("$@")
((${#kinds[@]})) || kinds=(deb rpm)

work=$(mktemp -d)
declare -A nspawns=()
cleanup() {
    local pid
    for pid in "${nspawns[@]}"; do
        # Asked twice, systemd-nspawn ends the container at once.
        if kill "$pid" 2>/dev/null; then
            sleep 0.2
            kill "$pid" 2>/dev/null || true
            wait "$pid" || true
        fi
    done
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# The Debian root as a tarball; another list of packages is another tarball.
debian_root() {
    local codename
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    root_tarball=$kept/$codename-$(sha256sum <<< "$packages" | cut -c 1-12).tar
    [[ -f $root_tarball ]] && return
    debian "$codename" "$packages" "$work/debian" "$kept/debootstrap.log"
    tar -C "$work/debian" -cf "$root_tarball.new" .
    mv "$root_tarball.new" "$root_tarball"
    rm -rf --one-file-system "$work/debian"
}

# The package and the one that replaces it.
build_packages() {
    local release
    for release in 1 2; do
        mkdir -p "$work/packages/$release"
        for kind in "${kinds[@]}"; do
            "packaging/$kind/build.sh" --release "$release" --out "$work/packages/$release" > "$work/build.log" 2>&1 ||
                { cat "$work/build.log"; exit 1; }
        done
    done
}

# without_systemd KIND ROOT: the package comes and goes where no systemd runs, as when an image is made.
without_systemd() {
    local install=(dpkg --install /check/first.deb) remove=(dpkg --purge tunnel-client)
    if [[ $1 == rpm ]]; then
        install=(rpm --force-debian --nodeps --install /check/first.rpm)
        remove=(rpm --force-debian --nodeps --erase tunnel-client)
    fi
    chroot "$2" "${install[@]}" && chroot "$2" tunnel-client --version && chroot "$2" "${remove[@]}" &&
        [[ ! -e $2/etc/tunnel-client && ! -e $2/usr/bin/tunnel-client ]] &&
        # What users do is stay; the scenario wants to see it made.
        chroot "$2" userdel tunnel-client
}

# prepare KIND ROOT: unpacks the system and puts the scenario into it, to run when it has booted.
prepare() {
    mkdir "$2"
    tar -C "$2" -xf "$root_tarball"
    mkdir "$2/check"
    cp tests/packaging/boot/* "$2/check"
    cp "$work/packages/1/"*."$1" "$2/check/first.$1"
    cp "$work/packages/2/"*."$1" "$2/check/second.$1"
    sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml > "$2/check/version"
    without_systemd "$1" "$2" > "$work/$1.without" 2>&1 ||
        { cat "$work/$1.without"; echo "FAIL  $1 is installed and removed where no systemd runs"; exit 1; }
    cat > "$2/etc/systemd/system/check.service" <<END
[Unit]
Description=What a package does to a host
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/bash /check/scenario.sh $1 /check/first.$1 /check/second.$1
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/check/output
StandardError=inherit
END
    mkdir -p "$2/etc/systemd/system/graphical.target.wants"
    ln -s ../check.service "$2/etc/systemd/system/graphical.target.wants/check.service"
}

# Without an own systemd on this machine there is nobody to register the container with.
boot() {
    local words=()
    [[ -d /run/systemd/system ]] || words+=(--keep-unit)
    # Calls that containers of this release are refused, and hosts are not.
    words+=(--system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self")
    exec timeout --kill-after=10 "$boot_seconds_max" systemd-nspawn --quiet --settings=no --register=no "${words[@]}" \
        --link-journal=no --private-network --console=pipe --machine "tunnel-client-$1-$$" --directory "$2" --boot \
        < /dev/null > "$work/$1.console" 2>&1
}

debian_root
build_packages
for kind in "${kinds[@]}"; do
    prepare "$kind" "$work/$kind"
    boot "$kind" "$work/$kind" &
    nspawns[$kind]=$!
done
status=0
for kind in "${kinds[@]}"; do
    wait "${nspawns[$kind]}" || true
    unset "nspawns[$kind]"
    if [[ ! -s $work/$kind/check/output ]]; then
        sed 's/^/      /' "$work/$kind.console"
        skip "systemd did not boot in a container here"
    fi
    echo "== $kind"
    echo "ok    it is installed and removed where no systemd runs"
    cat "$work/$kind/check/output"
    tail -n 1 "$work/$kind/check/output" | grep -qx "all of it holds" || status=1
done
((status == 0))
