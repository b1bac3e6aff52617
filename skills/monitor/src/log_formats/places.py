"""Where in the epochs a line stands: `Epoch: [1][ 20/500]`, `| epoch 2 | 200/2983 batches |`, `Epoch [1/3], Step [20/100]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from log_formats.values import Bar

SOURCE = "place in the epoch, counted over the epochs"
WORD = r"(?P<word>\bepochs?(?:\(train\))?|\bTrain(?=: {0,4}\d{1,9} \[))(?P<sign>[ :=]{0,4})(?P<open>\[?)"
EPOCH = WORD + r" {0,4}(?P<epoch>\d{1,9}+)(?: ?/ ?(?P<epochs>\d{1,9}+))?+\]?"
"""Possessive: of `Epoch 99/100` without a place in it, 9 is no epoch and 9/100 no place."""
BETWEEN = r"[ ,|:\t\[-]{0,8}(?:(?:steps?|iter(?:ation)?s?|batch(?:es)?)[ :=]{0,4})?\[?(?:batch=)?"
PLACE = re.compile(EPOCH + BETWEEN + r" {0,12}(?P<at>\d{1,12}) {0,4}/ {0,12}(?P<of>\d{1,12})(?![\d/.])", re.IGNORECASE)
# mmengine's loop over iterations has no epochs: Iter(train) [  50/80000].
ITERATION = re.compile(r"\bIter(?:ation)?(?:\(train\))? {0,4}\[ {0,12}(?P<at>\d{1,12})/ {0,12}(?P<of>\d{1,12})\]")
OWN_BATCHES = re.compile(r"\[ {0,12}(?P<at>\d{1,12})/ {0,12}(?P<of>\d{1,12})\]")
"""Test: [ 20/100]: a place that belongs to no epoch, the one of an evaluation in its own batches."""
BAR_EPOCH = re.compile(EPOCH + r"\W{0,8}$", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    epoch: int | None
    """None: the line counts over the whole training."""
    at: int
    of: int
    epochs: int | None = None
    from_zero: bool = False
    """The trainers that spell it like this call their first epoch 0."""

    def step(self, first_epoch: int) -> int:
        return self.at if self.epoch is None else max(0, self.epoch - first_epoch) * self.of + self.at

    @property
    def total(self) -> int | None:
        if self.epoch is None:
            return self.of
        return self.epochs * self.of if self.epochs else None


def place_of(text: str) -> Place | None:
    found = PLACE.search(text) if "poch" in text or "Train: " in text or "POCH" in text else None
    if found:
        # Epoch: [0][ 20/500] of pytorch/examples and torchvision, Train: 0 [ 20/500] of timm; mmcv's Epoch [1][20/500] begins at 1.
        from_zero = found["word"] == "Train" or bool(":" in found["sign"] and found["open"] and not found["epochs"])
        return Place(int(found["epoch"]), int(found["at"]), int(found["of"]), _whole(found["epochs"]), from_zero)
    found = ITERATION.search(text) if "Iter" in text else None
    return Place(None, int(found["at"]), int(found["of"])) if found else None


def place_of_bar(bar: Bar) -> Place | None:
    """`Train step of epoch 0:  10%|...| 10/100 [...]`: a bar of one epoch."""
    found = BAR_EPOCH.search(bar.before[-80:]) if "poch" in bar.before[-80:] else None
    if not found:
        return None
    from_zero = "step of epoch" in bar.before[-80:] and not found["epochs"]  # OpenRLHF
    return Place(int(found["epoch"]), bar.at, bar.total, _whole(found["epochs"]), from_zero)


def _whole(text: str | None) -> int | None:
    return int(text) if text else None
