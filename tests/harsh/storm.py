"""Becomes a program that is stopped and continued all the time: storm.py PROGRAM [ARGUMENT...]

Of what a program may meet it is the most that needs no handler: waits with a time-out on sockets, and some others, end
with EINTR when a stopped process goes on (signal(7)). The pauses are drawn from the process id, which a failing test
prints.
"""

import os
import random
import signal
import sys
import time

# The longest that a program is left alone, and the longest that it is held.
FREE_SECONDS, HELD_SECONDS = 0.03, 0.004
# No test runs this long.
END_SECONDS = 600


def storm(program, seed):
    draw = random.Random(seed)
    end = time.monotonic() + END_SECONDS
    while time.monotonic() < end:
        time.sleep(draw.uniform(0, FREE_SECONDS))
        signal.pidfd_send_signal(program, signal.SIGSTOP)
        time.sleep(draw.uniform(0, HELD_SECONDS))
        signal.pidfd_send_signal(program, signal.SIGCONT)


if __name__ == "__main__":
    pid = os.getpid()
    program = os.pidfd_open(pid)
    # No child of the program, and with none of its files, so that nobody waits for this.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(3):
                os.close(number)
            try:
                storm(program, pid)
            except ProcessLookupError:
                pass
        os._exit(0)
    os.wait()
    # Python sets LC_CTYPE for itself.
    with open("/proc/self/environ", "rb") as environment:
        given = dict(line.split(b"=", 1) for line in environment.read().split(b"\0") if line)
    os.execve(sys.argv[1], sys.argv[1:], given)
