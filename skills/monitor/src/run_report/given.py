"""The metrics that the script gives beyond those which the monitor knows: a plot for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
from run_folder.lines import Tally, all_lines, decoded
from run_folder.records import StepLine
from run_report.plots import Point, Series, Thinner, plot
from trainyard_shell import clean

if TYPE_CHECKING:
    from pathlib import Path

    from goodput.history import History

KNOWN = {*StepLine.__struct_fields__, "epoch"}
MOST_PLOTS = 8
MOST_PIECES = 200
LINE = msgspec.json.Decoder(dict[str, Any])


def given_plots(path: Path, history: History) -> str:
    """Of the numbers beside the known ones in steps.jsonl, the first MOST_PLOTS names; steps that were done again are drawn again."""
    low, high = min(history.steps.step, default=0), max(history.steps.step, default=0)
    pieces: dict[str, list[Thinner]] = {}
    latest: dict[str, int] = {}
    tally = Tally("steps.jsonl")
    for line in decoded(all_lines(path / "steps.jsonl", tally), LINE, tally):
        step = line.get("step")
        if not isinstance(step, int) or not low <= step <= high:
            continue
        for name, value in line.items():
            if name in KNOWN or not _is_number(value) or (name not in pieces and len(pieces) == MOST_PLOTS):
                continue
            drawn = pieces.setdefault(name, [])
            if not drawn or step <= latest[name]:
                drawn.append(Thinner(low, high))
                del drawn[:-MOST_PIECES]
            drawn[-1].add((step, float(value)))
            latest[name] = step
    return "".join(_plot(name, [piece.points() for piece in drawn]) for name, drawn in pieces.items())


def _plot(name: str, lines: list[list[Point]]) -> str:
    shown = clean(name, 40)
    return plot(shown, [Series(shown, "train", lines)], x_name="step", y_name="")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
