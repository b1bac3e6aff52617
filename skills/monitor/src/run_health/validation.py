"""A validation loss that rises for long: the model has learned what it will, and now learns its training data by heart, or comes apart.

Judged from the best evaluation on, by Mann and Kendall's test for a trend: a loss that only wobbles on its plateau rises as often as
it falls.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from run_folder.lines import Tally, decoded, tail_lines
from run_folder.records import STEP, finite
from trainyard_shell import Check
import itertools

if TYPE_CHECKING:
    from run_folder.records import StepLine
    from run_view.observe import Observation

READ_BYTES = 8 << 20
"""Of the end of steps.jsonl: 40 evaluations, were there one every 1,000 steps."""
MOST = 400
LEAST = 8
"""Evaluations after the best one."""
SURE_Z = 3.3
"""One in 2,000 for a loss without a trend; a run is looked at after every evaluation."""
RISE = 0.01
"""Of the best loss: what is less is not worth a word."""
NOISE = 3.0
"""Times the usual change from one evaluation to the next."""


def validation_check(view: Observation) -> Check:
    name, points = "validation.rising", evaluations(view)
    values = [value for _, value in points]
    if len(points) < 2:
        return Check(name, "skipped", "fewer than two validation losses were written")
    best = min(range(len(values)), key=lambda at: values[at])
    evidence = f"{len(points)} evaluations, the best {values[best]:.4g} at step {points[best][0]}"
    if not rises(values[best:]):
        return Check(name, "pass", f"validation loss {values[-1]:.4g} at step {points[-1][0]}", evidence)
    text = (
        f"the validation loss has risen for {len(values) - best - 1} evaluations, from {values[best]:.4g} to {values[-1]:.4g}"
    )
    fix = f"the checkpoint of step {points[best][0]} (`best`, where it was kept) is the one to take; a lower learning rate, more data, or an earlier end"
    return Check(name, "warn", text, evidence, fix)


def evaluations(view: Observation) -> list[tuple[int, float]]:
    """(step, validation loss), as far back as is read; of a step that was done again the last one. NaN is `loss.finite`'s matter."""
    steps = view.steps if view.log is not None else _told(view)
    found = {line.step: value for line in steps if (value := finite(line.val_loss)) is not None}
    return sorted(found.items())[-MOST:]


def _told(view: Observation) -> list[StepLine]:
    lines = [line for line in tail_lines(view.path / "steps.jsonl", READ_BYTES, Tally("")) if b'"val_loss"' in line]
    return list(decoded(lines, STEP, Tally("")))


def rises(values: list[float]) -> bool:
    """`values`: the best one and what came after it."""
    best, after = values[0], values[1:]
    count = len(after)
    if count < LEAST:
        return False
    pairs = sum((b > a) - (b < a) for at, a in enumerate(after) for b in after[at + 1 :])
    z = (pairs - 1) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    usual = statistics.median(abs(b - a) for a, b in itertools.pairwise(after))
    rise = statistics.median(after[-3:]) - best
    return z >= SURE_Z and rise >= max(RISE * abs(best), NOISE * usual)
