#!/usr/bin/env bash
# The Kubernetes manifests: valid for every version whose schemas are at hand, hardened, and with profiles that
# the program takes. No cluster is needed, and none is asked.
#
# Needs python3 with venv. kubernetes-validate and yamllint come from PyPI into target/packaging-venv, once.
# TUNNEL_CLIENT names the binary that checks the profiles; without it the debug build does, and is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly VENV=target/packaging-venv
readonly MANIFESTS=(packaging/kubernetes/*.yaml)
readonly LINT='{extends: default, rules: {line-length: {max: 120}, octal-values: {forbid-implicit-octal: false}}}'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Installs the tools unless they are there.
tools() {
    test -x "$VENV/bin/kubernetes-validate" -a -x "$VENV/bin/yamllint" && return
    python3 -m venv "$VENV" && "$VENV/bin/pip" install --quiet kubernetes-validate==1.37.0 yamllint==1.38.0
}

# The versions whose schemas the validator brings along, from the first that has native sidecars on its own.
versions() {
    "$VENV/bin/python" - <<'PYTHON'
import pathlib
import kubernetes_validate
schemas = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
names = [path.name.removeprefix("v").split(".")[:2] for path in schemas.glob("v*-local-strict")]
print("\n".join(f"1.{minor}" for minor in sorted(int(minor) for _, minor in names) if minor >= 29))
PYTHON
}

# Each file against each version; unknown members are faults.
validate() {
    local version
    for version in $1; do
        "$VENV/bin/kubernetes-validate" --strict --quiet --kubernetes-version "$version" "${@:2}"
    done
}

# A misspelt member has to be noticed, or the validation above says nothing.
validation_can_fail() {
    sed 's/readOnlyRootFilesystem/readonlyRootFilesystem/' packaging/kubernetes/deployment.yaml >"$scratch/misspelt.yaml"
    if validate "${1%%$'\n'*}" "$scratch/misspelt.yaml" >/dev/null 2>&1; then
        echo "kubernetes-validate accepts a misspelt member" >&2
        return 1
    fi
}

# The profiles in the manifests, with a key of the mode and in the place that the volume would give it.
profiles() {
    local binary=${TUNNEL_CLIENT:-target/debug/tunnel-client} profile
    test -n "${TUNNEL_CLIENT:-}" || cargo build --locked --quiet
    echo "sk-a-key-that-nobody-asks-for" >"$scratch/api-key"
    chmod 0440 "$scratch/api-key"
    for profile in $("$1" tests/packaging/kubernetes.py --profiles "$scratch" "${MANIFESTS[@]}"); do
        # The listener's port may be taken on this machine; that is not what is asked here.
        sed -i "s|/run/tunnel-client/key/api-key|$scratch/api-key|; s|listen_addr: :8080|listen_addr: :0|" "$profile"
        if ! "$binary" doctor --offline --config "$profile" >"$scratch/said"; then
            cat "$scratch/said" >&2
            return 1
        fi
        echo "profile: $(basename "$profile") is taken"
    done
}

# The program's own part: no schemas, but PyYAML. Gets the Python that has it.
assertions() {
    "$1" tests/packaging/kubernetes.py "${MANIFESTS[@]}"
    "$1" tests/packaging/kubernetes.py --self-test "${MANIFESTS[@]}"
    # What sidecar.yaml tells the reader to do must be as good.
    "$1" tests/packaging/kubernetes.py --exchanged packaging/kubernetes/sidecar.yaml >"$scratch/exchanged.yaml"
    "$1" tests/packaging/kubernetes.py "$scratch/exchanged.yaml" packaging/kubernetes/networkpolicy.yaml
    profiles "$1"
}

if tools; then
    "$VENV/bin/yamllint" --strict --config-data "$LINT" "${MANIFESTS[@]}"
    assertions "$VENV/bin/python"
    known=$(versions)
    validate "$known" "${MANIFESTS[@]}" "$scratch/exchanged.yaml"
    validation_can_fail "$known"
    echo "valid for Kubernetes $(tr '\n' ' ' <<<"$known")"
elif python3 -c 'import yaml' 2>/dev/null; then
    echo "SKIPPED: validation of the manifests, because kubernetes-validate and yamllint could not be had from PyPI"
    assertions python3
else
    echo "SKIPPED: the manifests, because neither PyPI nor PyYAML (Debian: python3-yaml) is at hand"
fi
