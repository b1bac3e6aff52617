"""Why the ranks of this node ended, as far as a launcher can know it, in the words of death_cause.py.

They are the ranks' own stderr, which anybody's code writes. They are shown, and compared with what the attempt before said; no other
meaning is read into them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from trainyard.death_cause import Failure, explain, find_cause
from trainyard.death_patience import NOTHING, Death, signature
from trainyard.death_words import last_words, plain_lines, torchrun_names

OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Of this container, with cgroups of version 2 and 1."""
SILENT_S = 60.0
"""Only stderr is seen here. A script without the runtime that lived longer may have printed steps on stdout."""
TAIL_BYTES = 65536


@dataclass(frozen=True)
class Ending:
    """How the ranks of one node ended by themselves."""

    why: str
    same: str = ""
    """A digest of what stays the same where it ends so again; "" for an end that comes from outside, or is not known."""


def oom_kills() -> int | None:
    """Processes of this container that the kernel has killed for memory so far; None where nobody counts."""
    for path in OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return None


def ending(code: int, oom_before: int | None, stderr: bytes, *, is_program: bool) -> Ending:
    """`code` is the program's, or torchrun's: that is always 1."""
    now = oom_kills()
    if now is not None and oom_before is not None and now > oom_before:
        return Ending("out of memory: the kernel killed a process of this container, which had reached its limit")
    lines = plain_lines(stderr.decode("utf-8", "replace"))
    named = None if is_program else torchrun_names(lines)
    cause = find_cause(code, None, Failure(named[1], named[0]) if named else None, last_words(lines))
    if not is_program and named is None:  # then nobody knows which rank it was, or how it ended
        said = f": {cause.words.text}" if cause.words and cause.words.is_error else ""
        return Ending(f"torchrun {explain(code)} without a report{said}")
    stays = signature(cause)
    same = "" if stays is None else NOTHING if stays == NOTHING else hashlib.sha256(stays.encode()).hexdigest()[:16]
    return Ending(cause.reason, same)


class Progress:
    """The steps of one attempt, from steps.jsonl in the run folder."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "steps.jsonl" if folder else None
        self._began = self._size()

    def death(self, why: str, same: str, lived_s: float) -> Death:
        """Of the attempt that has just ended: `why` and `same` as its first node said."""
        step, is_nan = None, False
        for line in self._new_lines():
            with contextlib.suppress(ValueError, RecursionError):
                told = json.loads(line)
                if isinstance(told, dict) and type(told.get("step")) is int:
                    step, is_nan = told["step"], isinstance(told.get("loss"), str)
        # What got so far once, in whichever attempt, may get so far again.
        return Death(why, same or None, lived_s, self._size() > 0 or None, lived_s >= SILENT_S, step if is_nan else None)

    def _size(self) -> int:
        with contextlib.suppress(OSError):
            return self._path.stat().st_size if self._path else 0
        return 0

    def _new_lines(self) -> list[bytes]:
        if self._path is None or self._size() <= self._began:
            return []
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            start = max(self._began, os.fstat(file.fileno()).st_size - TAIL_BYTES)
            file.seek(start)
            return file.read(TAIL_BYTES).splitlines()
        return []
