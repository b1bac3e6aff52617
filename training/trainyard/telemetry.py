"""What a run tells about itself: steps.jsonl, events.jsonl, the step line on stdout, charts (shared-docs/run-folder.md)."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.charts import Charts, TensorBoard, Wandb
from trainyard.errors import FolderError
from trainyard.files import make_run_folder
from trainyard.speaking import say, warn
from trainyard.whose import reason

if TYPE_CHECKING:
    import torch

ROUNDED = {
    "loss": ".5f",
    "val_loss": ".5f",
    "step_s": ".4f",
    "blocked_s": ".4f",
    "grad_norm": ".4g",
    "lr": ".4g",
    "tokens_per_s": ".0f",
}

WRONG_FOLDER = (FileExistsError, NotADirectoryError, PermissionError)
"""What a person has to put right; a disk that is full or does not answer may be well again by itself."""


def as_number(value: Any) -> Any:
    """A metric as a number, or as one word; 0-d tensors are read (on a GPU this waits for it)."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, bool | int | float) else "_".join(str(value).split())


def _json_number(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        return file.read() not in (b"", b"\n")


def step_line(record: dict[str, Any]) -> str:
    """The line for people, made from a record of steps.jsonl."""
    shown = {key: value for key, value in record.items() if key not in ("step", "time", "incarnation") and value is not None}
    fields = (
        f"{key}={format(value, ROUNDED.get(key, '')) if isinstance(value, float) else value}" for key, value in shown.items()
    )
    return f"trainyard step={record['step']} " + " ".join(fields)


class Telemetry:
    """Rank 0's files. Without a run folder only the step line is printed; other ranks are silent."""

    def __init__(self, run_dir: Path | None, *, enabled: bool) -> None:
        self._enabled = enabled
        self._folder = run_dir if enabled else None
        self._charts = Charts([], self._complain)
        self.incarnation = 0
        self._torn: set[str] = set()
        """Files whose last line was cut short by a full disk or a kill."""
        self._told: set[str] = set()
        if self._folder is not None:
            try:
                make_run_folder(self._folder)
                self._torn = {path.name for path in self._folder.glob("*.jsonl") if _ends_torn(path)}
            except OSError as error:
                self._complain(str(self._folder), error)

    def event(self, type: str, **fields: Any) -> None:
        """Append to events.jsonl."""
        record = {"time": time.time(), "type": type, "source": "trainer", "incarnation": self.incarnation, **fields}
        self._append("events.jsonl", record)

    def line(self, text: str) -> None:
        """A line for people on stdout."""
        if self._enabled:
            say(f"trainyard: {text}")

    def open_charts(
        self, *, tensorboard: bool, wandb: str | None, run_id: str, config: dict[str, Any], is_restart: bool = False
    ) -> None:
        """Rank 0, before anything is restored. Raises ConfigError, FolderError where a chart that is wanted cannot be had.

        What is wrong with a folder is for the first start to refuse: a restart has work to go on with, and leaves the chart out.
        """
        folder = self._folder or Path()
        charts: list[TensorBoard | Wandb] = []
        if tensorboard:
            try:
                charts.append(TensorBoard(folder / "tensorboard"))
            except OSError as error:
                if isinstance(error, WRONG_FOLDER) and not is_restart:
                    raise FolderError(
                        f"TensorBoard folder {folder / 'tensorboard'}: {error.strerror}; free it, or leave TensorBoard off"
                    ) from error
                self._complain(TensorBoard.name, error)
        charts += [Wandb(folder, wandb, run_id, config)] if wandb else []
        self._charts = Charts(charts, self._complain)

    def begin(self, step: int, requested: str) -> None:
        """Training goes on after `step`: points after it are from a lost future, and TensorBoard is told to purge them."""
        how = f"restored step {step} ({requested})" if step else "began at step 0"
        self._charts.each(lambda chart: chart.begin(step))
        self._charts.each(lambda chart: chart.text("run/starts", f"start {self.incarnation}: {how}", step))
        self._charts.each(lambda chart: chart.scalars({"run/incarnation": self.incarnation}, step + 1))

    def step(self, record: dict[str, Any]) -> None:
        """One finished step: steps.jsonl, stdout, charts."""
        if not self._enabled:
            return
        record = {"step": record.pop("step"), "time": time.time(), "incarnation": self.incarnation, **record}
        self._append("steps.jsonl", {key: _json_number(value) for key, value in record.items() if value is not None})
        say(step_line(record))
        values = {f"train/{key}": value for key, value in record.items() if isinstance(value, float) and key != "time"}
        self._charts.each(lambda chart: chart.scalars(values, record["step"]))

    def text(self, tag: str, text: str, step: int) -> None:
        self._charts.each(lambda chart: chart.text(tag, text, step))

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        self._charts.each(lambda chart: chart.histogram(tag, values, step))

    def result(self, settings: dict[str, Any], metrics: dict[str, Any], step: int) -> None:
        """What the run came to, beside its settings."""
        numbers = {f"result/{key}": float(value) for key, value in metrics.items() if isinstance(value, int | float)}
        self._charts.each(lambda chart: chart.result(settings, numbers, step))

    def close(self) -> None:
        self._charts.each(lambda chart: chart.close())

    def _append(self, name: str, record: dict[str, Any]) -> None:
        """One write() of one line: the supervisor appends to events.jsonl too, and O_APPEND keeps lines whole.

        Telemetry must not end a run: on a full disk the line is lost, the step line on stdout and the training go on. A FIFO of
        that name is written where somebody reads it, and waited for by nobody.
        """
        if self._folder is None:
            return
        line = (json.dumps(record, default=str) + "\n").encode()  # a script's own event may hold anything
        if name in self._torn:  # what the last write left has no newline
            line = b"\n" + line
        try:
            descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
            try:
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._complain(name, error)
            return
        (self._torn.discard if written == len(line) else self._torn.add)(name)

    def _complain(self, name: str, error: Exception) -> None:
        """Once for each file."""
        if name not in self._told:
            self._told.add(name)
            why = reason(error) if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
            warn(f"trainyard: {name} cannot be written ({why}); training goes on")
