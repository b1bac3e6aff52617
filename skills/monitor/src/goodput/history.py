"""The history of a run: every step line in compact columns, and the lives (incarnations) that wrote them.

One million step lines take about 60 MB here, where as objects they would take ten times as much.
"""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from run_folder.lines import Tally, all_lines, decoded
from run_folder.records import EVENT, STEP, EventLine, StepLine, number
from run_view.observe import CLOCK_SLACK_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from goodput.from_logs import LogTold


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


def read_history(path: Path) -> History:
    """Stream both files once. Files that are not there are empty."""
    step_tally, event_tally = Tally("steps.jsonl"), Tally("events.jsonl")
    events = list(decoded(all_lines(path / "events.jsonl", event_tally), EVENT, event_tally))
    jumps = backwards(event.time for event in events)
    steps = StepTable()
    lives: dict[int, Life] = {}
    _read_steps(decoded(all_lines(path / "steps.jsonl", step_tally), STEP, step_tally), steps, lives)
    jumps += backwards(steps.time)
    for event in events:
        if event.incarnation is not None:
            _note(lives.setdefault(event.incarnation, Life(event.incarnation)), event)
    ordered = [lives[number] for number in sorted(lives)]
    _locate(ordered, events)
    mark_undone(steps, ordered)
    return History(steps, events, ordered, (step_tally, event_tally), jumps)


def backwards(times: Iterable[float]) -> int:
    jumps, before = 0, -math.inf
    for time in times:
        jumps += time < before - CLOCK_SLACK_S
        before = time
    return jumps


def _read_steps(lines: Iterator[StepLine], steps: StepTable, lives: dict[int, Life]) -> None:
    newest = 0
    for line in lines:
        # Incarnations only go up; a straggler's line stays with the life it stands in.
        if line.incarnation > newest:
            row = len(steps)
            _end_rows(steps, lives.get(newest), row)
            newest = line.incarnation
            lives[newest] = Life(newest, rows=(row, row), began=line.time - max(0.0, line.step_s))
        elif len(steps) and line.step == steps.step[-1]:  # told again with its evaluation: not done again
            steps.drop_last()
        steps.add(line)
    _end_rows(steps, lives.get(newest), len(steps))


def _end_rows(steps: StepTable, life: Life | None, end: int) -> None:
    if life is not None:
        life.rows = (life.rows[0], end)
        life.last_sign = max(steps.time[life.rows[0] : end])


def _note(life: Life, event: EventLine) -> None:
    """Enter what a trainer's event tells about its life."""
    if event.type == "start":
        life.attempt = event.attempt
        life.began = min(life.began, event.process_started or event.time)
    elif event.type == "restored":
        life.restored, life.restored_step = event.time, event.step
        life.restore_began = event.time - max(0.0, event.seconds or 0.0)
    elif event.type == "training":
        life.training = event.time
    elif event.type == "closed":
        life.closed, life.finished = event.time, event.finished
    life.began = min(life.began, event.time)
    life.last_sign = max(life.last_sign, event.time)


def _locate(lives: list[Life], events: list[EventLine]) -> None:
    """A life whose `start` names no attempt belongs to the last attempt begun before it; one without rows has an empty range."""
    row = 0
    for life in lives:
        life.rows = life.rows if life.rows[1] else (row, row)
        row = life.rows[1]
        if life.attempt is None:
            before = [event.attempt for event in events if event.type == "attempt" and event.time <= life.began]
            life.attempt = before[-1] if before else None


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
