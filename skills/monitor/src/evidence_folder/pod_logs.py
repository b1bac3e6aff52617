"""The logs of a run's containers, this start's and the one before, several pods side by side: head and tail of each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import trainyard_shell as shell
from cluster_run.logs import LogLine
from cluster_run.run import ClusterRun, RunContainer, RunPod
from evidence_folder.asking import Asking
from evidence_folder.cutting import Cut, Stream, whole_lines
from evidence_folder.limits import MIB
from evidence_folder.writing import EvidenceFolder

AT_ONCE = 8
SHARE = 0.9
"""Of the room that is left, for all logs; each gets as much as any other."""
LEAST_BYTES = 64 << 10
READ_THROUGH = 4
"""A log up to so many times its limit is read whole; of a longer one the end is asked for, so that a gigabyte is not sent."""
ONE_LOG_S = 120.0
EMPTY = "the log is empty: its container printed nothing, or the node began a new file just now (it does at 10 MiB, and gives out the newest alone)"


@dataclass(frozen=True)
class Wanted:
    pod: RunPod
    container: RunContainer
    previous: bool

    @property
    def name(self) -> str:
        return f"pods/{self.pod.name}/{self.container.name}{'.previous' if self.previous else ''}.log"


def collect_logs(run: ClusterRun, asking: Asking, folder: EvidenceFolder) -> None:
    wanted = [*_wanted(run)]
    if not wanted:
        return
    room = max(0, folder.limits.total_bytes - folder.size_bytes - MIB)
    limit_bytes = min(folder.limits.file_bytes, max(LEAST_BYTES, int(room * SHARE) // len(wanted)))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda each: _collect(run, asking, folder, each, limit_bytes), wanted):
            pass


def _wanted(run: ClusterRun) -> Iterator[Wanted]:
    """Containers that train come first: should the room end, the others are missing."""
    rows = [
        Wanted(pod, container, previous)
        for pod in run.pods
        for container in pod.containers
        for previous in (False, True)
        if (container.restarts > 0 if previous else container.has_log)
    ]
    return iter(sorted(rows, key=lambda each: each.container.name != each.pod.main))


def _collect(run: ClusterRun, asking: Asking, folder: EvidenceFolder, wanted: Wanted, limit_bytes: int) -> None:
    cut = asking.ask(wanted.name, lambda: _read(run, folder, wanted, limit_bytes))
    if cut is None:
        return
    if not cut.head and not cut.tail:
        folder.leave_out(wanted.name, EMPTY)
    folder.text(wanted.name, cut)


def _read(run: ClusterRun, folder: EvidenceFolder, wanted: Wanted, limit_bytes: int) -> Cut:
    """Raises SkillError where not even its beginning could be read; a log that breaks off is kept as far as it came."""
    stream, most = Stream(limit_bytes), READ_THROUGH * limit_bytes
    lines = 0
    try:
        for line in _lines(run, folder, wanted):
            stream.take(_line(line))
            lines += 1
            if stream.seen > most:
                return _with_end(run, folder, wanted, stream, limit_bytes, lines)
    except shell.SkillError as error:
        if not lines:
            raise
        folder.leave_out(f"{wanted.name}: what comes after {stream.seen} bytes", str(error))
    return stream.cut()


def _with_end(run: ClusterRun, folder: EvidenceFolder, wanted: Wanted, stream: Stream, limit_bytes: int, lines: int) -> Cut:
    """The head that was read, and the last lines of the log. How much is between them is not known: at least what was read."""
    half = limit_bytes // 2
    head = stream.cut().head
    end = Stream(2 * half)
    try:
        for line in _lines(run, folder, wanted, tail_lines=max(1, lines * half // stream.seen)):
            end.take(_line(line))
            if end.seen > READ_THROUGH * limit_bytes:
                folder.leave_out(
                    f"{wanted.name}: its end", "its last lines are longer than its first, or it grows faster than it is read"
                )
                break
    except shell.SkillError as error:
        folder.leave_out(f"{wanted.name}: its end", str(error))
    last = end.cut()
    tail = (
        whole_lines(Cut(b"", 0, (last.head + last.tail)[-half:])).tail if last.missing or len(last.head) > half else last.head
    )
    return replace(whole_lines(Cut(head, max(1, stream.seen - len(head) - len(tail)), b"")), tail=tail, at_least=True)


def _lines(run: ClusterRun, folder: EvidenceFolder, wanted: Wanted, tail_lines: int | None = None) -> Iterator[LogLine]:
    timeout_s = max(1.0, min(ONE_LOG_S, folder.limits.left_s))
    return run.log_lines(wanted.pod, wanted.container.name, wanted.previous, tail_lines=tail_lines, timeout_s=timeout_s)


def _line(line: LogLine) -> bytes:
    """As kubectl logs --timestamps has it: which rank failed first is seen by the times."""
    return (line.time.encode() + b" " if line.time else b"") + line.raw + b"\n"
