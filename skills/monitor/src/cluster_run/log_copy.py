"""Copies of the logs of a run's starts, as logs/attempt-NNNN.log: each line with its node's time in front, and again only what is new.

The first look reads a log whole where it is short, else its last lines; later looks of the same process ask for what came since. On this
machine's disk a copy is bounded too: of a long one the middle, or the beginning, is left out.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.attempts import Start, starts_of
from cluster_run.kinds import DRIVER
from cluster_run.logs import LogLine, TooLong, seconds_of
from cluster_run.run import ClusterRun, RunPod
from log_reading.reader import read_log
from run_folder.folder import log_pattern

LOOK_BYTES = 12 << 20
"""A node keeps 10 MiB of a log unless it was told otherwise (containerLogMaxSize)."""
MOST_BYTES = 256 << 20
TAILS = (20_000, 1_000, 50)
"""Lines: of a log whose lines are long, fewer."""
TAIL_READ_BYTES = 64 << 20
KEPT_BYTES = 8 << 20
"""Of a copy that has become longer than MOST_BYTES while it was watched."""
PODS_TRIED = 8
SEEN_BYTES = 256 << 10
"""Of the end of a log, to see whether it is the one with the steps."""
LOG_S = 120.0


@dataclass
class Copied:
    """One start's copy."""

    path: Path
    last: str = ""
    at_last: int = 0
    """Lines that bear the last time: a second may hold many."""
    complete: bool = True
    """False: the beginning, or the middle, is not in the copy."""
    final: bool = False
    """Its container has ended, and all that it said was read."""


@dataclass
class LogCopies:
    """Kept from look to look."""

    folder: Path
    copied: dict[str, Copied] = field(default_factory=dict)
    pod: str | None = None
    """The name of the pod that prints the steps, once one was seen to."""
    container: str = ""
    tried: list[str] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return all(one.complete for one in self.copied.values())

    @property
    def words(self) -> str | None:
        return f"log of pod {self.pod}, container {self.container}" if self.pod else None

    def refresh(self, run: ClusterRun, bounds: list[tuple[float, int]], *, whole: bool) -> bool:
        """Whether any log could be read. `bounds`: (begin, number) of attempts as the launcher counted them; [] by the starts."""
        self.tried, self.starts = [], []
        self._forget_gone(run)
        pods = _by_likelihood(run, self.pod)
        first: RunPod | None = None
        for pod in pods[:PODS_TRIED]:
            if not self._read_pod(run, pod, bounds, whole):
                continue
            first = first or pod
            if self._has_metrics():
                self.pod, self.container = pod.name, pod.main
                return True
        if first is None:
            self.pod = None
            return False
        if first.name != self.pod:
            self._read_pod(run, first, bounds, whole)
        self.pod, self.container = first.name, first.main
        return True

    def _read_pod(self, run: ClusterRun, pod: RunPod, bounds: list[tuple[float, int]], whole: bool) -> bool:
        self.starts = starts_of(run, pod)
        read = [self._read_start(run, start, whole) for start in self.starts]
        self._lay_out(bounds)
        return any(read)

    def _forget_gone(self, run: ClusterRun) -> None:
        there = {pod.uid for pod in run.pods}
        for key in [key for key in self.copied if key.rpartition("/")[0] not in there]:
            self.copied.pop(key).path.unlink(missing_ok=True)

    def _read_start(self, run: ClusterRun, start: Start, whole: bool) -> bool:
        what = f"{'the start before of ' if start.previous else ''}pod {start.pod.name}"
        one = self.copied.get(start.key)
        try:
            if one is None:
                one = Copied(self.folder / f"{start.pod.uid[:64].replace('/', '_')}-{start.number}.part")
                _read_first(run, start, one, whole)
                self.copied[start.key] = one
            elif not one.final:
                _read_on(run, start, one)
            one.final = start.ended is not None
            return True
        except kube.ApiError as error:
            if error.status == 401:
                raise
            self.tried.append(f"log of {what}: {error.message or error}")
        except shell.SkillError as error:
            self.tried.append(f"log of {what}: {error}")
        return start.key in self.copied

    def _lay_out(self, bounds: list[tuple[float, int]]) -> None:
        """The copies under the names of attempts. A launcher makes several attempts in one container: they are told apart by time."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        for old in logs.iterdir():
            old.unlink()
        for start in self.starts:
            one = self.copied.get(start.key)
            if one is None:
                continue
            if not bounds:
                _link(one.path, logs / f"attempt-{start.number:04d}.log")
            else:
                _split(one.path, logs, bounds)

    def _has_metrics(self) -> bool:
        for path in sorted((self.folder / "logs").iterdir(), reverse=True):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - SEEN_BYTES))
                if read_log(file, pattern=log_pattern(self.folder), growing=True).format is not None:
                    return True
        return False


def _by_likelihood(run: ClusterRun, known: str | None) -> list[RunPod]:
    """The pod that printed steps before; a driver; node 0; the last node (the last stage of a pipeline prints the loss); the others."""
    newest = {(pod.node_rank if pod.node_rank is not None else pod.name): pod for pod in sorted(run.pods, key=_made)}
    rows = sorted(newest.values(), key=lambda pod: (pod.node_rank is None, pod.node_rank or 0, pod.name))
    drivers = [pod for pod in rows if pod.node_rank == DRIVER]
    nodes = [pod for pod in rows if pod.node_rank != DRIVER]
    likely = [*(pod for pod in rows if pod.name == known), *drivers, *nodes[:1], *nodes[-1:], *nodes[1:-1]]
    return list({pod.name: pod for pod in likely}.values())


def _made(pod: RunPod) -> str:
    return str(pod.object["metadata"].get("creationTimestamp"))


def _read_first(run: ClusterRun, start: Start, one: Copied, whole: bool) -> None:
    """All of it where it is short enough, else its end: the newest lines are what a look needs."""
    ways: list[dict[str, int]] = [{"max_bytes": MOST_BYTES if whole else LOOK_BYTES}]
    ways += [{"tail_lines": tail, "max_bytes": TAIL_READ_BYTES} for tail in TAILS]
    for way in ways:
        try:
            _write(one, _lines(run, start, **way))
            return
        except TooLong:
            one.complete, one.last, one.at_last = False, "", 0
    # Lines of megabytes: all must be read to come to the last ones, and few are kept.
    _write(one, iter(deque(_lines(run, start, tail_lines=TAILS[-1]), TAILS[-1])))


def _lines(run: ClusterRun, start: Start, **bounds: Any) -> Iterator[LogLine]:
    return run.log_lines(start.pod, previous=start.previous, timeout_s=LOG_S, **bounds)


def _read_on(run: ClusterRun, start: Start, one: Copied) -> None:
    """What came since. The API takes whole seconds, so some lines come again and are left out."""
    before, at_before, again = one.last, one.at_last, 0
    with one.path.open("ab") as file:
        for line in _lines(run, start, since_time=f"{before[:19]}Z" if before else None):
            if line.time < before:
                continue
            if line.time == before and (again := again + 1) <= at_before:
                continue
            _put(file, one, line)
    if one.path.stat().st_size > MOST_BYTES:
        _shorten(one)
    _touch(one)


def _write(one: Copied, lines: Iterator[LogLine]) -> None:
    with one.path.open("wb") as file:
        for line in lines:
            _put(file, one, line)
    _touch(one)


def _put(file: IO[bytes], one: Copied, line: LogLine) -> None:
    """A progress bar draws many times in one line: each gets the line's time."""
    one.at_last = one.at_last + 1 if line.time == one.last else 1
    one.last = line.time or one.last
    stamp = line.time.encode() + b" " if line.time else b""
    for piece in line.raw.split(b"\r"):
        if piece.strip():
            file.write(stamp + piece + b"\n")


def _touch(one: Copied) -> None:
    """The file is as old as its last line."""
    if one.last and (time := seconds_of(one.last)) is not None:
        os.utime(one.path, (time, time))


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        shutil.copy2(path, to)


def _shorten(one: Copied) -> None:
    with one.path.open("rb") as file:
        file.seek(-KEPT_BYTES, os.SEEK_END)
        kept = file.read().partition(b"\n")[2]
    one.path.write_bytes(kept)
    one.complete = False


def _split(path: Path, logs: Path, bounds: list[tuple[float, int]]) -> None:
    at, file = -1, None
    try:
        with path.open("rb") as lines:
            while line := lines.readline(1 << 20):
                time = seconds_of(line[:64].split(b" ", 1)[0].decode("ascii", "replace"))
                while time is not None and at + 1 < len(bounds) and (at < 0 or time >= bounds[at + 1][0]):
                    at += 1
                    if file is not None:
                        file.close()
                    file = (logs / f"attempt-{bounds[at][1]:04d}.log").open("ab")
                if file is not None:
                    file.write(line)
    finally:
        if file is not None:
            file.close()
    mtime = path.stat().st_mtime
    for each in logs.iterdir():
        os.utime(each, (mtime, mtime))
