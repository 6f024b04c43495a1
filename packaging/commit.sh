#!/usr/bin/env bash
# Prints the commit that this tree is of, in twelve digits, for `tunnel-client --version`: TUNNEL_CLIENT_COMMIT where the
# caller has set it, else what `git archive` has written into packaging/COMMIT, else what git says, with "-modified" when
# files differ from it. It prints nothing where nobody knows.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=${TUNNEL_CLIENT_COMMIT:-$(sed -n '/^[0-9a-f]\{40,\}$/p' packaging/COMMIT)}
# Not the repository that an archive may have been unpacked in.
if test -z "$commit" && test -e .git; then
    commit=$(git rev-parse --quiet --verify HEAD 2>/dev/null || true)
    if test -n "$commit" && test -n "$(git status --porcelain --untracked-files=no)"; then
        echo "${commit:0:12}-modified"
        exit
    fi
fi
if test -n "$commit"; then
    echo "${commit:0:12}"
fi
