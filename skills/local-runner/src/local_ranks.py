"""The ranks below a launcher: which of them failed first and how, and the end of those that a dead one left waiting.

How a rank ended is asked of the kernel: a log can be written by anybody. Linux, standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainyard_process import DEAD_STATES, PROC, environment, stat

DEPTH = 3
"""Generations below the launcher in which ranks are looked for: some launchers start another one."""
SURVIVOR_GRACE_S = 10.0
"""For the ranks that outlive a failed one. torchrun asks them to end and waits 30 s for those that cannot hear it: no Python
handler runs inside a collective of NCCL. One rank is dead, so nothing that all of them save together can succeed any more."""
ASKED_TO_END = (128 + signal.SIGTERM, -signal.SIGTERM)
"""How a rank ends that was asked to: no failure, and the others may be saving."""
# linux/pidfd.h: the wait status of a process that its parent has already collected, from Linux 6.15 on.
PIDFD_GET_INFO, PIDFD_INFO_EXIT, INFO_BYTES, EXIT_CODE_AT = 0xC040FF0B, 1 << 3, 64, 60
STAT_EXIT_CODE = 49
"""Index of field 52 of /proc/<pid>/stat, counted from the state."""


@dataclass
class Rank:
    """One worker."""

    rank: int
    pid: int
    handle: int
    """Its pidfd, readable once it has ended."""
    ended: float | None = None
    """time.monotonic() when its end was seen."""
    exit_code: int | None = None
    """Once it has ended; negative: -signal. None: the kernel no longer knew."""


@dataclass
class Ranks:
    """The workers of one attempt, as far as they were seen. Use as a context manager."""

    launcher_pid: int
    wanted: int
    """How many are looked for."""
    found: list[Rank] = field(default_factory=list)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self.found:
            os.close(rank.handle)

    @property
    def complete(self) -> bool:
        return len(self.found) >= self.wanted

    def handles(self) -> list[int]:
        """What becomes readable at the next end of a rank."""
        return [rank.handle for rank in self.found if rank.ended is None]

    def look(self) -> None:
        """Find the ranks that have started; note how others ended."""
        if not self.complete:
            known = {rank.pid for rank in self.found}
            self.found += filter(None, (_hold(pid) for pid in _workers(self.launcher_pid) if pid not in known))
        now = time.monotonic()
        for rank in self.found:
            if rank.ended is None and _has_ended(rank):
                rank.ended, rank.exit_code = now, _exit_code(rank)

    def first_failure(self) -> Rank | None:
        """The rank that failed first; None too where the kernel did not say how the first one ended.

        Of several that were seen to end together it is one that a signal ended: the failure of another rank does not do that.
        """
        ended = [rank for rank in self.found if rank.ended and rank.exit_code not in (0, *ASKED_TO_END)]
        first = min(ended, key=lambda rank: (rank.ended or 0.0, rank.exit_code or 0), default=None)
        return first if first and first.exit_code is not None else None

    def left_before(self, failure: Rank) -> tuple[int, ...]:
        """Ranks that ended with 0 before this one failed."""
        return tuple(rank.rank for rank in self.found if rank.exit_code == 0 and (rank.ended or 0.0) < (failure.ended or 0.0))

    def end_survivors(self) -> bool:
        """SIGKILL for the ranks that still live SURVIVOR_GRACE_S after another failed; whether there was one."""
        failure = self.first_failure()
        if failure is None or time.monotonic() < (failure.ended or 0.0) + SURVIVOR_GRACE_S:
            return False
        left = [rank for rank in self.found if rank.ended is None]
        for rank in left:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                signal.pidfd_send_signal(rank.handle, signal.SIGKILL)
        return bool(left)


def _workers(launcher_pid: int) -> Iterator[int]:
    """Pids of the ranks: the first generation whose environment names a rank."""
    generation = [launcher_pid]
    for _ in range(DEPTH):
        children = [child for pid in generation for child in _children(pid)]
        workers = [pid for pid in children if environment(pid).get("RANK", "").isdigit()]
        yield from workers
        generation = [pid for pid in children if pid not in workers]


def _children(pid: int) -> list[int]:
    """[] too where the kernel does not say: then nothing is known of the ranks, and nothing is done to them."""
    folder = PROC / str(pid) / "task"
    try:  # not Path.glob: it raises where a process or a thread ends while it looks
        threads = os.listdir(folder)
    except OSError:
        return []
    return [child for thread in threads for child in _numbers(folder / thread / "children")]


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []  # that thread, or the process, has just ended


def _hold(pid: int) -> Rank | None:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None  # gone already
    number = environment(pid).get("RANK", "")
    if not number.isdigit():
        os.close(handle)
        return None
    return Rank(int(number), pid, handle)


def _has_ended(rank: Rank) -> bool:
    try:
        signal.pidfd_send_signal(rank.handle, 0)
    except ProcessLookupError:
        return True  # collected
    found = stat(rank.pid)
    return found is None or found.state in DEAD_STATES


def _exit_code(rank: Rank) -> int | None:
    status = _of_collected(rank.handle)
    if status is None:
        status = _of_zombie(rank.pid)
    return None if status is None else os.waitstatus_to_exitcode(status)


def _of_zombie(pid: int) -> int | None:
    """The wait status of a process that has ended and was not collected yet."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[STAT_EXIT_CODE]) if fields[0] in DEAD_STATES else None


def _of_collected(handle: int) -> int | None:
    answer = bytearray(INFO_BYTES)
    struct.pack_into("Q", answer, 0, PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(handle, PIDFD_GET_INFO, answer)
    except OSError:
        return None  # an older kernel
    known = struct.unpack_from("Q", answer)[0] & PIDFD_INFO_EXIT
    return int(struct.unpack_from("i", answer, EXIT_CODE_AT)[0]) if known else None
