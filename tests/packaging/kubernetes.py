#!/usr/bin/env python3
"""Asserts that every pod of the given manifests is hardened, and prints each thing that is missing.

    kubernetes.py FILE...              exits 1 when something is missing
    kubernetes.py --exchanged FILE     prints the manifest with its sidecar and its container exchanged
    kubernetes.py --profiles DIR FILE...  writes the profiles of all ConfigMaps into DIR
    kubernetes.py --self-test FILE...  breaks one thing at a time and fails where nobody notices

Needs PyYAML.
"""

import copy
import re
import sys
from pathlib import Path

import yaml

# The sum of src/service/tunnel.rs `drain_bound` at the default drain time-out.
DRAIN_SECONDS_MIN = 33


def documents(paths):
    """All resources of the files, with the name of their file."""
    return [(path, each) for path in paths for each in yaml.safe_load_all(Path(path).read_text()) if each]


def containers(pod):
    """Every container of a pod, whenever it runs."""
    return pod.get("initContainers", []) + pod["containers"]


def pod_faults(pod):
    """What is missing of a pod as a whole."""
    security = pod.get("securityContext", {})
    users = [{**security, **one.get("securityContext", {})} for one in containers(pod)]
    checks = {
        "each container has a user and a group of its own": all(
            len({user.get(kind) for user in users}) == len(users) for kind in ("runAsUser", "runAsGroup")
        ),
        "automountServiceAccountToken is false": pod.get("automountServiceAccountToken") is False,
        "enableServiceLinks is false": pod.get("enableServiceLinks") is False,
        "no namespace of the host is shared": not any(pod.get(f"host{kind}") for kind in ("Network", "PID", "IPC")),
        "containers do not see each other's processes": not pod.get("shareProcessNamespace"),
        "runAsNonRoot is true": security.get("runAsNonRoot") is True,
        "runAsUser is a number that is not 0": security.get("runAsUser", 0) > 0,
        "runAsGroup is a number that is not 0": security.get("runAsGroup", 0) > 0,
        "fsGroup is set, or the key could not be read": security.get("fsGroup", 0) > 0,
        "seccompProfile is RuntimeDefault": security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "the drain fits into the grace period": pod.get("terminationGracePeriodSeconds", 30) >= DRAIN_SECONDS_MIN,
        "no volume is a path of the host": not any("hostPath" in volume for volume in pod.get("volumes", [])),
    }
    for volume in pod.get("volumes", []):
        mode = volume.get("secret", {}).get("defaultMode", 0o644)
        if "secret" in volume:
            checks[f"volume {volume['name']}: nobody but owner and group reads, nobody writes"] = mode & 0o337 == 0
    return [name for name, holds in checks.items() if not holds]


def container_faults(container):
    """What is missing of one container."""
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    checks = {
        "allowPrivilegeEscalation is false": security.get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem is true": security.get("readOnlyRootFilesystem") is True,
        "privileged is false": security.get("privileged") is False,
        "all capabilities are dropped": security.get("capabilities") == {"drop": ["ALL"]},
        "the user is not 0": security.get("runAsUser", 1) > 0 and security.get("runAsNonRoot") is not False,
        "seccomp is not turned off": "seccompProfile" not in security,
        "the image is named by digest": re.search(r"@sha256:[0-9a-f]{64}$", container.get("image", "")),
        "requests and limits of cpu and memory": all(
            set(resources.get(kind, {})) >= {"cpu", "memory"} for kind in ("requests", "limits")
        ),
        "no secret in a variable": not any("secretKeyRef" in each.get("valueFrom", {}) for each in container.get("env", []))
        and not any("secretRef" in each for each in container.get("envFrom", [])),
        "mounts are read-only": all(mount.get("readOnly") is True for mount in container.get("volumeMounts", [])),
    }
    if container["name"] == "tunnel-client":
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        checks["liveness asks /healthz"] = probe(container, "livenessProbe") == "/healthz"
        checks["readiness asks /readyz"] = probe(container, "readinessProbe") == "/readyz"
        checks["start does not wait for the server"] = probe(container, "startupProbe") in (None, "/healthz")
        checks["key and profile are files"] = {"key", "profile"} <= mounts
    else:
        mounted = any(mount["name"] == "key" for mount in container.get("volumeMounts", []))
        checks["the key is mounted for the client alone"] = not mounted
    return [name for name, holds in checks.items() if not holds]


def probe(container, kind):
    """The path of a probe; nothing when there is none."""
    return container.get(kind, {}).get("httpGet", {}).get("path")


def policies(resources):
    """The selectors of policies that deny by default in both directions."""
    found = [each["spec"] for _, each in resources if each["kind"] == "NetworkPolicy"]
    return [spec["podSelector"] for spec in found if set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}]


def selects(selector, labels):
    """Whether a selector chooses a pod with these labels. Knows the operators that are used here."""
    for each in selector.get("matchExpressions", []):
        if each["operator"] != "DoesNotExist":
            sys.exit(f"the operator {each['operator']} is not known to this check")
        if each["key"] in labels:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def faults(resources):
    """Everything that is missing."""
    found, pods = [], 0
    for path, each in resources:
        spec = each.get("spec", {})
        if each["kind"] == "ServiceAccount" and each.get("automountServiceAccountToken") is not False:
            found.append(f"{path}: ServiceAccount: automountServiceAccountToken is false")
        if each["kind"] == "Secret":
            found.append(f"{path}: no secret stands in a manifest")
        if "template" not in spec:
            continue
        pods += 1
        where = f"{path}: {each['kind']} {each['metadata']['name']}"
        template = spec["template"]
        found += [f"{where}: {fault}" for fault in pod_faults(template["spec"])]
        for one in containers(template["spec"]):
            found += [f"{where}: {one['name']}: {fault}" for fault in container_faults(one)]
        labels = template["metadata"]["labels"]
        if not any(selects(selector, labels) for selector in policies(resources)):
            found.append(f"{where}: a NetworkPolicy for both directions selects it")
    return found if pods else ["no pod was found at all"]


def exchanged(path):
    """The manifest with the sidecar as its container and the container as its sidecar."""
    resources = [each for _, each in documents([path])]
    for each in resources:
        pod = each.get("spec", {}).get("template", {}).get("spec")
        if pod:
            pod["initContainers"], pod["containers"] = pod["containers"], pod["initContainers"]
            for one in pod["initContainers"]:
                one["restartPolicy"] = "Always"
            for one in pod["containers"]:
                del one["restartPolicy"]
    return yaml.safe_dump_all(resources, sort_keys=False)


def profiles(directory, paths):
    """Writes every profile to a file, and prints its name."""
    for path, each in documents(paths):
        for name, text in each.get("data", {}).items() if each["kind"] == "ConfigMap" else ():
            file = Path(directory) / f"{Path(path).stem}-{name}"
            file.write_text(text)
            print(file)


def places(value, path=()):
    """The way to every member below a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


# Members whose loss nobody has to notice: these are not about security.
HARMLESS = {
    "requests", "app.kubernetes.io/name", "labels", "metadata", "name", "ports", "containerPort", "args", "env",
    "topologySpreadConstraints", "imagePullPolicy", "periodSeconds", "timeoutSeconds", "failureThreshold", "port",
    "mountPath", "configMap", "restartPolicy", "serviceAccountName", "startupProbe", "tunnel-client/sidecar",
}


def self_test(paths):
    """Takes every security member out of every pod, one at a time; each loss must be noticed."""
    resources, missed, tried = documents(paths), [], 0
    if faults(resources):
        sys.exit("the self-test needs manifests without faults")
    for index, (path, each) in enumerate(resources):
        if "template" not in each.get("spec", {}):
            continue
        base = ("spec", "template", "spec")
        for place in places(each["spec"]["template"]["spec"], base):
            inside = [key for key in place if isinstance(key, str)]
            security = {"securityContext", "livenessProbe", "readinessProbe", "resources", "image", "readOnly",
                        "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds",
                        "defaultMode"}
            if not security & set(inside) or inside[-1] in HARMLESS or "configMap" in inside:
                continue
            broken = copy.deepcopy(resources)
            parent = broken[index][1]
            for key in place[:-1]:
                parent = parent[key]
            del parent[place[-1]]
            tried += 1
            if not faults(broken):
                missed.append(f"{path}: without {'.'.join(map(str, place))} nobody complains")
    print("\n".join(missed) or f"self-test: each of {tried} losses was noticed")
    sys.exit(1 if missed or not tried else 0)


def main():
    """Chooses by the first word."""
    words = sys.argv[1:]
    if words[:1] == ["--exchanged"]:
        print(exchanged(words[1]), end="")
    elif words[:1] == ["--profiles"]:
        profiles(words[1], words[2:])
    elif words[:1] == ["--self-test"]:
        self_test(words[1:])
    else:
        found = faults(documents(words))
        print("\n".join(found) or "every pod is hardened")
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
