"""Which network each process of a job uses, from the lines of all its logs; bounded, however long the logs are.

A process is `host:pid` as NCCL writes it. Its rank is the one that it has in the largest communicator that it joined, else the
one before its lines, else unknown. Of a rank that was started again, the newest process counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import trainyard_shell as shell
from hardware.net_lines import MARKS, NetLine, net_line
from log_reading.lines import LineCount, pieces, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_PROCESSES = 65_536
SHOWN_CHARS = 240
HARD = ("tcp", "infiniband")
"""What carries the traffic: it outweighs a provider that was selected before it. A plugin that failed once may have come up then."""


@dataclass
class Process:
    name: str
    order: int
    """Which of the processes was seen first: a later one of the same rank is its successor."""
    verdict: str = "silent"
    """efa | tcp | infiniband | no-plugin | unproven | silent"""
    told: str = ""
    nics: int | None = None
    rank: int | None = None
    ranks: int = 0
    """Size of the largest communicator that it joined."""
    evidence: dict[str, object] | None = None

    def hear(self, line: NetLine, evidence: dict[str, object]) -> None:
        if line.kind == "member":
            if (line.ranks or 0) > self.ranks:
                self.rank, self.ranks = line.rank, line.ranks or 0
            return
        if self.rank is None:
            self.rank = line.writer
        weight = ("silent", "unproven", "no-plugin", "efa", *HARD)
        if weight.index(line.kind) > weight.index(self.verdict):
            self.verdict, self.told, self.evidence = line.kind, line.told, evidence
        if line.nics is not None:
            self.nics = line.nics

    @property
    def host(self) -> str:
        return self.name.rpartition(":")[0] or self.name

    def data(self) -> dict[str, object]:
        return {
            "rank": self.rank,
            "process": self.name,
            "network": self.verdict,
            "told": self.told,
            "nics": self.nics,
            "evidence": self.evidence,
        }


@dataclass
class NetProof:
    """All processes that were seen. `read` a log, then another."""

    processes: dict[str, Process] = field(default_factory=dict)
    files: int = 0
    lines: int = 0
    nccl_lines: int = 0
    cpu_line: dict[str, object] | None = None
    """A line that names gloo as the job's backend."""

    def read(self, name: str, file: BinaryIO) -> None:
        """To the end; `name` stands in the evidence and, where a line names no process, for the process."""
        self.read_lines(name, pieces(file, LineCount(), growing=False))

    def read_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """The lines of one log, none of them longer than log_reading keeps."""
        number = 0
        for number, line in enumerate(lines, 1):
            if any(mark in line for mark in MARKS):
                self._line(name, number, text_of(line))
        self.files, self.lines = self.files + 1, self.lines + number

    def _line(self, name: str, number: int, text: str) -> None:
        self.nccl_lines += "NCCL" in text
        line = net_line(text)
        if line is None:
            return
        evidence: dict[str, object] = {"file": name, "line": number, "text": shell.clean(text.strip(), SHOWN_CHARS)}
        if line.kind == "cpu":
            self.cpu_line = self.cpu_line or evidence
            return
        whose = line.process or (f"rank {line.writer}" if line.writer is not None else name)
        if whose not in self.processes and len(self.processes) >= MAX_PROCESSES:
            return
        self.processes.setdefault(whose, Process(whose, len(self.processes))).hear(line, evidence)

    def newest(self) -> list[Process]:
        """One process for each rank, and those whose rank is not known; by rank."""
        by_rank: dict[object, Process] = {}
        for process in sorted(self.processes.values(), key=lambda each: each.order):
            by_rank[process.rank if process.rank is not None else process.name] = process
        return sorted(by_rank.values(), key=lambda each: (each.rank is None, each.rank or 0, each.name))

    def largest(self) -> int:
        """Ranks in the largest communicator; 0 where none was told."""
        return max((process.ranks for process in self.processes.values()), default=0)


def counted(ranks: list[int], most: int = 16) -> str:
    """Ranks as people write them: 3, 8-15, 40.

    >>> counted([3, 8, 9, 10, 11, 40])
    '3, 8-11, 40'
    """
    parts = [f"{first}" if first == last else f"{first}-{last}" for first, last in _spans(sorted(ranks))]
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more spans" if len(parts) > most else "")


def _spans(ranks: list[int]) -> Iterator[tuple[int, int]]:
    start = before = None
    for rank in ranks:
        if start is None or before is None or rank != before + 1:
            if start is not None and before is not None:
                yield start, before
            start = rank
        before = rank
    if start is not None and before is not None:
        yield start, before
