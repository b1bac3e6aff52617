"""keeper.py FOLDER COMMAND...: run the command for whoever holds the other end of stdin; when that is gone, nothing is left.

A fixture's `finally` does not run when pytest is killed, but the end of its pipe is seen here all the same. Then the command is ended,
and what it had started and left (containerd, its shims, containers: they become children of this process); what is mounted below FOLDER
is unmounted, and FOLDER removed. Where the command ends by itself this ends with its exit code, and FOLDER stays for its caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_S, ORPHANS_S = 15.0, 10.0
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
CALLER = 0
"""Our stdin: a pipe that ends when nobody holds its other end."""
LIBC = ctypes.CDLL(None, use_errno=True)


def children() -> list[int]:
    """Of this process, by /proc/PID/stat: the second field after the name in brackets is the parent."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if int(stat.read_text().rpartition(") ")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def stop(command: subprocess.Popen[bytes]) -> None:
    """TERM, after 15 s KILL for its whole group."""
    command.terminate()
    try:
        command.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()


def end_orphans() -> None:
    """Each that is killed leaves us its own children, until there are none."""
    deadline = time.monotonic() + ORPHANS_S
    while (left := children()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.01)


def unmount(folder: str) -> None:
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed([point for point in points if point.startswith(f"{folder}/")]):
        LIBC.umount2(point.encode(), MNT_DETACH)


def main(folder: str, *words: str) -> int:
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True) as command:
        ended = os.pidfd_open(command.pid)
        caller_is_gone = CALLER in select.select([CALLER, ended], [], [])[0]
        stop(command)
        end_orphans()
    unmount(folder)
    if caller_is_gone:
        shutil.rmtree(folder, ignore_errors=True)
    return command.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) & 0xFF)
