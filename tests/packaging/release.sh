#!/usr/bin/env bash
# A release holds what it says: its documents are well formed and true; verify.sh takes it with the key that signed it, by GPG
# and by minisign, and refuses it with another key, and after every kind of change; release.sh stops where it has to.
#
#   tests/packaging/release.sh [FOLDER]      an unsigned release; target/package/release, which reproducible.sh leaves
#   tests/packaging/release.sh --complete    makes the whole release of this commit twice, both architectures, without a
#                                            network, compares the bytes, and then the same checks. It needs what
#                                            packaging/release.sh needs, and a network before, for packaging/vendor.sh
#
# Needs gpg, minisign, rpm with rpmsign, jq, and python3. The keys are made here and thrown away.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh
. tests/packaging/common.sh

# What of the environment would be asked instead of what a test says.
clean() {
    env --unset TUNNEL_CLIENT_PUBLISHER --unset TUNNEL_CLIENT_PUBLISHER_URL --unset SOURCE_DATE_EPOCH "$@"
}

# stops TEXT COMMAND...: it ends with an error that says this.
stops() {
    local said wanted=$1
    shift
    said=$("$@" 2>&1) && fail "it went on: $*"
    [[ $said == *"$wanted"* ]] || fail "'$wanted' is not in what '$*' says: $said"
    echo "ok: stops with '$wanted'"
}

check_refusals() {
    local who=(TUNNEL_CLIENT_PUBLISHER='Test Publisher <releases@publisher.test>' TUNNEL_CLIENT_PUBLISHER_URL=https://publisher.test)
    local words=(packaging/release.sh --unsigned --no-advisories --out "$scratch/none")
    stops 'which key signs?' clean packaging/release.sh --no-advisories
    stops 'which advisories are looked at?' clean packaging/release.sh --unsigned
    stops 'who publishes this?' clean "${words[@]}"
    stops 'placeholder' clean "${who[@]}" TUNNEL_CLIENT_PUBLISHER='A <a@tunnel-client.example>' "${words[@]}"
    stops 'placeholder' clean "${who[@]}" TUNNEL_CLIENT_PUBLISHER_URL=https://example.org/x "${words[@]}"
    stops "is to be 'Name <mail address>'" clean "${who[@]}" TUNNEL_CLIENT_PUBLISHER='A | b <a@publisher.test>' "${words[@]}"
    stops 'is to be an https address' clean "${who[@]}" TUNNEL_CLIENT_PUBLISHER_URL= "${words[@]}"
    stops 'is there already' clean "${who[@]}" "${words[@]}" --out "$scratch"
    stops 'packaging/vendor.sh makes it' clean "${who[@]}" SOURCE_DATE_EPOCH=0 "${words[@]}" --archives "$scratch"
    mkdir "$scratch/changed"
    cp "$release"/source/* "$scratch/changed"
    (cd "$scratch/changed" && sha256sum -- * >SHA256SUMS && echo x >>"tunnel-client-$version.tar.xz")
    stops 'is not the one that vendor.sh made' clean "${who[@]}" SOURCE_DATE_EPOCH=0 "${words[@]}" --archives "$scratch/changed"
}

# The throw-away keys, and as many that nobody is to trust.
make_keys() {
    local one
    export GNUPGHOME=$scratch/gpg
    mkdir -m 0700 "$GNUPGHOME"
    for one in publisher stranger; do
        gpg --batch --quiet --passphrase '' --quick-generate-key "$one <$one@publisher.test>" rsa3072 sign 1d
        gpg --batch --armor --export "$one@publisher.test" >"$scratch/$one.asc"
        minisign -G -W -p "$scratch/$one.pub" -s "$scratch/$one.secret" >/dev/null
    done
    gpg --batch --quiet --passphrase '' --faked-system-time 20200101T000000 \
        --quick-generate-key 'old <old@publisher.test>' rsa3072 sign 1d
    gpg --batch --armor --export old@publisher.test >"$scratch/old.asc"
}

# damaged SIGNED KEY TEXT COMMAND: after the command in a copy of a signed release, verify.sh says this of it.
damaged() {
    rm -rf "$scratch/copy"
    cp -a "$scratch/$1" "$scratch/copy"
    (cd "$scratch/copy" && eval "$4")
    stops "$3" sh "$scratch/copy/verify.sh" "$scratch/$2"
}

damages() {
    local program
    program=$(uname -m)/tunnel-clientd
    damaged "$@" 'a file is missing or is not the one' "printf x >>$program"
    damaged "$@" 'a file is missing or is not the one' "printf x | dd of=$program bs=1 seek=1000 conv=notrunc status=none"
    damaged "$@" 'a file is missing or is not the one' "rm $program"
    damaged "$@" 'does not name these files: packages/more' 'touch packages/more'
    damaged "$@" 'there are links' 'ln -s /etc/passwd link'
    damaged "$@" 'there is no signature' 'rm SHA256SUMS.*'
    # The list fits the change, and so the signature does not fit the list.
    damaged "$@" 'is not by this key' "printf x >>$program; sed -i \"s,^.*  $program\$,\$(sha256sum $program),\" SHA256SUMS"
    damaged "$1" "stranger.${2#*.}" 'is not by this key' true
}

check_gpg() {
    cp -a "$release" "$scratch/by-gpg"
    stops 'has no secret key' packaging/release/sign.sh "$scratch/by-gpg" gpg:nobody
    packaging/release/sign.sh "$scratch/by-gpg" gpg:publisher@publisher.test
    stops 'is signed already' packaging/release/sign.sh "$scratch/by-gpg" gpg:publisher@publisher.test
    sh "$scratch/by-gpg/verify.sh" "$scratch/publisher.asc" | tee "$scratch/said"
    grep -q '^ok: signed/.*src.rpm is signed by this key$' "$scratch/said" || fail "packages were not looked at"
    same "signing adds the signatures and nothing else" "$(cd "$release" && sha256sum SHA256SUMS | cut -d' ' -f1)" \
        "$(grep -v '  signed/' "$scratch/by-gpg/SHA256SUMS" | sha256sum | cut -d' ' -f1)"
    damages by-gpg publisher.asc
    # By the right key, and too late.
    damaged by-gpg old.asc 'has expired or was revoked' "rm SHA256SUMS.asc; gpg --batch --quiet \
        --faked-system-time 20200101T120000 --local-user old@publisher.test --armor --detach-sign SHA256SUMS"
    # A package in signed/ that is not: its sum and the signature of the list are right.
    damaged by-gpg publisher.asc 'is not signed' "cp packages/*.src.rpm signed; sed -i '/  signed/d' SHA256SUMS
        sha256sum signed/*.rpm >>SHA256SUMS; rm SHA256SUMS.asc
        gpg --batch --local-user publisher@publisher.test --armor --detach-sign SHA256SUMS"
}

check_minisign() {
    cp -a "$release" "$scratch/by-minisign"
    packaging/release/sign.sh "$scratch/by-minisign" "minisign:$scratch/publisher.secret"
    sh "$scratch/by-minisign/verify.sh" "$scratch/publisher.pub"
    damages by-minisign publisher.pub
}

# What packages and documents say of who made them.
check_publisher() {
    local package
    for package in "$release"/packages/*.deb; do
        same "${package##*/} names the publisher" "$(printf '%s\n' "Maintainer: $TUNNEL_CLIENT_PUBLISHER" \
            "Homepage: $TUNNEL_CLIENT_PUBLISHER_URL")" "$(dpkg-deb --field "$package" Maintainer Homepage)"
    done
    for package in "$release"/packages/*.rpm; do
        same "${package##*/} names the publisher" "Test Publisher|$TUNNEL_CLIENT_PUBLISHER|$TUNNEL_CLIENT_PUBLISHER_URL" \
            "$(rpm -qp --qf '%{VENDOR}|%{PACKAGER}|%{URL}' "$package")"
    done
    # Names of hosts that nobody has, in what is no example of a configuration.
    same "no placeholder in the documents" "" "$(grep -rlE '[.@/](example|invalid)\b' "$release"/{advisories,provenance,verify.sh} || true)"
}

make_twice() {
    local cage=(unshare --net) one
    test "$(id -u)" = 0 || cage=(unshare --map-current-user --net)
    "${cage[@]}" true || fail "this user may not make a network namespace (unshare --net)"
    test -z "$(git status --porcelain --untracked-files=no)" || fail "commit first: a release is made of a commit"
    packaging/vendor.sh --out "$scratch/archives"
    SOURCE_DATE_EPOCH=$(packaging/source-date.sh)
    export SOURCE_DATE_EPOCH
    for one in first second; do
        # Another umask, language, time zone and place.
        (
            if test "$one" = second; then
                umask 077
                export TZ=Asia/Kathmandu LC_ALL=C.UTF-8
            fi
            "${cage[@]}" packaging/release.sh --unsigned --no-advisories --archives "$scratch/archives" --out "$scratch/$one"
        )
    done
    diff --recursive "$scratch/first" "$scratch/second" || fail "two releases differ"
    same "modes and times of both" "$(cd "$scratch/first" && find . -printf '%P %m %s %T@\n' | sort)" \
        "$(cd "$scratch/second" && find . -printf '%P %m %s %T@\n' | sort)"
    same "the list of digests" "$(sha256sum <"$scratch/first/SHA256SUMS")" "$(sha256sum <"$scratch/second/SHA256SUMS")"
    release=$scratch/first
}

for tool in gpg:gnupg minisign:minisign rpmsign:rpm jq:jq; do
    command -v "${tool%:*}" >/dev/null || fail "${tool%:*} is missing (Debian: ${tool#*:})"
done
version=$(package_version <Cargo.toml)
scratch=$(mktemp -d)
trap 'gpgconf --homedir "$scratch/gpg" --kill all 2>/dev/null; rm -rf "$scratch"' EXIT
publish_as_test
if test "${1:-}" = --complete; then
    make_twice
else
    release=$(realpath -m "${1:-target/package/release}")
fi
test -f "$release/SHA256SUMS" || fail "no release in $release: tests/packaging/reproducible.sh makes one"
tests/packaging/documents.py "$release"
check_publisher
check_refusals
make_keys
check_gpg
check_minisign
