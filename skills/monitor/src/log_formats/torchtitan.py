"""torchtitan: `step: 10  loss: 8.1  grad_norm: 1.2  memory: ...  tps: 1,234  tflops: ...`, `validate step: ...`.

As its components/metrics.py prints them.
"""

from __future__ import annotations

import re

from log_formats.base import NAMES, Format, fill, told
from log_formats.values import NUMBER, Point

TITAN = re.compile(r"(?P<validate>validate )?step: {0,20}(?P<step>\d{1,15})  (?P<rest>(?:loss|grad_norm|memory|tps): .*)")
TITAN_PAIR = re.compile(rf"(\w+): {{0,20}}({NUMBER})", re.IGNORECASE)


class Torchtitan(Format):
    name = "torchtitan"

    def parse(self, text: str) -> Point | None:
        found = TITAN.search(text) if "step: " in text else None
        if not found or ("memory: " not in text and "tps: " not in text):
            return None
        values = dict(TITAN_PAIR.findall(found["rest"]))
        point = Point(step=int(found["step"]))
        if found["validate"]:
            return told(fill(point, {"validate loss": values.get("loss")}, {"eval_loss": ("validate loss",)}, self.fields))
        self.fields.units["throughput"] = "tokens/s/device"  # its own comment: tokens per second per device
        return told(fill(point, values, {**NAMES, "throughput": ("tps",)}, self.fields))
