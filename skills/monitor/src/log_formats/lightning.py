"""Lightning: metrics.csv of CSVLogger, `Epoch 3:  50%|... 16/32 [..., v_num=0, train_loss=2.3]`.

As its loggers/csv_logs.py and callbacks/progress print them.
"""

from __future__ import annotations

import re

from log_formats.base import Format, fill
from log_formats.columns import Csv, columns_of
from log_formats.values import Point, bar_of, number, whole

EPOCH_BAR = re.compile(r"Epoch (\d{1,9})(?:/\d{1,9})?:")


class Lightning(Format):
    """CSVLogger's metrics.csv; the progress bar, whose batches are counted over the epochs."""

    name = "lightning"

    def __init__(self) -> None:
        super().__init__()
        self._table = Csv(self.fields)

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
        self._take_step(point, values.get("global_step"))
        if bar.rate.endswith("it/s") and (rate := number(bar.rate.split()[0])) is not None:
            point.throughput = rate
            self.fields.of["throughput"], self.fields.units["throughput"] = "progress bar", "batches/s"
        return point if point.loss is not None or point.eval_loss is not None else None

    def _take_step(self, point: Point, global_step: str | None) -> None:
        """NeMo logs the step itself; its bar counts what else a bar counts."""
        told = whole(global_step) if global_step else None
        if told is not None and self.fields.take("step", "global_step"):
            point.step = told
        else:
            self.fields.take("step", "batches of the progress bar, counted over the epochs")
