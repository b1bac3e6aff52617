"""The step line of shared-docs/run-folder.md in a job's log -> how far it is."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

STEP_LINE = re.compile(r"^trainyard step=(?P<step>\d+)(?P<fields>(?: [A-Za-z_][A-Za-z0-9_]*=\S+)*)$")
PREFIX = re.compile(r"^\[\d+\] (?:\[[A-Za-z_-]{1,40}\d{1,6}\]: ?)?")
"""The manager puts the rank before each line; --tee of torchrun, and of HyperPod's launcher, puts [default0]: there."""


def progress_of(lines: Any, times: Any, now: float) -> dict[str, Any]:
    """The newest step among these lines; {} when there is none. `times`: one a line (RFC 3339), where the manager gives them."""
    texts = [str(line) for line in lines] if isinstance(lines, list) else []
    for position in reversed(range(len(texts))):
        match = STEP_LINE.match(PREFIX.sub("", texts[position].rstrip(), count=1))
        if match:
            stamps = times if isinstance(times, list) and len(times) == len(texts) else [None] * len(texts)
            return _read(int(match["step"]), match["fields"]) | {"last_step_age_s": _age_s(stamps[position], now)}
    return {}


def _age_s(stamp: Any, now: float) -> float | None:
    """Seconds since a time such as 2026-08-01T12:00:00.123456789Z; the clocks of node and caller may differ a little."""
    try:
        return max(0.0, now - datetime.fromisoformat(str(stamp)).timestamp())
    except ValueError:
        return None


def _read(step: int, fields: str) -> dict[str, Any]:
    values = dict(field.split("=", 1) for field in fields.split())
    loss = values.get("loss")
    speed = _number(values.get("tokens_per_s"))
    told = [f"step {step}", *([f"loss {loss}"] if loss else []), *([f"{speed:.0f} tokens/s"] if speed is not None else [])]
    progress = {"line": ", ".join(told), "step": step, "loss": _number(loss), "tokens_per_s": speed}
    return progress | {"step_s": _number(values.get("step_s"))}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
