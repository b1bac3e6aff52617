"""One look at a run in Prometheus' text format: gauges and counters called trainyard_*. What is not known has no sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard_shell import Check, clean

STATES = ("starting", "running", "backing-off", "stopping", "finished", "failed", "stopped", "lost", "orphaned", "unknown")
STATUSES = ("pass", "warn", "fail", "unknown", "skipped")
LOOKED = ("trainyard_last_look_timestamp_seconds", "gauge", "When the run was last looked at.")
FROM_DATA: tuple[tuple[str, str, str, str], ...] = (
    ("trainyard_step", "gauge", "step", "Last finished optimizer step."),
    ("trainyard_steps_planned", "gauge", "total_steps", "Steps that the run will have."),
    ("trainyard_loss", "gauge", "loss", "Loss of the last step; NaN and Inf as they are."),
    ("trainyard_loss_smoothed", "gauge", "loss_smoothed", "Mean loss of the last 50 steps."),
    ("trainyard_validation_loss", "gauge", "val_loss", "Newest validation loss."),
    ("trainyard_tokens_per_second", "gauge", "tokens_per_s", "Median of the last steps, as the trainer says it."),
    ("trainyard_step_seconds", "gauge", "step_s_median", "Median duration of the last steps."),
    ("trainyard_last_step_age_seconds", "gauge", "last_step_age_s", "Time since the last step line."),
    ("trainyard_remaining_seconds", "gauge", "eta_s", "Expected time to the last step."),
    ("trainyard_attempts_total", "counter", "attempts", "Starts of the launcher."),
    ("trainyard_restarts_total", "counter", "restarts", "Starts after the first."),
    ("trainyard_restarts_allowed", "gauge", "max_restarts", "Restarts after which the next death ends the run."),
    ("trainyard_hangs_total", "counter", "hangs", "Hangs that were found."),
)
FROM_CHECKPOINT = (
    ("trainyard_checkpoint_step", "gauge", "step", "Newest committed checkpoint."),
    ("trainyard_checkpoint_age_seconds", "gauge", "age_s", "Time since it was committed."),
    ("trainyard_checkpoint_age_steps", "gauge", "age_steps", "Steps that a death would lose now."),
)
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def page(
    data: Mapping[str, Any], checks: list[Check], *, now: float, run_id: str | None, account: Mapping[str, Any] | None = None
) -> str:
    """`data` and `checks` as `watch` shows them, `account` with goodput, wall_s and the parts of the time."""
    own = {"run": str(data.get("name") or ""), "run_id": run_id or ""}
    lines = [*_family(*LOOKED, [({}, now)], own)]
    lines += _family("trainyard_run_state", "gauge", "1 for the state that the run is in.", _states(data), own)
    lines += _family("trainyard_check_status", "gauge", "1 for the status that a health check has.", _statuses(checks), own)
    for table, source in ((FROM_DATA, data), (FROM_CHECKPOINT, data.get("last_checkpoint") or {})):
        for name, kind, member, help_text in table:
            lines += _family(name, kind, help_text, [({}, source.get(member))], own)
    return "".join(lines + [*_goodput(account or {}, own)])


def stale_page(looked: float, run: str, run_id: str | None) -> str:
    """No look for too long: nothing is known of the run now, and no old value may pass for one."""
    own = {"run": run, "run_id": run_id or ""}
    lines = [*_family(*LOOKED, [({}, looked)], own)]
    lines += _family("trainyard_run_state", "gauge", "1 for the state that the run is in.", _states({"state": "unknown"}), own)
    return "".join(lines)


def _goodput(account: Mapping[str, Any], own: dict[str, str]) -> Iterator[str]:
    yield from _family(
        "trainyard_goodput_ratio", "gauge", "Productive time over wall time.", [({}, account.get("goodput"))], own
    )
    parts = [({"part": part}, seconds) for part, seconds in (account.get("account") or {}).items()]
    yield from _family("trainyard_time_seconds", "gauge", "Where the wall time went; the parts add up to it.", parts, own)


def _states(data: Mapping[str, Any]) -> list[tuple[dict[str, str], Any]]:
    state = data.get("state")
    known = state if state in STATES else "unknown"
    return [({"state": each}, float(each == known)) for each in STATES]


def _statuses(checks: list[Check]) -> list[tuple[dict[str, str], Any]]:
    return [({"check": check.id, "status": each}, float(each == check.status)) for check in checks for each in STATUSES]


def _family(
    name: str, kind: str, help_text: str, samples: list[tuple[dict[str, str], Any]], own: dict[str, str]
) -> Iterator[str]:
    told = [(labels, value) for labels, raw in samples if (value := _number(raw)) is not None]
    if not told:
        return
    yield f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
    for labels, value in told:
        yield f"{name}{{{_labels({**own, **labels})}}} {_shown(value)}\n"


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return SPECIAL.get(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(value: float) -> str:
    if math.isfinite(value):
        return repr(value) if value != int(value) or abs(value) >= 2**53 else str(int(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())


def _quoted(text: str) -> str:
    return clean(text, 200).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
