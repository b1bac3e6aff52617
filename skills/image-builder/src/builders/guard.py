"""Runs one command for a caller and cleans up behind it, also when the caller is killed: its end closes the pipe that this reads.

A program of its own, standard library only. stdin: one line of JSON, `{"command": [...], "cleanup": [[...]], "orphaned": [...],
"grace_s": 5}`; the end of stdin stops the command. `cleanup` is run at every end, the paths of `orphaned` are removed where the caller
is gone: alive it does so itself. stdout and stderr are the command's, the exit code too (128 + the signal).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

CLEANUP_S = 30.0
PR_SET_PDEATHSIG = 1


def main() -> int:
    caller = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller hears of a Ctrl-C and closes the pipe
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    spec = json.loads(sys.stdin.buffer.readline() or b"{}")
    if not spec:
        return 0
    try:
        return run(spec)
    finally:
        for words in spec.get("cleanup", ()):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(words, timeout=CLEANUP_S, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        if os.getppid() != caller:
            for path in spec.get("orphaned", ()):
                remove(path)


def remove(path: str) -> None:
    import shutil  # here: a tenth of the time that this program takes to start, and rarely needed

    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(path)


def run(spec: dict[str, Any]) -> int:
    try:
        child = subprocess.Popen(
            spec["command"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        print(f"{spec['command'][0]}: {error.strerror}", flush=True)
        return 127
    stopper = threading.Thread(target=stop_at_end_of_input, args=(child, float(spec.get("grace_s", 5))), daemon=True)
    stopper.start()
    code = child.wait()
    with contextlib.suppress(OSError):  # what it started and left
        os.killpg(child.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def stop_at_end_of_input(child: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """Linux: a guard that is killed itself takes the command with it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
