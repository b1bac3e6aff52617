"""How the run as a whole stands: its state, its processes, its budget of restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from run_health.restart import goes_on
from trainyard_shell import Check, clean

if TYPE_CHECKING:
    from run_view.observe import Observation


def run_state_check(view: Observation) -> Check:
    state, log = view.state, (view.runner.log if view.runner else None) or "the job's log"
    if state.copy_of:
        there = f"look at the run itself: monitor_training.py health {state.copy_of}"
        return Check("run.state", "unknown", "this folder is a copy of a run", clean(state.evidence, 200), there)
    answers: dict[str, tuple[str, str | None]] = {
        "finished": ("pass", None),
        "starting": ("pass", None),
        "running": ("pass", None),
        "stopping": ("pass", None),
        "stopped": ("warn", "it was stopped before its end: resume it when you want the rest"),
        "backing-off": ("warn", f"read the end of {log}: an attempt has just died"),
        "failed": ("fail", f"read the end of {log}, fix the cause, then resume the run"),
        "lost": ("fail", f"nothing of the run lives: resume it; {goes_on(view)}"),
        "orphaned": ("fail", "stop the run (that ends its processes), then resume it"),
    }
    status, fix = answers.get(state.name, ("unknown", "look from the machine on which the run was started"))
    if state.name == "stopped" and _reached_its_end(view):
        return Check("run.state", "pass", "the run was stopped at its very end: all its steps are done", state.evidence)
    return Check("run.state", status, state.told, f"{state.source}: {clean(state.evidence, 200)}", fix)


def _reached_its_end(view: Observation) -> bool:
    closed, total = view.last_event("closed", "start"), view.total_steps
    return bool(closed and closed.finished) or bool(total and view.last and view.last.step >= total)


def alive_check(view: Observation) -> Check:
    state, runner = view.state, view.runner
    if state.ended and state.name != "lost":
        return Check("process.alive", "skipped", state.told)
    if state.copy_of:
        return Check("process.alive", "skipped", "this folder is a copy: no process works for it", state.evidence)
    if runner is None:
        return Check("process.alive", "skipped", "no runner.json names a process", view.runner_problem)
    pids = ", ".join(
        f"{role} {one.pid}" for role, one in (("supervisor", runner.supervisor), ("launcher", runner.launcher)) if one
    )
    if state.name == "lost":
        return Check("process.alive", "fail", "no process of the run lives", pids, "resume the run")
    if state.name == "orphaned":
        living = ", ".join(map(str, state.pids[:10]))
        return Check("process.alive", "fail", "the supervisor is gone, workers live", f"living: {living}", "stop the run")
    if state.name == "unknown":
        return Check("process.alive", "unknown", "the processes cannot be seen from here", state.evidence)
    if state.launcher_alive is False and state.name == "running":
        return Check(
            "process.alive", "warn", "the supervisor lives, the launcher does not", pids, "look again in a few seconds"
        )
    return Check("process.alive", "pass", "the run's processes live", pids)


def budget_check(view: Observation) -> Check:
    """How many restarts are left, and what the last one was for."""
    name, runner = "restarts.budget", view.runner
    if runner is None or runner.max_restarts is None:
        return Check(name, "skipped", "no runner.json tells the budget")
    text, why = f"{runner.restarts} of {runner.max_restarts} restarts used", None
    if runner.last_failure:
        why = clean(runner.last_failure, 400)
        text += f"; the last: {why.partition(': ')[0]}"
    if runner.restarts < runner.max_restarts or not (view.state.alive or view.state.name == "failed"):
        return Check(name, "pass", text, why)
    text += ": the next death ends the run" if view.state.alive else "; none was left"
    return Check(name, "warn", text, why, "find what kills it before you raise max_restarts")
