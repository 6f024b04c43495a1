#!/usr/bin/env bash
# Alert rules, dashboard and their page: they are right by their own tools, and name nothing that the program does not have.
# Uses a built program of target/debug; needs promtool.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

folder=packaging/monitoring
promtool check rules --lint=all --lint-fatal "$folder/alerts.yaml" >/dev/null || fail "alerts.yaml is not right"
promtool test rules "$folder/alerts.test.yaml" >/dev/null || fail "a test of alerts.yaml fails"

# Each alert has a test in which it fires, and a section that says what to do.
mapfile -t alerts < <(sed -n 's/^ *- alert: //p' "$folder/alerts.yaml")
for alert in "${alerts[@]}"; do
    grep -A3 "alertname: $alert\$" "$folder/alerts.test.yaml" | grep -q 'exp_labels:' || fail "no test in which $alert fires"
    grep -A1 "alertname: $alert\$" "$folder/alerts.test.yaml" | grep -qF 'exp_alerts: []' || fail "no test in which $alert is quiet"
    grep -qx "### $alert" "$folder/README.md" || fail "$folder/README.md says nothing of $alert"
done
while read -r alert; do
    [[ " ${alerts[*]} " == *" $alert "* ]] || fail "$folder/README.md: there is no alert $alert"
done < <(sed -n 's/^### //p' "$folder/README.md")

# Metrics that are used exist.
python3 - "$folder" <<'PYTHON'
import json, re, sys
folder = sys.argv[1]
source = open("src/ops/metrics.rs").read()
known = set(re.findall(r'(?:COUNTER|GAUGE|[A-Z_]*SECONDS|NUMBERS) "([a-z_]+)"', source))
dashboard = json.load(open(f"{folder}/dashboard.json"))
ids = [panel["id"] for panel in dashboard["panels"]]
assert len(ids) == len(set(ids)), "two panels have one id"
texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
texts += [open(f"{folder}/alerts.yaml").read(), open(f"{folder}/alerts.test.yaml").read(), open(f"{folder}/README.md").read()]
names = set(re.findall(r"\b((?:tunnel_client|commands|dispatcher|target)_[a-z_]+)", "\n".join(texts)))
names = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name for name in names}
unknown = sorted(name for name in names if name not in known and not name.endswith("_"))
assert not unknown, f"the program has no {', '.join(unknown)}"
own = {name for name in known if name.startswith("tunnel_client_")}
shown = "\n".join(texts)
unused = sorted(name for name in own if name not in shown)
print(f"{len(names)} metrics are used, and exist; of the set not used: {', '.join(unused) or 'none'}")
PYTHON

# What promtool thinks of the set of a process: nothing.
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
CONTROL_PLANE_API_KEY=sk-monitoring target/debug/tunnel-clientd \
    --control-plane.base-url http://127.0.0.1:9 --control-plane.tunnel-id tunnel_00000000000000000000000000000000 \
    --mcp.server-url http://127.0.0.1:9/mcp --health.listen-addr 127.0.0.1:0 --health.url-file "$work/url" \
    >"$work/log" 2>&1 &
pid=$!
for ((tries = 0; tries < 500; tries++)); do
    [[ -s $work/url ]] && break
    kill -0 "$pid" 2>/dev/null || { cat "$work/log" >&2; fail "the program does not run"; }
    sleep 0.02
done
curl --silent --fail "$(cat "$work/url")/metrics" >"$work/metrics"
grep -q '^tunnel_client_up{channel="main"}' "$work/metrics" || fail "/metrics has no tunnel_client_up"
promtool check metrics <"$work/metrics" >"$work/lint" 2>&1 || true
! grep '^tunnel_client_' "$work/lint" || fail "promtool complains"
echo "monitoring: ${#alerts[@]} alerts, each with tests and a section; no complaint about the set"
