"""budget.max_hours: how long a run may still run, over all its starts. What the supervisor needs of it is standard library only."""

from __future__ import annotations

import math
import time
from typing import Any

from local_folder import RunFolder
from local_record import spent_s
from local_spec import Spec


def deadline(spec: Spec, record: dict[str, Any]) -> float:
    """When the budget of a start that begins now is used up, by time.monotonic; infinity where there is none."""
    return math.inf if spec.max_hours is None else time.monotonic() + 3600 * spec.max_hours - record["earlier_s"]


def name(spec: Spec) -> str:
    return f"budget.max_hours ({spec.max_hours:g})"


def refuse_used_up(folder: RunFolder, spec: Spec, record: dict[str, Any] | None) -> None:
    """Raises SkillError conflict where a run that has ended has no hour left."""
    import trainyard_shell as shell  # the supervisor does without

    spent = spent_s(folder, record or {})
    if spec.max_hours is None or spent < 3600 * spec.max_hours:
        return
    message = f"{name(spec)} is used up: this run has run for {spent / 3600:.3g} hours"
    raise shell.SkillError("conflict", message, hint="a larger budget.max_hours (--max-hours), with --resume --accept-changes")
