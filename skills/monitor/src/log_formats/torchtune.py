"""torchtune: `Step 10 | loss:1.2 lr:2e-05 tokens_per_second_per_gpu:812.3`, or the same as JSON.

As its training/metric_logging.py prints them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from log_formats.base import NAMES, Format, fill, json_object, told
from log_formats.values import Point, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

TUNE = re.compile(r"Step (?P<step>\d{1,15}) \| (?P<rest>\S+:.*)")
TUNE_PAIR = re.compile(r"([^\s:]+):(tensor\([^)]{0,200}\)|\S+)")


class Torchtune(Format):
    name = "torchtune"

    def parse(self, text: str) -> Point | None:
        if text.startswith("{") and "tokens_per_second_per_gpu" in text:
            values: Mapping[str, Any] | None = json_object(text)
        elif found := TUNE.search(text) if "Step " in text else None:
            values = dict(TUNE_PAIR.findall(found["rest"])) | {"step": found["step"]}
        else:
            return None
        point = Point(step=whole(str(values.get("step")))) if values else None
        return told(fill(point, values, NAMES, self.fields)) if point and values and point.step is not None else None
