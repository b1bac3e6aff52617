"""A process that holds a pipe from the caller: when it ends without a word, the caller was killed, and its container goes.

    python tester_reaper.py DOCKER LABEL=VALUE < PIPE

Standard library only; it says nothing and leaves nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

DEADLINE_S = 60.0
CALL_S = 20.0
QUIET_ROUNDS = 4
"""A `docker create` that was under way when the caller died may make its container a moment later."""
POLL_S = 0.5


def main(program: str, label: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == b"done":
        return
    deadline, quiet = time.monotonic() + DEADLINE_S, 0
    while time.monotonic() < deadline and quiet < QUIET_ROUNDS:
        found = ask([program, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=" + label])
        quiet = quiet + 1 if found == [] else 0
        if found:
            ask([program, "rm", "--force", "--volumes", *found])
        time.sleep(POLL_S)


def ask(command: list[str]) -> list[str] | None:
    """The words of the answer; None where there is none."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_S, text=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split() if done.returncode == 0 else None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
