"""Checkpoints: how old the newest one is, and whether the last save was kept."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

from run_health.losses import NOT_BY_SAVING, has_diverged
from run_view.status import duration, last_checkpoint
from trainyard_shell import Check, clean

if TYPE_CHECKING:
    from run_health.limits import Limits
    from run_view.observe import Observation

OVERDUE_WARN, OVERDUE_FAIL = 2, 4
"""Intervals between checkpoints without a new one."""


def checkpoint_check(view: Observation, limits: Limits) -> Check:
    name, step = "checkpoint.age", view.last.step if view.last else 0
    newest = last_checkpoint(view, step)
    if newest is None and view.log is not None:
        evidence = "the trainer keeps no records in the run folder"
        return Check(
            name, "skipped", "its checkpoints are not known here", evidence, "checkpoint-manager lists and verifies them"
        )
    if newest is None:
        return _no_checkpoint(view, limits)
    age = f"step {newest['step']}, {newest['age_steps']} steps"
    age += " before the last" if view.state.ended else f" and {duration(newest['age_s'])} old"
    interval = _interval_steps(view)
    evidence = f"seen in {newest['source']}, not verified; " + (
        f"one every {interval} steps" if interval else "interval not known"
    )
    if view.state.ended or interval is None or newest["age_steps"] <= OVERDUE_WARN * interval:
        return Check(name, "pass", age, evidence)
    status = "fail" if newest["age_steps"] > OVERDUE_FAIL * interval else "warn"
    fix = NOT_BY_SAVING if has_diverged(view) else "look for save-failed in events.jsonl, and at the disk's free space"
    return Check(name, status, f"overdue: {age}", evidence, fix)


def _no_checkpoint(view: Observation, limits: Limits) -> Check:
    name, begun = "checkpoint.age", view.last_event("start", "attempt")
    age_s = view.now - begun.time if begun else 0.0
    evidence = view.checkpoints.problem or "no step folder with a manifest"
    if view.state.name == "finished":
        return Check(
            name, "warn", "the run finished without a checkpoint", evidence, "look where TRAINYARD_CHECKPOINTS pointed"
        )
    if age_s <= limits.start_limit_s and not view.state.ended:
        return Check(name, "skipped", "no checkpoint yet", evidence)
    fix = NOT_BY_SAVING if has_diverged(view) else "save more often (rolling_steps)"
    return Check(name, "warn", "no checkpoint: a death loses all the work", evidence, fix)


def _interval_steps(view: Observation) -> int | None:
    """Median distance of the steps committed within one life."""
    commits = [event for event in view.events if event.type == "committed" and event.step is not None]
    pairs = itertools.pairwise(commits)
    gaps = [(b.step or 0) - (a.step or 0) for a, b in pairs if a.incarnation == b.incarnation and (b.step or 0) > (a.step or 0)]
    return round(statistics.median(gaps)) if gaps else None


def saves_check(view: Observation) -> Check:
    name, bad = "saves.failing", [event for event in view.events if event.type in ("save-failed", "rejected")]
    committed = view.last_event("committed")
    untidy = view.last_event("retention-failed")
    if not bad and untidy is not None:
        fix = "the steps are safe; look at `latest`, tiers.json and the disk's free space"
        return Check(
            name, "warn", f"old checkpoints could not be tidied at step {untidy.step}", clean(str(untidy.error), 300), fix
        )
    if not bad:
        status, text = ("pass", f"last commit at step {committed.step}") if committed else ("skipped", "no save has ended yet")
        return Check(name, status, text, f"{len(view.events)} events looked at")
    last = bad[-1]
    what = clean(f"step {last.step}: {last.error or ('NaN or Inf in ' + str(last.tensors))}", 300)
    if committed is not None and committed.time > last.time:
        return Check(name, "warn", f"{len(bad)} saves failed, then one was committed", what, "see events.jsonl")
    stand = "; the older checkpoints stand" if view.checkpoints.steps else ""
    fix = (
        f"free space, or check the volume{stand}" if last.type == "save-failed" else "see loss.finite: its fix is the way back"
    )
    return Check(name, "fail", f"the last save was {'refused' if last.type == 'rejected' else 'lost'}", what, fix)
