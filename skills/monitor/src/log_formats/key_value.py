"""The formats with no trainer of their own: key=value lines, CSV with a header, progress bars, and the user's own pattern."""

from __future__ import annotations

import csv
import functools
import re
from typing import Any

import trainyard_shell as shell
from log_formats.trainers import EVAL_LOSSES, LOSSES, fill, json_object, told
from log_formats.values import METRICS, NUMBER, Fields, Point, bar_of, number, whole

KINDS = {
    "step": r"(?:global|train(?:ing)?|trainer)?[_/ ]?steps?|iter(?:ation)?s?|update",
    "eval_loss": r"(?:val(?:id(?:ation)?)?|eval(?:uation)?|test)[_/ .-]?loss(?:[_/]epoch)?|loss/(?:val(?:id(?:ation)?)?|eval)",
    "loss": r"(?:train(?:ing)?|lm|avg|mean|total)?[_/ .-]?loss(?:[_/](?:step|train))?",
    "lr": r"lr(?:[-_/][\w-]{1,40})?|learning[_ -]?rate",
    "grad_norm": r"(?:\w{1,20}[_/])?grad(?:ient)?[_ ]?norm|gnorm",
    "reward": r"(?:mean[_ ])?rewards?(?:/mean)?",
    "throughput": r"(?:tokens?|toks?|samples?|examples?|seq(?:uence)?s?|im(?:a)?ge?s?|frames?)(?:_per_|/| per )s(?:ec(?:ond)?)?"
    r"(?:(?:_per_|/| per )(?:gpu|device|rank|chip))?|tps|wps|throughput",
    "epoch": r"epoch",
}
RULES = {kind: re.compile(words, re.IGNORECASE) for kind, words in KINDS.items()}
# One key of one or two words, a separator, a number. The possessive quantifier keeps a long word from being tried again from each of
# its letters.
PAIR = re.compile(
    r"(?<![\w/.@-])(?P<key>[A-Za-z_][\w/.@-]{0,60}+(?: (?:loss|rate|norm|step|reward|per s(?:ec(?:ond)?)?))?)"
    r"[\"']?(?: ?\([^)]{0,20}\))?(?: {0,4}[=:]\s{0,12}|\s{1,12})[\"']?"
    rf"(?P<value>{NUMBER})(?![A-Za-z0-9_]|\.\d)(?: ?/ {{0,12}}(?P<of>\d{{1,15}}))?",
    re.IGNORECASE,
)
EPOCH_BAR = re.compile(r"Epoch (\d{1,9})(?:/\d{1,9})?:")
EPOCH_AND_BATCH = re.compile(r"Epoch:? {0,4}\[(\d{1,9})\] {0,4}\[ {0,12}(\d{1,12})/ {0,12}(\d{1,12})\]")
"""`Epoch: [0][ 7/20]` of pytorch/examples' imagenet, `Epoch: [0]  [ 70/200]` of torchvision's references."""
COLUMN = re.compile(r"[\w /.:@()\[\]%+-]{1,120}")
GROUPS = ("step", "eval_loss", "total", "time", *METRICS)
MAX_PATTERN_LINE_CHARS = 4096


@functools.lru_cache(maxsize=4096)
def kind_of(name: str) -> str | None:
    """Which metric a key of that name holds."""
    return next((kind for kind, rule in RULES.items() if rule.fullmatch(name)), None)


class KeyValue:
    """A line with a step (or epoch) and a loss, however it spells the two; a tqdm bar with a loss behind its rate."""

    name = "key-value"

    def __init__(self) -> None:
        self.fields = Fields()
        self._table = Csv(self.name, self.fields)
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


class Csv:
    """Lines under a header that names a step (or epoch) and a loss; JSON objects with such names are read alike."""

    STEPS = ("step", "global_step", "trainer/global_step", "iteration", "iter", "_step")

    def __init__(self, name: str, fields: Fields) -> None:
        self.name, self.fields = name, fields
        self.columns: list[str] = []
        self.names: dict[str, tuple[str, ...]] = {}

    def parse(self, text: str) -> Point | None:
        if text.startswith("{") and (values := json_object(text)) is not None:
            return self._point(values)
        if "," not in text:
            return None
        if not self.columns or text.startswith(self.columns[0]):
            self._header(text)
            return None
        cells = next(csv.reader([text]), [])
        return self._point(dict(zip(self.columns, cells, strict=True))) if len(cells) == len(self.columns) else None

    def _header(self, text: str) -> None:
        if "=" in text or "loss" not in text.lower():
            return
        cells = next(csv.reader([text]), [])
        if len(cells) < 2 or len(set(cells)) != len(cells) or not all(COLUMN.fullmatch(cell) for cell in cells):
            return
        if any(number(cell) is not None for cell in cells) or not {*self.STEPS, "epoch"} & set(cells):
            return
        names = columns_of(cells)
        if names.keys() & {"loss", "eval_loss"}:
            self.columns, self.names = cells, names

    def _point(self, values: dict[str, Any]) -> Point | None:
        names = self.names or columns_of(list(values)[:400])
        source = next((name for name in (*self.STEPS, "epoch") if name in values), None)
        if source is None or not names.keys() & {"loss", "eval_loss", "lr"}:
            return None
        point = Point(step=whole(str(values[source])))
        if point.step is None or not self.fields.take("step", source):
            return None
        return told(fill(point, values, names, self.fields))


def columns_of(cells: list[str]) -> dict[str, tuple[str, ...]]:
    """Metric -> the columns that hold it, best first."""
    # An export of ours names the unit behind the column: throughput [tokens/s/GPU].
    found = {kind: [cell for cell in cells if rule.fullmatch(cell.partition(" [")[0])] for kind, rule in RULES.items()}
    found.pop("step")
    for kind, best in (("loss", LOSSES), ("eval_loss", EVAL_LOSSES)):
        found[kind].sort(key=lambda cell, best=best: best.index(cell) if cell in best else len(best))  # type: ignore[misc]
    return {kind: tuple(names) for kind, names in found.items() if names}


class Lightning:
    """CSVLogger's metrics.csv; the progress bar, whose batches are counted over the epochs."""

    name = "lightning"

    def __init__(self) -> None:
        self.fields = Fields()
        self._table = Csv(self.name, self.fields)

    def parse(self, text: str) -> Point | None:
        if "," in text and not text.startswith("{"):
            had_columns = bool(self._table.columns)
            point = self._table.parse(text)
            if not had_columns and not {"epoch", "step"} <= set(self._table.columns):
                self._table.columns = []  # somebody else's table
            if point is not None:
                return point
        return self._bar(text) if "v_num=" in text else None

    def _bar(self, text: str) -> Point | None:
        bar = bar_of(text)
        epoch = EPOCH_BAR.search(bar.before) if bar else None
        if not bar or not epoch or bar.at == 0:
            return None
        values = dict(part.strip().split("=", 1) for part in bar.more.split(",") if "=" in part)
        point = Point(step=int(epoch[1]) * bar.total + bar.at, epoch=float(epoch[1]), redraws=True)
        fill(point, values, columns_of(list(values)), self.fields)
        self.fields.take("step", "batches of the progress bar, counted over the epochs")
        if bar.rate.endswith("it/s") and (rate := number(bar.rate.split()[0])) is not None:
            point.throughput = rate
            self.fields.of["throughput"], self.fields.units["throughput"] = "progress bar", "batches/s"
        return point if point.loss is not None or point.eval_loss is not None else None


class Pattern:
    """The user's own regular expression; its named groups are the metrics."""

    name = "pattern"

    def __init__(self, pattern: str) -> None:
        self.fields = Fields()
        try:
            self.rule = re.compile(pattern)
        except re.error as error:
            raise shell.SkillError("usage", f"--pattern is not a regular expression: {error}", hint=PATTERN_HINT) from error
        unknown = sorted(set(self.rule.groupindex) - set(GROUPS))
        if unknown or not set(self.rule.groupindex) & {"loss", "eval_loss", "reward"}:
            problem = f"has groups that are no metric: {', '.join(unknown)}" if unknown else "names no loss"
            message = f"--pattern {problem}; there are {', '.join(GROUPS)}"
            raise shell.SkillError("usage", message, hint=PATTERN_HINT)
        self.fields.of = dict.fromkeys(self.rule.groupindex, "--pattern")
        if "throughput" in self.rule.groupindex:
            self.fields.units["throughput"] = "as the pattern's group `throughput`"

    def parse(self, text: str) -> Point | None:
        from log_reading.lines import stamp_of

        found = self.rule.search(text, 0, MAX_PATTERN_LINE_CHARS)
        if not found:
            return None
        values = {name: value for name, value in found.groupdict().items() if value is not None}
        point = Point(step=whole(values.pop("step", "")), total=whole(values.pop("total", "")))
        time = values.pop("time", "")
        point.time = stamp_of(time) or number(time)
        for name, value in values.items():
            setattr(point, name, number(value))
        return told(point)


PATTERN_HINT = r"""--pattern 'step (?P<step>\d+).*?loss (?P<loss>\S+)'"""
