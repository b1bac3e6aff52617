"""No trainer's own format: any line with a step (or epoch) and a loss.

`step=10 loss=2.3`, `iter 10: loss 2.3`, `Epoch: [0][ 7/20] Loss 2.3`, tqdm with `loss=`, a CSV with a header, JSON lines.
"""

from __future__ import annotations

import re

from log_formats.base import Format, told
from log_formats.columns import Csv, kind_of
from log_formats.values import NUMBER, Point, bar_of, whole

# One key of one or two words, a separator, a number. The possessive quantifier keeps a long word from being tried again from each of
# its letters.
PAIR = re.compile(
    r"(?<![\w/.@-])(?P<key>[A-Za-z_][\w/.@-]{0,60}+(?: (?:loss|rate|norm|step|reward|per s(?:ec(?:ond)?)?))?)"
    r"[\"']?(?: ?\([^)]{0,20}\))?(?: {0,4}[=:]\s{0,12}|\s{1,12})[\"']?"
    rf"(?P<value>{NUMBER})(?![A-Za-z0-9_]|\.\d)(?: ?/ {{0,12}}(?P<of>\d{{1,15}}))?",
    re.IGNORECASE,
)
EPOCH_AND_BATCH = re.compile(r"Epoch:? {0,4}\[(\d{1,9})\] {0,4}\[ {0,12}(\d{1,12})/ {0,12}(\d{1,12})\]")
"""`Epoch: [0][ 7/20]` of pytorch/examples' imagenet, `Epoch: [0]  [ 70/200]` of torchvision's references."""


class KeyValue(Format):
    """A line with a step (or epoch) and a loss, however it spells the two; a tqdm bar with a loss behind its rate."""

    name = "key-value"

    def __init__(self) -> None:
        super().__init__()
        self._table = Csv(self.fields)
        self._from_evaluation: set[str] = set()
        self._step: int | None = None

    def parse(self, text: str) -> Point | None:
        if (point := self._table.parse(text)) is not None:
            return point
        if "oss" not in text and "OSS" not in text:
            return None
        point = Point()
        pairs = [
            (kind, key.lower(), value, of)
            for key, value, of in PAIR.findall(text)
            if (kind := kind_of(key.lower())) is not None
        ]
        is_evaluation = any(kind == "eval_loss" for kind, *_ in pairs)
        for pair in pairs:
            self._enter(point, *pair, is_evaluation=is_evaluation)
        if point.loss is None and point.eval_loss is None:
            return None
        bar = bar_of(text)
        if point.step is None and bar and self.fields.take("step", "progress bar"):
            point.step, point.total, point.elapsed_s, point.redraws = bar.at, bar.total, bar.elapsed_s, True
        place = EPOCH_AND_BATCH.search(text) if point.step is None else None
        if place and self.fields.take("step", "batches, counted over the epochs"):
            epoch, at, of = (int(value) for value in place.groups())
            point.step, point.epoch = epoch * of + at, float(epoch)
        if point.step is None and point.epoch is not None and point.epoch % 1 == 0 and self.fields.take("step", "epoch"):
            point.step = int(point.epoch)
        return told(point) if point.step is not None else None

    def _enter(self, point: Point, kind: str, name: str, value: str, of: str, *, is_evaluation: bool) -> None:
        if kind == "step":
            if point.step is None and (step := whole(value)) is not None and self._takes_step(name, step, is_evaluation):
                point.step, point.total = step, int(of) if of else None
        elif getattr(point, kind) is None and self._takes(kind, name, is_evaluation):
            setattr(point, kind, float(value.replace(",", "")))
            if kind == "throughput":
                self.fields.units.setdefault(kind, name)

    def _takes_step(self, name: str, step: int, is_evaluation: bool) -> bool:
        """An evaluation may count under a name of its own: it is placed where it stands among the steps, else it is not a step."""
        if self._takes("step", name, is_evaluation):
            self._step = step
            return True
        return is_evaluation and self._step is not None and abs(step - self._step) <= 1

    def _takes(self, kind: str, name: str, is_evaluation: bool) -> bool:
        """The names of the training's own lines count. nanoGPT begins with `step 0: train loss 4.2, val loss 4.3`, and goes on with
        `iter 0: loss 4.2`: with the names of the first line, the run would stand still until the next evaluation."""
        if is_evaluation and kind not in self.fields.of:
            self._from_evaluation.add(kind)
        elif not is_evaluation and kind in self._from_evaluation:
            self._from_evaluation.discard(kind)
            self.fields.of[kind] = name
        return self.fields.take(kind, name)
