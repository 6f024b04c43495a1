#!/usr/bin/env bash
# Builds the programs with the oldest Rust that Cargo.toml claims, which is the one of Debian 13: four sets of features, and
# all tests, of which it runs those of the library. Takes about ten minutes on two cores.
#
#   tests/packaging/msrv.sh
#
# Needs root, debootstrap, cargo, git, and a mirror with Debian 13, which is the one that this machine's own apt uses. A
# root of Debian 13 with its Rust is made once and kept in target/package-msrv. The crates are put beside the source
# first, so nothing is fetched by the old cargo. Where the root cannot be made this says so and succeeds, unless
# TUNNEL_CLIENT_MSRV=required is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

codename=trixie
kept=target/package-msrv
root=$kept/$codename
claimed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

skip() {
    echo "SKIPPED: tests/packaging/msrv.sh because $1"
    [[ ${TUNNEL_CLIENT_MSRV:-} != required ]]
    exit
}

((EUID == 0)) || skip "only root can make a system"
unshare --mount true 2>/dev/null || skip "this user may not mount (unshare --mount)"
command -v debootstrap >/dev/null || skip "debootstrap is missing (Debian: debootstrap)"
command -v apt-get >/dev/null || skip "there is no apt here to name a mirror"

debian_root() {
    [[ -e $root/usr/bin/cargo ]] && return
    rm -rf --one-file-system "$root.new"
    debian "$codename" rustc,cargo,gcc,libc6-dev,ca-certificates "$root.new" "$kept/debootstrap.log"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root.new/etc/hosts"
    mv "$root.new" "$root"
}

# The tree as it is here, committed or not, and every crate of the lock file.
source_tree() {
    rm -rf --one-file-system "$root/source/tree" "$root/source/vendor"
    mkdir -p "$root/source/tree/.cargo"
    git ls-files -z | xargs -0 cp --parents --no-dereference --target-directory "$root/source/tree"
    cargo vendor --quiet --locked --versioned-dirs "$root/source/vendor" >/dev/null
    cat >>"$root/source/tree/.cargo/config.toml" <<'CONFIG'

[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "/source/vendor"
CONFIG
}

# A cargo command of the old toolchain, in the tree, with the processes that tests look at.
old_cargo() {
    # shellcheck disable=SC2016 # for the shell within
    unshare --mount --fork sh -c 'mount -t proc proc "$1/proc" && shift && exec "$@"' - "$root" \
        chroot "$root" env -i HOME=/root PATH=/usr/bin:/bin CARGO_NET_OFFLINE=true CARGO_PROFILE_DEV_DEBUG=0 \
        CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=/source/target sh -c 'cd /source/tree && exec cargo "$@"' - "$@"
}

debian_root
source_tree
version=$(chroot "$root" rustc --version)
[[ $version == "rustc $claimed."* ]] ||
    { echo "Cargo.toml claims Rust $claimed, and Debian's $codename has $version: nothing can be said" >&2; exit 1; }

for features in ring ring,harpoon,page,cage ring,operator,harpoon,page ring,operator,harpoon,page,cage,dev; do
    echo "features: $features"
    old_cargo build --quiet --locked --bins --no-default-features --features "$features"
done
chroot "$root" /source/target/debug/tunnel-clientd --version
old_cargo test --quiet --locked --no-run
# The rest of the tests wants programs that a bare root has not.
old_cargo test --quiet --locked --lib
echo "msrv: built and tested with $version"
