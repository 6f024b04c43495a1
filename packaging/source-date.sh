#!/usr/bin/env bash
# Prints the time, in seconds since 1970, that everything made from this tree carries: SOURCE_DATE_EPOCH where the
# caller has set it, else the newest date that a heading of CHANGELOG.md has ("## [0.1.0] - 2026-01-31").
set -euo pipefail
cd "$(dirname "$0")/.."

if test -n "${SOURCE_DATE_EPOCH:-}"; then
    echo "$SOURCE_DATE_EPOCH"
    exit
fi
day=$(sed -nE '/^## .* ([0-9]{4}-[0-9]{2}-[0-9]{2})$/{s//\1/p;q}' CHANGELOG.md)
if test -z "$day"; then
    # Nothing was released yet. Any fixed day does; archives cannot hold much earlier ones.
    day=1980-01-01
    echo "packaging/source-date.sh: no heading of CHANGELOG.md has a date; $day is taken" >&2
fi
date --utc --date "$day" +%s
