"""VERL: `step:10 - actor/pg_loss:np.float64(0.1) - ...`, or `{"step": 10, "data": {...}}`.

As its utils/logger/aggregate_logger.py and utils/tracking.py print them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from log_formats.base import NAMES, Format, fill, json_object, told
from log_formats.values import Point, number, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERL = re.compile(r"step:(?P<step>\d{1,15}) - (?P<rest>.+)")
VERL_NAMES = {
    **NAMES,
    "loss": ("train/loss", "actor/pg_loss", "actor/loss"),
    "lr": ("actor/lr", "train/lr"),
    "grad_norm": ("actor/grad_norm", "train/grad_norm"),
    "eval_loss": ("val/loss",),
    "throughput": ("perf/throughput",),
    "reward": ("critic/rewards/mean",),
    "epoch": ("training/epoch",),
}


class Verl(Format):
    name = "verl"

    def parse(self, text: str) -> Point | None:
        values: Mapping[str, Any] | None
        if text.startswith("{") and '"data"' in text:
            document = json_object(text) or {}
            step, values = document.get("step"), document.get("data")
        elif found := VERL.search(text) if "step:" in text else None:
            step = found["step"]
            values = dict(_verl_pairs(found["rest"].split(" - ")))
        else:
            return None
        point = Point(step=whole(str(step)))
        if point.step is None or not isinstance(values, dict) or not values:
            return None
        fill(point, values, VERL_NAMES, self.fields)
        scaled = number(str(values.get("train/lr(1e-3)")))  # the older SFT trainer prints thousandths
        if scaled is not None and self.fields.take("lr", "train/lr(1e-3), divided by 1000"):
            point.lr = scaled / 1000
        return told(point)


def _verl_pairs(parts: Iterable[str]) -> list[tuple[str, str]]:
    pairs = (part.rpartition(":") for part in parts)
    return [(name.strip(), value) for name, _, value in pairs if name]
