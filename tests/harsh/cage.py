"""Becomes a program under the system calls that a unit leaves it: cage.py UNIT CALLS PROGRAM [ARGUMENT...]

CALLS is a file with the name of an allowed call a line, as `calls` of harsh.sh writes it from SystemCallFilter= of the
unit. What the unit says about namespaces, address families and executable memory is a filter, too, and is read here.
Unlike under the unit, a call that is refused ends the program by SIGSYS, so that a test fails that needs one.
"""

import errno
import os
import sys

import seccomp
from seccomp import ALLOW, ERRNO, GE, KILL_PROCESS, MASKED_EQ, Arg, SyscallFilter

# From <sys/mman.h>, <sys/shm.h> and <sched.h>: what RestrictNamespaces= refuses in the flags of clone.
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000 | 0x00000080
# AF_UNIX is 1, AF_INET 2 and AF_INET6 10.
FAMILIES = (1, 2, 10)


def told(unit):
    """The settings of a unit, each with the last value that it got."""
    lines = [line.strip().split("=", 1) for line in open(unit) if "=" in line and not line.startswith("#")]
    return dict(lines)


def cage(unit, calls):
    settings = told(unit)
    filters = SyscallFilter(KILL_PROCESS)
    conditional = {"clone": [[Arg(0, MASKED_EQ, NAMESPACES, 0)]], "socket": [], "clone3": [], "unshare": [], "setns": []}
    assert settings["RestrictNamespaces"] == "yes" and settings["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"
    for family in FAMILIES:
        conditional["socket"].append([Arg(0, seccomp.EQ, family)])
    if settings["MemoryDenyWriteExecute"] == "yes":
        none = [[Arg(2, MASKED_EQ, PROT_EXEC, 0)]]
        conditional.update(mprotect=none, pkey_mprotect=none, mmap=[*none, [Arg(2, MASKED_EQ, PROT_WRITE, 0)]])
        conditional["shmat"] = [[Arg(2, MASKED_EQ, SHM_EXEC, 0)]]
    for name in calls:
        try:
            rules = conditional.get(name)
            if rules is None:
                filters.add_rule(ALLOW, name)
            for rule in rules or []:
                filters.add_rule(ALLOW, name, *rule)
        except RuntimeError:
            # Of another architecture.
            continue
    # Both of these are what systemd answers: threads are made without clone3, and families beyond the last are unknown.
    filters.add_rule(ERRNO(errno.ENOSYS), "clone3")
    filters.add_rule(ERRNO(errno.EAFNOSUPPORT), "socket", Arg(0, GE, max(FAMILIES) + 1))
    filters.load()


if __name__ == "__main__":
    # Python sets LC_CTYPE for itself.
    with open("/proc/self/environ", "rb") as environment:
        given = dict(line.split(b"=", 1) for line in environment.read().split(b"\0") if line)
    with open(sys.argv[2]) as names:
        cage(sys.argv[1], names.read().split())
    os.execve(sys.argv[3], sys.argv[3:], given)
