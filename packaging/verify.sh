#!/bin/sh
# Verifies the folder that it lies in, a release of tunnel-client, with tools that every system has:
#
#   sh verify.sh KEY
#
# KEY is the file with the publisher's public key: NAME.pub of minisign, or any other name for OpenPGP (GPG). It is not in
# this folder, since whoever could change the folder could change it too. Get it from the publisher by another way.
#
# Nothing here is more than you could type; whoever does not trust this file types it:
#
#   gpg --verify SHA256SUMS.asc SHA256SUMS        or: minisign -V -p KEY -m SHA256SUMS
#   sha256sum --check --strict SHA256SUMS
#
# It ends with 0 when everything holds, and else with 1 and a line that says what does not.
set -eu
# Names and messages in one language, whatever the user's is.
LC_ALL=C
export LC_ALL

fail() {
    echo "verify.sh: $*" >&2
    exit 1
}

test $# = 1 || fail "usage: sh verify.sh KEY, where KEY is the file with the publisher's public key"
test -f "$1" || fail "no file $1"
key=$(realpath "$1")
cd "$(dirname "$0")"
test -f SHA256SUMS || fail "SHA256SUMS is missing"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# 1. The publisher signed the list of digests. GPG gets a home of its own that holds this key and no other; "GOODSIG" is
#    said for a good signature by a key that has neither expired nor been revoked.
case $key in
*.pub)
    test -f SHA256SUMS.minisig || fail "there is no signature by minisign, SHA256SUMS.minisig"
    minisign -V -q -p "$key" -m SHA256SUMS || fail "the signature of SHA256SUMS is not by this key"
    echo "ok: SHA256SUMS is signed by the key $(tail -n 1 "$key")"
    ;;
*)
    test -f SHA256SUMS.asc || fail "there is no signature by GPG, SHA256SUMS.asc"
    mkdir -m 0700 "$scratch/gpg"
    gpg --homedir "$scratch/gpg" --batch --quiet --import "$key" || fail "$key holds no key that GPG can read"
    gpg --homedir "$scratch/gpg" --batch --quiet --status-file "$scratch/status" --trust-model always \
        --verify SHA256SUMS.asc SHA256SUMS 2>"$scratch/said" ||
        fail "the signature of SHA256SUMS is not by this key: $(tail -n 1 "$scratch/said")"
    grep -q '^\[GNUPG:\] GOODSIG ' "$scratch/status" || fail "the key has expired or was revoked: $(cat "$scratch/said")"
    echo "ok: SHA256SUMS is signed by the key $(sed -n 's/^\[GNUPG:\] VALIDSIG .* //p' "$scratch/status")"
    ;;
esac
echo "    Is it the publisher's? Compare it with what they told you by another way."

# 2. Every file is there, has its digest, and no other file lies beside them.
sha256sum --check --strict --quiet SHA256SUMS || fail "a file is missing or is not the one that was signed"
find . -type f ! -path './SHA256SUMS*' | sed 's,^\./,,' | sort >"$scratch/there"
sed 's/^[0-9a-f]* [ *]//' SHA256SUMS | sort >"$scratch/listed"
cmp -s "$scratch/there" "$scratch/listed" ||
    fail "SHA256SUMS does not name these files: $(comm -23 "$scratch/there" "$scratch/listed" | tr '\n' ' ')"
test -z "$(find . -type l)" || fail "there are links: $(find . -type l | tr '\n' ' ')"
echo "ok: $(wc -l <"$scratch/listed") files have the digests that were signed, and there are no others"

# 3. The statements about the build are about these files. For whoever reads the statements; 2 has shown it already.
if command -v jq >/dev/null; then
    for statement in provenance/*.json; do
        jq -r '.subject[] | .digest.sha256 + "  " + .name' "$statement" >"$scratch/subjects"
        sha256sum --check --strict --quiet "$scratch/subjects" || fail "$statement is about other files"
        echo "ok: $statement is about $(wc -l <"$scratch/subjects") files of this release"
    done
else
    echo "skipped: reading the statements in provenance/, because jq is missing"
fi

# 4. The packages in signed/ carry a signature inside, for dnf; apart from it they are those in packages/.
if ! test -d signed; then
    echo "skipped: signatures inside packages, because this publisher signs SHA256SUMS alone"
elif ! command -v rpmkeys >/dev/null; then
    echo "skipped: signatures inside packages, because rpm is missing"
else
    rpmkeys --dbpath "$scratch/rpm" --import "$key" || fail "rpm does not take the key"
    for package in signed/*.rpm; do
        rpmkeys --dbpath "$scratch/rpm" --checksig "$package" >"$scratch/said" || fail "$(cat "$scratch/said")"
        grep -q ' signatures OK$' "$scratch/said" || fail "$package is not signed"
        for one in "$package" "packages/${package#signed/}"; do
            rpm --dbpath "$scratch/rpm" -qp --qf '%{SHA256HEADER} %{PAYLOADDIGEST}\n' "$one"
        done | uniq | wc -l | grep -qx ' *1' || fail "$package holds something else than packages/${package#signed/}"
        echo "ok: $package is signed by this key"
    done
fi
echo "This release is whole, and as the holder of the key signed it."
