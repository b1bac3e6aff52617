"""The curves of the report: loss, step time, throughput."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from run_report.plots import Point, Series, plot, thin
from trainyard_shell import clean

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from goodput.history import History

CUT_OFF_FACTOR = 6
"""Step times above this many medians are cut off, or one stall would flatten the rest of the curve."""
MAX_UNDONE_LINES = 200


def curves(history: History) -> str:
    return loss_plot(history) + step_time_plot(history) + throughput_plot(history)


def loss_plot(history: History) -> str:
    steps = history.steps
    bad = [steps.step[row] for row, value in enumerate(steps.loss) if not math.isfinite(value)]
    note = f"Steps whose loss is no finite number: {len(bad)}; the first is step {bad[0]}." if bad else ""
    series = [
        Series("undone, then repeated", "undone", _undone(history)),
        Series("training", "train", _kept(history, steps.loss)),
        Series("validation", "val", _validation(history), dots=True),
    ]
    return plot("Loss", series, x_name="step", y_name="", note=note)


def step_time_plot(history: History) -> str:
    median = history.steps.median_step_s or 0.0
    cut = median * CUT_OFF_FACTOR or None
    above = sum(value > cut for value in history.steps.step_s) if cut else 0
    note = f"Cut off at {cut:.3g} s; steps that took longer: {above}." if above and cut else ""
    if history.log is not None and not history.log.has_times:
        return ""
    name = "Step time" if history.log is None else "Time between the log's lines"
    lines = _kept(history, history.steps.step_s)
    return plot(name, [Series(name.lower(), "train", lines)], x_name="step", y_name="seconds", note=note, y_max=cut)


def throughput_plot(history: History) -> str:
    lines = _kept(history, history.steps.tokens_per_s)
    unit = clean(history.log.throughput_unit, 60) if history.log else "tokens/s"
    y_name = unit if history.log else "tokens a second"
    if history.log and not lines:
        return ""
    return plot("Throughput", [Series(unit, "train", lines)], x_name="step", y_name=y_name)


def _span(history: History) -> tuple[float, float]:
    return min(history.steps.step, default=0), max(history.steps.step, default=0)


def _kept(history: History, column: array[float]) -> list[list[Point]]:
    line = kept_line(history, column)
    return [line] if line else []


def kept_line(history: History, column: array[float]) -> list[Point]:
    """Over the steps that count, thinned while it is read."""
    steps = history.steps

    def points() -> Iterator[Point]:
        for row in range(len(steps)):
            if not steps.undone[row] and math.isfinite(column[row]):
                yield steps.step[row], column[row]

    return thin(points(), *_span(history))


def _undone(history: History) -> list[list[Point]]:
    """One piece for each life that was partly undone."""
    steps, pieces = history.steps, []
    for life in history.lives:
        rows = [row for row in range(*life.rows) if steps.undone[row] and math.isfinite(steps.loss[row])]
        if rows:
            pieces.append(thin(((steps.step[row], steps.loss[row]) for row in rows), *_span(history)))
    return pieces[-MAX_UNDONE_LINES:]


def _validation(history: History) -> list[list[Point]]:
    line = validation_line(history)
    return [line] if line else []


def validation_line(history: History) -> list[Point]:
    steps = history.steps
    points = [(steps.step[row], value) for row, value in steps.val_loss if not steps.undone[row] and math.isfinite(value)]
    return thin(points, *_span(history))
