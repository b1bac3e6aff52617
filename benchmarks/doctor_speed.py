"""The doctor over the long logs of many pods, against a program that reads the same files line by line."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import disk, doctor_logs
from benchmarks.measuring import Bound, Comparison, Group, interleave, progress

PODS = {"small": 8, "2g": 256}
GOAL, MAX_MB = 3.0, 300.0
LOOK_S = 0.02
MANY = 64
"""Of fewer pods the ratio is told only: the start of the program is most of it."""
PROGRAM = Path("skills", "monitor", "src", "diagnose_training.py")
READING = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob("pods/*/*.log"):
    with path.open("rb") as file:
        for line in file:
            pass
"""


def run(root: Path, folder: Path, pods: int, repeats: int) -> Iterator[Group]:
    """A group for each kind of log. Seconds of whole programs; the files are in the page cache for both."""
    for kind in doctor_logs.KINDS:
        count = max(1, pods // 16) if kind in doctor_logs.SLOW else pods
        yield _of_kind(root, folder, kind, count, repeats)


def _of_kind(root: Path, folder: Path, kind: str, pods: int, repeats: int) -> Group:
    disk.check_room(folder, pods * doctor_logs.LOG_BYTES)
    progress(f"making {pods} logs: {kind}")
    evidence = doctor_logs.make(folder / "evidence", kind, pods)
    doctor = _Doctor(root, evidence, pods)
    told = interleave({"doctor": doctor.seconds, "reading": functools.partial(_read, evidence)}, repeats)
    ours, peer = told.values()
    disk.remove_whole(evidence, pods * doctor_logs.LOG_BYTES)
    has_goal = pods >= MANY or kind in doctor_logs.SLOW
    comparison = Comparison(kind, ours, peer, GOAL if has_goal else None)
    bound = Bound("most memory of the doctor's processes together", (doctor.most_mb,), MAX_MB, "MB")
    notes = ["the guilty rank and its cause were named", "reading: one Python process, `for line in file`; starts are included"]
    if kind in doctor_logs.SLOW:
        notes.append("a sixteenth of the pods: each log costs the same")
    return Group(f"the doctor over {pods} logs of 10 MB: {kind}", [ours, peer], [comparison], notes, [bound])


class _Doctor:
    def __init__(self, root: Path, evidence: Path, pods: int) -> None:
        self._command = [sys.executable, str(root / PROGRAM), "doctor", str(evidence), "--json"]
        self._rank = doctor_logs.PROCS * doctor_logs.guilty(pods) + 3
        self.most_mb = 0.0

    def seconds(self) -> float:
        started = time.monotonic()
        with subprocess.Popen(self._command, stdout=subprocess.PIPE) as process, _Watched(process.pid) as watched:
            output, _ = process.communicate()
        taken_s = time.monotonic() - started
        root = (json.loads(output).get("data") or {}).get("root") or {}
        if (root.get("cause"), root.get("rank")) != ("assertion", self._rank):
            raise RuntimeError(
                f"the doctor named {root.get('cause')} of rank {root.get('rank')}, not rank {self._rank}'s assertion"
            )
        self.most_mb = max(self.most_mb, watched.most_mb)
        return taken_s


class _Watched:
    """The memory of a process and its children together, looked at every LOOK_S; what they share counts once (Pss)."""

    def __init__(self, pid: int) -> None:
        self._pid, self.most_mb = pid, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self.most_mb = max(self.most_mb, sum(map(_pss_mb, [self._pid, *_children(self._pid)])))


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    except OSError:  # it has ended
        return []


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def _read(evidence: Path) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", READING, str(evidence)], check=True)
    return time.monotonic() - started
