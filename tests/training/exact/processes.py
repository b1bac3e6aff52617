"""The processes of one run, found by the run id in their environment, as a stranger would find them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
FREEZE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Process:
    """Start time included: a pid that was handed out again is another process."""

    pid: int
    start_time: int
    role: str
    """supervisor | launcher | rank | other"""
    rank: int | None = None

    def state(self) -> str:
        """Letter of proc(5), or "" when it is gone."""
        found = _stat(self.pid)
        return found[0] if found and found[1] == self.start_time else ""

    def is_alive(self) -> bool:
        return self.state() not in ("", "Z", "X")

    def send(self, number: int) -> bool:
        """Whether the signal reached this very process."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            alive = self.is_alive()
            if alive:
                signal.pidfd_send_signal(handle, number)
            return alive
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, start time) from /proc/<pid>/stat."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def of_run(run_id: str) -> list[Process]:
    """Every living process whose environment names the run."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # gone, or another user's
        if f"TRAINYARD_RUN_ID={run_id}".encode() not in environment:
            continue
        stat = _stat(int(entry.name))
        if stat and stat[0] not in "ZX":
            found.append(_described(int(entry.name), stat[1], words, environment))
    return found


def _described(pid: int, start_time: int, words: bytes, environment: list[bytes]) -> Process:
    if b"local_supervisor.py" in words:
        return Process(pid, start_time, "supervisor")
    if b"torch.distributed.run" in words:
        return Process(pid, start_time, "launcher")
    rank = next((int(item[5:]) for item in environment if item.startswith(b"RANK=")), None)
    return Process(pid, start_time, "other" if rank is None else "rank", rank)


@contextlib.contextmanager
def held_still(processes: Iterable[Process]) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end: what is read inside stays true until the kill that follows it."""
    stopped = [process for process in processes if process.send(signal.SIGSTOP)]
    try:
        deadline = time.monotonic() + FREEZE_TIMEOUT_S
        while any(process.state() not in ("T", "t", "Z", "X", "") for process in stopped):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not stopped after {FREEZE_TIMEOUT_S} s: {stopped}")
            time.sleep(0.001)
        yield
    finally:
        for process in stopped:
            process.send(signal.SIGCONT)
