"""Figures under names: the columns of a CSV, and which metric a name of anybody's stands for."""

from __future__ import annotations

import csv
import functools
import re
from typing import Any

from log_formats.base import EVAL_LOSSES, LOSSES, fill, told
from log_formats.values import Fields, Point, number, whole

KINDS = {
    "step": r"(?:global|train(?:ing)?|trainer|current)?[_/ ]?steps?|iter(?:ation)?s?|(?:num_)?updates?",
    "total": r"(?:total|max)[_ ](?:train(?:ing)?[_ ])?(?:steps?|iter(?:ation)?s?)",
    "eval_loss": r"(?:val(?:id(?:ation)?)?|eval(?:uation)?|test)[_/ .-]?loss(?:[_/]epoch)?|loss/(?:val(?:id(?:ation)?)?|eval)",
    "loss": r"(?:train(?:ing)?|lm|gpt|avg|mean|total|policy|reduced[_ ]train)?[_/ .-]?loss(?:[_/](?:step|train(?:/total)?|mean))?",
    "lr": r"lr(?:[-_/][\w/-]{1,40})?|learning[_ -]?rate",
    "grad_norm": r"(?:\w{1,20}[_/])?grad(?:ient)?[_ ]?norm|gnorm|norm",
    "reward": r"(?:mean[_ ])?rewards?(?:/mean)?",
    "throughput": r"(?:tokens?|toks?|samples?|examples?|seq(?:uence)?s?|im(?:a)?ge?s?|frames?)(?:_per_|/| per )s(?:ec(?:ond)?)?"
    r"(?:(?:_per_|/| per )(?:gpu|device|rank|chip))?|tps|wps|throughput",
    "epoch": r"epoch",
}
RULES = {kind: re.compile(words, re.IGNORECASE) for kind, words in KINDS.items()}
COLUMN = re.compile(r"[\w /.:@()\[\]%+-]{1,120}")


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> str | None:
    """Which metric a key of that name holds."""
    return next((kind for kind, rule in RULES.items() if rule.fullmatch(name)), None)


class Csv:
    """Lines under a header that names a step (or epoch) and a loss, with commas or tabs between the cells."""

    STEPS = ("step", "global_step", "trainer/global_step", "iteration", "iter", "_step")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.columns: list[str] = []
        self.delimiter = ","
        self.names: dict[str, tuple[str, ...]] = {}

    def parse(self, text: str) -> Point | None:
        if ("," not in text and "\t" not in text) or text.startswith("{"):
            return None
        if not self.columns or text.startswith(self.columns[0]):
            self._header(text, "," if "," in text else "\t")
            return None
        cells = next(csv.reader([text], delimiter=self.delimiter), [])
        return self._point(dict(zip(self.columns, cells, strict=True))) if len(cells) == len(self.columns) else None

    def _header(self, text: str, delimiter: str) -> None:
        if "=" in text or "loss" not in text.lower():
            return
        cells = next(csv.reader([text], delimiter=delimiter), [])
        if len(cells) < 2 or len(set(cells)) != len(cells) or not all(COLUMN.fullmatch(cell) for cell in cells):
            return
        if any(number(cell) is not None for cell in cells) or not {*self.STEPS, "epoch"} & set(cells):
            return
        names = columns_of(cells)
        if names.keys() & {"loss", "eval_loss"}:
            self.columns, self.names, self.delimiter = cells, names, delimiter

    def _point(self, values: dict[str, Any]) -> Point | None:
        source = next((name for name in (*self.STEPS, "epoch") if name in values), None)
        if source is None:
            return None
        point = Point(step=whole(str(values[source])))
        if point.step is None or not self.fields.take("step", source):
            return None
        return told(fill(point, values, self.names, self.fields))


def columns_of(cells: list[str]) -> dict[str, tuple[str, ...]]:
    """Metric -> the columns that hold it, best first."""
    # An export of ours names the unit behind the column: throughput [tokens/s/GPU].
    found = {kind: [cell for cell in cells if rule.fullmatch(cell.partition(" [")[0])] for kind, rule in RULES.items()}
    found.pop("step"), found.pop("total")
    for kind, best in (("loss", LOSSES), ("eval_loss", EVAL_LOSSES)):
        found[kind].sort(key=lambda cell, best=best: best.index(cell) if cell in best else len(best))  # type: ignore[misc]
    return {kind: tuple(names) for kind, names in found.items() if names}
