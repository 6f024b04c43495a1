#!/usr/bin/env bash
# Goal of this test: the manual pages are correct mdoc, refer to pages that exist, and fit a terminal of 80 columns
# in both programs that show them, mandoc and groff (man-db).
#
# What the pages say is compared with the program by tests/suite/manual.rs.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/../.."

readonly width=80

# Pages of others that ours may refer to.
readonly foreign='systemctl 1|systemd\.exec 5'

failures=0

fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null || { echo "$1 is missing: it is in the package $2" >&2; exit 1; }
}

# Every message counts, of whatever level, but for those about references: mandoc looks for the pages in
# /usr/share/man alone, where ours are not yet and those of others need not be. The next function looks for them.
lint() {
    local said
    said=$(mandoc -T lint -W all "$1" 2>&1 | grep -vE 'outdated mandoc.db|referenced manual not found' || true)
    [[ -z $said ]] || fail "$said"
}

# refers PAGE: each reference is to a page of ours, or to one of the list.
refers() {
    local name section
    while read -r _ name section _; do
        [[ -f man/$name.$section ]] || grep -qE "^($foreign)\$" <<< "$name $section" || fail "$1 refers to $name($section)"
    done < <(grep '^\.Xr ' "$1")
}

# fits NAME TEXT: the page as it is shown. Columns are characters and not bytes, whatever the locale is.
fits() {
    local long
    long=$(LC_ALL=C.UTF-8 grep -nE "^.{$((width + 1))}" <<< "$2" || true)
    (($(wc -l <<< "$2") >= 50)) || long+="hardly any lines"
    [[ -z $long ]] || fail "$1: lines above $width columns, or hardly any:"$'\n'"$long"
}

# groff's own messages are about what it had to guess.
groff_shows() {
    local said
    said=$(groff -mdoc -K utf8 -ww -z -T utf8 "$1" 2>&1 || true)
    [[ -z $said ]] || fail "$1: $said"
    fits "$1 by man" "$(MANWIDTH=$width man --local-file "$1" | col -bx)"
}

# What page 8 says of the package: drop-ins, units, and switches and types of the policy. Names of metrics, which end in
# their unit, begin as those do.
packaged() {
    local page=man/tunnel-client.8 name
    while read -r name; do
        [[ -f packaging/systemd/$name ]] || fail "$page: packaging/systemd/$name does not exist"
    done < <(grep -oE 'examples/[a-z0-9-]+\.[a-z]+|tunnel-client[a-z-]*@\.service' "$page" | sort -u)
    while read -r name; do
        grep -qw "$name" packaging/selinux/tunnel-client.te || fail "$page: the policy has no $name"
    done < <(grep -oE 'tunnel_client_[a-z_]+' "$page" | grep -vE '_(seconds|total)$' | sort -u)
}

need mandoc mandoc
need col bsdextrautils
pages=(man/*.[1-8])
for page in "${pages[@]}"; do
    lint "$page"
    refers "$page"
    # Its letters are bold by overstrikes, which take no room.
    fits "$page by mandoc" "$(mandoc -T utf8 -O width="$((width - 2))" "$page" | col -bx)"
done
if command -v groff >/dev/null && command -v man >/dev/null; then
    for page in "${pages[@]}"; do
        groff_shows "$page"
    done
else
    echo "SKIPPED: how groff shows the pages, because groff or man is missing (packages groff-base, man-db)"
fi
if [[ -d packaging/systemd && -d packaging/selinux ]]; then
    packaged
else
    echo "SKIPPED: what page 8 says of units and policy, because packaging/ has none"
fi
((failures == 0)) || exit 1
echo "man pages: ${#pages[@]} correct, within $width columns"
