"""The figures of a whole log in compact columns: a million points take about 70 MB, as objects ten times as much."""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from log_formats.values import METRICS, Point
from run_folder.records import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

BITS = {name: 1 << bit for bit, name in enumerate(METRICS)}
MAX_RESTARTS_TOLD = 20


@dataclass(frozen=True)
class Restart:
    """A place where the step goes back (or the epoch, in a log without steps)."""

    row: int
    from_step: int
    to_step: int


class LogTable:
    """Row i is the i-th training line; evaluations stand in columns of their own."""

    def __init__(self) -> None:
        self.step: array[int] = array("q")
        self.time: array[float] = array("d")
        self.present = bytearray()
        """Which of METRICS a row tells: a loss that is NaN is told, a loss that is missing is not."""
        self.columns: dict[str, array[float]] = {}
        self.step_s: array[float] = array("d")
        """Seconds that a step took as the line itself says; NaN where it does not."""
        self.eval_step: array[int] = array("q")
        self.eval_row: array[int] = array("q")
        self.eval_loss: array[float] = array("d")
        self.total: int | None = None
        self.eta_s: float | None = None
        """Seconds that are left, as the last training line says itself."""
        self.end: Point | None = None
        """What the line that ends the training said."""
        self.repeats = 0
        """Lines that tell a step again which the line before has told: another rank, a bar that was redrawn."""
        self.step_source = "log"
        """log, progress bar, or order: the log names no steps, and the points are numbered."""
        self.wall_times = True
        """False: `time` is what a progress bar counted, not wall time."""
        self._backs: list[int] = []
        self._bars: array[int] = array("q")
        self._life: int | None = None

    def __len__(self) -> int:
        return len(self.step)

    def add(self, point: Point) -> None:
        total = point.bar.total if point.bar else point.total
        self.total = total if total is not None else self.total
        if point.ends:
            self.end, self.eta_s = point, None
            return
        if point.trains:
            self.eta_s = point.bar.left_s if point.bar else point.eta_s
        if point.eval_loss is not None and not (point.trains and self._is_last_eval(point.eval_loss)):
            self.eval_step.append(-1 if point.step is None else point.step)
            self.eval_row.append(len(self.step) - 1 + point.trains)
            self.eval_loss.append(point.eval_loss)
        if point.trains and not self._repeats(point):
            self._append(point)

    def _is_last_eval(self, value: float) -> bool:
        """A progress bar shows the last evaluation on and on."""
        return len(self.eval_loss) > 0 and self.eval_loss[-1] == value

    def _repeats(self, point: Point) -> bool:
        """Fill the last row up if this is the same step again."""
        if point.step is None or not self.step or self.step[-1] < point.step or point.life != self._life:
            return False
        if self.step[-1] == point.step:
            told = [name for name in METRICS if getattr(point, name) is not None]
            new = [name for name in told if not self.present[-1] & BITS[name]]
            for name in told if point.redraws else new:
                self._set(name, getattr(point, name))
            self.repeats += not new and not point.redraws
            return True
        # Ranks without a prefix, one a line behind the other.
        if self.repeats and len(self.step) > 1 and point.step == self.step[-2]:
            self.repeats += 1
            return True
        return False

    def _append(self, point: Point) -> None:
        row = len(self.step)
        if row and self._goes_back(point):
            self._backs.append(row)
        self._life = point.life
        bar = point.bar
        elapsed_s = bar.elapsed_s if bar else point.elapsed_s
        time = point.time if point.time is not None else elapsed_s
        if point.time is None and elapsed_s is not None:
            self.wall_times = False
        self.step.append(-1 if point.step is None else point.step)
        self.time.append(math.nan if time is None else time)
        self.present.append(0)
        self.step_s.append(math.nan if point.step_s is None else point.step_s)
        self._bars.append(bar.at if bar else -1)
        for name in METRICS:
            if (value := getattr(point, name)) is not None:
                self._set(name, value)
            elif name in self.columns:
                self.columns[name].append(math.nan)

    def _goes_back(self, point: Point) -> bool:
        if point.step is not None:
            return point.step < self.step[-1] or (point.step == self.step[-1] and point.life != self._life)
        return point.epoch is not None and bool(self.present[-1] & BITS["epoch"]) and point.epoch < self.columns["epoch"][-1]

    def _set(self, name: str, value: float) -> None:
        """In the last row."""
        rows = len(self.step)
        if name not in self.columns:
            self.columns[name] = array("d", [math.nan]) * (rows - 1)
        column = self.columns[name]
        if len(column) < rows:
            column.append(value)
        else:
            column[-1] = value
        self.present[-1] |= BITS[name]

    def finish(self) -> None:
        """Give every row its step, and see whether the times are good for anything."""
        if len(self) and all(step < 0 for step in self.step):
            self._number()
        for index, step in enumerate(self.eval_step):
            if step < 0:
                row = self.eval_row[index]
                self.eval_step[index] = self.step[row] if 0 <= row < len(self) else 0
        missing = sum(math.isnan(value) for value in self.time)
        if missing * 10 > len(self):
            self.time, self.wall_times = array("d"), False

    def _number(self) -> None:
        """By the bars where each point but the last has its own, and they grow; else 1, 2, 3."""
        bars, backs = self._bars, set(self._backs)
        grows = all(bars[row] > bars[row - 1] or row in backs for row in range(1, len(bars) - 1))
        if len(bars) > 1 and bars[0] > 0 and all(bar > 0 for bar in bars[:-1]) and grows:
            self.step_source, self.step = "progress bar", bars
            if bars[-1] <= bars[-2] and len(bars) - 1 not in backs:  # cut off before its bar was drawn
                bars[-1] = 2 * bars[-2] - bars[-3] if len(bars) > 2 else 2 * bars[-2]
            return
        self.step_source, self.total = "order", None
        self.step = array("q", range(1, len(self) + 1))

    # --- what is asked of it --------------------------------------------------------------------------------------

    @property
    def has_times(self) -> bool:
        """Wall times, so that lines can be placed in the history of the run."""
        return len(self.time) > 0 and self.wall_times

    @property
    def restarts(self) -> list[Restart]:
        return [Restart(row, self.step[row - 1], self.step[row]) for row in self._backs]

    def value(self, name: str, row: int) -> float | None:
        return self.columns[name][row] if self.present[row] & BITS[name] else None

    def values(self, name: str) -> Iterator[tuple[int, float]]:
        """(row, value) of the rows that tell this metric."""
        bit, column = BITS[name], self.columns.get(name)
        if column is not None:
            yield from ((row, column[row]) for row in range(len(column)) if self.present[row] & bit)

    def gaps_s(self) -> list[float]:
        """Seconds between one training line and the next, restarts left out."""
        backs = set(self._backs)
        pairs = ((self.time[row] - self.time[row - 1], row) for row in range(1, len(self.time)))
        return [gap for gap, row in pairs if gap > 0 and row not in backs]

    @property
    def median_gap_s(self) -> float | None:
        gaps = self.gaps_s()
        return statistics.median(gaps) if gaps else None

    @property
    def median_step_s(self) -> float | None:
        """Seconds a step, between neighbouring lines; None where the log tells no times or no steps."""
        if self.step_source == "order":
            return None
        pairs = range(max(1, len(self.time) - 1000), len(self.time))
        times = [
            (self.time[row] - self.time[row - 1]) / (self.step[row] - self.step[row - 1])
            for row in pairs
            if self.step[row] > self.step[row - 1] and self.time[row] > self.time[row - 1]
        ]
        told = [value for value in self.step_s[-1000:] if not math.isnan(value)]
        return statistics.median(times or told) if times or told else None

    def point(self, row: int) -> dict[str, Any]:
        """One row for people and programs; what no row tells is left out, what this row does not tell is null."""
        told: dict[str, Any] = {"step": self.step[row]}
        if self.has_times:
            told["time"] = shown(self.time[row])
        return told | {name: shown(self.value(name, row)) for name in METRICS if name in self.columns}
