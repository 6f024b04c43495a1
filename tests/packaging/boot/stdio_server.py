#!/usr/bin/env python3
"""A stdio MCP server that answers every request with what it can do from inside the cage of the unit."""

import json
import os
import pathlib
import socket
import subprocess
import sys


def attempt(action):
    """"yes" when it worked, else why not."""
    try:
        action()
        return "yes"
    except OSError as error:
        return f"no: {error.strerror}"


def run_from(folder):
    path = pathlib.Path(folder, "program")
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    subprocess.run([path], check=True)


def probe():
    home = os.environ["HOME"]
    return {
        "uid": os.getuid(),
        "variables": sorted(os.environ),
        "write to /etc": attempt(lambda: open("/etc/written", "w")),
        "write to /usr": attempt(lambda: open("/usr/written", "w")),
        "write to its cache": attempt(lambda: open(f"{home}/written", "w")),
        "execute from /usr": attempt(lambda: subprocess.run(["/usr/bin/true"], check=True)),
        "execute from /tmp": attempt(lambda: run_from("/tmp")),
        "execute from /dev/shm": attempt(lambda: run_from("/dev/shm")),
        "execute from its cache": attempt(lambda: run_from(home)),
        "read the key": attempt(lambda: open("/etc/tunnel-client/stdio.key")),
        "credentials": os.listdir("/run/credentials"),
        "instances": os.listdir("/run/tunnel-client"),
        "list /root": attempt(lambda: os.listdir("/root")),
        "open a raw socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "open a netlink socket": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "become root": attempt(lambda: os.setuid(0)),
        "change its root": attempt(lambda: os.chroot("/")),
        "processes of others": sum(1 for entry in os.listdir("/proc") if entry.isdigit() and entry == "1"),
    }


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "stdio", "version": "1"}}
    else:
        result = probe()
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
