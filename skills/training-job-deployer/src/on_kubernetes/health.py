"""Checks of a run on a cluster, from its manager's status and its last step line."""

from __future__ import annotations

from typing import Any

from on_kubernetes import states
from trainyard_shell import Check

WARNINGS = ("pending", "restarting", "suspended", "deleting")


def judge(status: dict[str, Any], stall_factor: float) -> list[Check]:
    """`status` holds the progress under `progress`."""
    checks = [_state(status)]
    if status["state"] in ("finished", "stopped"):  # how its pods ended is no concern of anybody's now
        return checks
    severity = "warn" if status["state"] in ("running", "stopping") else "fail"
    checks += [
        Check(each["id"] or "finding", severity, each["summary"], fix=each["fix"] or None) for each in states.findings(status)
    ]
    if status["state"] in ("running", "stopping"):  # until it has ended it is judged as one that runs
        checks += [_nodes(status), *_restarts(status), _stall(status.get("progress") or {}, stall_factor)]
    return checks


def stalled(status: dict[str, Any], progress: dict[str, Any], stall_factor: float) -> str | None:
    """The words of a stall that is seen."""
    check = _stall(progress, stall_factor)
    return check.summary if status["state"] == "running" and check.status == "fail" else None


def _state(status: dict[str, Any]) -> Check:
    state, reason = status["state"], status.get("reason")
    told = f"{state}: {reason}" if reason else str(state)
    if state in ("failed", "gone"):
        return Check("run.state", "fail", told)
    if state == "stopping":
        return Check("run.state", "warn", told, fix="`stop` again, if this lasts longer than monitor.stop_grace_s")
    return Check("run.state", "warn" if state in WARNINGS else "pass", told)


def _nodes(status: dict[str, Any]) -> Check:
    nodes = status.get("nodes") or {}
    wanted, running = nodes.get("wanted"), nodes.get("running")
    if not isinstance(wanted, int) or not isinstance(running, int):
        return Check("run.nodes", "unknown", "the manager does not say how many nodes run")
    return Check("run.nodes", "pass" if running >= wanted else "warn", f"{running} of {wanted} nodes run")


def _restarts(status: dict[str, Any]) -> list[Check]:
    """[] while there were none. Never a failure: a drained pod counts here, and uses up nothing of max_restarts."""
    restarts, most = status.get("restarts"), status.get("max_restarts")
    if not isinstance(restarts, int) or not restarts:
        return []
    told = f"restarts of containers and pods: {restarts}; drains count here, and only failures use up max_restarts ({most})"
    fix = "`logs --previous` shows why a container ended; the log of a pod that was made anew is gone"
    return [Check("run.restarts", "warn", told, fix=fix)]


def _stall(progress: dict[str, Any], stall_factor: float) -> Check:
    """Stalled: no step line for `stall_factor` step times. Without a line, or without its time, nobody knows."""
    age_s, step_s = progress.get("last_step_age_s"), progress.get("step_s")
    if progress.get("step") is None:
        return Check("run.stall", "unknown", "no step line yet", fix="`logs` shows what the job prints")
    if age_s is None or not step_s:
        return Check("run.stall", "unknown", f"the age of the last line (step {progress['step']}) is not known")
    # a floor, because the log comes with a delay of seconds and steps may take milliseconds
    limit_s = max(stall_factor * step_s, 60.0)
    told = f"the last step line (step {progress['step']}) is {age_s:.0f} s old; a step takes {step_s:.2f} s"
    return Check("run.stall", "fail" if age_s > limit_s else "pass", told)
