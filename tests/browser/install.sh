#!/usr/bin/env bash
# Installs what looks at pages: install.sh DIR
#
# DIR gets node_modules; the browser is Debian's. Versions are pinned here and nowhere else.
set -euo pipefail

axe=4.14.1          # the rules of accessibility
puppeteer=24.8.2    # drives the browser; brings none, and runs with the Node of Debian

into=${1:?"usage: install.sh DIR"}

if ! { command -v node && command -v npm && command -v chromium; } >/dev/null 2>&1; then
    test "$(id -u)" = 0 || { echo "nodejs, npm, chromium and a font are needed" >&2; exit 1; }
    apt-get update
    apt-get install -y --no-install-recommends nodejs chromium fonts-dejavu-core
    # Some builds of nodejs bring npm along and conflict with the package.
    command -v npm >/dev/null || apt-get install -y --no-install-recommends npm
fi

# The stamp is written last, so that an install that broke off is begun again.
stamp="axe-core $axe, puppeteer-core $puppeteer"
if [ "$(cat "$into/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$into"
    mkdir -p "$into"
    # A file of its own, or npm would install into a folder further up that has one.
    echo '{ "private": true }' >"$into/package.json"
    npm install --prefix "$into" --no-audit --no-fund --ignore-scripts --loglevel=error \
        "axe-core@$axe" "puppeteer-core@$puppeteer"
    echo "$stamp" >"$into/stamp"
fi
