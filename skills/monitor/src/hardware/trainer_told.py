"""`status.trainerStatus` of a TrainJob: what its trainer told the controller (KEP-2779). Data of the job, bounded, judged by nothing."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell

MOST = 32


def trainer_status(job: dict[str, Any] | None) -> dict[str, Any] | None:
    """None where there is none: the gate TrainJobStatus is off, or nothing was told yet."""
    status = (job or {}).get("status")
    told = status.get("trainerStatus") if isinstance(status, dict) else None
    if not isinstance(told, dict):
        return None
    metrics = told.get("metrics") if isinstance(told.get("metrics"), list) else []
    return {
        "progress_percent": _whole(told.get("progressPercentage")),
        "eta_s": _whole(told.get("estimatedRemainingSeconds")),
        "updated": shell.clean(str(told.get("lastUpdatedTime") or ""), 40) or None,
        "metrics": {
            shell.clean(str(each.get("name")), 64): shell.clean(str(each.get("value")), 64)
            for each in (metrics or [])[:MOST]
            if isinstance(each, dict)
        },
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else None
