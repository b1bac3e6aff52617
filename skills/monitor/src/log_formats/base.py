"""What a log format is, and what all of them share: the names that trainers give to a metric, and how a point is filled."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from log_formats.values import Fields, Point, number

if TYPE_CHECKING:
    from collections.abc import Mapping

LOSSES = ("loss", "train_loss", "train/loss", "training_loss", "train_loss_step", "train/loss_step", "loss_step")
EVAL_LOSSES = ("eval_loss", "val_loss", "val/loss", "valid_loss", "validation_loss", "eval/loss")
NAMES: dict[str, tuple[str, ...]] = {
    "loss": LOSSES,
    "lr": ("lr", "learning_rate", "train/lr"),
    "grad_norm": ("grad_norm", "train/grad_norm"),
    "eval_loss": EVAL_LOSSES,
    "throughput": ("tokens_per_s", "tokens_per_second", "tokens_per_second_per_gpu", "samples_per_s", "samples_per_second"),
    "reward": ("reward", "rewards", "rewards/mean"),
    "epoch": ("epoch",),
}
UNITS = {
    "tokens_per_s": "tokens/s",
    "tokens_per_second": "tokens/s",
    "tokens_per_second_per_gpu": "tokens/s/GPU",
    "samples_per_s": "samples/s",
    "samples_per_second": "samples/s",
    "perf/throughput": "tokens/s/GPU",
    "train_tokens_per_second": "tokens/s",
    "train_samples_per_second": "samples/s",
}


class Format(ABC):
    """One way of writing metrics; an object of it reads one log, line by line."""

    name: ClassVar[str]
    """As `--log-format` has it."""
    bar_follows: ClassVar[bool] = False
    """The progress bar that is drawn behind a line belongs to the line, and may tell its step."""

    def __init__(self) -> None:
        self.fields = Fields()
        """Which names the figures were taken from."""
        self.left_out = 0
        """Lines with a loss under other names than those that count."""

    def settle(self, texts: list[str]) -> None:  # noqa: B027  # most formats have nothing to settle
        """The first lines, before any of them is read: what one line alone cannot decide."""

    @abstractmethod
    def parse(self, text: str) -> Point | None:
        """The figures of the line; None when it is none of this format's lines."""


def fill(point: Point, values: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], fields: Fields) -> Point:
    """Put the values under their metric's name; the first known name that the log uses stays the source."""
    for metric, known in names.items():
        for name in (fields.of[metric],) if metric in fields.of else known:
            value = values.get(name)
            value = number(value) if isinstance(value, str) else value
            if isinstance(value, int | float) and not isinstance(value, bool) and fields.take(metric, name):
                setattr(point, metric, float(value))
                if metric == "throughput":
                    fields.units.setdefault(metric, UNITS.get(name) or _unit_in(name))
                break
    return point


def _unit_in(name: str) -> str:
    """`throughput [tokens/s]` names it; any other name stands for itself."""
    inside = name.partition(" [")[2].rstrip("]")
    return inside or f"as the log's {name!r}"


def told(point: Point) -> Point | None:
    """The point if it tells anything beside its step."""
    return point if point.trains or point.eval_loss is not None else None


def json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
