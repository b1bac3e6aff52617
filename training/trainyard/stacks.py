"""Python's stacks of a rank that hangs, printed by the rank itself when somebody asks. Without torch."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from pathlib import Path

ASKS = signal.SIGUSR2


def print_when_asked() -> None:
    """From now on SIGUSR2 makes this process print the stacks of all its threads on stderr, also while it waits in native code.

    Only in a run of Trainyard, and never in place of a handler of the script's own: its supervisor asks before it ends a hang.
    """
    if not os.environ.get("TRAINYARD_RUN_ID") or _is_taken():
        return
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):  # stderr is not a file: a notebook, a test
        faulthandler.register(ASKS, all_threads=True)


def _is_taken() -> bool:
    """Whether anybody, native code too, catches or ignores the signal; so does whoever is not known to leave it alone."""
    try:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        masks = [int(line[1], 16) for line in lines if line[0] in ("SigCgt:", "SigIgn:")]
    except (OSError, ValueError, IndexError):
        return True
    return any(mask >> (ASKS - 1) & 1 for mask in masks)
