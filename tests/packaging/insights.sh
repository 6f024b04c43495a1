#!/usr/bin/env bash
# `packaging/security-insights.py` writes a file as OpenSSF's Security Insights asks for, with the publisher that it is
# given, and its check notices what the specification does not allow. Documents that the file names exist.
#
# Needs python3 with PyYAML (Debian: python3-yaml).
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
write() {
    packaging/security-insights.py "$@" >"$scratch/made.yml"
}

write 'A Publisher <security@publisher.test>' https://publisher.test/tunnel-client/ 2026-11-30
packaging/security-insights.py --check "$scratch/made.yml"
grep -q "expression: $(sed -n 's/^license = "\(.*\)"/\1/p' Cargo.toml)\$" "$scratch/made.yml"
grep -oE '\b(src|tests|packaging)/[a-z_./-]+[a-z]|\b[A-Z]+\.md|\b(deny|clippy|Cargo)\.toml' "$scratch/made.yml" | sort -u |
    while read -r path; do
        test -e "$path" || { echo "the file names $path, which is not there" >&2; exit 1; }
    done

write "O'Publisher: #1 {sons} <security@publisher.test>" https://publisher.test 2026-11-30
packaging/security-insights.py --check "$scratch/made.yml" >/dev/null

# What is no publisher, address or day writes nothing.
refused() {
    if write "$@" 2>/dev/null; then
        echo "'$*' is taken for a publisher, an address and a day" >&2 && exit 1
    fi
}
refused nobody https://publisher.test 2026-11-30
refused 'A <a@publisher>' https://publisher.test 2026-11-30
refused $'A\nb: c <a@publisher.test>' https://publisher.test 2026-11-30
refused 'A <a@publisher.test>' publisher.test 2026-11-30
refused 'A <a@publisher.test>' https://publisher.test 2026-13-01

write 'A Publisher <security@publisher.test>' https://publisher.test/tunnel-client 2026-11-30
for edit in '/schema-version/d' 's/2\.2\.0/1.0.0/' '0,/primary: true/s//primary: false/' 's/status: active/status: fine/' \
    's/type: SCA/type: crates/' "s/'2026-11-30'/yesterday/" '/reports-accepted/d' 's,https://,gopher://,' 's/homepage:/home:/' \
    '0,/integration: .*/s//integration: {adhoc: true}/'; do
    sed "$edit" "$scratch/made.yml" >"$scratch/changed.yml"
    if packaging/security-insights.py --check "$scratch/changed.yml" >/dev/null; then
        echo "the check does not notice $edit" >&2 && exit 1
    fi
done
echo "insights: the file is as the specification asks for, and each of ten faults is noticed"
