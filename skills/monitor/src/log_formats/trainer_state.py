"""transformers' trainer_state.json of a checkpoint: `log_history`, a list of objects with a key a line, and `max_steps`.

As its trainer_callback.py writes it, with an indent of two.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from log_formats.base import NAMES, Format, fill, told
from log_formats.values import Point, whole

KEY = re.compile(r'\s{0,12}"(?P<key>[^"]{1,120})": (?P<value>[^,{\[]{1,80}),?\s*$')
MAX_KEYS = 400


class TrainerState(Format):
    """Entries of the history carry their step; the figures of an evaluation begin with `eval_`."""

    name = "trainer-state"
    NAMES: ClassVar = NAMES | {"eval_loss": ("eval_loss",)}

    def __init__(self) -> None:
        super().__init__()
        self._entry: dict[str, Any] | None = None
        self._inside = False

    def parse(self, text: str) -> Point | None:
        bare = text.strip()
        if bare.startswith('"log_history": ['):
            self._inside = True
        elif self._inside and bare == "{":
            self._entry = {}
        elif self._inside and bare.startswith("]"):
            self._inside, self._entry = False, None
        elif self._entry is not None and bare.rstrip(",") == "}":
            entry, self._entry = self._entry, None
            return self._point(entry)
        elif '": ' in bare and (found := KEY.match(text)):
            return self._key(found["key"], found["value"])
        return None

    def _key(self, key: str, value: str) -> Point | None:
        if self._entry is not None and len(self._entry) < MAX_KEYS:
            self._entry[key] = value
        # Told behind the history.
        return Point(total=whole(value)) if key == "max_steps" and self.fields.of else None

    def _point(self, entry: dict[str, Any]) -> Point | None:
        if "train_runtime" in entry:
            ends = {"throughput": ("train_tokens_per_second", "train_samples_per_second")}
            return fill(Point(ends=True), entry, ends, self.fields)
        step = whole(str(entry.get("step", "")))
        if step is None or not self.fields.take("step", "step"):
            return None
        return told(fill(Point(step=step), entry, self.NAMES, self.fields))
