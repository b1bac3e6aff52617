"""budget.max_hours on a cluster: whoever watches the run stops it then. On local its supervisor does, watched or not."""

from __future__ import annotations

import time

import deploy_place
import trainyard_shell as shell
from deployment import Deployment
from run_state.record import Run


def spent_s(run: Run) -> float:
    """Seconds from each submission to its end, over all starts: waiting for nodes counts too."""
    submission = run.submission
    if submission is None:
        return run.earlier_s
    ends = [record.ended for record in (run.stopped, run.stages.get("watch")) if record is not None and record.ended]
    return run.earlier_s + max(0.0, min(ends, default=time.time()) - submission.begun)


def deadline(run: Run) -> float | None:
    """When it is used up, by time.monotonic; None where nothing is to be stopped by this program."""
    hours = _hours(run)
    return None if hours is None else time.monotonic() + 3600 * hours - spent_s(run)


def name(run: Run) -> str:
    return f"budget.max_hours ({_hours(run):g})"


def refuse_used_up(deployment: Deployment, run: Run) -> None:
    """Raises SkillError conflict where a run on a cluster has no hour left. The local runner says so by itself."""
    budget = deployment.job.budget
    hours = budget.max_hours if budget else None
    if hours is None or deploy_place.of(run.target, deployment.run_dir).keeps_record or spent_s(run) < 3600 * hours:
        return
    message = f"budget.max_hours ({hours:g}) is used up: {run.name} has been on the cluster for {spent_s(run) / 3600:.3g} hours"
    hint = f"a larger budget.max_hours in the job file, then {deployment.ref.command('resume', '--accept-changes')}"
    raise shell.SkillError("conflict", message, hint=hint)


def _hours(run: Run) -> float | None:
    budget = run.job.get("budget")
    value = budget.get("max_hours") if isinstance(budget, dict) else None
    return float(value) if isinstance(value, int | float) else None
