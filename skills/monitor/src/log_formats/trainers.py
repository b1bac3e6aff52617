"""The log formats that are recognised, each as its trainer's own source prints it.

A format reads one line at a time and returns a Point, or None when the line is none of its lines. `fields` says which names the
figures were taken from. The formats stand in the order in which they are tried.

| format | the line | read in |
|---|---|---|
| trainyard | `trainyard step=120 loss=2.34 ...`, or a line of steps.jsonl | shared-docs/run-folder.md |
| torchtitan | `step: 10  loss: 8.1  grad_norm: 1.2  memory: ...  tps: 1,234  tflops: ...`, `validate step: ...` | components/metrics.py |
| torchtune | `Step 10 | loss:1.2 lr:2e-05 tokens_per_second_per_gpu:812.3`, or the same as JSON | training/metric_logging.py |
| verl | `step:10 - actor/pg_loss:np.float64(0.1) - ...`, or `{"step": 10, "data": {...}}` | utils/logger/aggregate_logger.py, utils/tracking.py |
| huggingface | `{'loss': '2.3', 'grad_norm': '1.1', 'learning_rate': '5e-05', 'epoch': '0.1'}` | trainer_callback.py |
| lightning | metrics.csv of CSVLogger, `Epoch 3:  50%|... 16/32 [..., v_num=0, train_loss=2.3]` | loggers/csv_logs.py, callbacks/progress |
| key-value | any line with a step (or epoch) and a loss: `step=10 loss=2.3`, `iter 10: loss 2.3`, `Epoch: [0][ 7/20] Loss 2.3`, tqdm with `loss=` | log_key_value.py |
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from log_formats.values import NUMBER, Fields, Point, number, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TITAN = re.compile(r"(?P<validate>validate )?step: {0,20}(?P<step>\d{1,15})  (?P<rest>(?:loss|grad_norm|memory|tps): .*)")
TITAN_PAIR = re.compile(rf"(\w+): {{0,20}}({NUMBER})", re.IGNORECASE)
TUNE = re.compile(r"Step (?P<step>\d{1,15}) \| (?P<rest>\S+:.*)")
TUNE_PAIR = re.compile(r"([^\s:]+):(tensor\([^)]{0,200}\)|\S+)")
VERL = re.compile(r"step:(?P<step>\d{1,15}) - (?P<rest>.+)")
YARD = re.compile(r"trainyard step=(?P<step>\d{1,15})(?P<rest>(?: [A-Za-z_][A-Za-z0-9_]*=\S+)*)$")

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


class Format(Protocol):
    """One way of writing metrics."""

    name: str
    fields: Fields

    def parse(self, text: str) -> Point | None: ...


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


class Trainyard:
    name = "trainyard"

    def __init__(self) -> None:
        self.fields = Fields()

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


class Torchtitan:
    name = "torchtitan"

    def __init__(self) -> None:
        self.fields = Fields()

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


class Torchtune:
    name = "torchtune"

    def __init__(self) -> None:
        self.fields = Fields()

    def parse(self, text: str) -> Point | None:
        if text.startswith("{") and "tokens_per_second_per_gpu" in text:
            values: Mapping[str, Any] | None = json_object(text)
        elif found := TUNE.search(text) if "Step " in text else None:
            values = dict(TUNE_PAIR.findall(found["rest"])) | {"step": found["step"]}
        else:
            return None
        point = Point(step=whole(str(values.get("step")))) if values else None
        return told(fill(point, values, NAMES, self.fields)) if point and values and point.step is not None else None


class Verl:
    name = "verl"

    def __init__(self) -> None:
        self.fields = Fields()

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


class HuggingFace:
    """`loss` lines carry no step: the progress bar drawn right behind each may tell it, else they are numbered."""

    name = "huggingface"
    PAIR = re.compile(r"'([^']{1,80})': (?:'([^']{0,80})'|([^,}\[{]{1,80}))")
    NAMES = NAMES | {"throughput": ("train_tokens_per_second", "tokens_per_second"), "reward": ("reward", "rewards/accuracies")}
    ENDS: ClassVar = {"throughput": ("train_tokens_per_second", "train_samples_per_second"), "epoch": ("epoch",)}

    def __init__(self) -> None:
        self.fields = Fields()

    def parse(self, text: str) -> Point | None:
        at = text.find("{'")
        if at < 0:
            return None
        values = {key: quoted or bare for key, quoted, bare in self.PAIR.findall(text, at)}
        if "train_runtime" in values:
            return fill(Point(ends=True), values, self.ENDS, self.fields)
        if not ("loss" in values and values.keys() & {"learning_rate", "grad_norm", "epoch"}):
            return self._evaluation(values)
        point = Point(step=whole(values.get("step", values.get("global_step", ""))))
        return told(fill(point, values, self.NAMES, self.fields))

    def _evaluation(self, values: dict[str, str]) -> Point | None:
        name = next((key for key in values if key.startswith("eval_") and key.endswith("loss")), None)
        if name is None:
            return None
        return told(fill(Point(), values, {"eval_loss": (name,), "epoch": ("epoch",)}, self.fields))


def json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e11 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _verl_pairs(parts: Iterable[str]) -> list[tuple[str, str]]:
    pairs = (part.rpartition(":") for part in parts)
    return [(name.strip(), value) for name, _, value in pairs if name]
