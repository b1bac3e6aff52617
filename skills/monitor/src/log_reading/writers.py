"""Several ranks or pods in one log: the lines of one of them are the run's figures, the others repeat them.

The writer that counts is the lowest one among the first lines: rank 0, the master pod. A writer that appears only later, while the
one that counts has fallen silent, is its successor (a pod that was started again under another name).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from log_reading.lines import writer_order

if TYPE_CHECKING:
    from log_formats.values import Point

DECIDE_AFTER_LINES = 256
SUCCESSOR_LINES, SUCCESSOR_LINES_AT_END = 64, 3


class OneWriter:
    """`put` a line's point with its writer, get the points that count, in order; `rest` at the end."""

    def __init__(self) -> None:
        self.chosen: str | None = None
        self.others: set[str] = set()
        self.ignored_lines = 0
        self._are_numbers = False
        """What stands in front of the lines are their numbers: no two are alike."""
        self._early: list[tuple[Point, str | None]] | None = []
        self._waiting: list[tuple[Point, str]] = []
        """Lines of possible successors since the chosen writer's last one."""

    def put(self, point: Point, writer: str | None) -> list[Point]:
        writer = None if self._are_numbers else writer
        if self._early is not None:
            self._early.append((point, writer))
            return self._decide() if len(self._early) >= DECIDE_AFTER_LINES else []
        if writer == self.chosen:
            self._waiting.clear()
            return [point]
        self.ignored_lines += 1
        if writer is None or writer in self.others:
            return []
        self._waiting.append((point, writer))
        return self._succeed() if len(self._waiting) >= SUCCESSOR_LINES else []

    def rest(self) -> list[Point]:
        points = self._decide() if self._early is not None else []
        return points + (self._succeed() if len(self._waiting) >= SUCCESSOR_LINES_AT_END else [])

    def _decide(self) -> list[Point]:
        early, self._early = self._early or [], None
        tasks = [writer for _, writer in early if writer is not None and writer.startswith("task ")]
        if len(tasks) > 1 and len(set(tasks)) == len(tasks) and tasks == sorted(tasks, key=writer_order):
            self._are_numbers, early = True, [(point, None) for point, _ in early]
        named = {writer for _, writer in early if writer is not None}
        if named and sum(writer is not None for _, writer in early) * 2 >= len(early):
            self.chosen = min(named, key=writer_order)
        self.others = named - {self.chosen or ""}
        points = [point for point, writer in early if writer == self.chosen]
        self.ignored_lines += len(early) - len(points)
        return points

    def _succeed(self) -> list[Point]:
        self.chosen = min({writer for _, writer in self._waiting}, key=writer_order)
        self.others |= {writer for _, writer in self._waiting} - {self.chosen}
        points = [point for point, writer in self._waiting if writer == self.chosen]
        self._waiting.clear()
        self.ignored_lines -= len(points)
        return points
