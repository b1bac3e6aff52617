"""The state of a run on a cluster: as its manager tells it, or as run.json has it when the job's object is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from deploy_place import ABSENT

if TYPE_CHECKING:
    from run_state.record import Run

STATES = ("pending", "running", "restarting", "suspended", "deleting", "finished", "failed")
GONE = "its object was removed from the cluster, but not by `stop`"


def as_told(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    """The manager's status with the states of this program."""
    state = data.get("state")
    if state not in STATES:
        raise shell.SkillError(
            "internal", f"the manager's status of {run.name} has no known state: {shell.clean(str(state), 80)}"
        )
    being_stopped = run.stopped is not None and state not in ("finished", "failed")
    return {**data, "state": "stopping" if being_stopped else state, "max_restarts": run.monitor("max_restarts")}


def as_recorded(run: Run) -> str:
    """`gone` only when nothing in run.json tells how the job ended."""
    submission, watched = run.submission, run.stages.get("watch")
    ended = watched.result.get("state") if watched else None
    if ended in ("finished", "failed"):
        return str(ended)
    if run.stopped is not None:
        return str(run.stopped.result.get("state", "stopped"))
    # begun and never answered, and no object there: the call was killed before it made one
    return ABSENT if submission is None or submission.ended is None else "gone"


def reason_of(run: Run) -> str | None:
    watched = run.stages.get("watch")
    if as_recorded(run) == "gone":
        return GONE
    ended = [record.result.get("reason") for record in (watched, run.stopped) if record is not None]
    return next((str(reason) for reason in ended if reason), None)


def is_gone(status: dict[str, Any]) -> bool:
    """Whether the answer came from run.json alone."""
    return "pods" not in status and "nodes" not in status


def findings(status: dict[str, Any]) -> list[dict[str, str]]:
    """The manager's findings, as text that is safe to print."""
    found = status.get("findings")
    rows = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [{key: shell.clean(str(row.get(key) or ""), 400) for key in ("id", "summary", "fix")} for row in rows]
