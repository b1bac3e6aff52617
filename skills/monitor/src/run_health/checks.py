"""Is the run fit? Each check asks one question of one look at the run folder. Unknown is never healthy."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from run_health.hang import hang_check, stopped_check
from run_health.losses import NOT_BY_SAVING, has_diverged, loss_check
from run_health.restart import restart_check, skipped_check, trained_check
from run_health.run_checks import alive_check, budget_check, run_state_check
from run_view.observe import CLOCK_SLACK_S, STALL_FACTOR, stall_limit_s
from run_view.status import duration, last_checkpoint
from trainyard_shell import Check, clean

if TYPE_CHECKING:
    from log_reading.job_log import JobLog
    from run_view.observe import Observation

OVERDUE_WARN, OVERDUE_FAIL = 2, 4
"""Intervals between checkpoints without a new one."""


LITTLE_DISK_BYTES, NO_DISK_BYTES = 1 << 30, 64 << 20


@dataclass(frozen=True)
class Limits:
    stall_factor: float = STALL_FACTOR
    """Stalled after this many median step times without a step line."""
    start_limit_s: float = 600.0
    """A start without a step line is `unknown` for this long, then a failure."""


def health_checks(view: Observation, limits: Limits) -> list[Check]:
    stopped = stopped_check(view)
    return [
        stopped,
        run_state_check(view),
        alive_check(view),
        _paused(stopped) or _progress(view, limits),
        hang_check(view),
        loss_check(view),
        _checkpoint(view, limits),
        restart_check(view),
        skipped_check(view),
        trained_check(view),
        _saves(view),
        budget_check(view),
        _files(view),
        _clock(view),
        _disk(view),
    ]


def _paused(stopped: Check) -> Check | None:
    text = "the run is paused, so no step is due: see ranks.stopped"
    return Check("progress.stalled", "skipped", text, stopped.summary) if stopped.status == "warn" else None


def _progress(view: Observation, limits: Limits) -> Check:
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
    fix = "read the end of the job's log and the stacks of its processes (py-spy dump); if it hangs, stop and resume the run"
    return Check(name, "fail", f"no step line for {duration(age_s)}", evidence, fix)


def _silent_or_unknown(log: JobLog, now: float, limits: Limits) -> Check:
    """A log without metrics in a known format: it is at least written to, or not even that."""
    name, age_s = "progress.stalled", max(0.0, now - log.written)
    evidence = f"{log.file.name}: {log.lines} lines, none in a known format"
    if age_s > limits.start_limit_s:
        fix = "read the end of the log and the stacks of the job's processes (py-spy dump); --start-limit-s allows more"
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


def _checkpoint(view: Observation, limits: Limits) -> Check:
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


def _saves(view: Observation) -> Check:
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


def _files(view: Observation) -> Check:
    bad = [tally for tally in view.tallies if tally.unreadable]
    if view.runner_problem:
        return Check(
            "files.readable", "fail", "runner.json cannot be used", clean(view.runner_problem, 300), "see who writes it"
        )
    if view.log is not None and not bad:
        return Check("files.readable", "pass", f"{view.log.lines} lines of {view.log.file.name} read", view.log.format)
    if not bad:
        return Check("files.readable", "pass", f"{sum(tally.lines for tally in view.tallies)} lines read")
    hopeless = any(tally.unreadable == tally.lines for tally in bad)
    evidence = clean("; ".join(f"{tally.name}: {tally.first_unreadable}" for tally in bad), 300)
    text = "; ".join(note for tally in bad if (note := tally.note()))
    return Check("files.readable", "fail" if hopeless else "warn", text, evidence, "see what else writes into the run folder")


def _clock(view: Observation) -> Check:
    if view.log is not None and not view.log.has_times:
        return Check("clock.order", "skipped", "the log has no times")
    times = [line.time for line in view.steps]
    jumps = sum(b < a - CLOCK_SLACK_S for a, b in itertools.pairwise(times))
    ahead_s = max([*times[-1:], *(event.time for event in view.events[-1:])], default=view.now) - view.now
    if ahead_s > CLOCK_SLACK_S:
        fix = "compare the clocks of the two machines; ages are taken from the file times"
        return Check("clock.order", "warn", f"the last record lies {duration(ahead_s)} in the future", None, fix)
    if jumps:
        return Check(
            "clock.order", "warn", f"the clock went backwards {jumps} times", None, "times around there are not to be trusted"
        )
    return Check("clock.order", "pass", "times are in order")


def _disk(view: Observation) -> Check:
    """A full disk ends a job at its next printed line, and costs every save."""
    if view.state.ended:
        return Check("disk.space", "skipped", view.state.told)
    found = []
    for folder in (view.path, view.path / "checkpoints"):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder)
            found.append((usage.free, folder, min(NO_DISK_BYTES, usage.total // 20)))
    if not found:
        return Check("disk.space", "unknown", f"how much room there is in {view.path} cannot be told")
    free, folder, least = min(found)
    text = (
        f"{free / 2**30:.1f} GiB free for {folder}" if free > least else f"the disk of {folder} is full: {free >> 20} MiB free"
    )
    status = "pass" if free > LITTLE_DISK_BYTES else "warn" if free > least else "fail"
    fix = "free space there; until then log lines and saves are lost"
    return Check("disk.space", status, text, None, None if status == "pass" else fix)
