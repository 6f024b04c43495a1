#!/usr/bin/env bash
# The schema of profiles, by a validator that others wrote: it takes every sample and example, and no misspelt key.
# Uses a built program of target/debug; needs python3-jsonschema and python3-yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=target/debug/tunnel-client
"$program" profiles schema >"$work/schema.json"
diff packaging/profile.schema.json "$work/schema.json" || {
    echo "FAILED: write packaging/profile.schema.json anew: tunnel-client profiles schema" >&2
    exit 1
}
while IFS=$'\t' read -r sample _; do
    server=(--mcp-server-url http://127.0.0.1:8000/mcp)
    [[ $sample != *stdio* ]] || server=(--mcp-command "server --stdio")
    HOME=$work "$program" profiles add "$sample" --sample "$sample" --profile-dir "$work/profiles" \
        --tunnel-id tunnel_00000000000000000000000000000000 "${server[@]}" >/dev/null
done < <("$program" profiles samples list)
python3 tests/packaging/schema.py "$work/schema.json" "$work"/profiles/*.yaml packaging/etc/*.yaml
