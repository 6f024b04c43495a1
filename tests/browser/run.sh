#!/usr/bin/env bash
# Looks at the operator's page in a browser: run.sh [STATE...]
#
# Each state is a tunnel that the suite's browser::states_are_held holds. Without a name all are looked at.
# Pictures are in target/screenshots; CHROMIUM names another browser than Debian's.
set -euo pipefail
cd "$(dirname "$0")/../.."

tests/browser/install.sh target/browser
cargo build --locked --example stdio-server
cargo test --locked --test suite --no-run
node tests/browser/pages.mjs "$@"
