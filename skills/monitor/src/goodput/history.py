"""The history of a run: every step line in compact columns, and the lives (incarnations) that wrote them.

from_records reads it from a trainer's records, from_logs from the logs of its attempts.

One million step lines take about 60 MB here, where as objects they would take ten times as much.
"""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from run_folder.records import number
from run_view.observe import CLOCK_SLACK_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from run_folder.lines import Tally
    from run_folder.records import EventLine, StepLine


@dataclass
class StepTable:
    """Columns of steps.jsonl in file order; row i is line i."""

    step: array[int] = field(default_factory=lambda: array("q"))
    time: array[float] = field(default_factory=lambda: array("d"))
    step_s: array[float] = field(default_factory=lambda: array("d"))
    blocked_s: array[float] = field(default_factory=lambda: array("d"))
    loss: array[float] = field(default_factory=lambda: array("d"))
    tokens_per_s: array[float] = field(default_factory=lambda: array("d"))
    val_loss: list[tuple[int, float]] = field(default_factory=list)
    """(row, value) of the rows that have one."""
    undone: bytearray = field(default_factory=bytearray)
    """1 where a later life went on from an older step: this row's work was, or will be, executed again."""

    def add(self, line: StepLine) -> None:
        self.step.append(line.step)
        self.time.append(line.time)
        self.step_s.append(max(0.0, line.step_s))
        self.blocked_s.append(max(0.0, line.blocked_s))
        self.loss.append(number(line.loss))
        self.tokens_per_s.append(number(line.tokens_per_s))
        if line.val_loss is not None:
            self.val_loss.append((len(self.step) - 1, number(line.val_loss)))

    def drop_last(self) -> None:
        for column in (self.step, self.time, self.step_s, self.blocked_s, self.loss, self.tokens_per_s):
            column.pop()
        if self.val_loss and self.val_loss[-1][0] == len(self.step):
            self.val_loss.pop()

    def __len__(self) -> int:
        return len(self.step)

    @property
    def median_step_s(self) -> float | None:
        times = [value for value in self.step_s if value > 0]
        return statistics.median(times) if times else None

    @property
    def repeated(self) -> int:
        """Lines whose step had been written before: steps executed again."""
        return len(self) - len(set(self.step))


@dataclass
class Life:
    """One incarnation of the training script, as far as its records tell; times are wall times."""

    incarnation: int
    rows: tuple[int, int] = (0, 0)
    """Half-open range of its lines in the StepTable."""
    attempt: int | None = None
    began: float = math.inf
    """Start of the process; where that is not told, its first record."""
    restore_began: float | None = None
    restored: float | None = None
    restored_step: int | None = None
    training: float | None = None
    closed: float | None = None
    finished: bool | None = None
    last_sign: float = -math.inf
    """Its last record."""

    @property
    def trained(self) -> bool:
        return self.training is not None or self.rows[1] > self.rows[0]


@dataclass(frozen=True)
class LogTold:
    """What the report says about where its figures come from."""

    format: str | None
    throughput_unit: str
    has_times: bool
    notes: tuple[str, ...]
    """About the log."""


@dataclass
class History:
    steps: StepTable
    events: list[EventLine]
    lives: list[Life]
    tallies: tuple[Tally, Tally]
    clock_jumps: int
    """Places where the records' time goes backwards."""
    log: LogTold | None = None
    """Where steps and lives come from, if not from records of the trainer."""
    log_total_steps: int | None = None

    @property
    def begin(self) -> float | None:
        """First sign of the run; None when there is none."""
        times = [event.time for event in self.events] + [life.began for life in self.lives]
        return min(times, default=None)

    @property
    def last_sign(self) -> float | None:
        return max([event.time for event in self.events] + [life.last_sign for life in self.lives], default=None)

    @property
    def total_steps(self) -> int | None:
        return next((event.total_steps for event in reversed(self.events) if event.total_steps), self.log_total_steps)

    def of_type(self, *types: str) -> list[EventLine]:
        return [event for event in self.events if event.type in types]

    def starts(self) -> int:
        """Starts of the script, those that died before they took the lock included: each attempt counts at least once."""
        attempts = {event.attempt for event in self.of_type("attempt")}
        return len(self.lives) + len(attempts - {life.attempt for life in self.lives})


def backwards(times: Iterable[float]) -> int:
    jumps, before = 0, -math.inf
    for time in times:
        jumps += time < before - CLOCK_SLACK_S
        before = time
    return jumps


def mark_undone(steps: StepTable, lives: list[Life]) -> None:
    """Backwards: a row is undone when a later life restored a step before it, or a later row has its step or an older one."""
    steps.undone = bytearray(len(steps))
    least = math.inf
    for life in reversed(lives):
        for row in range(life.rows[1] - 1, life.rows[0] - 1, -1):
            step = steps.step[row]
            if step >= least:
                steps.undone[row] = 1
            else:
                least = step
        if life.restored_step is not None:
            least = min(least, life.restored_step + 1)
