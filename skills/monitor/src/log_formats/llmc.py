"""llm.c's main.log: `s:250 trl:6.4001 lr:0.000214 norm:1.30`, and `s:250 tel:6.1710` of a validation.

As logger_log_train and logger_log_val of its llmc/logger.h write it; the file names no number of steps.
"""

from __future__ import annotations

import re

from log_formats.base import Format
from log_formats.values import Point, number

LINE = re.compile(
    r"s:(?P<step>\d{1,15}) (?:trl:(?P<loss>\S{1,40}) lr:(?P<lr>\S{1,40}) norm:(?P<norm>\S{1,40})|tel:(?P<val>\S{1,40}))\s*$"
)


class Llmc(Format):
    """A line a step; `tel` is the loss of a validation."""

    name = "llmc"

    def parse(self, text: str) -> Point | None:
        found = LINE.match(text) if text.startswith("s:") else None
        if found is None:
            return None
        self.fields.of |= {"step": "s", "loss": "trl"}
        step = int(found["step"])
        if found["val"] is not None:
            return Point(step=step, eval_loss=number(found["val"]))
        return Point(step=step, loss=number(found["loss"]), lr=number(found["lr"]), grad_norm=number(found["norm"]))
