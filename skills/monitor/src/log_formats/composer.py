"""Composer (MosaicML): `[epoch=1][batch=10/500]:` or `[batch=10/4800]:`, and a figure a line below it.

As its loggers/console_logger.py prints them: `\t Train loss/train/total: 2.3451`, `\t Eval metrics/eval/LanguageCrossEntropy: 2.5`.
"""

from __future__ import annotations

import re
from typing import ClassVar

from log_formats.base import NAMES, Format, fill, told
from log_formats.columns import kind_of
from log_formats.values import Point

HEAD = re.compile(r"(?:\[epoch=(?P<epoch>\d{1,9})\])?\[batch=(?P<at>\d{1,15})(?:/(?P<of>\d{1,15}))?\]:?$")
FIGURE = re.compile(r"\s(?P<what>Train|Eval) (?P<name>[\w/.@-]{1,120}): (?P<value>\S{1,60})$")
TRAIN: dict[str, tuple[str, ...]] = {
    **NAMES,
    "loss": ("loss/train/total", "loss/train"),
    "throughput": ("throughput/tokens_per_sec", "throughput/samples_per_sec"),
}
EVALUATIONS = re.compile(r"(?:metrics|loss)/\S{0,80}(?:CrossEntropy|[Ll]oss)$|loss/eval\S{0,40}$")


class Composer(Format):
    """The figures of a block belong to the batch in its first line; batches of an epoch are counted over the epochs."""

    name = "composer"
    UNITS: ClassVar = {"throughput/tokens_per_sec": "tokens/s", "throughput/samples_per_sec": "samples/s"}

    def __init__(self) -> None:
        super().__init__()
        self._head: Point | None = None

    def parse(self, text: str) -> Point | None:
        if "[batch=" in text and (head := HEAD.search(text)):
            self._head = self._of_head(head)
            return None
        found = FIGURE.search(text) if "Train " in text or "Eval " in text else None
        if found is None or self._head is None:
            return None
        point = Point(step=self._head.step, total=self._head.total, epoch=self._head.epoch)
        name, values = found["name"], {found["name"]: found["value"]}
        if found["what"] == "Eval":
            fill(point, values, {"eval_loss": (name,)} if EVALUATIONS.match(name) else {}, self.fields)
            return point if point.eval_loss is not None else None
        fill(point, values, TRAIN | {"lr": (name,)} if kind_of(name) == "lr" else TRAIN, self.fields)
        if point.throughput is not None:
            self.fields.units["throughput"] = self.UNITS[name]
        return told(point)

    def _of_head(self, head: re.Match[str]) -> Point:
        at, of = int(head["at"]), int(head["of"]) if head["of"] else None
        if head["epoch"] is None:
            self.fields.take("step", "batch")
            return Point(step=at, total=of)
        self.fields.take("step", "batches, counted over the epochs")
        return Point(step=(int(head["epoch"]) - 1) * (of or 0) + at, epoch=float(head["epoch"]))
