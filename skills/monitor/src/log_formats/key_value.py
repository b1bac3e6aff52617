"""No trainer's own format: any line with a step (or epoch) and a loss.

`step=10 loss=2.3`, `iter 10: loss 2.3`, `Epoch: [0][ 7/20] Loss 2.3`, tqdm with `loss=`, a CSV with a header, JSON lines.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from log_formats.base import Format, told
from log_formats.columns import Csv
from log_formats.commas import has_decimal_commas, with_points
from log_formats.figures import Line, line_of
from log_formats.places import OWN_BATCHES, SOURCE
from log_formats.shapes import BAR, EPOCH, shape_of, step_sources, usual_shape
from log_formats.values import NUMBER, Point, number, whole

if TYPE_CHECKING:
    from log_formats.places import Place
    from log_formats.shapes import Shape

MEAN = re.compile(rf"loss[:= ]{{1,6}}{NUMBER} \( {{0,3}}(?P<mean>{NUMBER})\)", re.IGNORECASE)
STRANGERS = 64
"""So many training lines of another shape in a row: the log has changed its words, and these count from then on."""


class KeyValue(Format):
    """A line with a step (or epoch) and a loss, however it spells the two; a tqdm bar with a loss behind its rate."""

    name = "key-value"

    def __init__(self) -> None:
        super().__init__()
        self._table = Csv(self.fields)
        self._step: int | None = None
        self._shape: Shape | None = None
        self._first_epoch: int | None = None
        self._per_epoch = False
        """The named step begins anew with each epoch: `Epoch 1 | Step 690/6501`."""
        self._last_place: Place | None = None
        self._decimal_commas = self._words_count = self._counts = False
        self._strangers = 0

    def settle(self, texts: list[str]) -> None:
        table = Csv(self.fields)
        texts = [text for text in texts if table.parse(text) is None]
        worded = [text for text in texts if _may_tell_loss(text)]
        self._decimal_commas = has_decimal_commas(worded)
        lines = [self._line(text) for text in worded]
        self._words_count = any(line.names("loss") and not line.evaluates for line in lines)
        self._take(usual_shape(lines if self._words_count else (_plain(line) for line in lines)))
        for line in lines:
            self._see_place(line)
        self._last_place = None
        zero = any(line.place is not None and line.place.epoch == 0 for line in lines)
        self._first_epoch = 0 if zero else None
        # modded-nanogpt: step:126/1750 train_time:23184ms, and a loss only where it validates.
        alone = [text for text in texts if "step" in text and "/" in text and not _may_tell_loss(text)]
        self._counts = self._shape is None and any(_is_count(self._line(text)) for text in alone)

    def _take(self, shape: Shape | None) -> None:
        self._shape, self._strangers = shape, 0
        if shape is not None:
            self.fields.of |= {"step": shape.step, "loss": shape.loss}

    def _line(self, text: str) -> Line:
        return line_of(with_points(text) if self._decimal_commas else text)

    def parse(self, text: str) -> Point | None:
        if ("," in text or "\t" in text) and (point := self._table.parse(text)) is not None:
            return point
        tells_loss = (
            "oss" in text or "OSS" in text or (text[:1] == "{" and _may_tell_loss(text))
        )  # most lines of a log end here
        if not tells_loss and not (self._counts and "step" in text):
            return None
        line = self._line(text)
        if not tells_loss:
            return self._count(line)
        point = self._point(line if self._words_count else _plain(line), text)
        if point is None and (line.names("loss") or line.names("eval_loss")):
            self.left_out += 1
            self._count_stranger(line)
        return point

    def _count_stranger(self, line: Line) -> None:
        shape = shape_of(line)
        if shape is not None and shape != self._shape and shape.step != EPOCH:
            self._strangers += 1
            if self._strangers >= STRANGERS:
                self._take(shape)

    def _point(self, line: Line, text: str) -> Point | None:
        point = Point()
        self._place(point, line)
        for kind, name, value, _ in line.pairs:
            if kind == "loss" and line.evaluates:
                kind, value = "eval_loss", _mean(text, value)
            if kind not in ("step", "total") and getattr(point, kind) is None and self.fields.take(kind, name):
                setattr(point, kind, value)
                if kind == "throughput":
                    self.fields.units.setdefault(kind, name)
        is_evaluation = line.evaluates or point.eval_loss is not None
        if point.loss is None and point.eval_loss is None and not (text.startswith("{") and point.lr is not None):
            return None
        self._rest(point, line)
        if point.step is None and not (is_evaluation and self._belongs(point, line, text)):
            return None
        if point.loss is not None:
            self._step, self._strangers = point.step, 0
        return told(point)

    def _place(self, point: Point, line: Line) -> None:
        """The step and the number of all, from where this log takes them."""
        usual, total = self.fields.of.get("step"), None
        for kind, name, value, of in line.pairs:
            if kind == "total":
                total = int(value) if value % 1 == 0 else None
            elif kind == "step" and name == usual and point.step is None and value % 1 == 0 <= value < 2**62:
                point.step, point.total = int(value), whole(of) if of else None
        self._see_place(line)
        if self._per_epoch and _is_its_place(line, point):
            self._place_at(point, line, SOURCE)
        if point.step is None:
            source = next((one for one in step_sources(line) if self.fields.take("step", one)), None)
            if source is not None:
                self._place_at(point, line, source)
        point.total = point.total if total is None else total

    def _see_place(self, line: Line) -> None:
        """A later epoch whose step is no higher: it counts within the epoch, however it is called."""
        place, before = line.place, self._last_place
        if place is None or place.epoch is None or line.evaluates:
            return
        if before is not None and before.epoch is not None and place.epoch > before.epoch and place.of == before.of:
            self._per_epoch = self._per_epoch or place.at < before.at
        self._last_place = place

    def _place_at(self, point: Point, line: Line, source: str) -> None:
        if source == SOURCE and line.place is not None:
            first = self._first_epoch if self._first_epoch is not None else int(not line.place.from_zero)
            point.step, point.total = line.place.step(first), line.place.total
            point.epoch = None if line.place.epoch is None else float(line.place.epoch)
            point.redraws = line.bar is not None
        elif source == BAR and line.bar is not None:
            point.step, point.total, point.redraws = line.bar.at, line.bar.total, True
        else:
            pair = next((one for one in line.pairs if one.name == source and one.whole is not None), None)
            point.step, point.total = (pair.whole, whole(pair.of) if pair.of else None) if pair else (None, None)

    def _rest(self, point: Point, line: Line) -> None:
        """What has no name that stands before its number."""
        if line.bar is not None:
            point.elapsed_s = line.bar.elapsed_s
            point.eta_s = line.bar.left_s if line.place is None else None  # the bar of an epoch ends with it
        point.elapsed_s = line.clocks.get("elapsed", point.elapsed_s)
        point.eta_s = line.clocks.get("left", point.eta_s)
        point.step_s = line.clocks.get("step")
        if line.rate and point.throughput is None and point.loss is not None and self.fields.take("throughput", line.rate[1]):
            point.throughput = number(line.rate[0])
            self.fields.units.setdefault("throughput", line.rate[1])

    def _belongs(self, point: Point, line: Line, text: str) -> bool:
        """An evaluation without a step of its own belongs to the step before it. One that counts under another name is placed where
        it stands among the steps, else it counts its own batches."""
        if line.steps and self._step is not None:
            step = next(pair.whole for pair in line.pairs if pair.name == line.steps[0])
            point.step = step if step is not None and abs(step - self._step) <= 1 else None
            return point.step is not None
        own = line.steps or line.place or line.bar or _is_inside(text)
        return not own and "step" in self.fields.of and "best" not in text.lower()

    def _count(self, line: Line) -> Point | None:
        if not _is_count(line):
            return None
        point = Point(counts=True)
        self._place(point, line)
        self._rest(point, line)
        return point if point.step is not None else None


def _is_inside(text: str) -> bool:
    """Of an evaluation that counts its batches, only the last one has the mean of all."""
    found = OWN_BATCHES.search(text)
    return found is not None and int(found["at"]) < int(found["of"]) - 1


def _mean(text: str, value: float) -> float:
    """Loss:  0.1036 (0.1876): of the last batch, and of all so far."""
    found = MEAN.search(text) if "(" in text else None
    mean = number(found["mean"]) if found else None
    return value if mean is None else mean


def _is_its_place(line: Line, point: Point) -> bool:
    return (
        line.place is not None and line.place.epoch is not None and (point.step, point.total) == (line.place.at, line.place.of)
    )


def _may_tell_loss(text: str) -> bool:
    return "oss" in text or "OSS" in text or (text[:1] == "{" and '"lr"' in text)


def _plain(line: Line) -> Line:
    line.evaluates = False
    return line


def _is_count(line: Line) -> bool:
    return any(pair.kind == "step" and pair.of for pair in line.pairs) and not line.evaluates
