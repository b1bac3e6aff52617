"""Trainyard's own lines: `trainyard step=120 loss=2.34 ...`, or a line of steps.jsonl (shared-docs/run-folder.md)."""

from __future__ import annotations

import re

from log_formats.base import NAMES, Format, fill, json_object, told
from log_formats.values import Point, whole

YARD = re.compile(r"trainyard step=(?P<step>\d{1,15})(?P<rest>(?: [A-Za-z_][A-Za-z0-9_]*=\S+)*)$")


class Trainyard(Format):
    name = "trainyard"

    def parse(self, text: str) -> Point | None:
        if text.startswith("{"):
            values = json_object(text)
            if values is None or not {"incarnation", "step_s"} <= values.keys():
                return None
        elif found := YARD.search(text) if "trainyard step=" in text else None:
            values = dict(part.split("=", 1) for part in found["rest"].split()) | {"step": found["step"]}
        else:
            return None
        point = Point(
            step=whole(str(values.get("step"))), time=_time(values.get("time")), life=_count(values.get("incarnation"))
        )
        return told(fill(point, values, NAMES, self.fields)) if point.step is not None else None


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e11 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
