"""transformers: `{'loss': '2.3', 'grad_norm': '1.1', 'learning_rate': '5e-05', 'epoch': '0.1'}`.

As its trainer_callback.py prints them.
"""

from __future__ import annotations

import re
from typing import ClassVar

from log_formats.base import NAMES, Format, fill, told
from log_formats.values import Point, whole


class HuggingFace(Format):
    """`loss` lines carry no step: the progress bar drawn right behind each may tell it, else they are numbered."""

    name = "huggingface"
    bar_follows = True
    PAIR = re.compile(r"'([^']{1,80})': (?:'([^']{0,80})'|([^,}\[{]{1,80}))")
    NAMES = NAMES | {"throughput": ("train_tokens_per_second", "tokens_per_second"), "reward": ("reward", "rewards/accuracies")}
    ENDS: ClassVar = {"throughput": ("train_tokens_per_second", "train_samples_per_second"), "epoch": ("epoch",)}

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
