"""Why the ranks of this node ended, as far as a launcher can know it, and whether another attempt could end differently.

The words are those of the ranks' own stderr, which anybody's code writes. They are shown, and compared with what the attempt before
said; no other meaning is read into them. Where it is not known that an attempt cannot pass, it is tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from trainyard.launch_wire import MAX_WHY_CHARS

OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Of this container, with cgroups of version 2 and 1."""
VICTIM = re.compile(
    r"time.?out|timed.out|peer|connect|refused|reset|unreachable|broken.pipe|socket|address|nccl|gloo|tcpstore|rendezvous"
    r"|network|host|resol|temporar|try.again|busy|unavailable|input/output|stale|memory|space|quota|too many|cannot allocate"
    r"|sig[a-z]+|signal|killed|without a report|ecc|xid|hardware|errno (4|5|11|12|16|23|24|28|32|1\d\d)\b",
    re.IGNORECASE,
)
"""In a last line that others may have caused, or that may be gone in a minute: never taken for a fault of the program."""
REPORT = re.compile(r"failed \(exitcode: (-?\d{1,9})\) local_rank: (\d{1,9})")
"""Where torchrun's own report begins: what the ranks said stands before it."""
BANNER = re.compile(r"torch[./]distributed[./](elastic|run)|^(\[rank\d+\]:)?\[?[EWI]\d{4} |^[*=-]+$|^Setting OMP_NUM_THREADS")
"""Lines of torchrun and of torch's own log."""
RANK = re.compile(r"^\[rank\d+\]: ?")
SOON_S = 60.0
TAIL_BYTES = 65536


def oom_kills() -> int | None:
    """Processes of this container that the kernel has killed for memory so far; None where nobody counts."""
    for path in OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return None


def describe(code: int, oom_before: int | None, stderr: bytes, *, is_program: bool) -> str:
    """'' where nothing is known beyond the code, which is the program's, or torchrun's: that is always 1."""
    now = oom_kills()
    if now is not None and oom_before is not None and now > oom_before:
        return "out of memory: the kernel killed a process of this container, which had reached its limit"
    line = last_line(stderr)
    if is_program:
        return f"killed by {_signal(-code)}" if code < 0 else line
    report = REPORT.search(stderr.decode("utf-8", "replace"))
    if report is None:
        return "torchrun ended without a report" + (f", last: {line}" if line else "")
    rank_code, rank = int(report[1]), f"local rank {report[2]}"
    if rank_code < 0:
        return f"{rank} was killed by {_signal(-rank_code)}"
    return line if rank_code == 1 else f"{rank} ended with {rank_code}" + (f": {line}" if line else "")


def _signal(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def last_line(stderr: bytes) -> str:
    """The last line that a rank wrote: of a traceback, what was raised. torchrun's own report about it comes after that."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    end = next((number for number, line in enumerate(lines) if REPORT.search(line)), len(lines))
    said = [RANK.sub("", line) for line in lines[:end] if line and not BANNER.search(line)]
    return "".join(char for char in said[-1] if char.isprintable())[:MAX_WHY_CHARS] if said else ""


@dataclass(frozen=True)
class Failure:
    """One attempt that ended by itself."""

    why: str
    lived_s: float
    step: int | None
    """The last one of this attempt; None where none was written."""
    is_nan: bool
    """Whether the loss of that step is not finite."""
    ever_stepped: bool
    """Whether any attempt of this run has written a step: what got so far once may get so far again."""

    def repeats(self, before: Failure | None) -> str | None:
        """Why another attempt would end as this one and the one before it have; None where that is not known."""
        if before is None:
            return None
        if self.is_nan and before.is_nan and self.step == before.step:
            return f"the loss is not finite at step {self.step}, twice"
        known = _without_numbers(self.why)
        if not known or VICTIM.search(self.why) or known != _without_numbers(before.why):
            return None
        # A script that writes no steps may have made some: only one that ended soon has certainly not come far.
        if all(not each.ever_stepped and each.lived_s < SOON_S for each in (self, before)):
            return "twice the same, before the first step"
        return None


def _without_numbers(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "N", text.lower())


class Progress:
    """The steps of one attempt, from steps.jsonl in the run folder."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "steps.jsonl" if folder else None
        self._began = self._size()

    def failure(self, why: str, lived_s: float) -> Failure:
        """Of the attempt that has just ended."""
        step, is_nan = None, False
        for line in self._new_lines():
            with contextlib.suppress(ValueError, RecursionError):
                told = json.loads(line)
                if isinstance(told, dict) and type(told.get("step")) is int:
                    step, is_nan = told["step"], isinstance(told.get("loss"), str)
        return Failure(why, lived_s, step, is_nan, ever_stepped=self._size() > 0)

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
