"""Does the run go on? The age of the last step against the usual pace, and a start that has made no step yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from run_view.observe import stall_limit_s
from run_view.status import duration
from trainyard_shell import Check

if TYPE_CHECKING:
    from log_reading.job_log import JobLog
    from run_health.limits import Limits
    from run_view.observe import Observation


ASK = "diagnose_training.py doctor says why and whether a restart can help, diagnose_training.py stacks what each rank does now"


def paused_check(stopped: Check) -> Check | None:
    text = "the run is paused, so no step is due: see ranks.stopped"
    return Check("progress.stalled", "skipped", text, stopped.summary) if stopped.status == "warn" else None


def progress_check(view: Observation, limits: Limits) -> Check:
    name = "progress.stalled"
    if view.state.ended or view.state.name in ("backing-off", "stopping"):
        return Check(name, "skipped", view.state.told)
    if view.log is not None and not view.steps:
        return _silent_or_unknown(view.log, view.now, limits)
    since = _start_without_step(view)
    if view.last is None or since is not None:
        return _starting(view, since, limits)
    age_s, limit_s = view.last_step_age_s or 0.0, stall_limit_s(view.pace_s, limits.stall_factor)
    if view.log is not None and view.pace_s is None:
        text = f"last line with metrics at most {duration(age_s)} ago; the log does not tell how often there is one"
        return Check(name, "unknown", text, "no times in the log, no progress bar", "print times or a progress bar in the log")
    usual = (
        f"a line every {view.pace_s:.3g} s ({view.log.pace_source})" if view.log else f"median step {view.pace_s or 0:.3g} s"
    )
    evidence = f"{usual}, last step line {age_s:.3g} s ago, limit {limit_s:.3g} s"
    if age_s <= limit_s:
        return Check(name, "pass", f"step {view.last.step}, {duration(age_s)} ago", evidence)
    return Check(name, "fail", f"no step line for {duration(age_s)}", evidence, ASK)


def _silent_or_unknown(log: JobLog, now: float, limits: Limits) -> Check:
    """A log without metrics in a known format: it is at least written to, or not even that."""
    name, age_s = "progress.stalled", max(0.0, now - log.written)
    evidence = f"{log.file.name}: {log.lines} lines, none in a known format"
    if age_s > limits.start_limit_s:
        fix = f"{ASK}; --start-limit-s allows more"
        return Check(name, "fail", f"the job's log is silent for {duration(age_s)}", evidence, fix)
    fix = "`metrics --pattern` shows whether a pattern reads it; a trainer that writes steps.jsonl is judged by its steps"
    return Check(name, "unknown", f"no progress to be read; the log was written to {duration(age_s)} ago", evidence, fix)


def _start_without_step(view: Observation) -> float | None:
    """When the newest start of the script or launcher began, if it has not written a step line yet."""
    begun = view.last_event("start", "attempt")
    if begun is None or (view.last is not None and view.last.time >= begun.time):
        return None
    if view.last is not None and begun.incarnation is not None and begun.incarnation <= view.last.incarnation:
        return None  # its lines are there; the clock was set back in between
    return begun.time


def _starting(view: Observation, since: float | None, limits: Limits) -> Check:
    name = "progress.stalled"
    begun = since or (view.runner.started if view.runner else None) or view.records_written
    if begun is None:
        return Check(name, "unknown", "no step line, and nothing tells when the run began")
    age_s = max(0.0, view.now - begun)
    evidence = f"begun {age_s:.3g} s ago, limit {limits.start_limit_s:.3g} s"
    if age_s <= limits.start_limit_s:
        return Check(name, "unknown", "starting: no step line yet", evidence, "ask again in a while")
    fix = "read the job's log from its beginning: data, rendezvous or restore hangs; --start-limit-s allows more"
    return Check(name, "fail", f"no step line {duration(age_s)} after the start", evidence, fix)
