"""Under which names a log counts its steps and tells its loss: as most of its training lines do, not as the first one does.

nanoGPT begins with `step 0: train loss 4.2, val loss 4.3` and goes on with `iter 0: loss 4.2`; a script prints its epoch's mean loss
between the lines of its steps. Lines of another shape than the one that counts are no steps of the run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from log_formats.places import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from log_formats.figures import Line

BAR, EPOCH = "progress bar", "epoch"


class Shape(NamedTuple):
    step: str
    """The name of the step, or where it is taken from."""
    loss: str


def step_sources(line: Line) -> list[str]:
    """Best first. A step of an epoch whose number of epochs is told (`Epoch [1/3], Step [20/100]`) begins anew with each."""
    found = line.steps
    if line.place is not None:
        found = [SOURCE, *found] if line.place.epochs and not _counts_on(line) else [*found, SOURCE]
    if line.bar is not None and line.place is None:
        found = [*found, BAR]
    return [*found, EPOCH] if line.names("epoch") else found


def _counts_on(line: Line) -> bool:
    """A name says that the step counts over the whole training."""
    return any("global" in name or name in ("num_updates", "trainer/step") for name in line.steps)


def shape_of(line: Line) -> Shape | None:
    """Of a training line; None of an evaluation, or where no step can be taken from the line."""
    sources, losses = step_sources(line), line.names("loss")
    return Shape(sources[0], losses[0]) if sources and losses and not line.evaluates else None


def usual_shape(lines: Iterable[Line]) -> Shape | None:
    """An epoch is a step only where nothing else is, and a line with an evaluation counts only where all have one."""
    counted: Counter[tuple[bool, bool, Shape]] = Counter()
    for line in lines:
        if (shape := shape_of(line)) is not None:
            counted[shape.step != EPOCH, not line.names("eval_loss"), shape] += 1
    best = max(counted, key=lambda one: (one[0], one[1], counted[one]), default=None)
    return best[2] if best else None
