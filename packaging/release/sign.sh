#!/usr/bin/env bash
# Signs a release that packaging/release.sh made with --unsigned; with another key or on another machine than it was made.
#
#   packaging/release/sign.sh FOLDER gpg:KEY        SHA256SUMS.asc, and signed/*.rpm with a signature inside
#   packaging/release/sign.sh FOLDER minisign:FILE  SHA256SUMS.minisig, by the secret key in FILE
#
# KEY is what gpg calls a key by; take the whole fingerprint. The key is the publisher's: it stays in their keyring or
# on their token, and gpg or minisign asks for its password. GPG needs rpmsign (rpm on Debian, rpm-sign on RHEL). A key
# of Ed25519 is unknown to RHEL 8; RSA is known everywhere.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/../common.sh"

# rpm takes the key and the program from its settings. The copies get the signature: what was built stays as it is.
sign_packages() {
    command -v rpmsign >/dev/null || fail "rpmsign is missing: it is in the package rpm (Debian) or rpm-sign (RHEL)"
    # Of a signing that was broken off.
    rm -rf "$folder/signed"
    sed --in-place '/^[0-9a-f]*  signed\//d' "$folder/SHA256SUMS"
    mkdir "$folder/signed"
    cp "$folder"/packages/*.rpm "$folder/signed"
    rpmsign --addsign --define "_gpg_name $key" --define "__gpg $(command -v gpg)" "$folder"/signed/*.rpm >/dev/null
    (cd "$folder" && sha256sum signed/*.rpm >>SHA256SUMS)
}

main() {
    if (($# != 2)) || [[ $2 != gpg:?* && $2 != minisign:?* ]]; then
        fail "the words are FOLDER gpg:KEY or FOLDER minisign:FILE"
    fi
    folder=$(realpath "$1") key=${2#*:}
    test -f "$folder/SHA256SUMS" || fail "$1 is no release: it has no SHA256SUMS"
    test -z "$(compgen -G "$folder/SHA256SUMS.*")" || fail "$1 is signed already"
    (cd "$folder" && grep -v '  signed/' SHA256SUMS | sha256sum --check --strict --quiet) || fail "$1 is not as it was made"
    case $2 in
    gpg:*)
        # Asked first, so that a wrong name leaves nothing behind.
        gpg --batch --quiet --list-secret-keys "$key" >/dev/null || fail "gpg has no secret key '$key'"
        sign_packages
        gpg --local-user "$key" --armor --detach-sign --output "$folder/SHA256SUMS.asc" "$folder/SHA256SUMS"
        ;;
    minisign:*)
        minisign -S -s "$key" -m "$folder/SHA256SUMS" -t "SHA256SUMS of ${folder##*/}"
        ;;
    esac
}

main "$@"
