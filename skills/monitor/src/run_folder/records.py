"""What the files of a run folder hold, as records that check themselves (shared-docs/run-folder.md)."""

from __future__ import annotations

import math
from typing import Annotated, Any

from msgspec import Meta, Struct, json
from trainyard_process import Identity

MOST = 2**53
"""A whole number that a double holds exactly; JSON knows no bound, and tables of numbers do."""
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class StepLine(Struct, frozen=True, gc=False):
    """One finished optimizer step."""

    step: Annotated[int, Meta(ge=1, le=MOST)]
    time: Annotated[float, Meta(gt=0)]
    """End of the step, wall time."""
    loss: float | str | None = None
    """A number, or "nan", "inf", "-inf"."""
    incarnation: Annotated[int, Meta(ge=1, le=MOST)] = 1
    step_s: float = 0.0
    blocked_s: float = 0.0
    tokens_per_s: float | str | None = None
    val_loss: float | str | None = None


class EventLine(Struct, frozen=True):
    """One event; fields that its type does not have are None."""

    time: Annotated[float, Meta(gt=0)]
    type: str
    source: str = ""
    incarnation: int | None = None
    attempt: int | None = None
    step: int | None = None
    seconds: float | None = None
    exit_code: int | None = None
    process_started: float | None = None
    total_steps: int | None = None
    finished: bool | None = None
    state: str | None = None
    # Only ever shown, so any shape will do.
    steps: Any = None
    reason: Any = None
    reasons: Any = None
    error: Any = None
    signal: Any = None
    by: Any = None
    skipped: Any = None
    tensors: Any = None
    delay_s: Any = None
    world_size: Any = None
    backend: Any = None
    action: Any = None
    stacks: Any = None
    requested: Any = None
    host: Any = None
    python: Any = None
    torch: Any = None
    trainyard: Any = None


class Runner(Struct, frozen=True):
    """runner.json, written by the supervisor."""

    state: str
    run_id: str = ""
    name: str = ""
    reason: str | None = None
    last_failure: str | None = None
    """Why the newest restart was needed; None before the first."""
    supervisor: Identity | None = None
    launcher: Identity | None = None
    attempt: int = 0
    restarts: int = 0
    max_restarts: int | None = None
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    log: str | None = None


STEP = json.Decoder(StepLine)
EVENT = json.Decoder(EventLine)
RUNNER = json.Decoder(Runner)


def words(value: object) -> str:
    """A field that is only shown: lists and objects of JSON as a sentence has them.

    >>> words([{"step": 300, "reason": "a shard is cut short"}])
    'step 300: a shard is cut short'
    """
    if isinstance(value, list):
        separator = "; " if any(isinstance(each, dict) for each in value) else ", "
        return separator.join(words(each) for each in value)
    if isinstance(value, dict):
        step = f"step {value['step']}: " if "step" in value else ""
        return step + (words(value["reason"]) if "reason" in value else ", ".join(f"{k} {words(v)}" for k, v in value.items()))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: float | str | None) -> float:
    """A loss as a float; what is absent or no number is NaN."""
    return SPECIAL.get(value, math.nan) if isinstance(value, str) else math.nan if value is None else value


def finite(value: float | str | None) -> float | None:
    """The value if it is an ordinary number, else None: JSON has no NaN."""
    result = number(value)
    return result if math.isfinite(result) else None


def shown(value: float | str | None) -> float | str | None:
    """A loss as the run folder spells it: a number, or "nan", "inf", "-inf"; None when absent."""
    if value is None:
        return None
    result = number(value)
    return result if math.isfinite(result) else str(result)
