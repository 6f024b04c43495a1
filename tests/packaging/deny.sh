#!/usr/bin/env bash
# Holds what is linked to deny.toml: licences, sources, banned crates; and advisories, where a database is given.
#
#   tests/packaging/deny.sh               with the database that TUNNEL_CLIENT_ADVISORIES names (a clone of RustSec's
#                                         advisory-db), or else with the one that lies below target/advisory-dbs
#   tests/packaging/deny.sh --self-test   with databases made for it: one that concerns a crate of ours, one that does not,
#                                         one of long ago
#
# Without a database the rest is checked, and this says loudly that advisories were not. Needs git, and cargo-deny, which it
# installs where that is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The database gets commits every week. The command looks at the age of the copy, and so believes a new copy of an old one.
readonly DENY_VERSION=0.20.2 PLACE=target/advisory-dbs DAYS_MAX=90
place_kept=''
cleanup() {
    # A database that was laid there for one run is taken away, so that nobody takes it for a new one later.
    if test -n "$place_kept"; then rm -f "$place_kept"; fi
    if test -n "${scratch:-}"; then rm -rf "$scratch"; fi
}
trap cleanup EXIT

# What somebody has laid there; the command itself leaves a lock.
laid_there() {
    find "$PLACE" -mindepth 1 -maxdepth 1 ! -name '*.lock' 2>/dev/null || true
}

# Where below PLACE the command looks: it makes the name from the address of the database.
database_place() {
    local said
    said=$(cargo deny --offline check advisories 2>&1 || true)
    grep -oE "$PLACE/advisory-db-[0-9a-f]+" <<<"$said" | sed -n 1p
}

# young FOLDER: whether the last commit of this database is.
young() {
    local committed days
    committed=$(git -C "$1" show --no-patch --format=%ct HEAD 2>/dev/null) || committed=''
    test -n "$committed" -a -d "$1/crates" || { echo "$1 is no clone of an advisory database" >&2; return 1; }
    days=$((($(date +%s) - committed) / 86400))
    ((days <= DAYS_MAX)) || { echo "the database in $1 is $days days old: get a new one" >&2; return 1; }
    echo "advisories: a database of $days days"
}

# advisories FOLDER: with this database for this one run.
advisories() {
    local folder
    folder=$(realpath "$1")
    young "$folder" || return 1
    test -n "$place_kept" || test -z "$(laid_there)" ||
        { echo "a database lies in $PLACE already: one of the two is enough" >&2; return 1; }
    mkdir -p "$PLACE"
    if test -z "$place_kept"; then
        place_kept=$(database_place)
        test -n "$place_kept" || { echo "cargo deny does not say where it looks for a database" >&2; return 1; }
    fi
    rm -f "$place_kept"
    ln -s "$folder" "$place_kept"
    cargo deny --offline check advisories
}

# database FOLDER CRATE DAY: a database of one advisory, committed on that day.
database() {
    mkdir -p "$1/crates/$2"
    cat >"$1/crates/$2/RUSTSEC-2020-0001.md" <<ADVISORY
\`\`\`toml
[advisory]
id = "RUSTSEC-2020-0001"
package = "$2"
date = "2020-01-02"

[versions]
patched = [">= 1000.0.0"]
\`\`\`

# Made for a test

Nobody has to worry.
ADVISORY
    git -C "$1" init --quiet
    git -C "$1" add .
    GIT_COMMITTER_DATE="$3T00:00:00Z" git -C "$1" -c user.name=test -c user.email=test@localhost commit --quiet \
        --date "$3T00:00:00Z" --message "an advisory"
}

self_test() {
    local today
    today=$(date -u +%F) scratch=$(mktemp -d)
    test -z "$(laid_there)" ||
        { echo "SKIPPED: $0 --self-test because a database lies in $PLACE"; return; }
    database "$scratch/ours" ring "$today"
    database "$scratch/theirs" a-crate-of-nobody "$today"
    database "$scratch/old" a-crate-of-nobody 2020-01-02
    advisories "$scratch/theirs" || { echo "an advisory for a crate of nobody is held against us" >&2; return 1; }
    if advisories "$scratch/ours" >"$scratch/said" 2>&1; then
        echo "an advisory for ring passes" >&2 && return 1
    fi
    grep -q RUSTSEC-2020-0001 "$scratch/said" || { cat "$scratch/said" >&2; return 1; }
    if advisories "$scratch/old" >"$scratch/said" 2>&1 || ! grep -q 'days old' "$scratch/said"; then
        echo "a database of 2020 is believed" >&2 && return 1
    fi
    if advisories "$scratch" >"$scratch/said" 2>&1; then
        echo "a folder without a database is taken for one" >&2 && return 1
    fi
    echo "deny: an advisory for a crate of ours is found, one for another is not, and an old database is refused"
}

cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny --version "$DENY_VERSION"
case ${1:-} in
--self-test) self_test ;;
'')
    cargo deny check bans licenses sources
    if test -n "${TUNNEL_CLIENT_ADVISORIES:-}"; then
        advisories "$TUNNEL_CLIENT_ADVISORIES"
    elif test -n "$(laid_there)"; then
        young "$(laid_there)"
        cargo deny --offline check advisories
    else
        echo "SKIPPED: advisories, because no database is given: set TUNNEL_CLIENT_ADVISORIES (packaging/README.md)"
    fi
    ;;
*) echo "unknown option '$1'; there is --self-test" >&2 && exit 2 ;;
esac
